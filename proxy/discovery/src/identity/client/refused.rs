//! A connection whose other end may not want our certificate. In: a TLS stream. Out: the same, and word of a refusal.
//!
//! In TLS 1.3 a client has finished its handshake before the server looks at its certificate: the refusal is an alert that
//! comes with the first bytes that are read (RFC 8446 §4.4.2.4, §6.2).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;

/// A TLS stream that tells when the other end refuses the certificate.
pub struct Refusable {
    stream: TlsStream<TcpStream>,
    refused: Arc<Notify>,
}

impl Refusable {
    pub(super) fn new(stream: TlsStream<TcpStream>, refused: Arc<Notify>) -> Self {
        Self { stream, refused }
    }
}

/// Whether the alert is about the certificate.
fn is_refusal(error: &io::Error) -> bool {
    let alert = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        alert,
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied
        ))
    )
}

impl AsyncRead for Refusable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if read.as_ref().is_err_and(is_refusal) {
            self.refused.notify_one();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Refusable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
