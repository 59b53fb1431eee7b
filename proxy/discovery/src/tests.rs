//! Both pure halves against each other, over a network that loses connections at any moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use switchyard_snapshot::{Chain, ChainId, Resource, ResourceId, Snapshot};

use crate::Hash;
use crate::client::{Mirror, NotRunning};
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::release::Release;
use crate::server::What;
use crate::server::wire::{Publication, Subscriber, answer, response};

fn example() -> Snapshot {
    serde_json::from_str(include_str!("../../snapshot/testdata/snapshot.json")).unwrap()
}

fn id(index: u8) -> ChainId {
    ChainId {
        namespace: "edge".into(),
        name: format!("chain-{index}"),
    }
}

/// What stands in `generation` of a chain decides what becomes of it at the proxy.
const REFUSED: i64 = 3;
/// A field that the proxy's release does not know.
const NOVEL: i64 = 4;

fn chain(index: u8, generation: i64) -> Chain {
    Chain {
        id: id(index),
        generation,
        hostnames: vec![format!("{index}.example")],
        ..example().chains.remove(0)
    }
}

/// Chains by number, with their content.
type Wanted = BTreeMap<u8, i64>;

fn snapshot(site: u8, wanted: &Wanted) -> Snapshot {
    let mut snapshot = example();
    snapshot.pool.site = format!("site-{site}");
    snapshot.chains = wanted
        .iter()
        .map(|(&index, &generation)| chain(index, generation))
        .collect();
    snapshot
}

/// A proxy that subscribes to an operator.
struct World {
    published: Option<Publication>,
    snapshot: Snapshot,
    mirror: Mirror,
    link: Option<Link>,
    /// What the operator has been told since the proxy connected.
    acked: BTreeMap<ResourceId, Hash>,
    refused: BTreeMap<ResourceId, (Hash, String)>,
    sent: usize,
}

struct Link {
    subscriber: Subscriber,
    down: VecDeque<DeltaDiscoveryResponse>,
    up: VecDeque<DeltaDiscoveryRequest>,
}

impl World {
    fn new() -> Self {
        Self {
            published: None,
            snapshot: example(),
            mirror: Mirror::new(),
            link: None,
            acked: BTreeMap::new(),
            refused: BTreeMap::new(),
            sent: 0,
        }
    }

    fn publish(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot.clone();
        if let Some(next) = Publication::after(self.published.as_ref(), snapshot).unwrap() {
            self.published = Some(next);
        }
    }

    fn connect(&mut self) {
        self.acked.clear();
        self.refused.clear();
        self.link = Some(Link {
            subscriber: Subscriber::new(self.mirror.versions()),
            down: VecDeque::new(),
            up: VecDeque::new(),
        });
    }

    /// The operator's turn: what is due goes out.
    fn send(&mut self) -> bool {
        let (Some(link), Some(publication)) = (&mut self.link, &self.published) else {
            return false;
        };
        let Some(delta) = link.subscriber.next(publication, Instant::now()) else {
            return false;
        };
        self.sent += delta.changed.len();
        let mut response = response(delta, Release::ours());
        for resource in &mut response.resources {
            let any = resource.resource.as_mut().unwrap();
            let mut body: serde_json::Value = serde_json::from_slice(&any.value).unwrap();
            if body["generation"] == NOVEL {
                body["novel"] = true.into();
                any.value = serde_json::to_vec(&body).unwrap().into();
            }
        }
        link.down.push_back(response);
        true
    }

    /// The proxy's turn: a response is applied and answered.
    fn take(&mut self) -> bool {
        let Some((link, response)) = self.link.as_mut().and_then(|link| {
            let response = link.down.pop_front()?;
            Some((link, response))
        }) else {
            return false;
        };
        let nonce = response.nonce.clone();
        self.mirror.take(response, Release::ours()).unwrap();
        link.up
            .push_back(self.mirror.answer(&nonce, &refusals(&self.mirror)));
        true
    }

    /// The operator hears an answer.
    fn hear(&mut self) -> bool {
        let Some((link, request)) = self.link.as_mut().and_then(|link| {
            let request = link.up.pop_front()?;
            Some((link, request))
        }) else {
            return false;
        };
        for what in link.subscriber.answer(answer(request).unwrap()) {
            match what {
                What::Acked { versions, removed } => {
                    for id in versions.keys().chain(&removed) {
                        self.refused.remove(id);
                    }
                    self.acked.extend(versions);
                    self.acked.retain(|id, _| !removed.contains(id));
                }
                What::Refused {
                    resource,
                    version,
                    reason,
                } => {
                    self.acked.remove(&resource);
                    self.refused.insert(resource, (version, reason));
                }
                other => panic!("{other:?}"),
            }
        }
        true
    }

