//! Requests that are served elsewhere. In: a request, and what its chain's view says. Out: a 307, a refusal that says what
//! helps, or leave to forward it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use jiff::Timestamp;
use switchyard_snapshot::{Chain, Dialect, Fallback};

use super::answer::Answer;
use super::exchange::{Exchange, Stop};
use super::life::Life;
use super::reply::Reply;
use crate::chain::view::{Detour, Returning, View};
use crate::dialect::http::{Lost, Way, alternative, location};
use crate::dialect::{self, Place};
use crate::guest::Guest;
use crate::listener::{ChainLocal, LocalRoute, Refused};
use crate::session::end::Refusal;

/// A native redirect.
struct Elsewhere {
    to: Place,
    location: HeaderValue,
}

impl Exchange<'_> {
    /// The chain's configuration, if the request is forwarded by this proxy; and whether that is to another proxy.
    pub(super) fn stays(
        &mut self,
        route: &LocalRoute,
        chain: &Rc<ChainLocal>,
    ) -> Result<(Arc<Chain>, bool), Stop> {
        let visit = self.visit;
        if let Some(connection) = &visit.connection {
            connection.leads_to(chain, visit.guest.as_ref());
        }
        let view = chain.handle.view();
        match (&view.detour, &view.returning, &visit.guest) {
            (None, None, _) | (None, _, None) => {}
            (Some(detour), ..) => self.detours(route, chain, &view, detour)?,
            (None, Some(returning), Some(guest)) => self.goes_home(chain, &view, returning, guest)?,
        }
        Ok((Arc::clone(&view.chain), view.detour.is_some()))
    }

    /// Nobody here serves the chain.
    fn detours(
        &mut self,
        route: &LocalRoute,
        chain: &ChainLocal,
        view: &View,
        detour: &Detour,
    ) -> Result<(), Stop> {
        let visit = self.visit;
        let client = visit.from.ip();
        let secure = visit.tls.is_some();
        let followers = &visit.worker().shared.followers;
        let elsewhere = self.elsewhere(route, detour);
        let lost = Lost {
            websocket: self.wants_websocket(),
            secure,
            guest: visit.guest.is_some(),
            monitor: visit.monitor,
            back: followers.is_back(&chain.handle.id, client, visit.at),
            reachable: elsewhere.is_some(),
            relay: detour.fallback == Fallback::Relay && !view.candidates.is_empty(),
        };
        let way = lost.way(&detour.dialects);
        match (way, elsewhere) {
            (Way::Redirect(dialect), Some(elsewhere)) => {
                followers.note(&chain.handle.id, client, Instant::now());
                Err(self.redirect(chain, detour, dialect, elsewhere).into())
            }
            (Way::Refuse { again: true }, _) => {
                // The next connection is relayed as it comes, before TLS.
                followers.note(&chain.handle.id, client, Instant::now());
                self.ends();
                Err(Answer::come_again(detour.why.clone()).into())
            }
            (Way::Relay, _) => {
                // The next one on this connection would be looked at again: a new connection is relayed whole.
                self.ends();
                Ok(())
            }
            _ => {
                let refused = Refused::because(Refusal::NoEndpoint, detour.why.clone());
                Err(Answer::refused(&refused).into())
            }
        }
    }

    fn redirect(
        &mut self,
        chain: &ChainLocal,
        detour: &Detour,
        dialect: Dialect,
        elsewhere: Elsewhere,
    ) -> Answer {
        let Elsewhere { to, location } = elsewhere;
        let mut answer = Answer::elsewhere(dialect, location, format!("to {to}: {}", detour.why));
        // Only who speaks HTTP/2 over TLS is known to speak it there, too.
        if self.visit.tls.is_some()
            && matches!(self.reply, Reply::H2 { .. })
            && let Some(until) = detour.until
            && let Some(text) = alternative(&to, until.as_second() - Timestamp::now().as_second())
            && let Ok(value) = HeaderValue::from_str(&text)
        {
            answer.headers.insert(header::ALT_SVC, value);
        }
        chain.counts.redirected[dialect::index(dialect)].add(1);
        self.ends();
        answer
    }

    /// The chain's guests are on their way back. One that was told to come here is told to go home; one whose bytes came through
    /// its home's proxy is there once its connection has ended.
    fn goes_home(
        &mut self,
        chain: &ChainLocal,
        view: &View,
        returning: &Returning,
        guest: &Guest,
    ) -> Result<(), Stop> {
        let visit = self.visit;
        let config = &view.chain.redirect;
        // Not all at once, and none before its time: who may go is called, at a pace.
        let called = visit.connection.as_deref().is_some_and(Life::is_called);
        if visit.monitor || !called {
            return Ok(());
        }
        let Some(home) = dialect::home(returning, guest.home.as_ref()) else {
            return Ok(());
        };
        self.ends();
        let websocket = self.wants_websocket();
        let dialect = if websocket {
            Dialect::WebSocket
        } else {
            Dialect::Http
        };
        let told = !guest.is_relayed() && config.dialects.contains(&dialect);
        let follows = websocket || self.request.upgrade.is_none();
        let secure = visit.tls.is_some();
        match location(secure, websocket, &home, &self.request.target) {
            Some(location) if told && follows => {
                chain.counts.redirected[dialect::index(dialect)].add(1);
                let mut answer = Answer::elsewhere(dialect, location, format!("home to {home}"));
                if secure {
                    // Whoever took this place for an alternative shall forget it (RFC 7838 §3).
                    answer
                        .headers
                        .insert(header::ALT_SVC, HeaderValue::from_static("clear"));
                }
                Err(answer.into())
            }
            _ => Ok(()),
        }
    }

    /// A guest came under a name of this proxy: the endpoint sees the chain's own.
    pub(super) fn under_its_own_name(&mut self, config: &Chain) {
        if self.visit.guest.is_none() {
            return;
        }
        let request = &mut self.request;
        let is_own = |name: &String| match (name.strip_prefix("*."), &request.name) {
            (_, None) => false,
            (None, Some(asked)) => name == asked,
            (Some(below), Some(asked)) => asked
                .strip_suffix(below)
                .is_some_and(|label| label.len() > 1 && label.ends_with('.')),
        };
        if config.hostnames.iter().any(is_own) {
            return;
        }
        let first = config.hostnames.iter().find(|name| !name.starts_with("*."));
        if let Some(first) = first.and_then(|name| HeaderValue::from_str(name).ok()) {
            request.asked_of = request.host.replace(first);
        }
    }

    /// Where the client can go by itself.
    fn elsewhere(&self, route: &LocalRoute, detour: &Detour) -> Option<Elsewhere> {
        let visit = self.visit;
        let secure = visit.tls.is_some();
        let websocket = self.wants_websocket();
        // What else may be asked for by Upgrade follows nobody.
        if self.request.upgrade.is_some() && !websocket {
            return None;
        }
        let certificates = route.route().tls.as_deref().filter(|_| secure);
        let covers = |host: &str| certificates.is_none_or(|server| server.covers(host));
        let (_, to) = dialect::target(detour, visit.from.ip(), covers)?;
        let location = location(secure, websocket, &to, &self.request.target)?;
        Some(Elsewhere { to, location })
    }

    fn wants_websocket(&self) -> bool {
        let upgrade = self.request.upgrade.as_ref();
        upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    /// The connection ends with this request's response.
    fn ends(&mut self) {
        self.reply.close_after();
        self.visit.leave();
    }
}
