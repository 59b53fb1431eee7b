//! What goes out. In: who is due for what. Out: sealed datagrams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::gossip::Liveness;
use crate::gossip::greet::Due;
use crate::gossip::peer::{AGAIN, LONGEST_AGAIN, MAX_EARLY, Peer};
use crate::gossip::seal::{Boot, KeyId};
use crate::gossip::wire::{
    Body, Cookie, Greeting, MAX_MISSING, Member, Missing, Packet, ROOM, Tag, Talk, Told,
};

use super::{Core, MAX_PEERS};

/// Members that are named in a round's talk.
const MEMBERS: usize = 8;
/// Members that are named in a datagram to somebody who has just come.
const MEMBERS_AT_ONCE: usize = 24;
/// Datagrams of news that are sent to somebody before it has confirmed any.
const BURST: usize = MAX_EARLY;
/// And of those that it did not confirm in time: what came out of order waits there for the one that was lost.
const BURST_AGAIN: usize = 4;
/// Rounds differ by up to this share, so that not everybody talks at the same time.
const JITTER: f64 = 0.1;
/// Who is silent is asked this often.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// What a told proxy's name and numbers may take besides its entries.
const TOLD: usize = 96;

impl Core {
    /// Says something to a peer; nothing, if there is no session with it.
    pub(super) fn talk(&mut self, tag: Tag, now: Instant, say: impl FnOnce(&mut Talk)) {
        let at = self.clock(now);
        let Some(peer) = self.peers.get_mut(&tag) else {
            return;
        };
        let Some(session) = peer.session.as_mut().filter(|_| !peer.left) else {
            return;
        };
        let mut talk = Talk {
            at,
            echo: session.their_at,
            version: self.log.version(),
            holds: peer.log.version(),
            opens: self.keys.ids().collect(),
            ..Talk::default()
        };
        say(&mut talk);
        let key = self.keys.common(&session.opens);
        let counter = session.counter;
        session.counter += 1;
        let (to, lane, boot) = (peer.at, session.lane, peer.boot);
        let packet = Packet {
            to: boot,
            body: Body::Talk(talk),
        };
        self.seal(to, key, (lane, counter), &packet);
    }

    fn seal(&mut self, to: SocketAddr, key: Option<KeyId>, (lane, counter): (u32, u64), packet: &Packet) {
        let key = self.sealing.iter().find(|own| Some(own.id) == key);
        let plain = packet.write();
        let sealed = key
            .zip(plain)
            .and_then(|(key, plain)| key.seal(self.boot, lane, counter, &plain));
        match sealed {
            Some(datagram) => self.out.push((to, datagram)),
            None => self.counters.unsent(),
        }
    }

    /// Greets whoever is there. `key` chooses among ours: who does not open one may open another.
    pub(super) fn greet(&mut self, to: SocketAddr, about: &About, now: Instant) {
        let session = self
            .boots
            .get(&about.boot)
            .and_then(|tag| self.peers.get(tag)?.session.as_ref());
        let (lane, counter) = session.map_or((self.next_lane, 1), |session| (session.lane, session.counter));
        let greeting = Greeting {
            asks: about.asks,
            proof: about.proof,
            cookie: self.prover.cookie(to, now),
            lane,
            counter,
            who: self.me.clone(),
            advertise: self.advertise,
        };
        let packet = Packet {
            to: about.boot,
            body: Body::Greeting(greeting),
        };
        self.greetings += 1;
        let key = match about.key {
            Key::Same(id) => Some(id),
            Key::Nth(n) => self.sealing.get(n % self.sealing.len().max(1)).map(|key| key.id),
        };
        self.seal(to, key, (0, self.greetings), &packet);
    }

    pub(super) fn greet_due(&mut self, now: Instant) {
        if self.candidates.next().is_none_or(|next| next > now) {
            return;
        }
        let peers = &self.peers;
        let reached = |at: SocketAddr| {
            let mut there = peers.values().filter(|peer| peer.at == at);
            there.any(|peer| peer.session.is_some() && peer.liveness == Liveness::Alive)
        };
        for Due { at, tries } in self.candidates.due(reached, now, &mut self.rng) {
            let about = About {
                boot: Boot::default(),
                proof: None,
                asks: true,
                key: Key::Nth(tries as usize),
            };
            self.greet(at, &about, now);
        }
    }

