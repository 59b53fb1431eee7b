//! New connections whose chain serves elsewhere. In: what is known of one before TLS is opened or a request is answered. Out:
//! whether its bytes are relayed as they are, or it goes on here, to be told in its own protocol where to go.

use std::net::IpAddr;
use std::time::Instant;

use switchyard_snapshot::{Dialect, Fallback, Protocol};

use crate::chain::view::View;
use crate::dialect;
use crate::followers::Followers;
use crate::tls;

use super::LocalRoute;

/// A connection that is neither a probe's nor a guest's.
pub(super) struct Newcomer<'a> {
    pub(super) followers: &'a Followers,
    pub(super) from: IpAddr,
    /// When it was accepted.
    pub(super) at: Instant,
    /// What will open TLS; none: nothing does.
    pub(super) tls: Option<&'a tls::Server>,
}

impl Newcomer<'_> {
    /// Whether it is relayed at once. `fits`: whether what it speaks may have one of these redirects.
    pub(super) fn is_relayed(&self, view: &View, fits: impl Fn(&[Dialect]) -> bool) -> bool {
        let Some(detour) = &view.detour else {
            return false;
        };
        // Who is refused is refused in its own protocol.
        if detour.fallback == Fallback::Refuse || view.candidates.is_empty() {
            return false;
        }
        let covers = |host: &str| self.tls.is_none_or(|tls| tls.covers(host));
        let follows = fits(&detour.dialects)
            && !self.followers.is_back(&view.chain.id, self.from, self.at)
            && dialect::target(detour, self.from, covers).is_some();
        !follows
    }
}

/// Whether what may be inside TLS on a listener of `protocol` may have one of these redirects.
pub(super) fn fits_inside(protocol: Protocol, dialects: &[Dialect]) -> bool {
    match protocol {
        Protocol::Http | Protocol::Https => dialect::http_fits(dialects),
        Protocol::Tcp | Protocol::Tls => dialect::opaque_fits(dialects),
        Protocol::Auto => !dialects.is_empty(),
    }
}

impl LocalRoute {
    /// Whether it matters to any chain whether a connection is relayed.
    pub(super) fn has_detours(&self) -> bool {
        let mut chains = self.chains.iter();
        chains.any(|chain| chain.handle.view().detour.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::rig::Control;

    #[test]
    fn deciding_takes_less_than_five_microseconds() {
        let mut control = Control::simple("home", &[]);
        let away = crate::testing::rig::chain("away").id;
        let ports: Vec<_> = (1..=50)
            .map(|port| ("away", ([192, 0, 2, 1], port).into()))
            .collect();
        control.detour(&away, &ports, |detour| detour.dialects = vec![Dialect::Http]);
        let followers = Followers::default();
        let view = control.handle.view();
        let mut best = Duration::MAX;
        for batch in 0..50u8 {
            let begun = Instant::now();
            for client in 0..=255u8 {
                let newcomer = Newcomer {
                    followers: &followers,
                    from: IpAddr::from([10, 0, batch, client]),
                    at: begun,
                    tls: None,
                };
                assert!(!newcomer.is_relayed(&view, dialect::http_fits));
            }
            best = best.min(begun.elapsed() / 256);
        }
        // The best of many: others work on this machine, too. `make soak` optimises; without that it is another program.
        let optimised = std::env::var_os("SWITCHYARD_SOAK").is_some();
        let limit = Duration::from_micros(if optimised { 5 } else { 100 });
        println!("{best:?} for each of 50 targets and a client that is not known");
        assert!(best < limit, "{best:?}");
    }
}
