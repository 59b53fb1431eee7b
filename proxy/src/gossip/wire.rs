//! What stands in a datagram. In: the plaintext of an opened one. Out: a [`Packet`] within bounds; and the way back.
//!
//! A [`Greeting`] proves that its sender runs now, and says who it is; it needs no session and makes none before it is proven.
//! A [`Talk`] belongs to a session: it says that its sender lives, which version of itself is the newest, what it holds of
//! the other, and carries whatever there is to tell.

use std::net::{IpAddr, SocketAddr};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use switchyard_snapshot::ChainId;

use super::counters::Refused;
use super::seal::{Boot, KeyId, MAX_KEYS, MAX_PLAINTEXT};
use super::{ChainSaid, Load, PeerId};

/// The most that a datagram says of others.
pub(crate) const MAX_MEMBERS: usize = 24;
/// The most peers that are asked for in one datagram.
pub(crate) const MAX_MISSING: usize = 16;
/// Longest name of a cluster, a namespace, a pool or a proxy, in bytes (RFC 1123 §2.1: names of hosts are shorter).
pub(crate) const MAX_NAME: usize = 253;
/// Tiers of a chain that are told: a chain has at most 64 backends.
pub(crate) const MAX_TIERS: usize = 64;

/// Bytes of entries that a datagram has room for, whatever else must stand in it.
pub(crate) const ROOM: usize = MAX_PLAINTEXT - 160;

/// Who somebody is, among all that gossip with each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Who {
    /// The cluster's name; may be empty.
    pub(crate) cluster: String,
    pub(crate) id: PeerId,
}

impl Who {
    /// A short name for it. Two that have the same by chance (one in 2⁶⁴ per pair) would be taken for one.
    pub(crate) fn tag(&self) -> Tag {
        let mut text = Vec::with_capacity(128);
        for part in [
            &self.cluster,
            &self.id.pool.namespace,
            &self.id.pool.name,
            &self.id.name,
        ] {
            text.extend(part.as_bytes());
            text.push(0);
        }
        let digest = digest(&SHA256, &text);
        Tag(digest
            .as_ref()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_be_bytes))
    }

    fn fits(&self) -> bool {
        let names = [&self.id.pool.namespace, &self.id.pool.name, &self.id.name];
        (self.cluster.is_empty() || name_fits(&self.cluster)) && names.into_iter().all(|name| name_fits(name))
    }
}

/// Whether others would read such a name.
pub(crate) fn can_be_told(cluster: &str, id: &PeerId) -> bool {
    let who = Who {
        cluster: cluster.to_owned(),
        id: id.clone(),
    };
    who.fits()
}

/// Short for [`Who`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Tag(pub(crate) u64);

/// The plaintext of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packet {
    /// The run of the recipient that it is meant for; all zero: whoever reads it.
    pub(crate) to: Boot,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    Greeting(Greeting),
    Talk(Talk),
}

/// What is said once, to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// "Greet me back, with what I shall repeat."
    pub(crate) asks: bool,
    /// Repeats what the recipient gave: whoever knows it runs now, and at that address.
    pub(crate) proof: Option<Cookie>,
    /// What the recipient has to repeat.
    pub(crate) cookie: Cookie,
    /// The lane of the sender's session with the recipient, or the lowest that it may have one day.
    pub(crate) lane: u32,
    /// The lowest counter that will be used in it.
    pub(crate) counter: u64,
    pub(crate) who: Who,
    /// Where clients reach it; none: where its datagrams come from.
    pub(crate) advertise: Option<IpAddr>,
}

/// Proves a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cookie {
    /// When it was given, in milliseconds of the giver's own clock.
    pub(crate) at: u64,
    /// Only the giver can make it.
    pub(crate) seal: [u8; 16],
}

/// What those who know each other say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Talk {
    /// Milliseconds of the sender's own clock.
    pub(crate) at: u64,
    /// The newest `at` it has of the recipient.
    pub(crate) echo: u64,
    /// Of what the sender says of itself, the newest.
    pub(crate) version: u64,
    /// Of what the recipient says of itself, what is held here.
    pub(crate) holds: u64,
    /// "Answer at once."
    pub(crate) answer: bool,
    /// "I am going; do not wait for me."
    pub(crate) bye: bool,
    /// Keys that the sender opens.
    pub(crate) opens: Vec<KeyId>,
    /// News of the sender.
    pub(crate) delta: Option<Delta>,
    /// Others that the sender talks to.
    pub(crate) members: Vec<Member>,
    /// Peers that the sender has not heard for a while: "have you?"
    pub(crate) missing: Vec<Missing>,
    /// A peer that the recipient asked for, and that the sender hears.
    pub(crate) told: Option<Box<Told>>,
}

