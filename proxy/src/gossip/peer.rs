//! One other proxy, as it is known here. In: when it was heard, by us or by others, and what it said. Out: whether it lives.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Log;
use super::seal::{Boot, BootKey, KeyId};
use super::window::Window;
use super::wire::{Delta, Tag, Who};
use super::{Liveness, Neighbour, PeerId, Said};

/// How often those who know each other talk, at least.
pub const ROUND: Duration = Duration::from_millis(250);
/// Who was silent for so long is asked to answer at once, and others are asked for it.
const MISSED_AFTER: Duration = Duration::from_millis(400);
/// Who has given no sign for so long, to us or to anybody who told us, is not used while others live.
const SUSPECT_AFTER: Duration = Duration::from_millis(800);
/// And after this it counts as gone.
const DEAD_AFTER: Duration = Duration::from_millis(4_500);
/// The dead are shown for so long.
pub(crate) const SHOWN: Duration = Duration::from_mins(1);
/// A datagram of somebody who had not heard us for so long proves nothing: it may have been held back.
pub(crate) const ECHO_WITHIN: Duration = Duration::from_secs(4);
/// And what it tells of others proves nothing after this.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// With more peers than this everything takes longer, in proportion: talk is with everybody.
const PEERS_PER_ROUND: usize = 256;
/// Deltas of one peer that came before the one that they follow on.
pub(crate) const MAX_EARLY: usize = 16;
/// Between two looks of our own there is never more than this; if there is, we were not running.
const LONGEST_NAP: Duration = Duration::from_millis(300);

/// What is older than the process has a place in its time, too: longer than anybody lives without a sign.
const BEFORE: Duration = Duration::from_hours(1);

/// The time in which this process could have heard somebody: it stands still while the process does, so that nobody is
/// taken for dead by one that slept. It begins at [`BEFORE`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awake {
    looked: Instant,
    since: Duration,
}

impl Awake {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            since: BEFORE,
        }
    }

    /// A moment further; how long it was.
    pub(crate) fn look(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now.max(self.looked);
        self.since += passed.min(LONGEST_NAP);
        passed
    }

    pub(crate) fn read(&self) -> Duration {
        self.since
    }
}

/// How long things take among so many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(u32);

impl Pace {
    pub(crate) fn of(peers: usize) -> Self {
        Self(1 + (peers / PEERS_PER_ROUND) as u32)
    }

    /// How many times longer than among few.
    pub(crate) fn factor(self) -> u32 {
        self.0
    }

    pub(crate) fn round(self) -> Duration {
        ROUND * self.0
    }

    pub(crate) fn missed_after(self) -> Duration {
        MISSED_AFTER * self.0
    }

    pub(crate) fn suspect_after(self) -> Duration {
        SUSPECT_AFTER * self.0
    }

    pub(crate) fn dead_after(self) -> Duration {
        DEAD_AFTER * self.0
    }
}

/// What there is to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    None,
    /// Somebody confirmed what was known, or has another load.
    Confirmed,
    /// Somebody says something else, or is elsewhere, or lives no more, or again.
    Changed,
}

/// What two that know each other have in common.
#[derive(Debug)]
pub(crate) struct Session {
    /// When it began.
    pub(crate) since: Instant,
    /// Where we send; nobody else ever has it.
    pub(crate) lane: u32,
    /// The next counter in it.
    pub(crate) counter: u64,
    /// Where it sends.
    pub(crate) their_lane: u32,
    pub(crate) window: Window,
    /// What it seals with.
    pub(crate) key: Option<BootKey>,
    /// What it opens.
    pub(crate) opens: Vec<KeyId>,
    /// Its clock, as it said last.
    pub(crate) their_at: u64,
    /// What it holds of us.
    pub(crate) acked: u64,
    /// What it was sent of us.
    pub(crate) sent: u64,
    /// When that is sent again, unless it says that it has it.
    pub(crate) again_at: Option<Instant>,
    pub(crate) again_after: Duration,
    /// When it hears of us next.
    pub(crate) beat_at: Instant,
}

