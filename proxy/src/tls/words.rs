//! What went wrong in a handshake, for people: what happened, whose fault it is, what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a handshake with a client failed.
pub(super) fn of_client(error: &io::Error) -> String {
    match rustls_error(error) {
        Some(error) => match error {
            Error::AlertReceived(alert) => format!("the client refused with the alert {}", refusal(*alert)),
            Error::NoCertificatesPresented => {
                "the client showed no certificate, which this listener demands".to_owned()
            }
            Error::InvalidCertificate(why) => {
                format!("the client's certificate is not accepted: {}", certificate(why))
            }
            other => other.to_string(),
        },
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client closed the connection in the middle of the TLS handshake".to_owned()
        }
        None => error.to_string(),
    }
}

/// Why a handshake with a backend failed, which was asked for as `name`.
pub(super) fn of_backend(error: &io::Error, name: &str) -> String {
    match rustls_error(error) {
        Some(error) => match error {
            Error::AlertReceived(alert) => {
                format!(
                    "the backend refused the TLS handshake with the alert {}",
                    refusal(*alert)
                )
            }
            Error::InvalidCertificate(why) => {
                format!(
                    "the backend's certificate, asked for as {name:?}, is not accepted: {}",
                    certificate(why)
                )
            }
            Error::InvalidMessage(_) => {
                format!("the backend answers with something that is no TLS ({error})")
            }
            other => format!("TLS handshake with the backend: {other}"),
        },
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the backend closed the connection in the middle of the TLS handshake".to_owned()
        }
        None => format!("TLS handshake with the backend: {error}"),
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn refusal(alert: AlertDescription) -> String {
    let meaning = match alert {
        AlertDescription::UnknownCA => " (it does not know who signed our certificate)",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate => " (it does not accept our certificate)",
        AlertDescription::CertificateRequired => " (it demands a certificate)",
        AlertDescription::UnrecognisedName => " (it does not know the name that it was asked for)",
        AlertDescription::NoApplicationProtocol => " (it speaks none of the protocols offered by ALPN)",
        _ => "",
    };
    format!("{alert:?}{meaning}")
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "it was signed by none of the CAs that are trusted here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("it has expired ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("it is not valid yet ({error})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is for another name ({error})")
        }
        other => other.to_string(),
    }
}
