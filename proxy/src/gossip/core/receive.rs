//! What comes in. In: a datagram, from anybody. Out: what it changes, or why it was refused. Bytes that no member sealed cost a
//! look at the key and leave nothing behind; a member that is not known to run now is greeted, and nothing more.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::gossip::Liveness;
use crate::gossip::counters::Refused;
use crate::gossip::peer::{ECHO_WITHIN, News, Peer, Session, TOLD_WITHIN};
use crate::gossip::seal::{Boot, BootKey, Header};
use crate::gossip::wire::{Body, Greeting, Member, Packet, Tag, Talk, Told, Who};

use super::send::{About, Key};
use super::{Core, MAX_PEERS};

/// Who sent a datagram, and when.
#[derive(Clone, Copy)]
struct From {
    at: SocketAddr,
    header: Header,
    now: Instant,
    awake: Duration,
}

impl Core {
    /// Takes in what came from `from`. IPv4 addresses must come as such, not mapped into IPv6.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        self.counters.received(datagram.len());
        if self.left {
            return;
        }
        if let Err(why) = self.receive(from, datagram, now) {
            self.counters.refuse(why);
        }
    }

    fn receive(&mut self, at: SocketAddr, datagram: &[u8], now: Instant) -> Result<(), Refused> {
        let header = Header::read(datagram)?;
        if header.boot == self.boot {
            self.candidates.is_itself(at, now);
            return Err(Refused::Itself);
        }
        let tag = self.boots.get(&header.boot).copied();
        let key = self.opening(tag, header)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend(datagram);
        let packet = key.open(header, &mut scratch).and_then(|plain| {
            if let Some(session) = self.session(tag).filter(|_| header.lane > 0) {
                session.key = Some(key);
                if !session.take(header.lane, header.counter) {
                    return Err(Refused::Replayed);
                }
            }
            Packet::read(plain)
        });
        self.scratch = scratch;
        let from = From {
            at,
            header,
            now,
            awake: self.look(now),
        };
        let packet = packet?;
        match packet.body {
            Body::Greeting(greeting) if header.lane == 0 => self.greeted(&from, packet.to, &greeting),
            Body::Talk(talk) if header.lane > 0 => self.talked(&from, packet.to, tag, talk),
            _ => Err(Refused::Malformed),
        }
    }

    fn session(&mut self, tag: Option<Tag>) -> Option<&mut Session> {
        self.peers.get_mut(&tag?)?.session.as_mut()
    }

    /// The sender's key: at hand, if it is the one that it used last.
    fn opening(&mut self, tag: Option<Tag>, header: Header) -> Result<BootKey, Refused> {
        let known = self.session(tag).and_then(|session| session.key.clone());
        match known.filter(|key| key.id == header.key) {
            Some(key) => Ok(key),
            None => self.keys.of_boot(header.key, header.boot).ok_or(Refused::NoKey),
        }
    }

    fn greeted(&mut self, from: &From, to: Boot, greeting: &Greeting) -> Result<(), Refused> {
        if to != Boot::default() && to != self.boot {
            return Err(Refused::WrongRecipient);
        }
        if greeting.who == self.me {
            return Err(Refused::Itself);
        }
        let boot = from.header.boot;
        if self.former.has(boot) {
            return Err(Refused::Former);
        }
        let proven = greeting
            .proof
            .is_some_and(|proof| self.prover.proves(proof, from.at, from.now));
        let mut met = None;
        if proven {
            met = self.meet(from, greeting)?;
        } else if !greeting.asks {
            return Err(Refused::Unproven);
        }
        if greeting.asks {
            if !self.limit.take(from.now) {
                return Err(Refused::Limited);
            }
            let about = About {
                boot,
                proof: Some(greeting.cookie),
                asks: !self.boots.contains_key(&boot) || !proven,
                key: Key::Same(from.header.key),
            };
            self.greet(from.at, &about, from.now);
        }
        if let Some(tag) = met {
            self.welcome(tag, from.now);
        }
        Ok(())
    }

    /// It runs, and it is there. Its tag, if there was no session with it.
    fn meet(&mut self, from: &From, greeting: &Greeting) -> Result<Option<Tag>, Refused> {
        let boot = from.header.boot;
        let tag = greeting.who.tag();
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&tag) {
            return Err(Refused::Full);
        }
        self.replace_others(from.at, tag);
        // It has shown that it runs now. Others' word would not do: it may be of a run that is over, and come after that of this one,
        // which would never be listened to again then.
        if let Some(before) = self.peers.get(&tag).filter(|peer| peer.boot != boot) {
            self.former.add(before.boot);
        }
        let ip = greeting.advertise.unwrap_or_else(|| from.at.ip());
        let peer = self.know(&greeting.who, boot, (from.at, ip), (from.now, from.awake));
        peer.at = from.at;
        let moved = std::mem::replace(&mut peer.ip, ip) != ip;
        let met = match peer.session.as_mut() {
            Some(session) => {
                // no sign of life: while its proof holds, it may come again and again
                session.raise(greeting.lane, greeting.counter);
                None
            }
            None => Some(tag),
        };
        if met.is_some() {
            peer.hear(from.awake);
            let mut session = Session::new(self.next_lane, greeting.lane, greeting.counter, from.now);
            session.opens.push(from.header.key);
            self.next_lane += 1;
            self.boots.insert(boot, tag);
            if let Some(peer) = self.peers.get_mut(&tag) {
                peer.session = Some(session);
            }
        }
        if moved {
            self.tell(News::Changed);
        }
        self.judge_one(tag, from.awake);
        Ok(met)
    }

    /// The peer, as this run of it. `sign`: when it was heard, which is all that is known of somebody new.
    fn know(
        &mut self,
        who: &Who,
        boot: Boot,
        (at, ip): (SocketAddr, IpAddr),
        sign: (Instant, Duration),
    ) -> &mut Peer {
        let fresh = || Peer::new(who.clone(), at, ip, boot, sign);
        let peer = self.peers.entry(who.tag()).or_insert_with(fresh);
        if peer.boot != boot {
            self.boots.remove(&peer.boot);
            peer.restart(boot);
        }
        peer
    }

    /// Who was at this address before is there no more.
    fn replace_others(&mut self, at: SocketAddr, tag: Tag) {
        let others = self
            .peers
            .values()
            .filter(|peer| peer.at == at && peer.tag != tag && peer.session.is_some());
        let others: Vec<_> = others.map(|peer| peer.tag).collect();
        for other in others {
            self.gone(other);
        }
    }

    /// It is not coming back as this run.
    fn gone(&mut self, tag: Tag) {
        let Some(peer) = self.peers.get_mut(&tag) else {
            return;
        };
        self.boots.remove(&peer.boot);
        self.former.add(peer.boot);
        peer.left = true;
        peer.session = None;
        self.judge_one(tag, self.awake.read());
    }

    fn judge_one(&mut self, tag: Tag, awake: Duration) {
        let pace = self.pace();
        let Some(peer) = self.peers.get_mut(&tag) else {
            return;
        };
        let liveness = peer.judge(awake, pace);
        if liveness != peer.liveness {
            peer.liveness = liveness;
            self.tell(News::Changed);
        }
    }

    fn talked(&mut self, from: &From, to: Boot, tag: Option<Tag>, talk: Talk) -> Result<(), Refused> {
        if self.former.has(from.header.boot) {
            return Err(Refused::Former);
        }
        let tag = match tag {
            Some(tag) if to == self.boot => tag,
            // it knows a former run of ours, or we have forgotten it
            known => {
                self.ask(from)?;
                return Err(known.map_or(Refused::Stranger, |_| Refused::WrongRecipient));
            }
        };
        let clock = self.clock(from.now);
        let within = (ECHO_WITHIN * self.pace().factor()).as_millis() as u64;
        let Some(peer) = self.peers.get_mut(&tag) else {
            return Err(Refused::Stranger);
        };
        let moved = peer.at != from.at;
        let Some(session) = peer.session.as_mut() else {
            return Err(Refused::Stranger);
        };
        // It may have been on its way for so long.
        let lag = Duration::from_millis(clock.saturating_sub(talk.echo));
        let newest = talk.at > session.their_at;
        session.their_at = session.their_at.max(talk.at);
        let heard_us = match talk.echo {
            0 => from.now.saturating_duration_since(session.since) <= ECHO_WITHIN,
            echo => echo <= clock && clock - echo <= within,
        };
        if !heard_us {
            if talk.answer {
                self.talk(tag, from.now, |_| ());
            }
            return Err(Refused::Stale);
        }
        if newest {
            session.opens.clone_from(&talk.opens);
        }
        peer.hear(from.awake);
        if talk.bye {
            self.gone(tag);
            return Ok(());
        }
        self.judge_one(tag, from.awake);
        if moved {
            self.ask(from)?;
        }
        self.heed(from, tag, talk, (newest, lag));
        Ok(())
    }

    /// Does what a talk is about.
    fn heed(&mut self, from: &From, tag: Tag, talk: Talk, (newest, lag): (bool, Duration)) {
        let From { now, awake, .. } = *from;
        if let Some(peer) = self.peers.get_mut(&tag) {
            let news = peer.learn(talk.version, talk.delta, now);
            self.tell(news);
        }
        if let Some(told) = talk.told.filter(|_| lag <= TOLD_WITHIN) {
            self.told(from, *told, lag);
        }
        self.hear_of(&talk.members, now);
        for missing in talk.missing {
            self.tell_of(missing, tag, now, awake);
        }
        if newest {
            self.acknowledged(tag, talk.holds, now);
        }
        if talk.answer {
            self.talk(tag, now, |_| ());
        }
    }

    /// Somebody is there who does not know us, or whom we do not know: who is it?
    fn ask(&mut self, from: &From) -> Result<(), Refused> {
        if !self.limit.take(from.now) {
            return Err(Refused::Limited);
        }
        let about = About {
            boot: from.header.boot,
            proof: None,
            asks: true,
            key: Key::Same(from.header.key),
        };
        self.greet(from.at, &about, from.now);
        Ok(())
    }

    fn hear_of(&mut self, members: &[Member], now: Instant) {
        for member in members.iter().filter(|member| member.tag != self.tag) {
            let known = self.peers.get(&member.tag);
            let near = known.is_some_and(|peer| peer.session.is_some() && peer.liveness == Liveness::Alive);
            if !near {
                self.candidates.hear(member.at, member.tag, now);
            }
        }
    }

    /// Word of somebody whom we do not hear ourselves. `lag`: since we said what the teller had last heard of us.
    fn told(&mut self, from: &From, told: Told, lag: Duration) {
        let tag = told.who.tag();
        if told.who == self.me || self.former.has(told.boot) {
            return;
        }
        // The age is as it was when it was told. Who hears us does so once a round; anything beyond it was on its way.
        let late = lag.saturating_sub(self.pace().missed_after());
        let age = Duration::from_millis(u64::from(told.age)) + late;
        let sign = from.awake.saturating_sub(age);
        match self.peers.get(&tag) {
            // we hear another run of it, ourselves; or somebody has heard another since
            Some(peer)
                if peer.boot != told.boot
                    && (peer.silent(from.awake) <= self.pace().missed_after() || sign <= peer.sign) =>
            {
                return;
            }
            None if self.peers.len() >= MAX_PEERS => return,
            Some(_) => {}
            None => self.candidates.hear(told.at, tag, from.now),
        }
        let confirmed = from.now.checked_sub(age).unwrap_or(from.now);
        let peer = self.know(&told.who, told.boot, (told.at, told.ip), (confirmed, sign));
        let mut moved = false;
        if peer.session.is_none() {
            peer.at = told.at;
            moved = std::mem::replace(&mut peer.ip, told.ip) != told.ip;
        }
        peer.sign = peer.sign.max(sign);
        let news = peer.learn(told.version, told.delta, confirmed);
        self.tell(if moved { News::Changed } else { news });
        self.judge_one(tag, from.awake);
    }
}