    /// What is due to each peer: a word each round, news that was not confirmed.
    pub(super) fn send_due(&mut self, now: Instant, awake: Duration) {
        let due = |peer: &Peer| {
            let session = peer.session.as_ref()?;
            let beat = session.beat_at <= now;
            let again = session.again_at.is_some_and(|at| at <= now) && peer.liveness != Liveness::Dead;
            (!peer.left && (beat || again)).then_some((peer.tag, beat, again))
        };
        let due: Vec<_> = self.peers.values().filter_map(due).collect();
        if due.is_empty() {
            return;
        }
        let missing = self.missing(awake);
        for (tag, beat, again) in due {
            if again {
                self.push_again(tag, now);
            }
            if beat {
                self.beat(tag, now, awake, &missing);
            }
        }
    }

    fn beat(&mut self, tag: Tag, now: Instant, awake: Duration, missing: &[Missing]) {
        let pace = self.pace();
        let members = self.some_members(tag, MEMBERS);
        let luck = self.rng.f64();
        let Some(peer) = self.peers.get_mut(&tag) else {
            return;
        };
        let silent = peer.silent(awake) > pace.missed_after();
        let Some(session) = peer.session.as_mut() else {
            return;
        };
        let hurry = silent && peer.liveness != Liveness::Dead;
        let pause = if hurry { ASK_EVERY } else { pace.round() };
        session.beat_at = now + pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * luck);
        let missing: Vec<_> = missing
            .iter()
            .filter(|missing| missing.tag != tag)
            .copied()
            .collect();
        if hurry && let Some(other) = self.another(tag) {
            let missing = missing_first(&missing, self.asked_for(tag));
            self.talk(other, now, |talk| talk.missing = missing);
        }
        self.talk(tag, now, |talk| {
            talk.answer = silent;
            talk.members = members;
            talk.missing = missing;
        });
    }

    /// Peers that we do not hear ourselves, and what we hold of them; a random part, if there are too many.
    fn missing(&mut self, awake: Duration) -> Vec<Missing> {
        let after = self.pace().missed_after();
        let peers = self
            .peers
            .values()
            .filter(|peer| !peer.left && peer.silent(awake) > after);
        let peers = peers.map(asked_for);
        let unknown = self
            .candidates
            .unreached()
            .filter(|tag| !self.peers.contains_key(tag) && *tag != self.tag);
        let unknown = unknown.map(|tag| Missing {
            tag,
            boot: Boot::default(),
            holds: 0,
        });
        let mut missing: Vec<_> = peers.chain(unknown).collect();
        if missing.len() > MAX_MISSING {
            self.rng.shuffle(&mut missing);
            missing.truncate(MAX_MISSING);
        }
        missing
    }

    fn asked_for(&self, tag: Tag) -> Option<Missing> {
        self.peers.get(&tag).map(asked_for)
    }

    /// Somebody who lives, at random.
    fn another(&mut self, not: Tag) -> Option<Tag> {
        let alive = self
            .peers
            .values()
            .filter(|peer| peer.tag != not && is_near(peer));
        let tags: Vec<_> = alive.map(|peer| peer.tag).collect();
        self.rng.choice(tags)
    }

    /// So many of those whom we hear, at random.
    fn some_members(&mut self, not: Tag, most: usize) -> Vec<Member> {
        let alive = self
            .peers
            .values()
            .filter(|peer| peer.tag != not && is_near(peer));
        let members = alive.map(|peer| Member {
            tag: peer.tag,
            at: peer.at,
        });
        self.rng.choose_multiple(members, most)
    }

    /// Everything that somebody who has just come needs: all that we say, and who else there is.
    pub(super) fn welcome(&mut self, tag: Tag, now: Instant) {
        let all = self.some_members(tag, MAX_PEERS);
        for members in all.chunks(MEMBERS_AT_ONCE) {
            self.talk(tag, now, |talk| talk.members = members.to_vec());
        }
        self.push(tag, now);
    }

    pub(super) fn push_to_all(&mut self, now: Instant) {
        let tags: Vec<_> = self.peers.keys().copied().collect();
        for tag in tags {
            self.push(tag, now);
        }
    }

    /// What was sent and not confirmed counts as lost.
    fn push_again(&mut self, tag: Tag, now: Instant) {
        let Some(session) = self.peers.get_mut(&tag).and_then(|peer| peer.session.as_mut()) else {
            return;
        };
        session.sent = session.acked;
        session.again_after = (session.again_after * 2).min(LONGEST_AGAIN);
        session.again_at = None;
        self.push_some(tag, now, BURST_AGAIN);
    }

    /// Sends what the peer has not been sent of us.
    pub(super) fn push(&mut self, tag: Tag, now: Instant) {
        self.push_some(tag, now, BURST);
    }

    fn push_some(&mut self, tag: Tag, now: Instant, most: usize) {
        let version = self.log.version();
        let Some(session) = self.peers.get(&tag).and_then(|peer| peer.session.as_ref()) else {
            return;
        };
        let mut sent = session.sent;
        for nth in 1..=most {
            let Some(delta) = self.log.delta(sent, ROOM) else {
                break;
            };
            sent = delta.upto;
            self.talk(tag, now, |talk| {
                talk.answer = sent == version || nth == most;
                talk.delta = Some(delta);
            });
        }
        if let Some(session) = self.peers.get_mut(&tag).and_then(|peer| peer.session.as_mut()) {
            session.sent = sent;
            session.again_at = (session.acked < version).then(|| now + session.again_after);
        }
    }

    /// The peer says what it holds of us.
    pub(super) fn acknowledged(&mut self, tag: Tag, holds: u64, now: Instant) {
        let version = self.log.version();
        // nobody can hold more than there is
        let holds = holds.min(version);
        let Some(session) = self.peers.get_mut(&tag).and_then(|peer| peer.session.as_mut()) else {
            return;
        };
        if holds > session.acked {
            session.again_after = AGAIN;
        }
        // less than before: it has begun anew
        let lost = holds < session.acked;
        session.acked = holds;
        if lost {
            session.sent = holds;
        }
        session.sent = session.sent.max(holds);
        if holds >= version {
            session.again_at = None;
        } else if holds == session.sent || session.again_at.is_none() {
            self.push(tag, now);
        }
    }

    /// Tells `to` of a peer that it asks for, if we hear it.
    pub(super) fn tell_of(&mut self, asked: Missing, to: Tag, now: Instant, awake: Duration) {
        let Some(peer) = self.peers.get(&asked.tag) else {
            return;
        };
        let silent = peer.silent(awake);
        if silent > self.pace().suspect_after() || peer.left || asked.tag == to {
            return;
        }
        let room =
            postcard::to_extend(&peer.who, Vec::new()).map_or(0, |who| ROOM.saturating_sub(who.len() + TOLD));
        let mut told = Told {
            who: peer.who.clone(),
            boot: peer.boot,
            at: peer.at,
            ip: peer.ip,
            age: silent.as_millis() as u32,
            version: peer.claimed,
            delta: None,
        };
        let mut holds = if asked.boot == peer.boot { asked.holds } else { 0 };
        for nth in 0..BURST {
            let Some(peer) = self.peers.get(&asked.tag) else {
                return;
            };
            told.delta = peer.log.delta(holds, room);
            if nth > 0 && told.delta.is_none() {
                return;
            }
            holds = told.delta.as_ref().map_or(holds, |delta| delta.upto);
            let told = told.clone();
            self.talk(to, now, |talk| talk.told = Some(Box::new(told)));
        }
    }
}

/// A greeting's part in an exchange.
#[derive(Debug)]
pub(super) struct About {
    /// The run that is greeted; all zero: whoever is there.
    pub(super) boot: Boot,
    pub(super) proof: Option<Cookie>,
    pub(super) asks: bool,
    pub(super) key: Key,
}

/// Which key seals a greeting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    /// The one that the other used.
    Same(KeyId),
    /// One of ours.
    Nth(usize),
}

fn is_near(peer: &Peer) -> bool {
    peer.session.is_some() && peer.liveness == Liveness::Alive && peer.heard.is_some()
}

fn asked_for(peer: &Peer) -> Missing {
    Missing {
        tag: peer.tag,
        boot: peer.boot,
        holds: peer.log.version(),
    }
}

/// `first`, then as many of the others as may stand in a datagram.
fn missing_first(others: &[Missing], first: Option<Missing>) -> Vec<Missing> {
    first
        .into_iter()
        .chain(others.iter().copied())
        .take(MAX_MISSING)
        .collect()
}
