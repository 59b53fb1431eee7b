//! The reader of gossip. Whatever a member says, sealed as it should be, and whatever a stranger sends: no panic; what is
//! remembered and what is sent is bounded; nobody is taken for somebody else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bolero::{TypeGenerator, check};
use switchyard_proxy::gossip::{Core, CoreConfig, Keyring, MAX_DATAGRAM, PeerId, Refused, Said};
use switchyard_snapshot::{GossipKey, PoolId, Private};

/// Datagrams that one datagram may cause at most.
const MOST_ANSWERS: usize = 64;
const MS: Duration = Duration::from_millis(1);

/// What a stranger on the way does to a datagram.
#[derive(Clone, Debug, TypeGenerator)]
enum Tampering {
    Invent(Vec<u8>),
    Cut(u16),
    Flip(u16),
    Append(u8),
    Repeat,
}

/// Two proxies that know each other, and everything that they have said.
struct Two {
    cores: [Core; 2],
    said: Vec<(SocketAddr, usize, Vec<u8>)>,
    now: Instant,
}

fn main() {
    // A fuzzing engine takes the first over and does not come back.
    check!().for_each(a_member);
    check!()
        .with_type::<Vec<(u16, Tampering)>>()
        .for_each(|tampered| a_stranger(tampered));
}

/// The first byte chooses between a greeting (0) and what members say (1); the rest is its content.
fn a_member(bytes: &[u8]) {
    let mut two = Two::acquainted();
    let (one, lane) = (
        run(two.last(0)),
        two.last(0)[25..29].try_into().unwrap_or_default(),
    );
    let other = run(two.last(1));
    let lane = if bytes.first() == Some(&0) {
        0
    } else {
        u32::from_be_bytes(lane)
    };
    let mut plain = other.to_vec();
    plain.extend(bytes);
    for counter in 1_000..1_002 {
        let Some(datagram) = ring().seal(one, lane, counter, &plain) else {
            return;
        };
        two.hand(address(0), 1, &datagram);
        assert!(two.known(1) <= 2, "one datagram tells of one more at most");
    }
    for _ in 0..50 {
        two.pass(100 * MS);
    }
}

fn a_stranger(tampered: &[(u16, Tampering)]) {
    let mut two = Two::acquainted();
    let said = std::mem::take(&mut two.said);
    for (which, tampering) in tampered.iter().take(64) {
        let (from, to, bytes) = &said[usize::from(*which) % said.len()];
        let mut bytes = bytes.clone();
        match tampering {
            Tampering::Invent(invented) => bytes.clone_from(invented),
            Tampering::Cut(at) => bytes.truncate(usize::from(*at) % bytes.len()),
            Tampering::Flip(bit) => {
                let bit = usize::from(*bit) % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Tampering::Append(byte) => bytes.push(*byte),
            Tampering::Repeat => {}
        }
        let before = two.refused(*to);
        two.hand(*from, *to, &bytes);
        let greeting = bytes.get(25..29) == Some(&[0; 4]);
        if greeting && matches!(tampering, Tampering::Repeat) {
            // proven anew, or not: it is about somebody who is known
            continue;
        }
        assert_eq!(two.refused(*to), before + 1, "{tampering:?}");
    }
    assert_eq!((two.known(0), two.known(1)), (1, 1));
    two.pass(300 * MS);
    assert_eq!((two.known(0), two.known(1)), (1, 1));
}

impl Two {
    fn acquainted() -> Self {
        let now = Instant::now();
        let cores = [0, 1].map(|node| {
            let config = CoreConfig {
                id: id(node),
                cluster: String::new(),
                advertise: None,
                keys: ring(),
                seeds: vec![address(0)],
            };
            let mut core = Core::new(config, [node as u8; 32], now);
            core.say(Said::default(), now);
            core
        });
        let mut two = Self {
            cores,
            said: Vec::new(),
            now,
        };
        for _ in 0..40 {
            two.pass(10 * MS);
        }
        assert_eq!((two.known(0), two.known(1)), (1, 1), "they know each other");
        two
    }

    /// Everything that is sent arrives, until nobody has anything to say.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        for core in &mut self.cores {
            core.tick(self.now);
        }
        for _ in 0..20 {
            let mut sent = Vec::new();
            for (node, core) in self.cores.iter_mut().enumerate() {
                sent.extend(
                    core.take_datagrams()
                        .into_iter()
                        .map(|(to, bytes)| (node, to, bytes)),
                );
            }
            if sent.is_empty() {
                return;
            }
            assert!(sent.len() <= 2 * MOST_ANSWERS, "{} at a time", sent.len());
            for (node, to, bytes) in sent {
                assert!(bytes.len() <= MAX_DATAGRAM);
                let Some(target) = [0, 1].into_iter().find(|&other| address(other) == to) else {
                    continue;
                };
                self.cores[target].handle_datagram(address(node), &bytes, self.now);
                self.said.push((address(node), target, bytes));
            }
        }
        unreachable!("they do not stop");
    }

    fn hand(&mut self, from: SocketAddr, to: usize, bytes: &[u8]) {
        let core = &mut self.cores[to];
        let before = core.take_datagrams();
        core.handle_datagram(from, bytes, self.now);
        let answers = core.take_datagrams();
        assert!(answers.len() <= MOST_ANSWERS, "{}", answers.len());
        assert!(answers.iter().all(|(_, bytes)| bytes.len() <= MAX_DATAGRAM));
        drop(before);
        assert!(core.next_wake().is_some_and(|wake| wake + MS > self.now));
    }

    /// What a proxy said last in a session.
    fn last(&self, node: usize) -> &[u8] {
        let said = self
            .said
            .iter()
            .rev()
            .find(|(from, _, bytes)| *from == address(node) && bytes[25..29] != [0; 4]);
        said.map_or(&[], |(_, _, bytes)| bytes)
    }

    /// How many others a proxy knows.
    fn known(&mut self, node: usize) -> usize {
        self.cores[node].neighbours().peers.len()
    }

    fn refused(&self, node: usize) -> u64 {
        let counters = self.cores[node].counters();
        Refused::ALL.into_iter().map(|why| counters.refused(why)).sum()
    }
}

fn ring() -> Keyring {
    let key = GossipKey {
        key: Private::new("5a".repeat(32)),
    };
    Keyring::new(&[key]).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Which run of a process a datagram says that it is of.
fn run(datagram: &[u8]) -> [u8; 16] {
    datagram[9..25].try_into().unwrap_or_default()
}

fn address(node: usize) -> SocketAddr {
    ([10, 0, 0, node as u8 + 1], 17_946).into()
}

fn id(node: usize) -> PeerId {
    PeerId {
        pool: PoolId {
            namespace: "edge".into(),
            name: "dmz-a".into(),
        },
        name: format!("dmz-a-{node}"),
    }
}
