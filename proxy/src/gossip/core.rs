//! The whole of gossip but for its socket. In: datagrams, what this proxy says of itself, time. Out: datagrams, [`Neighbours`],
//! the moment at which it wants to be called again. It does nothing by itself, knows no clock and no chance but what it is
//! given, so that a network of many can be run in one thread.
//!
//! Everybody who knows each other talks once a round, both ways: it is probe, answer, and confirmation of what was said. News
//! of one's own goes to everybody at once, and again until they say that they have it. Who was not heard for some time is asked
//! to answer at once, and all others are asked whether they hear it, and what it says: so a broken link between two takes neither
//! for dead, as long as there is a way round (SWIM's indirect probe). Who gives no sign is suspect first. It takes no vote to
//! be cleared: any sign does it.
//!
//! To begin with, and after each restart, two prove to each other that they run now (`greet`). Nothing is kept of anybody
//! before that.

mod receive;
mod send;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ring::hmac;

use super::counters::GossipCounters;
use super::greet::{Candidates, Former, Limit, Prover};
use super::log::Log;
use super::peer::{Awake, News, Pace, Peer, SHOWN};
use super::seal::{Boot, BootKey, Keyring};
use super::wire::{Tag, Who};
use super::{Liveness, Load, Neighbours, PeerId, Said};

/// Peers that are known at a time, the dead of the last minute included.
pub const MAX_PEERS: usize = 1_024;
/// Calls are never asked for sooner than this after the last one.
const SHORTEST_NAP: Duration = Duration::from_millis(10);
/// And never later, while there is anybody: time in which nobody looks does not count as silence.
const LONGEST_NAP: Duration = Duration::from_millis(200);
/// Loads alone are told no more often than this.
const LOADS_EVERY: Duration = Duration::from_millis(500);
/// Confirmations alone are published no more often than this.
const CONFIRMED_EVERY: Duration = Duration::from_millis(250);

/// Who gossips, and with what.
#[derive(Debug)]
pub struct CoreConfig {
    /// This proxy.
    pub id: PeerId,
    /// What its cluster is called; may be empty.
    pub cluster: String,
    /// Where others reach this proxy; none: where its datagrams come from.
    pub advertise: Option<IpAddr>,
    /// The first seals, all open.
    pub keys: Keyring,
    /// Where somebody may be.
    pub seeds: Vec<SocketAddr>,
}

/// One proxy's part in gossip.
#[derive(Debug)]
pub struct Core {
    me: Who,
    tag: Tag,
    boot: Boot,
    advertise: Option<IpAddr>,
    keys: Keyring,
    /// Ours, derived.
    sealing: Vec<BootKey>,
    prover: Prover,
    rng: Rng,
    begun: Instant,
    awake: Awake,
    log: Log,
    /// What was said last, where it has not been told yet because only its load is new.
    held_back: Option<Said>,
    load_told: Instant,
    peers: BTreeMap<Tag, Peer>,
    boots: BTreeMap<Boot, Tag>,
    former: Former,
    candidates: Candidates,
    limit: Limit,
    next_lane: u32,
    greetings: u64,
    out: Vec<(SocketAddr, Vec<u8>)>,
    scratch: Vec<u8>,
    news: News,
    /// How often something had changed that was published.
    told_news: u64,
    published: Instant,
    looked: Instant,
    left: bool,
    counters: Arc<GossipCounters>,
}

