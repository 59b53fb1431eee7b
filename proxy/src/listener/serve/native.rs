//! Opaque clients of a chain that is served elsewhere. In: a connection of which nothing had to be known so far. Out: the
//! client is told in its own protocol where to go, or it speaks none that can say so and has to be relayed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::Dialect;
use tokio::io::AsyncWriteExt;

use crate::access_log::Record;
use crate::chain::view::Detour;
use crate::dialect::{self, Place, Talk, Turn};
use crate::guest::Guest;
use crate::http::Held;
use crate::listener::refuse::Refused;
use crate::listener::{ChainLocal, ListenerLocal};
use crate::session::end::{Fault, Refusal};
use crate::tls;
use crate::worker::alarms::Alarms;
use crate::worker::thread::Worker;

use super::{Ready, began};

/// How long a client may be silent before it counts as one that waits for its server's first word.
const SILENCE: Duration = Duration::from_secs(1);
/// How long it may take to take what it is told.
const TAKES: Duration = Duration::from_secs(5);

/// A client that was told where to go.
pub(super) struct Told {
    dialect: Dialect,
    to: Place,
    why: String,
}

impl Ready {
    /// Tells the client where to go; none: it has to be relayed, and nothing was said to it.
    ///
    /// # Errors
    /// It left, may not say what it says, or does not go on.
    pub(super) async fn tell(&mut self, held: &Held, chain: &ChainLocal) -> Result<Option<Told>, Refused> {
        let worker = &held.busy.0;
        let Some((mut talk, detour)) = self.talk(worker, chain) else {
            return Ok(None);
        };
        let alarms = &worker.alarms;
        let limit = self.route.listener().handshake_timeout;
        let conversed = alarms.within(limit, self.converse(&mut talk, alarms)).await;
        let followers = &worker.shared.followers;
        match conversed {
            Ok(Ok(Some((dialect, bytes)))) => {
                // Noted first: it may be back before it is known that it took this.
                followers.note(&chain.handle.id, self.from.ip(), Instant::now());
                let written = alarms.within(TAKES, self.write(&bytes)).await;
                written.map_err(|_| Refused::from(Refusal::HandshakeTimeout))??;
                Ok(Some(Told {
                    dialect,
                    to: talk.to().clone(),
                    why: detour.why.clone(),
                }))
            }
            Ok(Err(refused)) => Err(refused),
            Err(_) if talk.has_spoken() || self.opening.may_be_header() => {
                Err(Refusal::HandshakeTimeout.into())
            }
            Ok(Ok(None)) | Err(_) => Ok(None),
        }
    }

    /// None: there is nothing to talk about.
    fn talk(&self, worker: &Worker, chain: &ChainLocal) -> Option<(Talk, Arc<Detour>)> {
        let view = chain.handle.view();
        let detour = view.detour.as_ref()?;
        let passes_through = self.opening.is_tls && !self.wire.is_tls();
        // Whoever sent a guest here must not get it back.
        let is_not_ours = self.monitor || self.guest.is_some();
        if is_not_ours || passes_through || view.chain.server_first || !dialect::opaque_fits(&detour.dialects)
        {
            return None;
        }
        let client = self.from.ip();
        if worker.shared.followers.is_back(&chain.handle.id, client, self.at) {
            return None;
        }
        let certificates = self.route.route().tls.as_deref().filter(|_| self.wire.is_tls());
        let covers = |host: &str| certificates.is_none_or(|server| server.covers(host));
        let (_, to) = dialect::target(detour, client, covers)?;
        Some((
            Talk::new(&detour.dialects, to, worker.random()),
            Arc::clone(detour),
        ))
    }

    /// Reads until it is known what the client speaks; then what tells it, or nothing.
    async fn converse(
        &mut self,
        talk: &mut Talk,
        alarms: &Alarms,
    ) -> Result<Option<(Dialect, Vec<u8>)>, Refused> {
        loop {
            match talk.ask(self.opening.said()) {
                Turn::Redirect(dialect, bytes) => return Ok(Some((dialect, bytes))),
                // What may be a header that it may not send is not passed on before it is known to be none.
                Turn::Relay if !self.opening.may_be_header() => return Ok(None),
                Turn::Close => {
                    let why = "a client that was spoken to in its own protocol says something else";
                    return Err(Refused::because(Refusal::BadHandshake, why));
                }
                Turn::Say(bytes) => self.write(&bytes).await?,
                Turn::More | Turn::Relay => {}
            }
            let silent = self.opening.is_empty() && !talk.has_spoken();
            let reading = self.opening.read_on(&mut self.wire);
            let more = if silent {
                match alarms.within(SILENCE, reading).await {
                    Ok(more) => more?,
                    Err(_) => return Ok(None),
                }
            } else {
                reading.await?
            };
            if !more {
                return if talk.has_spoken() || self.opening.is_empty() {
                    Err(Refusal::ClientGone.into())
                } else {
                    Ok(None)
                };
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let written = async {
            self.wire.write_all(bytes).await?;
            self.wire.flush().await
        };
        let gone = |error: std::io::Error| Refused::because(Refusal::ClientGone, error.to_string());
        written.await.map_err(gone)
    }

    /// Counts and logs it.
    pub(super) fn note_told(
        &self,
        told: &Told,
        worker: &Worker,
        listener: &ListenerLocal,
        chain: &ChainLocal,
    ) {
        let Told { dialect, to, why } = told;
        chain.counts.redirected[dialect::index(*dialect)].add(1);
        listener.counts.ended.add(1);
        let Some(log) = &worker.shared.access_log else {
            return;
        };
        let lasted = self.at.elapsed();
        log.write(&Record {
            start: began(lasted),
            duration_ms: lasted.as_millis() as u64,
            client: self.from,
            listener: listener.name.clone(),
            chain: Some(chain.handle.id.to_string()),
            backend: None,
            endpoint: None,
            via: None,
            guest: self.guest.as_deref().and_then(Guest::record),
            name: self.opening.name.clone(),
            tls: tls::Opened::of(&self.wire).map(tls::Opened::record),
            http: None,
            bytes_up: 0,
            bytes_down: 0,
            attempts: 0,
            connect_ms: None,
            end: dialect::word(*dialect),
            fault: Fault::Backend,
            why: Some(format!("to {to}: {why}")),
        });
    }
}

#[cfg(test)]
mod tests;
