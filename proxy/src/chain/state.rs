//! One chain's truth, without I/O and without a clock. In: [`Event`]s, each with its moment. Out: [`Order`]s to carry out,
//! a [`View`] for data workers, the names to resolve, the endpoints to probe, and whose sessions must leave.
//!
//! After each [`ChainState::handle`] the edge looks at what it serves: questions, probed, leaving and the view (when its
//! version grew), and sends [`Event::Tick`] at [`ChainState::wake_at`].

mod bearings;
mod blackout;
mod circle;
mod leave;
mod member;
mod outlook;
mod outward;
mod report;
mod roster;
mod tiers;

pub use bearings::{Bearings, GiveBack};
pub use leave::LeaveReason;
pub use report::{Active, ChainReport, EndpointReport, Outline};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::{Chain, Mode};

use super::event::{Event, Order, Stored, Transition, TransitionKind};
use super::view::View;
use crate::clock::Now;
use crate::endpoint::{Endpoint, EndpointId};
use crate::failover::machine::{Machine, TierHealth};
use crate::failover::schedule::Calendar;
use crate::presence::{self, Lookups};
use crate::resolve::Question;
use crate::verdict::{self, Verdict};
use blackout::Blackout;
use circle::Circle;
use member::Member;
use outward::Outward;
use report::History;
use roster::Roster;
use tiers::manual_tier;

/// The state of one chain.
#[derive(Clone, Debug)]
pub struct ChainState {
    chain: Arc<Chain>,
    calendar: Option<Calendar>,
    lookups: Lookups,
    roster: Roster,
    machine: Machine,
    /// How each tier does, sorted.
    tiers: Vec<TierHealth>,
    blackout: Blackout,
    circle: Circle,
    outward: Outward,
    /// A tier that could serve instead of the active one is being looked at first.
    looks: bool,
    /// What was last ordered to be kept, or found kept.
    kept: Stored,
    /// Why sessions of other tiers than the active one must leave.
    others_leave: Option<LeaveReason>,
    /// Backends whose addresses are stale.
    stale: BTreeSet<String>,
    view: View,
    leaving: BTreeMap<EndpointId, LeaveReason>,
    history: History,
    orders: Vec<Order>,
    wake_at: Option<Instant>,
    conclusions: u64,
}

/// An endpoint to be monitored.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Identity, backend and address.
    pub endpoint: Arc<Endpoint>,
    /// False: no probe has ended yet, so one is due at once.
    pub probed: bool,
}

impl ChainState {
    /// A chain that starts, going on where an earlier run stopped. Orders it has are handed out by the first
    /// [`ChainState::handle`].
    pub fn new(chain: Arc<Chain>, stored: Option<Stored>, now: Now) -> Self {
        let tiers = tiers(&chain);
        let first = manual_tier(&chain).filter(|_| chain.failover.mode == Mode::Manual);
        let first = first.or(tiers.first().copied()).unwrap_or(0);
        let machine = Machine::new(first, &tiers, stored.as_ref(), now);
        let roster = Roster::default();
        let mut state = Self {
            calendar: calendar(&chain),
            lookups: Lookups::new(),
            others_leave: None,
            stale: BTreeSet::new(),
            view: outlook::view(&chain, &roster, machine.tier(), None, now.mono),
            leaving: BTreeMap::new(),
            history: History::default(),
            orders: Vec::new(),
            wake_at: None,
            conclusions: 0,
            tiers: Vec::new(),
            looks: false,
            blackout: Blackout::default(),
            circle: Circle::default(),
            outward: Outward::new(&chain, stored.as_ref().and_then(|stored| stored.returns_at), now),
            kept: stored.unwrap_or_else(|| machine.stored()),
            machine,
            roster,
            chain,
        };
        state.roster.relist(&state.chain, &state.lookups, now);
        state.settle(now);
        if !state.orders.is_empty() {
            state.wake_at = Some(now.mono);
        }
        state
    }

