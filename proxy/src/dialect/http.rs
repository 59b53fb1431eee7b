//! HTTP, and the opening handshake of WebSocket. In: what is known of a request and of its connection. Out: what becomes of
//! it while its chain serves elsewhere, or while guests go home; the text of `Location` and `Alt-Svc`.

use ::http::HeaderValue;
use switchyard_snapshot::Dialect;

use super::Place;

/// Longest time that an alternative is told for, in seconds: browsers take a day for granted (RFC 7838 §3.1).
const LONGEST_ALTERNATIVE: i64 = 24 * 60 * 60;

/// A request whose chain has a detour.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; the decision is a table of them"
)]
pub struct Lost {
    /// It wants to become a WebSocket.
    pub websocket: bool,
    /// TLS ended here: its bytes cannot be relayed any more.
    pub secure: bool,
    /// It came to a direct port: whoever sent it here must not get it back, nor pass it on.
    pub guest: bool,
    /// It is a load balancer's probe.
    pub monitor: bool,
    /// It was redirected shortly before it connected, and has come back.
    pub back: bool,
    /// There is a target that it can reach, whose name the certificate covers, and which its target can be written for.
    pub reachable: bool,
    /// What does not follow may be relayed.
    pub relay: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// 307, in this dialect.
    Redirect(Dialect),
    /// It is forwarded to a proxy that serves.
    Relay,
    /// 503. Where `again`, its next connection is relayed, and it may come at once.
    Refuse {
        /// Whether coming again helps.
        again: bool,
    },
}

impl Lost {
    /// What would redirect it.
    fn dialect(self) -> Dialect {
        if self.websocket {
            Dialect::WebSocket
        } else {
            Dialect::Http
        }
    }

    /// The ladder of a request: its own protocol, then the relay, then a clear refusal.
    pub fn way(self, dialects: &[Dialect]) -> Way {
        let dialect = self.dialect();
        if self.guest || self.monitor {
            return Way::Refuse { again: false };
        }
        if dialects.contains(&dialect) && self.reachable && !self.back {
            return Way::Redirect(dialect);
        }
        match (self.relay, self.secure) {
            (false, _) => Way::Refuse { again: false },
            (true, false) => Way::Relay,
            (true, true) => Way::Refuse { again: true },
        }
    }
}

/// `Location` (RFC 9110 §10.2.2): the same path and query at `to`. None: `target` is no path (`OPTIONS *`).
///
/// A handshake's carries no scheme (RFC 3986 §4.2), so that it is the client's own: some clients take only `ws:` and `wss:`
/// here, others only `http:` and `https:`.
pub fn location(secure: bool, websocket: bool, to: &Place, target: &[u8]) -> Option<HeaderValue> {
    if target.first() != Some(&b'/') {
        return None;
    }
    let (scheme, port) = if secure { ("https:", 443) } else { ("http:", 80) };
    let scheme = if websocket { "" } else { scheme };
    let mut location = format!("{scheme}//{}", to.authority(port)).into_bytes();
    location.extend_from_slice(target);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(location)).ok()
}

/// `Alt-Svc` (RFC 7838 §3): the origin is served at `to`, too, for `seconds` from now. None: for no time.
pub fn alternative(to: &Place, seconds: i64) -> Option<String> {
    let seconds = seconds.min(LONGEST_ALTERNATIVE);
    (seconds > 0).then(|| format!("h2=\"{to}\"; ma={seconds}"))
}

#[cfg(test)]
mod tests;
