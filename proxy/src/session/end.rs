//! How connections end, and whose doing it was: the words of counters and access log.

use serde::Serialize;

/// Who brought an end about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// Whoever connected to us.
    Client,
    /// The endpoint, or that there is none.
    Backend,
    /// This proxy: its limits, its configuration, its administrator.
    Proxy,
}

/// Why a connection was not (or not to the end) served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The source is not in `allowedSources`.
    SourceNotAllowed,
    /// A PROXY header is malformed, too long, its checksum is wrong, or it is missing where it is required.
    BadProxyHeader,
    /// A PROXY header from a source that may not send one.
    UntrustedProxyHeader,
    /// The client's first message was not complete in time.
    HandshakeTimeout,
    /// The client's first message is none that this listener takes.
    BadHandshake,
    /// The TLS handshake failed.
    TlsHandshake,
    /// The listener has no certificate to show.
    NoCertificate,
    /// No chain for this name, and no default chain.
    NoChain,
    /// The chain has nobody who serves.
    NoEndpoint,
    /// The chain is suspended.
    Suspended,
    /// Every endpoint has all the connections that it may have.
    EndpointsFull,
    /// No attempt to connect succeeded.
    ConnectFailed,
    /// The client left before it was connected.
    ClientGone,
    /// No descriptors, ports or memory left here.
    OutOfResources,
    /// The proxy stops.
    Stopping,
    /// A guest beyond the listener's `guests`.
    GuestsFull,
    /// Others of the group serve the chain, but it says `fallback: Refuse`.
    NotRelayed,
    /// On a direct port: a PROXY header that no proxy of ours has signed.
    RelayUnsigned,
    /// A relay header whose time is too far from ours.
    RelayStale,
    /// A relay header that has been here before, as far as anybody can tell.
    RelayReplayed,
    /// A relayed connection that went in a circle, or was relayed before.
    RelayLoop,
    /// A connection relayed for a chain that is not here.
    RelayElsewhere,
}

impl Refusal {
    /// All of them, in the order of [`Refusal::index`].
    pub const ALL: [Self; 22] = [
        Self::SourceNotAllowed,
        Self::BadProxyHeader,
        Self::UntrustedProxyHeader,
        Self::HandshakeTimeout,
        Self::BadHandshake,
        Self::TlsHandshake,
        Self::NoCertificate,
        Self::NoChain,
        Self::NoEndpoint,
        Self::Suspended,
        Self::EndpointsFull,
        Self::ConnectFailed,
        Self::ClientGone,
        Self::OutOfResources,
        Self::Stopping,
        Self::GuestsFull,
        Self::NotRelayed,
        Self::RelayUnsigned,
        Self::RelayStale,
        Self::RelayReplayed,
        Self::RelayLoop,
        Self::RelayElsewhere,
    ];

    /// Position in [`Refusal::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word for metrics.
    pub fn label(self) -> &'static str {
        self.word().split_once(':').map_or("", |(_, label)| label)
    }

    /// The word for the access log.
    pub fn word(self) -> &'static str {
        match self {
            Self::SourceNotAllowed => "refused:sourceNotAllowed",
            Self::BadProxyHeader => "refused:badProxyHeader",
            Self::UntrustedProxyHeader => "refused:untrustedProxyHeader",
            Self::HandshakeTimeout => "refused:handshakeTimeout",
            Self::BadHandshake => "refused:badHandshake",
            Self::TlsHandshake => "refused:tlsHandshake",
            Self::NoCertificate => "refused:noCertificate",
            Self::NoChain => "refused:noChain",
            Self::NoEndpoint => "refused:noEndpoint",
            Self::Suspended => "refused:suspended",
            Self::EndpointsFull => "refused:endpointsFull",
            Self::ConnectFailed => "refused:connectFailed",
            Self::ClientGone => "refused:clientGone",
            Self::OutOfResources => "refused:outOfResources",
            Self::Stopping => "refused:stopping",
            Self::GuestsFull => "refused:guestsFull",
            Self::NotRelayed => "refused:notRelayed",
            Self::RelayUnsigned => "refused:relayUnsigned",
            Self::RelayStale => "refused:relayStale",
            Self::RelayReplayed => "refused:relayReplayed",
            Self::RelayLoop => "refused:relayLoop",
            Self::RelayElsewhere => "refused:relayElsewhere",
        }
    }

    /// Whose doing it was.
    pub fn fault(self) -> Fault {
        match self {
            Self::SourceNotAllowed
            | Self::BadProxyHeader
            | Self::UntrustedProxyHeader
            | Self::HandshakeTimeout
            | Self::BadHandshake
            | Self::TlsHandshake
            | Self::ClientGone
            | Self::RelayUnsigned
            | Self::RelayStale
            | Self::RelayReplayed
            | Self::RelayLoop
            | Self::RelayElsewhere => Fault::Client,
            Self::NoEndpoint | Self::EndpointsFull | Self::ConnectFailed => Fault::Backend,
            Self::NoCertificate
            | Self::NoChain
            | Self::Suspended
            | Self::OutOfResources
            | Self::Stopping
            | Self::GuestsFull
            | Self::NotRelayed => Fault::Proxy,
        }
    }
}