/// First wait before something unconfirmed is sent again; doubled each time, up to [`LONGEST_AGAIN`].
pub(crate) const AGAIN: Duration = Duration::from_millis(100);
/// See [`AGAIN`].
pub(crate) const LONGEST_AGAIN: Duration = Duration::from_millis(400);

impl Session {
    pub(crate) fn new(lane: u32, their_lane: u32, their_counter: u64, now: Instant) -> Self {
        Self {
            since: now,
            lane,
            counter: 1,
            their_lane,
            window: Window::new(their_counter),
            key: None,
            opens: Vec::new(),
            their_at: 0,
            acked: 0,
            sent: 0,
            again_at: None,
            again_after: AGAIN,
            beat_at: now,
        }
    }

    /// It will use no lane below `lane`, and in that one no counter below `counter`.
    pub(crate) fn raise(&mut self, lane: u32, counter: u64) {
        if lane > self.their_lane {
            self.their_lane = lane;
            self.window = Window::new(counter);
        }
    }

    /// Whether this datagram comes for the first time.
    pub(crate) fn take(&mut self, lane: u32, counter: u64) -> bool {
        self.raise(lane, 0);
        lane == self.their_lane && self.window.take(counter)
    }
}

/// Another proxy.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) who: Who,
    /// The same, to be shared.
    pub(crate) id: Arc<PeerId>,
    pub(crate) tag: Tag,
    /// Where it gossips.
    pub(crate) at: SocketAddr,
    /// Where clients reach it.
    pub(crate) ip: IpAddr,
    pub(crate) boot: Boot,
    /// What it has told so far.
    pub(crate) log: Log,
    /// What came too early, by the version that it follows on.
    early: BTreeMap<u64, Delta>,
    /// The newest version that it has claimed to have.
    pub(crate) claimed: u64,
    /// The newest of which we had all; none: not yet.
    pub(crate) said: Option<Arc<Said>>,
    /// When it said itself that this is the newest.
    pub(crate) confirmed: Instant,
    /// When it was heard by us, in time awake; none: never.
    pub(crate) heard: Option<Duration>,
    /// When it was last heard by anybody.
    pub(crate) sign: Duration,
    pub(crate) liveness: Liveness,
    pub(crate) dead_since: Option<Instant>,
    /// It said that it goes.
    pub(crate) left: bool,
    /// None: known by hearsay.
    pub(crate) session: Option<Session>,
}

impl Peer {
    /// Somebody who was heard at this moment, in both kinds of time, by us or by others.
    pub(crate) fn new(who: Who, at: SocketAddr, ip: IpAddr, boot: Boot, sign: (Instant, Duration)) -> Self {
        Self {
            tag: who.tag(),
            id: Arc::new(who.id.clone()),
            who,
            at,
            ip,
            boot,
            log: Log::default(),
            early: BTreeMap::new(),
            claimed: 0,
            said: None,
            confirmed: sign.0,
            heard: None,
            sign: sign.1,
            liveness: Liveness::Alive,
            dead_since: None,
            left: false,
            session: None,
        }
    }

    /// Another run of the process: what the former one said is shown until this one has said everything.
    pub(crate) fn restart(&mut self, boot: Boot) {
        self.boot = boot;
        self.log = Log::default();
        self.early.clear();
        self.claimed = 0;
        self.heard = None;
        self.left = false;
        self.session = None;
    }

    /// Time without a sign of it that we had ourselves.
    pub(crate) fn silent(&self, awake: Duration) -> Duration {
        self.heard
            .map_or(Duration::MAX, |heard| awake.saturating_sub(heard))
    }

    /// What was known of it is old: it is suspect until it gives a sign.
    pub(crate) fn doubt(&mut self, awake: Duration, pace: Pace) {
        let doubted = awake.saturating_sub(pace.suspect_after() + Duration::from_millis(1));
        self.sign = self.sign.min(doubted);
        // nor is it told to others that it was heard just now
        self.heard = self.heard.map(|heard| heard.min(doubted));
    }