/// Where somebody gossips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) tag: Tag,
    pub(crate) at: SocketAddr,
}

/// Somebody who is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missing {
    pub(crate) tag: Tag,
    /// The run that is known here; all zero: none.
    pub(crate) boot: Boot,
    /// What is held of it.
    pub(crate) holds: u64,
}

/// Word of a third.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) who: Who,
    pub(crate) boot: Boot,
    /// Where it gossips.
    pub(crate) at: SocketAddr,
    /// Where clients reach it.
    pub(crate) ip: IpAddr,
    /// When it was last heard directly, in milliseconds ago.
    pub(crate) age: u32,
    /// The newest version that it has claimed.
    pub(crate) version: u64,
    pub(crate) delta: Option<Delta>,
}

/// All changes after one version, up to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta {
    /// 0: from the beginning, whatever was held is void.
    pub(crate) base: u64,
    pub(crate) upto: u64,
    /// By rising version.
    pub(crate) entries: Vec<Entry>,
}

/// One part of what a proxy says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it last changed.
    pub(crate) version: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Head { leaving: bool, load: Load },
    Chain(ChainId, ChainSaid),
    Gone(ChainId),
}

impl Packet {
    /// Reads a plaintext.
    pub(crate) fn read(plain: &[u8]) -> Result<Self, Refused> {
        let packet: Self = match postcard::take_from_bytes(plain) {
            Ok((packet, [])) => packet,
            _ => return Err(Refused::Malformed),
        };
        if packet.fits() {
            Ok(packet)
        } else {
            Err(Refused::Malformed)
        }
    }

    /// None: it is longer than a datagram.
    pub(crate) fn write(&self) -> Option<Vec<u8>> {
        let plain = postcard::to_extend(self, Vec::with_capacity(256)).ok()?;
        (plain.len() <= MAX_PLAINTEXT).then_some(plain)
    }

    fn fits(&self) -> bool {
        match &self.body {
            Body::Greeting(greeting) => greeting.who.fits(),
            Body::Talk(talk) => {
                talk.opens.len() <= MAX_KEYS
                    && talk.members.len() <= MAX_MEMBERS
                    && talk.missing.len() <= MAX_MISSING
                    && talk.delta.as_ref().is_none_or(Delta::fits)
                    && talk
                        .told
                        .as_ref()
                        .is_none_or(|told| told.who.fits() && told.delta.as_ref().is_none_or(Delta::fits))
            }
        }
    }
}

impl Delta {
    /// Versions rise, within what is said; nothing is longer than what there can be.
    fn fits(&self) -> bool {
        let mut last = self.base;
        let rises = self.entries.iter().all(|entry| {
            let rises = entry.version > last;
            last = entry.version;
            rises && entry.fits()
        });
        rises && last <= self.upto && self.upto > self.base
    }
}

impl Entry {
    fn fits(&self) -> bool {
        match &self.what {
            What::Head { .. } => true,
            What::Gone(id) => chain_fits(id),
            What::Chain(id, said) => chain_fits(id) && said.tiers.len() <= MAX_TIERS,
        }
    }

    /// Its length in a datagram, in bytes.
    pub(crate) fn length(&self) -> usize {
        postcard::to_extend(self, Vec::with_capacity(64)).map_or(usize::MAX, |bytes| bytes.len())
    }
}

/// Whether a chain can be told of at all.
pub(crate) fn chain_fits(id: &ChainId) -> bool {
    name_fits(&id.namespace) && name_fits(&id.name)
}

