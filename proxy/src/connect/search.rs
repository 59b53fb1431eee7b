//! The search for an endpoint. In: views, attempts that failed. Out: whom to try next, how long to wait for somebody.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::Balance;

use crate::affinity::Why;
use crate::chain::event::ConnectFailed;
use crate::chain::view::{Candidate, RelayTo, Via, View};
use crate::endpoint::{EndpointId, Place};
use crate::listener::Refused;
use crate::pick::{Nobody, pick};
use crate::session::end::{ConnectError, Refusal};

use super::gone::left;
use super::{Caller, Reached, is_past, relayed};

/// How long after a failure the same endpoint is tried again, where there is no other; doubled each time.
const RETRY_SAME: Duration = Duration::from_millis(100);
/// How often one that waits for a place looks again, if no session of its own worker ends: those of other workers
/// tell nobody here.
const LOOK_FOR_PLACE: Duration = Duration::from_millis(25);
/// How long to wait when this process has no descriptor left to connect with.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Whom to try.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) place: Place,
    pub(super) via: Via,
    /// It is another proxy.
    pub(super) relay: Option<Arc<RelayTo>>,
    /// With affinity, why it is not the client's home.
    pub(super) away_from_home: Option<Why>,
}

impl Choice {
    pub(super) fn id(&self) -> EndpointId {
        self.place.endpoint().id
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.place.endpoint().address
    }
}

/// Limits a choice to endpoints whose family is none of these.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherFamily {
    pub(super) not_v4: bool,
    pub(super) not_v6: bool,
}