    fn settle(&mut self) {
        if self.link.is_none() {
            self.connect();
        }
        while self.send() | self.take() | self.hear() {}
    }

    fn generations(&self) -> Wanted {
        let chains = &self.snapshot.chains;
        let number = |chain: &Chain| chain.id.name.trim_start_matches("chain-").parse().unwrap();
        chains
            .iter()
            .map(|chain| (number(chain), chain.generation))
            .collect()
    }
}

/// What a proxy with such a mirror cannot run.
fn refusals(mirror: &Mirror) -> NotRunning {
    let chains = mirror
        .snapshot()
        .map(|snapshot| snapshot.chains)
        .unwrap_or_default();
    chains
        .into_iter()
        .filter(|chain| chain.generation == REFUSED)
        .map(|chain| (ResourceId::Chain(chain.id), "as the test wants it".to_owned()))
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, Wanted),
    Send,
    Take,
    Hear,
    /// The connection breaks and comes back.
    Reconnect,
    /// The connection breaks; the proxy starts again from its last good copy.
    Restart,
    /// The connection breaks; the proxy starts again with nothing.
    Lose,
    /// The connection breaks; another operator takes over, with the same resources.
    Takeover,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wanted = prop::collection::btree_map(0u8..5, 0i64..=NOVEL, 0..5);
    let step = prop_oneof![
        4 => (0u8..2, wanted).prop_map(|(site, wanted)| Step::Publish(site, wanted)),
        4 => Just(Step::Send),
        4 => Just(Step::Take),
        4 => Just(Step::Hear),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
        1 => Just(Step::Lose),
        1 => Just(Step::Takeover),
    ];
    prop::collection::vec(step, 0..40)
}