    /// Takes an event in; what has to be done now comes out.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Order> {
        match event {
            Event::Configured(chain) => self.configure(chain, now),
            Event::Resolved(question, lookup) => {
                if self.questions().contains(&question) {
                    self.lookups.insert(question, lookup);
                    self.roster.relist(&self.chain, &self.lookups, now);
                }
            }
            Event::Probed {
                endpoint,
                monitor,
                begun,
                result,
            } => {
                let (rise, fall) = (self.chain.health.rise, self.chain.health.fall);
                if let Some(member) = self.roster.get_mut(endpoint)
                    && let Some(track) = member.tracks.get_mut(monitor)
                {
                    let passed = result.is_ok();
                    track.record(result, rise, fall);
                    member.saw(passed, begun, now.mono);
                }
            }
            Event::Confirmed {
                endpoint,
                begun,
                result,
            } => self.confirmed(endpoint, begun, result, now),
            Event::ConnectFailed(failed) => {
                if let Some(member) = self.roster.get_mut(failed.endpoint) {
                    member.fell(now.mono);
                    member.ejection.failed(&failed, &self.chain.health, now.mono);
                }
            }
            Event::Topology(topology) => {
                self.circle.place(topology, &self.chain.id, now.mono);
                self.outward.look_again();
            }
            Event::Neighbours(neighbours) => {
                let news = self.circle.hear(neighbours, &self.chain, now.mono);
                // Most of the time all that they say is that they stand by their words, many times a second.
                if !news && !self.is_attentive() {
                    return Vec::new();
                }
                if news {
                    self.outward.look_again();
                }
            }
            Event::Remotes(remotes) => self.outward.set_remotes(remotes),
            Event::Draining(draining) => self.outward.set_draining(draining),
            Event::Return => self.outward.tell(),
            Event::Tick => {}
        }
        self.settle(now);
        std::mem::take(&mut self.orders)
    }

    fn configure(&mut self, chain: Arc<Chain>, now: Now) {
        let before = std::mem::replace(&mut self.chain, chain);
        self.outward.configure(&before, &self.chain);
        if before.schedule != self.chain.schedule {
            self.calendar = calendar(&self.chain);
            self.machine.recalendar();
        }
        let monitors = &self.chain.health.monitors;
        self.roster.remonitor(&before.health.monitors, monitors);
        let wanted = self.questions();
        self.lookups.retain(|question, _| wanted.contains(question));
        self.roster.relist(&self.chain, &self.lookups, now);
        if before.suspend != self.chain.suspend {
            let (kind, from, to) = if self.chain.suspend {
                (TransitionKind::Suspended, "in service", "suspended")
            } else {
                (TransitionKind::Resumed, "suspended", "in service")
            };
            self.announce(
                kind,
                from.to_owned(),
                to.to_owned(),
                "the user wants it so".to_owned(),
                now,
            );
        }
    }

    fn confirmed(&mut self, endpoint: EndpointId, begun: Instant, result: Result<(), String>, now: Now) {
        let Some(member) = self.roster.get_mut(endpoint) else {
            return;
        };
        member.saw(result.is_ok(), begun, now.mono);
        // After a pass the edge has stopped by itself; after a failure it goes on.
        member.confirming = member.confirming.and(result.is_err().then_some(now.mono));
        if member.ejection.confirmed(result, &self.chain.health, now.mono) {
            member.endpoint.note_success();
        }
    }

    /// Draws all conclusions from what is known at `now`.
    fn settle(&mut self, now: Now) {
        self.conclusions += 1;
        if self.roster.relist_at().is_some_and(|at| at <= now.mono) {
            self.roster.relist(&self.chain, &self.lookups, now);
        }
        self.judge(now);
        self.note_staleness(now);
        self.tiers = self.tier_health();
        self.heed_doubts(now.mono);
        self.look_after_blackout(now.mono);
        self.fail_over(now);
        self.order_confirmations(now.mono);
        let stopped = self.roster.forget(&self.chain, now.mono);
        let stopped = stopped.iter().filter(|member| member.confirming.is_some());
        self.orders
            .extend(stopped.map(|member| Order::StopConfirming(member.endpoint.id)));
        self.look_out(now);
        self.keep();
        self.wake_at = self.next_moment(now.mono);
    }

    fn judge(&mut self, now: Now) {
        let mut changes = Vec::new();
        for member in self.roster.iter_mut() {
            if member.ejection.expire(now.mono) {
                member.endpoint.note_success();
            }
            let before = member.judge(&self.chain, now);
            let kind = match (before, member.health.0) {
                (Verdict::Eject, after) if after.serves() => TransitionKind::BackendUp,
                (before, Verdict::Eject) if before != Verdict::Eject => TransitionKind::BackendDown,
                _ => continue,
            };
            let evidence = member.evidence(&self.chain, false);
            let words = verdict::words(&evidence, member.health, now.mono);
            let who = format!("{} {}", member.endpoint.backend, member.endpoint.address);
            let from = format!("{who} {}", before.state());
            changes.push((kind, from, format!("{who} {}", member.health.0.state()), words));
        }
        for (kind, from, to, reason) in changes {
            self.announce(kind, from, to, reason, now);
        }
    }

    fn note_staleness(&mut self, now: Now) {
        let mut stale = BTreeMap::new();
        for member in self.roster.iter() {
            if let (Some(backend), Some(why)) = (member.configured(&self.chain), member.stale()) {
                stale
                    .entry(backend.name.clone())
                    .or_insert_with(|| why.to_owned());
            }
        }
        let before = std::mem::take(&mut self.stale);
        for (backend, why) in stale.iter().filter(|(backend, _)| !before.contains(*backend)) {
            let (from, to) = (format!("{backend} fresh"), format!("{backend} stale"));
            self.announce(TransitionKind::EndpointsStale, from, to, why.clone(), now);
        }
        for backend in before.iter().filter(|backend| !stale.contains_key(*backend)) {
            let (from, to) = (format!("{backend} stale"), format!("{backend} fresh"));
            let why = "DNS answers again".to_owned();
            self.announce(TransitionKind::EndpointsFresh, from, to, why, now);
        }
        self.stale = stale.into_keys().collect();
    }

    fn order_confirmations(&mut self, now: Instant) {
        for member in self.roster.iter_mut() {
            let wanted = member.wants_confirming(&self.chain, now);
            let lost = member
                .confirming
                .is_some_and(|since| now >= since + member::patience(&self.chain));
            if wanted && (member.confirming.is_none() || lost) {
                member.confirming = Some(now);
                self.orders.push(Order::Confirm(member.endpoint.id));
            } else if !wanted && member.confirming.take().is_some() {
                self.orders.push(Order::StopConfirming(member.endpoint.id));
            }
        }
    }

    /// Makes the view and the list of those who must leave.
    fn look_out(&mut self, moment: Now) {
        let now = moment.mono;
        let empty_since = self.view.empty.as_ref().map(|empty| empty.since);
        let tier = self.machine.tier();
        let mut view = outlook::view(&self.chain, &self.roster, tier, empty_since, now);
        self.look_outward(&mut view, moment);
        if !outlook::same(&view, &self.view) || self.view.version == 0 {
            view.version = self.view.version + 1;
            self.view = view;
        }
        let place = leave::Place {
            tier,
            others: self.others_leave,
        };
        let leave = |member: &Member| {
            let reason = leave::reason(member, &self.chain, place, now)?;
            Some((member.endpoint.id, reason))
        };
        self.leaving = self.roster.iter().filter_map(leave).collect();
    }

    fn next_moment(&self, now: Instant) -> Option<Instant> {
        let members = self
            .roster
            .iter()
            .filter_map(|member| member.changes_at(&self.chain, now));
        members
            .chain(self.roster.relist_at())
            .chain(self.asks_until(now))
            .chain(self.roster.forget_at(&self.chain, now))
            .chain(self.machine.wake_at())
            .chain(self.circle.changes_at(&self.chain, now))
            .chain(self.outward_changes_at(now))
            .min()
    }

    fn announce(&mut self, kind: TransitionKind, from: String, to: String, reason: String, now: Now) {
        let transition = Transition {
            at: now.wall,
            kind,
            from,
            to,
            reason,
        };
        self.history.push(transition.clone());
        self.orders.push(Order::Announce(transition));
    }

    /// Whether it matters that others stand by their words, and how much room they have. If not, [`Event::Neighbours`] may come
    /// with the next event that is news.
    pub fn is_attentive(&self) -> bool {
        self.machine.waits().is_some() || self.outward.is_attentive()
    }

    /// How often conclusions were drawn: as often as before, and nothing that the state serves has changed.
    pub fn conclusions(&self) -> u64 {
        self.conclusions
    }

    /// When to send the next [`Event::Tick`]; none: only events matter.
    pub fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// The names that must be resolved now.
    pub fn questions(&self) -> BTreeSet<Question> {
        let resolution = &self.chain.resolution;
        let backends = self.chain.backends.iter();
        backends
            .flat_map(|backend| presence::questions(backend, resolution, &self.lookups))
            .collect()
    }

    /// The endpoints that must be monitored now.
    pub fn probed(&self, now: Now) -> Vec<Probed> {
        let members = self.roster.iter();
        members
            .filter(|member| Roster::is_probed(member, &self.chain, now.mono))
            .map(|member| Probed {
                endpoint: Arc::clone(&member.endpoint),
                probed: member.probed(),
            })
            .collect()
    }

    /// What data workers shall know; its version grows when it changes, and only then.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The endpoints that sessions must leave now, at `failover.pace`.
    pub fn leaving(&self) -> &BTreeMap<EndpointId, LeaveReason> {
        &self.leaving
    }

    /// An endpoint by its identity, vanished ones too until they are forgotten.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.roster.get(id).map(|member| &member.endpoint)
    }

    /// What a report is news of: if this is equal, so is a report but for counts and ages.
    pub fn outline(&self) -> Outline {
        let members = self.roster.iter();
        Outline {
            config: Arc::clone(&self.chain),
            epoch: self.machine.epoch(),
            last: self.history.last(),
            standing: self.outward.stand().clone(),
            redirect: self
                .outward
                .redirect()
                .map(|redirect| (redirect.to, redirect.since)),
            returns_at: self.outward.returns_at(),
            members: members
                .map(|member| (member.endpoint.id, member.verdict))
                .collect(),
        }
    }

    /// Everything for people.
    pub fn report(&self, now: Now) -> ChainReport {
        ChainReport {
            chain: self.chain.id.to_string(),
            generation: self.chain.generation,
            config: Arc::clone(&self.chain),
            active: report::active(&self.chain, &self.machine),
            failback_at: self.machine.failback_at(),
            waits: self.machine.waits().map(str::to_owned),
            standing: self.outward.stand().clone(),
            redirect: self.outward.redirect(),
            returns_at: self.outward.returns_at(),
            endpoints: self
                .roster
                .iter()
                .map(|member| report::endpoint(member, &self.chain, now))
                .collect(),
            transitions: self.history.to_vec(),
        }
    }
}

/// The tiers that are configured, sorted.
fn tiers(chain: &Chain) -> Vec<u32> {
    let all: BTreeSet<u32> = chain.backends.iter().map(|backend| backend.tier).collect();
    all.into_iter().collect()
}

/// None: no schedule, or one that cannot be understood (which the compile step refuses).
fn calendar(chain: &Chain) -> Option<Calendar> {
    chain
        .schedule
        .as_ref()
        .and_then(|schedule| Calendar::new(schedule).ok())
}

#[cfg(test)]
mod tests;