    /// We heard it.
    pub(crate) fn hear(&mut self, awake: Duration) {
        self.heard = Some(awake);
        self.sign = awake;
    }

    /// Takes in what was said; what is new about it.
    pub(crate) fn learn(&mut self, version: u64, delta: Option<Delta>, confirmed: Instant) -> News {
        self.claimed = self.claimed.max(version);
        let learnt = delta.is_some_and(|delta| self.apply(delta));
        if self.log.version() != self.claimed || self.claimed == 0 {
            return News::Confirmed;
        }
        let complete = version == self.claimed;
        if complete {
            self.confirmed = self.confirmed.max(confirmed);
        }
        let new = self.log.said();
        if !learnt || self.said.as_deref() == Some(new) {
            return News::Confirmed;
        }
        let before = self.said.replace(Arc::new(new.clone()));
        self.confirmed = confirmed;
        let only_load = |before: &Said| before.leaving == new.leaving && before.chains == new.chains;
        if before.as_deref().is_some_and(only_load) {
            News::Confirmed
        } else {
            News::Changed
        }
    }

    fn apply(&mut self, delta: Delta) -> bool {
        if delta.base > self.log.version() {
            if self.early.len() < MAX_EARLY {
                self.early.insert(delta.base, delta);
            }
            return false;
        }
        let mut learnt = self.log.apply(delta);
        while let Some(early) = self
            .early
            .first_entry()
            .filter(|early| *early.key() <= self.log.version())
        {
            learnt |= self.log.apply(early.remove());
        }
        learnt
    }

    /// Whether it lives, after so much time without a sign.
    pub(crate) fn judge(&self, awake: Duration, pace: Pace) -> Liveness {
        let silent = awake.saturating_sub(self.sign);
        if self.left || silent > pace.dead_after() {
            Liveness::Dead
        } else if silent > pace.suspect_after() {
            Liveness::Suspect
        } else {
            Liveness::Alive
        }
    }

    /// How long until it would be judged otherwise, if it keeps silent; none: it cannot be.
    pub(crate) fn judged_again_in(&self, awake: Duration, pace: Pace) -> Option<Duration> {
        let at = match self.liveness {
            Liveness::Alive => pace.suspect_after(),
            Liveness::Suspect => pace.dead_after(),
            Liveness::Dead => return None,
        };
        Some((self.sign + at + Duration::from_millis(1)).saturating_sub(awake))
    }

    /// As others see it; none: it has not said everything yet.
    pub(crate) fn neighbour(&self) -> Option<Neighbour> {
        Some(Neighbour {
            ip: self.ip,
            liveness: self.liveness,
            said: Arc::clone(self.said.as_ref()?),
            confirmed: self.confirmed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_pass_for_who_sleeps() {
        let begun = Instant::now();
        let mut awake = Awake::new(begun);
        awake.look(begun + Duration::from_millis(200));
        assert_eq!(awake.read(), BEFORE + Duration::from_millis(200));
        let woken = begun + Duration::from_mins(1);
        for (now, passed) in [(woken, 59_800), (begun, 0), (woken, 0)] {
            assert_eq!(awake.look(now), Duration::from_millis(passed), "never backwards");
            assert_eq!(awake.read(), BEFORE + Duration::from_millis(500));
        }
    }

    #[test]
    fn a_lower_lane_and_a_former_counter_are_refused() {
        let mut session = Session::new(1, 4, 10, Instant::now());
        assert!(!session.take(4, 9), "before the greeting");
        assert!(session.take(4, 10) && !session.take(4, 10));
        assert!(session.take(6, 1), "a new session of the other side");
        assert!(!session.take(4, 11) && !session.take(5, 1));
        session.raise(6, 500);
        assert!(
            session.take(6, 2),
            "a greeting that repeats the lane changes nothing"
        );
    }
}