impl Core {
    /// Knows nobody yet. `seed` must be random and new for each run of the process: the run's identity, and with it the safety
    /// of the encryption, comes from it.
    pub fn new(config: CoreConfig, seed: [u8; 32], now: Instant) -> Self {
        let CoreConfig {
            id,
            cluster,
            advertise,
            keys,
            seeds,
        } = config;
        let me = Who { cluster, id };
        let seed = hmac::Key::new(hmac::HMAC_SHA256, &seed);
        let part = |name: &[u8]| hmac::sign(&seed, name);
        let boot = Boot(part(b"boot").as_ref().first_chunk().copied().unwrap_or_default());
        let luck = part(b"luck").as_ref().first_chunk().copied().unwrap_or_default();
        let mut log = Log::default();
        log.say(&Said::default());
        let mut candidates = Candidates::default();
        candidates.set_seeds(&seeds, now);
        Self {
            tag: me.tag(),
            me,
            boot,
            advertise,
            sealing: keys.ids().filter_map(|id| keys.of_boot(id, boot)).collect(),
            keys,
            prover: Prover::new(part(b"prove").as_ref(), now),
            rng: Rng::with_seed(u64::from_be_bytes(luck)),
            begun: now,
            awake: Awake::new(now),
            log,
            held_back: None,
            load_told: now,
            peers: BTreeMap::new(),
            boots: BTreeMap::new(),
            former: Former::default(),
            candidates,
            limit: Limit::new(now),
            next_lane: 1,
            greetings: 0,
            out: Vec::new(),
            scratch: Vec::new(),
            news: News::Changed,
            told_news: 0,
            published: now,
            looked: now,
            left: false,
            counters: Arc::default(),
        }
    }

    /// What went over the wire.
    pub fn counters(&self) -> &Arc<GossipCounters> {
        &self.counters
    }

