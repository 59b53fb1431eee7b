//! Connections to other proxies. In: a client whose chain serves elsewhere. Out: whether it may be relayed, what is said first
//! then, or why not.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use switchyard_snapshot::{Fallback, HttpVersion, SendProxy};

use crate::chain::view::{Detour, RelayTo, Via, View};
use crate::clock::unix_ms;
use crate::listener::Refused;
use crate::proxy_protocol::relayed::Relayed;
use crate::route::proxy_name;
use crate::session::end::Refusal;

use super::Caller;
use super::search::Search;

/// How another proxy is spoken to: with a header that is for one client, so that no other uses the connection.
pub(super) const VIA: Via = Via {
    send_proxy: SendProxy::V2,
    tls: false,
    http: HttpVersion::Http1,
};

impl Search<'_> {
    /// Whether the chain serves elsewhere, and this client cannot be relayed there.
    pub(super) fn is_stranded(&self, view: &View) -> bool {
        let Some(detour) = &view.detour else {
            return false;
        };
        let able = self.caller.relayable && self.caller.routing.relaying.is_some();
        !able || detour.fallback == Fallback::Refuse || view.candidates.is_empty()
    }

    /// What such a client is told.
    pub(super) fn stranded(&self, detour: &Detour) -> Refused {
        let why = &detour.why;
        let refuses = self.caller.relayable && detour.fallback == Fallback::Refuse;
        let (why, text) = match detour.targets.first() {
            Some(target) if refuses => (
                Refusal::NotRelayed,
                format!(
                    "{why}; chain {} serves its clients, but this one follows no redirect and `redirect.fallback` is Refuse",
                    target.chain
                ),
            ),
            _ => (Refusal::NoEndpoint, why.clone()),
        };
        Refused {
            why,
            text: Some(text),
            attempts: self.attempts,
        }
    }

    /// What goes first to another proxy.
    pub(super) fn relay_header(&self, to: &Arc<RelayTo>) -> Result<Vec<u8>, Refused> {
        let Caller {
            chain,
            routing,
            announce,
            ..
        } = &self.caller;
        let addresses = announce
            .addresses()
            .map_err(|error| Refused::because(Refusal::ClientGone, error.to_string()))?;
        let mut nonce = [0; 16];
        let unable = |what: &str| Refused::because(Refusal::OutOfResources, format!("cannot relay: {what}"));
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| unable("the system gives no random numbers"))?;
        let relaying = routing.relaying.as_ref().ok_or_else(|| unable("no keys"))?;
        let relayed = Relayed {
            addresses,
            chain: to.chain.clone(),
            home: chain.handle.id.clone(),
            to: proxy_name(&to.peer.pool, &to.peer.name),
            hops: vec![relaying.me.clone()],
            time: unix_ms(),
            nonce,
        };
        relaying
            .keys
            .seal(&relayed)
            .ok_or_else(|| unable("names of chains and proxy are too long for a header"))
    }
}