/// Why we close a session that neither side wanted to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Going back to a better tier.
    Failback,
    /// The tier was changed by hand.
    Switched,
    /// The chain was suspended.
    Suspended,
    /// The endpoint was marked down, and the chain says `onDown: Close`.
    EndpointDown,
    /// The endpoint's address left DNS.
    Vanished,
    /// The endpoint's backend is gone from the configuration.
    EndpointRemoved,
    /// The chain is gone from the configuration.
    ChainRemoved,
    /// The proxy drains or stops.
    Draining,
    /// A guest goes back to where it belongs.
    Returned,
}

impl CloseReason {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 9] = [
        Self::Failback,
        Self::Switched,
        Self::Suspended,
        Self::EndpointDown,
        Self::Vanished,
        Self::EndpointRemoved,
        Self::ChainRemoved,
        Self::Draining,
        Self::Returned,
    ];
}

/// How an established session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Both sides finished, the client first.
    ClientClosed,
    /// Both sides finished, the backend first.
    BackendClosed,
    /// The client reset the connection, or vanished.
    ClientReset,
    /// The backend reset the connection, or vanished.
    BackendReset,
    /// No byte moved for the listener's `idleTimeout`.
    Idle,
    /// The client sent a PROXY header that it may not send.
    UntrustedHeader,
    /// We closed it.
    Moved(CloseReason),
}

impl End {
    /// All of them, in the order of [`End::index`].
    pub const ALL: [Self; 15] = [
        Self::ClientClosed,
        Self::BackendClosed,
        Self::ClientReset,
        Self::BackendReset,
        Self::Idle,
        Self::UntrustedHeader,
        Self::Moved(CloseReason::Failback),
        Self::Moved(CloseReason::Switched),
        Self::Moved(CloseReason::Suspended),
        Self::Moved(CloseReason::EndpointDown),
        Self::Moved(CloseReason::Vanished),
        Self::Moved(CloseReason::EndpointRemoved),
        Self::Moved(CloseReason::ChainRemoved),
        Self::Moved(CloseReason::Draining),
        Self::Moved(CloseReason::Returned),
    ];

    /// Position in [`End::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::ClientClosed => 0,
            Self::BackendClosed => 1,
            Self::ClientReset => 2,
            Self::BackendReset => 3,
            Self::Idle => 4,
            Self::UntrustedHeader => 5,
            Self::Moved(why) => 6 + why as usize,
        }
    }

    /// The word for access log and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientClosed => "clientClosed",
            Self::BackendClosed => "backendClosed",
            Self::ClientReset => "clientReset",
            Self::BackendReset => "backendReset",
            Self::Idle => "idle",
            Self::UntrustedHeader => "untrustedProxyHeader",
            Self::Moved(CloseReason::Failback) => "moved:failback",
            Self::Moved(CloseReason::Switched) => "moved:switched",
            Self::Moved(CloseReason::Suspended) => "moved:suspended",
            Self::Moved(CloseReason::EndpointDown) => "moved:endpointDown",
            Self::Moved(CloseReason::Vanished) => "moved:vanished",
            Self::Moved(CloseReason::EndpointRemoved) => "moved:endpointRemoved",
            Self::Moved(CloseReason::ChainRemoved) => "moved:chainRemoved",
            Self::Moved(CloseReason::Draining) => "moved:draining",
            Self::Moved(CloseReason::Returned) => "moved:returned",
        }
    }

    /// Whose doing it was.
    pub fn fault(self) -> Fault {
        match self {
            Self::ClientClosed | Self::ClientReset | Self::Idle | Self::UntrustedHeader => Fault::Client,
            Self::BackendClosed
            | Self::BackendReset
            | Self::Moved(CloseReason::EndpointDown | CloseReason::Vanished) => Fault::Backend,
            Self::Moved(_) => Fault::Proxy,
        }
    }
}

/// Why one attempt to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectError {
    /// The endpoint refused.
    Refused,
    /// No answer within `connect.timeout`.
    TimedOut,
    /// No way there.
    Unreachable,
    /// The endpoint, or something before it, reset the attempt.
    Reset,
    /// It is reached, but TLS with it fails.
    Tls,
    /// Anything else that speaks about the endpoint.
    Other,
    /// No descriptors or memory left here: says nothing about the endpoint.
    OutOfDescriptors,
    /// No local port left towards the endpoint: says nothing about the endpoint.
    OutOfPorts,
}

impl ConnectError {
    /// All of them, in the order of [`ConnectError::index`].
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Reset,
        Self::Tls,
        Self::Other,
        Self::OutOfDescriptors,
        Self::OutOfPorts,
    ];

    /// Position in [`ConnectError::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timedOut",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Tls => "tls",
            Self::Other => "other",
            Self::OutOfDescriptors => "outOfDescriptors",
            Self::OutOfPorts => "outOfPorts",
        }
    }

    /// Whether the failure is this proxy's own.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::OutOfDescriptors | Self::OutOfPorts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_agree_with_the_lists() {
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), at);
            assert!(!refusal.label().is_empty());
        }
        for (at, end) in End::ALL.into_iter().enumerate() {
            assert_eq!(end.index(), at);
        }
        for (at, error) in ConnectError::ALL.into_iter().enumerate() {
            assert_eq!(error.index(), at);
        }
        for (at, why) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
        }
    }
}