fn perform(world: &mut World, step: Step) {
    match step {
        Step::Publish(site, wanted) => world.publish(snapshot(site, &wanted)),
        Step::Send => {
            world.send();
        }
        Step::Take => {
            world.take();
        }
        Step::Hear => {
            world.hear();
        }
        Step::Reconnect => world.connect(),
        Step::Restart => {
            let bytes = world.mirror.copy().to_bytes().unwrap();
            let copy = crate::client::Copy::from_bytes(&bytes).unwrap();
            world.mirror = Mirror::restore(copy).unwrap_or_default();
            world.connect();
        }
        Step::Lose => {
            world.mirror = Mirror::new();
            world.connect();
        }
        Step::Takeover => {
            world.published = Publication::after(None, world.snapshot.clone()).unwrap();
            world.connect();
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_proxy_ends_with_what_is_published_and_the_operator_knows_it(steps in steps()) {
        let mut world = World::new();
        world.publish(snapshot(0, &Wanted::new()));
        world.connect();
        for step in steps {
            perform(&mut world, step);
        }
        world.settle();
        let mut understood = world.snapshot.clone();
        understood.chains.retain(|chain| chain.generation != NOVEL);
        prop_assert_eq!(world.mirror.snapshot(), Some(understood));
        let generations = world.generations();
        let refused: BTreeSet<ResourceId> = generations
            .iter()
            .filter(|(_, generation)| [REFUSED, NOVEL].contains(generation))
            .map(|(&index, _)| ResourceId::Chain(id(index)))
            .collect();
        let versions = world.published.as_ref().unwrap().versions();
        let acked: BTreeMap<_, _> = versions.iter().filter(|(id, _)| !refused.contains(id)).map(|(id, hash)| (id.clone(), *hash)).collect();
        prop_assert_eq!(&world.acked, &acked);
        prop_assert_eq!(world.refused.keys().cloned().collect::<BTreeSet<_>>(), refused);
        for (id, (version, _)) in &world.refused {
            prop_assert_eq!(versions.get(id), Some(version));
        }
        // and then it is quiet
        prop_assert!(!world.send());
    }

    #[test]
    fn what_did_not_change_is_not_sent_again(before in any::<[bool; 5]>(), after in any::<[bool; 5]>(), reconnect: bool) {
        let wanted = |which: [bool; 5]| (0u8..5).map(|index| (index, i64::from(which[usize::from(index)]))).collect::<Wanted>();
        let mut world = World::new();
        world.publish(snapshot(0, &wanted(before)));
        world.settle();
        world.sent = 0;
        world.publish(snapshot(0, &wanted(after)));
        if reconnect {
            world.connect();
        }
        world.settle();
        let different = before.iter().zip(after).filter(|(before, after)| *before != after).count();
        prop_assert_eq!(world.sent, different);
    }
}

#[test]
fn an_equal_snapshot_is_no_publication_and_equal_pieces_are_the_same_ones() {
    let first = Publication::after(None, example()).unwrap().unwrap();
    assert!(Publication::after(Some(&first), example()).unwrap().is_none());
    let mut changed = example();
    changed.chains[0].suspend = !changed.chains[0].suspend;
    let id = ResourceId::Chain(changed.chains[0].id.clone());
    let second = Publication::after(Some(&first), changed).unwrap().unwrap();
    for (other, piece) in second.pieces() {
        assert_eq!(
            Arc::ptr_eq(piece, &first.pieces()[other]),
            *other != id,
            "{other}"
        );
    }
    assert_ne!(first.version(), second.version());
    assert_eq!(second.versions()[&id], second.pieces()[&id].version);
    // another operator that compiles the same says the same
    assert_eq!(
        Publication::after(None, example()).unwrap().unwrap().version(),
        first.version()
    );
    let mut fewer = example();
    fewer.chains.pop();
    assert!(
        Publication::after(Some(&first), fewer).unwrap().is_some(),
        "what is gone is a change"
    );
}

#[test]
fn a_refusal_that_begins_or_ends_without_a_new_version_is_heard() {
    let mut world = World::new();
    world.publish(snapshot(0, &[(0, 0), (1, 0)].into()));
    world.settle();
    let of = |index| ResourceId::Chain(id(index));
    let say = |world: &mut World, not_running: NotRunning| {
        let again = world.mirror.answer("1", &not_running);
        world.link.as_mut().unwrap().up.push_back(again);
        world.settle();
    };
    say(&mut world, [(of(1), "its listener is gone".to_owned())].into());
    assert_eq!(world.refused[&of(1)].1, "its listener is gone");
    assert!(world.acked.contains_key(&of(0)) && !world.acked.contains_key(&of(1)));
    say(&mut world, NotRunning::new());
    assert!(world.refused.is_empty());
    assert!(world.acked.contains_key(&of(1)));
    // an answer to something that was never sent means nothing
    let link = world.link.as_mut().unwrap();
    link.up
        .push_back(world.mirror.answer("7", &[(of(0), "?".to_owned())].into()));
    world.settle();
    assert!(world.refused.is_empty());
}

#[test]
fn a_client_that_names_no_resources_refuses_the_whole_response() {
    let mut world = World::new();
    world.publish(snapshot(0, &[(0, 0)].into()));
    world.settle();
    world.publish(snapshot(0, &[(0, 1)].into()));
    assert!(world.send() && world.take());
    let link = world.link.as_mut().unwrap();
    let answer = link.up.back_mut().unwrap();
    answer.error_detail = Some(crate::proto::discovery::Status {
        code: 3,
        message: "no".to_owned(),
        details: Vec::new(),
    });
    world.hear();
    assert_eq!(world.refused[&ResourceId::Chain(id(0))].1, "no");
    assert!(world.acked.contains_key(&ResourceId::Pool));
}

#[test]
fn one_response_is_under_way_at_a_time_and_the_next_one_is_the_newest() {
    let mut world = World::new();
    world.publish(snapshot(0, &[(0, 0)].into()));
    world.connect();
    assert!(world.send());
    for generation in 1..=2 {
        world.publish(snapshot(0, &[(0, generation)].into()));
        assert!(!world.send(), "the first one is not answered");
    }
    let within = Duration::from_secs(30);
    let overdue = world
        .link
        .as_ref()
        .unwrap()
        .subscriber
        .overdue_at(within)
        .unwrap();
    assert!(overdue > Instant::now() + Duration::from_secs(29));
    assert!(world.take() && world.hear());
    assert_eq!(world.link.as_ref().unwrap().subscriber.overdue_at(within), None);
    assert!(world.send() && world.take() && world.hear());
    assert_eq!(world.mirror.snapshot().unwrap().chains[0].generation, 2);
    assert!(!world.send());
}

#[test]
fn a_proxy_with_everything_is_told_so_by_an_empty_response() {
    let mut world = World::new();
    world.publish(snapshot(0, &[(0, 0)].into()));
    world.settle();
    world.connect();
    world.sent = 0;
    assert!(world.send(), "the first response of a stream always comes");
    assert_eq!(world.sent, 0);
    assert!(world.acked.is_empty(), "nothing is known before its first answer");
    world.settle();
    assert_eq!(world.acked, **world.published.as_ref().unwrap().versions());
}

#[test]
fn names_that_no_resource_has_are_removed_and_versions_that_are_none_are_sent_again() {
    let published = Publication::after(None, snapshot(0, &[(0, 0)].into()))
        .unwrap()
        .unwrap();
    let initial = [
        ("pool", "not a version"),
        ("route/new", "1"),
        ("chain/edge/gone", &Hash::of(b"").to_string()),
    ];
    let initial = initial.map(|(name, version)| (name.to_owned(), version.to_owned()));
    let mut subscriber = Subscriber::new(initial.into());
    let delta = subscriber.next(&published, Instant::now()).unwrap();
    let mut removed = delta.removed.clone();
    removed.sort();
    assert_eq!(removed, ["chain/edge/gone", "route/new"]);
    assert_eq!(delta.changed.len(), published.pieces().len());
    assert!(
        delta
            .changed
            .iter()
            .any(|piece| matches!(piece.resource, Resource::Pool(_)))
    );
}

#[test]
fn a_pool_that_is_not_understood_leaves_the_one_before() {
    let mut world = World::new();
    world.publish(snapshot(0, &[(0, 0)].into()));
    world.settle();
    world.publish(snapshot(1, &[(0, 1)].into()));
    assert!(world.send());
    let response = world.link.as_mut().unwrap().down.back_mut().unwrap();
    let pool = response
        .resources
        .iter_mut()
        .find(|resource| resource.name == "pool")
        .unwrap();
    pool.resource.as_mut().unwrap().value = "{\"zone\":1}".into();
    world.settle();
    let held = world.mirror.snapshot().unwrap();
    assert_eq!(
        (held.pool.site.as_str(), held.chains[0].generation),
        ("site-0", 1)
    );
    let (_, reason) = &world.refused[&ResourceId::Pool];
    assert!(
        reason.contains("does not understand it: unknown field `zone`"),
        "{reason}"
    );
    // and a copy holds the one that is understood, under its own version
    let restored = Mirror::restore(world.mirror.copy()).unwrap();
    assert_eq!(restored.snapshot(), Some(held));
}

#[test]
fn a_response_that_is_not_ours_is_not_taken_in() {
    let mut world = World::new();
    world.publish(example());
    world.connect();
    world.send();
    let good = world.link.as_mut().unwrap().down.pop_front().unwrap();
    let ours = Release::ours();
    let far = Release {
        minor: ours.minor + 2,
        ..ours
    };
    let mut mirror = Mirror::new();
    let mut other = good.clone();
    other.type_url = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    assert!(
        mirror
            .take(other, ours)
            .unwrap_err()
            .to_string()
            .contains("envoy.config.cluster")
    );
    let error = mirror.take(good.clone(), far).unwrap_err().to_string();
    assert!(error.contains("upgrade the operator"), "{error}");
    let mut nameless = good.clone();
    nameless.control_plane = None;
    assert!(mirror.take(nameless, ours).is_err());
    assert_eq!(mirror.snapshot(), None);
    mirror.take(good, ours).unwrap();
    assert_eq!(mirror.snapshot(), Some(example()));
}

#[test]
fn what_is_damaged_in_a_copy_is_left_out_and_without_a_pool_there_is_none() {
    let mut world = World::new();
    world.publish(snapshot(0, &[(0, 0), (1, 0)].into()));
    world.settle();
    let text = String::from_utf8(world.mirror.copy().to_bytes().unwrap()).unwrap();
    let damaged = text.replace("0.example", "9.example");
    let copy = |text: &str| crate::client::Copy::from_bytes(text.as_bytes()).unwrap();
    let held = Mirror::restore(copy(&damaged)).unwrap();
    let chains = held.snapshot().unwrap().chains;
    assert_eq!(
        chains.iter().map(|chain| chain.id.clone()).collect::<Vec<_>>(),
        [id(1)]
    );
    assert!(
        !held.versions().contains_key("chain/edge/chain-0"),
        "it is asked for again"
    );
    let damaged = text.replace("site-0", "site-9");
    assert!(Mirror::restore(copy(&damaged)).is_err());
    assert!(crate::client::Copy::from_bytes(b"[]").is_err());
}
