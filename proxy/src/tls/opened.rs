//! What a client's handshake agreed on. In: an open stream. Out: words for the access log, a place in counts.

use rustls::{HandshakeKind, ProtocolVersion};
use tokio_rustls::TlsStream;

use crate::access_log;
use crate::counters::Handshake;
use crate::wire::Wire;

/// What a client's handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    kind: Handshake,
    cipher: &'static str,
    alpn: Option<String>,
    /// The name that was asked for.
    pub(crate) name: Option<String>,
}

impl Opened {
    /// None: not a client's TLS.
    pub(crate) fn of(wire: &Wire) -> Option<Self> {
        let Wire::Tls(stream) = wire else { return None };
        let TlsStream::Server(stream) = &**stream else {
            return None;
        };
        let tls = stream.get_ref().1;
        let alpn = tls.alpn_protocol();
        Some(Self {
            kind: Handshake {
                is_1_3: tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
                resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            },
            cipher: tls
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or_default(),
            alpn: alpn.map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
            name: tls.server_name().map(str::to_owned),
        })
    }

    /// Position in [`Handshake::ALL`].
    pub(crate) fn index(&self) -> usize {
        self.kind.index()
    }

    /// For people.
    pub(crate) fn record(self) -> access_log::Tls {
        access_log::Tls {
            version: self.kind.version(),
            cipher: self.cipher,
            server_name: self.name,
            alpn: self.alpn,
            resumed: self.kind.resumed,
        }
    }
}
