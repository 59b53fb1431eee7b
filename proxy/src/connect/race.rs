//! One attempt, and what competes with it. In: whom to try first. Out: the first connection that stands; failures are
//! told to the search.
//!
//! While all goes well this is one connect and one timer. Only an attempt that is still pending after
//! `happyEyeballsDelay` costs more.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use switchyard_snapshot::format_duration;
use tokio::time::{sleep_until, timeout_at};

use crate::endpoint::EndpointId;
use crate::listener::Refused;
use crate::listener::gate::Pass;
use crate::session::end::{ConnectError, Refusal};
use crate::wire::Wire;

use super::dial::{Goal, Outcome, reach};
use super::gone::left;
use super::search::{Choice, OtherFamily, Search};
use super::{Connected, is_past};

/// Where a pending attempt goes.
struct Flight {
    endpoint: EndpointId,
    address: SocketAddr,
}

impl Flight {
    fn of(choice: &Choice) -> Self {
        Self {
            endpoint: choice.id(),
            address: choice.address(),
        }
    }
}

/// One pending attempt; the competitors among them occupy a descriptor of their own.
type Pending<'a> = Pin<Box<dyn Future<Output = (Choice, Outcome, Option<Pass>)> + 'a>>;

impl<'a> Search<'a> {
    /// Tries `choice`; none: it failed, and so did what competed with it.
    pub(super) async fn attempt(&mut self, choice: Choice) -> Result<Option<Connected>, Refused> {
        let begun = self.now();
        let until = (begun + self.timeout).min(self.deadline);
        if until <= begun {
            return Err(self.refused(self.last_refusal()));
        }
        self.begins();
        let caller = self.caller;
        let mut dialing = Box::pin(reach(caller, Goal::of(&choice)));
        let alone = self.delay.min(self.timeout);
        // Where less time is left than that, the race keeps to it exactly.
        if until.duration_since(begun) >= alone
            && let Ok(result) = caller.worker.alarms.within(alone, &mut dialing).await
        {
            return self.settle(choice, result).await;
        }
        let flight = Flight::of(&choice);
        let limit = self.timeout;
        let first: Pending<'a> = Box::pin(async move {
            let outcome = in_time(dialing, until, limit).await;
            (choice, outcome, None)
        });
        self.race(first, flight).await
    }

    /// What one finished attempt means where no other is pending.
    async fn settle(&mut self, choice: Choice, outcome: Outcome) -> Result<Option<Connected>, Refused> {
        match outcome {
            Ok(stream) => self.connected(choice, stream).map(Some),
            Err((error, text)) => {
                self.failed(&choice, error, &text);
                drop(choice);
                if error == ConnectError::OutOfDescriptors {
                    self.for_descriptors().await?;
                }
                Ok(None)
            }
        }
    }

    async fn race(&mut self, first: Pending<'a>, flight: Flight) -> Result<Option<Connected>, Refused> {
        self.fresh = false;
        let mut pending = FuturesUnordered::from_iter([first]);
        let mut flights = vec![flight];
        let mut next = Instant::now();
        let mut versions = self.caller.chain.handle.versions();
        loop {
            if is_past(next) {
                next = Instant::now() + self.delay;
                if let Some((competitor, flight)) = self.competitor(&flights) {
                    pending.push(competitor);
                    flights.push(flight);
                }
            }
            let compete = self.may_try_again();
            let (choice, outcome, _pass) = tokio::select! {
                biased;
                Some(ended) = pending.next() => ended,
                () = sleep_until(next.into()), if compete => continue,
                Ok(()) = versions.changed() => {
                    // Whom we wait for may have been ejected: then nothing is to be spared any more.
                    next = Instant::now();
                    continue;
                }
                () = left(self.caller.client, self.caller.has_spoken) => return Err(self.refused(Refusal::ClientGone)),
            };
            flights.retain(|flight| flight.endpoint != choice.id());
            match self.settle(choice, outcome).await? {
                Some(connected) => return Ok(Some(connected)),
                None if pending.is_empty() => return Ok(None),
                // A failure starts the next attempt at once (RFC 8305 §5).
                None => next = Instant::now(),
            }
        }
    }

    /// The next attempt, if there is somebody to try and a descriptor to try with.
    fn competitor(&mut self, flights: &[Flight]) -> Option<(Pending<'a>, Flight)> {
        let shared = &self.caller.worker.shared;
        let pass = shared.descriptors.enter(1, shared.descriptor_limit)?;
        let family = self.other_family(flights);
        let tried = self.tried.len();
        self.tried.extend(flights.iter().map(|flight| flight.endpoint));
        let choice = self.choose(family);
        self.tried.truncate(tried);
        let choice = choice.ok()?;
        self.begins();
        let flight = Flight::of(&choice);
        let (limit, caller) = (self.timeout, self.caller);
        let until = (Instant::now() + limit).min(self.deadline);
        let goal = Goal::of(&choice);
        let pending = async move {
            let outcome = in_time(reach(caller, goal), until, limit).await;
            (choice, outcome, Some(pass))
        };
        Some((Box::pin(pending), flight))
    }

    /// A client that belongs to one endpoint is not sent to another because that one is slow, only because its address
    /// family is; unless the chain has given it up.
    fn other_family(&self, flights: &[Flight]) -> Option<OtherFamily> {
        let view = self.caller.chain.handle.view();
        let given_up = flights
            .iter()
            .any(|flight| !Self::is_candidate(&view, flight.endpoint));
        (self.sticks && !given_up).then(|| OtherFamily {
            not_v4: flights.iter().any(|flight| flight.address.is_ipv4()),
            not_v6: flights.iter().any(|flight| flight.address.is_ipv6()),
        })
    }

    fn connected(&self, choice: Choice, stream: Wire) -> Result<Connected, Refused> {
        let Choice {
            place,
            via,
            relay,
            away_from_home,
        } = choice;
        let endpoint = place.endpoint();
        endpoint.note_success();
        let counts = &self.caller.chain.counts;
        let relay = relay.map(|to| self.relay_header(&to)).transpose()?;
        if relay.is_some() {
            counts.relayed.add(1);
        } else {
            self.note_home(endpoint.id, away_from_home);
        }
        let took = self.begun.elapsed();
        counts.connected(took);
        Ok(Connected {
            stream,
            place,
            via,
            relay,
            attempts: self.attempts,
            took,
        })
    }
}

async fn in_time(dialing: impl Future<Output = Outcome>, until: Instant, limit: Duration) -> Outcome {
    match timeout_at(until.into(), dialing).await {
        Ok(outcome) => outcome,
        Err(_) => Err((
            ConnectError::TimedOut,
            format!("no answer within {}", format_duration(limit)),
        )),
    }
}