/// Names are shown to people: nothing in them may do anything to a terminal.
fn name_fits(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switchyard_snapshot::PoolId;

    use super::*;
    use crate::gossip::TierSaid;

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9.-]{0,20}"
    }

    fn who() -> impl Strategy<Value = Who> {
        (name(), name(), name(), name()).prop_map(|(cluster, namespace, pool, name)| Who {
            cluster,
            id: PeerId {
                pool: PoolId {
                    namespace,
                    name: pool,
                },
                name,
            },
        })
    }

    fn what() -> impl Strategy<Value = What> {
        let id = || (name(), name()).prop_map(|(namespace, name)| ChainId { namespace, name });
        let tier = (0_u32..64, any::<u32>(), any::<bool>()).prop_map(|(tier, serving, pending)| TierSaid {
            tier,
            serving,
            proven: serving / 2,
            pending,
        });
        let chain = (any::<u64>(), any::<bool>(), prop::collection::vec(tier, 0..6)).prop_map(
            |(epoch, flag, tiers)| ChainSaid {
                epoch,
                tier: 1,
                tiers,
                suspended: flag,
                detours: flag,
                reaches: !flag,
            },
        );
        let head = (any::<bool>(), any::<u32>()).prop_map(|(leaving, sessions)| What::Head {
            leaving,
            load: Load {
                sessions,
                room: 7,
                guest_room: 3,
            },
        });
        prop_oneof![
            head,
            (id(), chain).prop_map(|(id, chain)| What::Chain(id, chain)),
            id().prop_map(What::Gone)
        ]
    }

    fn delta() -> impl Strategy<Value = Option<Delta>> {
        let entries = prop::collection::vec(what(), 0..4);
        prop::option::of((0_u64..1_000, entries).prop_map(|(base, what)| {
            Delta {
                base,
                upto: base + 10,
                entries: (base + 1..)
                    .zip(what)
                    .map(|(version, what)| Entry { version, what })
                    .collect(),
            }
        }))
    }

    fn talk() -> impl Strategy<Value = Talk> {
        let told = prop::option::of((who(), delta(), any::<u32>())).prop_map(|told| {
            told.map(|(who, delta, age)| {
                Box::new(Told {
                    who,
                    boot: Boot([3; 16]),
                    at: ([192, 0, 2, 1], 17_946).into(),
                    ip: [192, 0, 2, 1].into(),
                    age,
                    version: 9,
                    delta,
                })
            })
        });
        let members = prop::collection::vec((any::<u64>(), any::<u16>()), 0..4);
        (any::<(u64, u64, u64, u64)>(), delta(), told, members).prop_map(
            |((at, echo, version, holds), delta, told, members)| {
                let members = members.into_iter().map(|(tag, port)| Member {
                    tag: Tag(tag),
                    at: ([192, 0, 2, 9], port).into(),
                });
                Talk {
                    at,
                    echo,
                    version,
                    holds,
                    answer: at % 2 == 0,
                    bye: echo % 2 == 0,
                    opens: vec![KeyId::default()],
                    delta,
                    members: members.collect(),
                    missing: vec![Missing {
                        tag: Tag(at),
                        boot: Boot([1; 16]),
                        holds,
                    }],
                    told,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_shorter_or_longer(talk in talk(), who in who(), lane: u32, counter: u64) {
            let cookie = Cookie { at: counter, seal: [6; 16] };
            let greeting = Greeting {
                asks: lane % 2 == 0,
                proof: (lane % 3 == 0).then_some(cookie),
                cookie,
                lane,
                counter,
                who,
                advertise: None,
            };
            for body in [Body::Talk(talk.clone()), Body::Greeting(greeting.clone())] {
                let packet = Packet { to: Boot([2; 16]), body };
                let mut plain = packet.write().unwrap();
                prop_assert_eq!(Packet::read(&plain), Ok(packet));
                for length in 0..plain.len() {
                    prop_assert_eq!(Packet::read(&plain[..length]), Err(Refused::Malformed));
                }
                plain.push(0);
                prop_assert_eq!(Packet::read(&plain), Err(Refused::Malformed));
            }
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let read = |talk: Talk| {
            let packet = Packet {
                to: Boot::default(),
                body: Body::Talk(talk),
            };
            Packet::read(&packet.write().unwrap()).is_ok()
        };
        let delta = |base, upto, versions: &[u64]| {
            let entry = |&version: &u64| Entry {
                version,
                what: What::Head {
                    leaving: false,
                    load: Load::default(),
                },
            };
            Talk {
                delta: Some(Delta {
                    base,
                    upto,
                    entries: versions.iter().map(entry).collect(),
                }),
                ..Talk::default()
            }
        };
        assert!(read(Talk::default()) && read(delta(0, 3, &[1, 3])) && read(delta(2, 3, &[])));
        for (base, upto, versions) in [
            (0, 3, &[3, 1][..]),
            (2, 3, &[2]),
            (0, 3, &[4]),
            (3, 3, &[]),
            (4, 3, &[]),
        ] {
            assert!(!read(delta(base, upto, versions)), "{base} {upto} {versions:?}");
        }
        let gone = |name: &str| Talk {
            delta: Some(Delta {
                base: 0,
                upto: 1,
                entries: vec![Entry {
                    version: 1,
                    what: What::Gone(ChainId {
                        namespace: "edge".into(),
                        name: name.into(),
                    }),
                }],
            }),
            ..Talk::default()
        };
        assert!(read(gone("msuite-1")));
        for name in ["", "a b", "\u{1b}[2J", "caf\u{e9}", &"x".repeat(MAX_NAME + 1)] {
            assert!(!read(gone(name)), "{name:?}");
        }
        let member = Member {
            tag: Tag(1),
            at: ([192, 0, 2, 1], 1).into(),
        };
        let members = |count| Talk {
            members: vec![member; count],
            ..Talk::default()
        };
        assert!(read(members(MAX_MEMBERS)) && !read(members(MAX_MEMBERS + 1)));
    }
}