/// One client's search.
pub(super) struct Search<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) timeout: Duration,
    pub(super) delay: Duration,
    pub(super) begun: Instant,
    /// No client waits longer than this for a connection.
    pub(super) deadline: Instant,
    /// Neither has anything failed yet, nor was anything waited for.
    pub(super) fresh: bool,
    /// Attempts so far.
    pub(super) attempts: u32,
    /// Whom this client need not be sent to again.
    pub(super) tried: Vec<EndpointId>,
    /// The view that was looked at last.
    pub(super) version: u64,
    max_attempts: u32,
    /// Whether the client belongs to one endpoint, so that a slow start must not send it to another.
    pub(super) sticks: bool,
    full_since: Option<Instant>,
    last_error: Option<(ConnectError, String)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(caller: Caller<'a>) -> Self {
        let view = caller.chain.handle.view();
        let connect = &view.chain.connect;
        let begun = Instant::now();
        Self {
            caller,
            begun,
            deadline: begun + connect.timeout * connect.attempts.max(1),
            timeout: connect.timeout,
            // RFC 8305 §5: not below 10 ms.
            delay: connect.happy_eyeballs_delay.max(Duration::from_millis(10)),
            fresh: true,
            attempts: 0,
            tried: Vec::new(),
            version: view.version,
            max_attempts: connect.attempts.max(1),
            sticks: view.chain.balance == Balance::SourceHash
                || view.detour.is_some()
                || caller.routing.affinity.is_some(),
            full_since: None,
            last_error: None,
        }
    }

    pub(super) fn may_try_again(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// Picks an endpoint that was not tried and reserves a place there.
    pub(super) fn choose(&mut self, family: Option<OtherFamily>) -> Result<Choice, Nobody> {
        let chain = self.caller.chain;
        let view = chain.handle.view();
        if view.version != self.version {
            self.version = view.version;
            // Whoever serves now was not known when the attempts were used up.
            self.max_attempts = self.max_attempts.max(self.attempts + 1);
        }
        if self.is_stranded(&view) {
            return Err(Nobody::Empty);
        }
        if !self.may_try_again() {
            return Err(if view.candidates.is_empty() {
                Nobody::Empty
            } else {
                Nobody::AllTried
            });
        }
        let tried = self.tried.len();
        if let Some(family) = family {
            let unwanted = view.candidates.iter().map(|c| &c.endpoint).filter(|endpoint| {
                if endpoint.address.is_ipv4() {
                    family.not_v4
                } else {
                    family.not_v6
                }
            });
            self.tried.extend(unwanted.map(|endpoint| endpoint.id));
        }
        let mut lost_races = false;
        let choice = loop {
            match self.pick(&view) {
                Ok((candidate, away_from_home)) => {
                    if let Some(place) = candidate.endpoint.reserve(candidate.max_connections) {
                        let relay = candidate.relay.clone();
                        let via = if relay.is_some() {
                            relayed::VIA
                        } else {
                            candidate.via
                        };
                        break Ok(Choice {
                            place,
                            via,
                            relay,
                            away_from_home,
                        });
                    }
                    lost_races = true;
                    self.tried.push(candidate.endpoint.id);
                }
                Err(Nobody::AllTried) if lost_races => break Err(Nobody::Full),
                Err(nobody) => break Err(nobody),
            }
        };
        self.tried.truncate(tried);
        choice
    }

    fn pick<'v>(&self, view: &'v View) -> Result<(&'v Candidate, Option<Why>), Nobody> {
        let Caller {
            worker,
            chain,
            routing,
            from,
            ..
        } = self.caller;
        let now = self.now();
        if let Some(rules) = &routing.affinity
            && view.detour.is_none()
        {
            let choice = chain
                .handle
                .affinity
                .choose(rules, view, from, &self.tried, now)?;
            return Ok((choice.candidate, choice.why));
        }
        let rotation = &mut chain.rotation.borrow_mut();
        let mut random = || worker.random();
        pick(view, rotation, Some(from), &self.tried, now, &mut random).map(|candidate| (candidate, None))
    }

    /// An attempt failed: counted, told to the chain if it speaks about the endpoint.
    pub(super) fn failed(&mut self, choice: &Choice, error: ConnectError, text: &str) {
        self.fresh = false;
        let chain = self.caller.chain;
        chain.counts.connect_errors[error.index()].add(1);
        let endpoint = choice.place.endpoint();
        if !error.is_ours() {
            let in_a_row = endpoint.note_failure();
            let at = Instant::now();
            chain.handle.report(ConnectFailed {
                endpoint: endpoint.id,
                in_a_row,
                why: text.to_owned(),
                at,
            });
        }
        if error != ConnectError::OutOfDescriptors {
            self.tried.push(endpoint.id);
        }
        self.last_error = Some((error, format!("{}: {text}", endpoint.address)));
    }

    /// The moment, without asking the clock while the search has only begun.
    pub(super) fn now(&self) -> Instant {
        if self.fresh { self.begun } else { Instant::now() }
    }

    /// Counts an attempt that begins.
    pub(super) fn begins(&mut self) {
        if self.attempts > 0 {
            self.caller.chain.counts.retries.add(1);
        }
        self.attempts += 1;
    }

    /// A connection to `choice` is there already.
    pub(super) fn reuses(&mut self, choice: Choice) -> Reached {
        let Choice {
            place,
            via,
            relay,
            away_from_home,
        } = choice;
        self.note_home(place.endpoint().id, away_from_home);
        Reached {
            place,
            via,
            relayed: relay.is_some(),
            attempts: self.attempts,
        }
    }

    /// With affinity, tells where the client is now.
    pub(super) fn note_home(&self, endpoint: EndpointId, away_from_home: Option<Why>) {
        let Caller {
            chain, routing, from, ..
        } = self.caller;
        if let Some(rules) = &routing.affinity {
            let table = &chain.handle.affinity;
            table.connected(rules, from, endpoint, away_from_home, Instant::now());
        }
    }

    /// Waits until looking again is worth it.
    pub(super) async fn wait(&mut self, nobody: Nobody) -> Result<(), Refused> {
        self.fresh = false;
        if !self.caller.patient {
            return Err(self.refused(Refusal::NoEndpoint));
        }
        match nobody {
            Nobody::Empty => {
                let (until, why) = self.emptiness()?;
                self.until_another_view(until, why).await
            }
            Nobody::Full => self.for_a_place().await,
            Nobody::AllTried => self.after_all_tried().await,
        }
    }

    /// Until when to wait for an endpoint where the chain has none, and what to say then.
    fn emptiness(&self) -> Result<(Instant, Refused), Refused> {
        let view = self.caller.chain.handle.view();
        if let Some(detour) = view.detour.as_ref().filter(|_| self.is_stranded(&view)) {
            return Err(self.stranded(detour));
        }
        let Some(empty) = &view.empty else {
            return Ok((self.deadline, self.refused(Refusal::NoEndpoint)));
        };
        let because = |why| Refused {
            why,
            text: Some(empty.why.clone()),
            attempts: self.attempts,
        };
        if empty.suspended {
            return Err(because(Refusal::Suspended));
        }
        Ok((empty.since + self.timeout, because(Refusal::NoEndpoint)))
    }

    async fn after_all_tried(&mut self) -> Result<(), Refused> {
        if !self.may_try_again() {
            let refused = self.refused(self.last_refusal());
            return self.until_another_view(self.deadline, refused).await;
        }
        // Nobody else is left: the same again, after a while, unless the chain learns something first.
        let pause = RETRY_SAME * (1 << self.attempts.min(5));
        let until = (Instant::now() + pause).min(self.deadline);
        if is_past(self.deadline) {
            return Err(self.refused(self.last_refusal()));
        }
        let waited = self
            .until_another_view(until, Refusal::ConnectFailed.into())
            .await;
        match waited {
            Err(Refused {
                why: Refusal::ConnectFailed,
                ..
            }) => {
                self.tried.clear();
                Ok(())
            }
            other => other,
        }
    }

    async fn for_a_place(&mut self) -> Result<(), Refused> {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if is_past(since + self.timeout) {
            return Err(self.refused(Refusal::EndpointsFull));
        }
        let look_again = tokio::time::timeout(LOOK_FOR_PLACE, self.caller.chain.freed.notified());
        self.unless_gone(async { drop(look_again.await) }).await
    }

    /// This process has nothing left to connect with: the endpoint is not to blame, and trying at once is of no use.
    pub(super) async fn for_descriptors(&self) -> Result<(), Refused> {
        if !self.may_try_again() || is_past(self.deadline) {
            return Err(self.refused(Refusal::OutOfResources));
        }
        self.unless_gone(tokio::time::sleep(OUT_OF_DESCRIPTORS)).await
    }

    /// Waits for a view other than the one that was looked at.
    async fn until_another_view(&self, until: Instant, otherwise: Refused) -> Result<(), Refused> {
        let mut versions = self.caller.chain.handle.versions();
        let seen = self.version;
        let changed = versions.wait_for(|version| *version != seen);
        let changed = tokio::time::timeout_at(until.into(), changed);
        let mut in_time = false;
        self.unless_gone(async { in_time = matches!(changed.await, Ok(Ok(_))) })
            .await?;
        if in_time { Ok(()) } else { Err(otherwise) }
    }

    async fn unless_gone(&self, wait: impl Future<Output = ()>) -> Result<(), Refused> {
        tokio::select! {
            () = wait => Ok(()),
            () = left(self.caller.client, self.caller.has_spoken) => Err(self.refused(Refusal::ClientGone)),
        }
    }

    pub(super) fn last_refusal(&self) -> Refusal {
        match &self.last_error {
            Some((error, _)) if error.is_ours() => Refusal::OutOfResources,
            _ => Refusal::ConnectFailed,
        }
    }

    pub(super) fn refused(&self, why: Refusal) -> Refused {
        let text = self.last_error.as_ref().map(|(_, text)| text.clone());
        Refused {
            why,
            text,
            attempts: self.attempts,
        }
    }

    /// Whether `view` still offers `endpoint`.
    pub(super) fn is_candidate(view: &View, endpoint: EndpointId) -> bool {
        view.candidates
            .iter()
            .any(|candidate| candidate.endpoint.id == endpoint)
    }
}