    /// Other keys, other seeds. Whoever shares a key with us stays known.
    pub fn reconfigure(&mut self, keys: Keyring, seeds: &[SocketAddr], now: Instant) {
        self.sealing = keys.ids().filter_map(|id| keys.of_boot(id, self.boot)).collect();
        self.keys = keys;
        for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
            session.key = None;
            // they learn at once what we open now
            session.beat_at = now;
        }
        self.set_seeds(seeds, now);
    }

    /// Other addresses where somebody may be.
    pub fn set_seeds(&mut self, seeds: &[SocketAddr], now: Instant) {
        self.candidates.set_seeds(seeds, now);
    }

    /// What this proxy says of itself from now on. A load alone is told when it differs by more than 5 %, and twice in a
    /// second at most; anything else at once.
    pub fn say(&mut self, said: Said, now: Instant) {
        let told = self.log.said();
        let only_load = said.leaving == told.leaving && said.chains == told.chains;
        if only_load && !(differs(&said.load, &told.load) && now >= self.load_told + LOADS_EVERY) {
            self.held_back = Some(said);
            return;
        }
        self.held_back = None;
        self.load_told = now;
        if self.log.say(&said) {
            self.push_to_all(now);
        }
    }

    /// Everything that time brings.
    pub fn tick(&mut self, now: Instant) {
        self.looked = now;
        let awake = self.look(now);
        if self.left {
            return;
        }
        if self.load_due().is_some_and(|at| at <= now)
            && let Some(said) = self.held_back.take()
        {
            self.say(said, now);
        }
        self.judge(now, awake);
        self.send_due(now, awake);
        self.greet_due(now);
    }

    /// When the next call of [`Core::tick`] is wanted; none: not before something else happens.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let (awake, pace) = (self.awake.read(), self.pace());
        let peers = self.peers.values().flat_map(|peer| {
            let session = peer.session.as_ref();
            let beat = session.filter(|_| !peer.left).map(|session| session.beat_at);
            let again = session.and_then(|session| session.again_at);
            let judged = peer.judged_again_in(awake, pace).map(|after| self.looked + after);
            let forgotten = peer.dead_since.map(|since| since + SHOWN);
            [beat, again, judged, forgotten]
        });
        let news = match self.news {
            News::None => None,
            News::Confirmed => Some(self.published + CONFIRMED_EVERY),
            News::Changed => Some(self.looked),
        };
        let look = (!self.peers.is_empty()).then(|| self.looked + LONGEST_NAP);
        let others = [self.candidates.next(), self.load_due(), news, look];
        let next = peers.chain(others).flatten().min()?;
        Some(next.max(self.looked + SHORTEST_NAP))
    }

    /// What others say, if there is anything new.
    pub fn take_news(&mut self, now: Instant) -> Option<Arc<Neighbours>> {
        let due = match self.news {
            News::None => false,
            News::Confirmed => now >= self.published + CONFIRMED_EVERY,
            News::Changed => true,
        };
        if !due {
            return None;
        }
        self.told_news += u64::from(self.news == News::Changed);
        self.news = News::None;
        self.published = now;
        Some(Arc::new(self.neighbours()))
    }

    /// What others say.
    pub fn neighbours(&self) -> Neighbours {
        let mut neighbours = Neighbours {
            news: self.told_news,
            ..Neighbours::default()
        };
        for peer in self.peers.values() {
            let Some(neighbour) = peer.neighbour() else {
                continue;
            };
            if peer.who.cluster == self.me.cluster {
                neighbours.peers.insert(Arc::clone(&peer.id), neighbour);
            } else {
                let Who { cluster, id } = peer.who.clone();
                neighbours.beyond.insert((cluster, id), neighbour);
            }
        }
        neighbours
    }

    /// Datagrams to send, and where to.
    pub fn take_datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }

    /// Tells everybody that this proxy goes. From then on it neither hears nor says anything.
    pub fn leave(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let tags: Vec<_> = self.peers.keys().copied().collect();
        // twice: nobody can answer
        for tag in tags.iter().chain(&tags) {
            self.talk(*tag, now, |talk| talk.bye = true);
        }
        self.left = true;
    }

    /// The time awake. After a sleep nobody is known to live any more, nor known not to.
    fn look(&mut self, now: Instant) -> Duration {
        let passed = self.awake.look(now);
        let (awake, pace) = (self.awake.read(), self.pace());
        if passed > pace.suspect_after() {
            for peer in self.peers.values_mut() {
                peer.doubt(awake, pace);
            }
        }
        awake
    }

    fn pace(&self) -> Pace {
        Pace::of(self.peers.len())
    }

    /// Our clock, in milliseconds; never 0.
    fn clock(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_millis() as u64 + 1
    }

    fn load_due(&self) -> Option<Instant> {
        let said = self.held_back.as_ref()?;
        differs(&said.load, &self.log.said().load).then_some(self.load_told + LOADS_EVERY)
    }

    fn tell(&mut self, news: News) {
        self.news = self.news.max(news);
    }

    /// Who lives, and who is forgotten.
    fn judge(&mut self, now: Instant, awake: Duration) {
        let pace = self.pace();
        let mut forgotten = Vec::new();
        let mut changed = false;
        for peer in self.peers.values_mut() {
            let liveness = peer.judge(awake, pace);
            if liveness != peer.liveness {
                peer.liveness = liveness;
                changed = true;
            }
            if liveness != Liveness::Dead {
                peer.dead_since = None;
            } else if now.saturating_duration_since(*peer.dead_since.get_or_insert(now)) >= SHOWN {
                forgotten.push(peer.tag);
            }
        }
        for tag in forgotten {
            changed = true;
            if let Some(peer) = self.peers.remove(&tag) {
                self.boots.remove(&peer.boot);
                if !peer.left {
                    self.candidates.lose(peer.at, tag, now);
                }
            }
        }
        if changed {
            self.tell(News::Changed);
        }
    }
}

/// Whether two loads differ by more than 5 %, or in whether there is room at all.
fn differs(one: &Load, other: &Load) -> bool {
    let pairs = [
        (one.sessions, other.sessions),
        (one.room, other.room),
        (one.guest_room, other.guest_room),
    ];
    pairs.into_iter().any(|(a, b)| {
        let far = u64::from(a.abs_diff(b)) * 20 > u64::from(a.max(b));
        far && (a.abs_diff(b) > 1 || a == 0 || b == 0)
    })
}

#[cfg(test)]
mod tests;
