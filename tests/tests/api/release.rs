//! Proxies of other releases than the operator's. There is one release of the
//! programs here, so those are subscribers that are made of what the proxy is
//! made of, with a real token, and say that they are another release.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use serde_json::json;
use switchyard_discovery::client::{Me, Mirror, NotRunning, Session, connect};
use switchyard_discovery::identity::client::{Client, Settings};
use switchyard_discovery::peer::PeerIdentity;
use switchyard_discovery::release::Release;
use switchyard_snapshot::{ChainId, PoolId, ResourceId};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::member::Plan;
use switchyard_tests::suite::Suite;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::shared::{SOON, Shared};
use crate::site::Site;

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "release::one_minor_apart_is_served_and_follows",
            one_apart as fn(&Lab, &Shared),
        ),
        ("release::two_minors_apart_is_refused_in_words", two_apart),
        (
            "release::what_the_older_one_does_not_understand_is_refused_by_name",
            misunderstood,
        ),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// What a proxy is made of as far as the stream goes, without the proxy. [`Client::run`] gets and renews its certificate.
pub fn subscriber(host: &Host, plan: &Plan, release: Release) -> (Client, Me) {
    let folder = host.directory("subscriber");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (namespace, name) = plan.pool.split_once('/').expect("NAMESPACE/NAME");
    let identity = PeerIdentity {
        pool: PoolId {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        pod: plan.pod.name.clone(),
        uid: plan.pod.uid.clone(),
    };
    let client = Client::new(Settings {
        identity: identity.clone(),
        operator: plan.operator.clone(),
        server_name: None,
        bundle_file: file("ca.crt", &plan.authorities),
        token_file: file("token", &plan.token),
    });
    (client, Me { identity, release })
}

/// Until it is over; why it is.
async fn follow(
    client: &Client,
    operator: &str,
    me: &Me,
    refused: &NotRunning,
    told: &watch::Sender<Mirror>,
) -> Result<Infallible, String> {
    client.ready().await;
    let channel = connect(operator, client.connector()).await;
    let channel = channel.map_err(|error| error.to_string())?;
    let opened = Session::open(channel, me, HashMap::new()).await;
    let mut session = opened.map_err(|error| error.to_string())?;
    let mut mirror = Mirror::new();
    loop {
        let next = session.next(&mut mirror).await;
        next.map_err(|error| error.to_string())?;
        let answered = session.answer(&mirror, refused).await;
        answered.map_err(|error| error.to_string())?;
        told.send_replace(mirror.clone());
    }
}

/// A subscriber that takes in what comes, and answers that all of it runs but for what it is told to refuse.
struct Following {
    /// Its task lives on this machine.
    host: Host,
    mirror: watch::Receiver<Mirror>,
    /// Why it follows no more.
    ended: JoinHandle<String>,
}

impl Following {
    fn begin(host: &Host, plan: &Plan, release: Release, refused: NotRunning) -> Self {
        let (client, me) = subscriber(host, plan, release);
        let operator = plan.operator.clone();
        let (told, mirror) = watch::channel(Mirror::new());
        let ended = host.spawn(async move {
            let ended = tokio::select! {
                ended = follow(&client, &operator, &me, &refused, &told) => ended,
                () = client.run(CancellationToken::new()) => Err("no certificate is asked for".to_owned()),
            };
            let Err(why) = ended;
            why
        });
        Self {
            host: host.clone(),
            mirror,
            ended,
        }
    }

    /// The generations of its chains, by name.
    fn chains(&self) -> BTreeMap<String, i64> {
        let snapshot = self.mirror.borrow().snapshot();
        let chains = snapshot.into_iter().flat_map(|snapshot| snapshot.chains);
        chains.map(|chain| (chain.id.name, chain.generation)).collect()
    }

    #[track_caller]
    fn await_chains(&self, wanted: &[(&str, i64)]) {
        let wanted: BTreeMap<String, i64> = wanted.iter().map(|(n, g)| ((*n).to_owned(), *g)).collect();
        eventually(&format!("it has {wanted:?}"), SOON, || {
            assert!(!self.ended.is_finished(), "it follows no more");
            match self.chains() {
                chains if chains == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Awaits that it follows no more, and says why.
    #[track_caller]
    fn end(&mut self) -> String {
        let over = self.host.spawn(async { String::new() });
        let ended = std::mem::replace(&mut self.ended, over);
        let why = self.host.block_on(async move { timeout(SOON, ended).await });
        why.expect("it is refused").expect("the subscriber lives")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

fn site<'a>(lab: &'a Lab, shared: &Shared, replicas: usize) -> Site<'a> {
    let site = Site::new(lab, shared.space());
    let listener =
        |(number, name): (usize, &str)| json!({"name": name, "port": 8001 + number, "protocol": "TCP"});
    let listeners: Vec<_> = ["one", "two"].into_iter().enumerate().map(listener).collect();
    site.apply(
        "ProxyPool",
        "edge",
        &json!({"replicas": replicas, "listeners": listeners}),
    );
    site
}

fn minors_from_ours(by: i64) -> Option<Release> {
    let ours = Release::ours();
    let minor = u32::try_from(i64::from(ours.minor) + by).ok()?;
    Some(Release { minor, ..ours })
}

fn one_apart(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared, 2);
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    site.chain("one", &[&b1]);
    let follow = |number: u8, by: i64| {
        let release = minors_from_ours(by).expect("there is a release before ours");
        lab.say(format!("{release} at an operator of release {}", Release::ours()));
        let plan = site.plan(&site.pod("edge", number), "edge");
        let host = lab.host(&format!("proxy-{number}"), number);
        Following::begin(&host, &plan, release, NotRunning::new())
    };
    let both = [follow(31, -1), follow(32, 1)];
    let all_have = |wanted: &[(&str, i64)]| both.iter().for_each(|one| one.await_chains(wanted));
    all_have(&[("one", 1)]);
    // As long as one of them is not known, "1 of 1" is as true.
    site.await_chain_saying("one", ("Programmed", "True"), "2 of 2", SOON);
    site.chain("one", &[&b2]);
    site.chain("two", &[&b1]);
    all_have(&[("one", 2), ("two", 1)]);
    site.await_chain("one", "Programmed", "True", SOON);
    site.await_chain("two", "Programmed", "True", SOON);
    site.delete_chain("one");
    all_have(&[("two", 1)]);
}

fn two_apart(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared, 1);
    let b1 = site.backend("b1", 21);
    site.chain("one", &[&b1]);
    let plan = site.plan(&site.pod("edge", 31), "edge");
    let host = lab.host("proxy-31", 31);
    let ours = Release::ours();
    let other_major = Release {
        major: ours.major + 1,
        ..ours
    };
    let newer = [minors_from_ours(2), Some(other_major)];
    let too_far = newer.map(|release| (release, "operator"));
    let older = (minors_from_ours(-2), "proxy");
    for (release, behind) in too_far.into_iter().chain([older]) {
        let Some(release) = release else {
            continue; // there is no such release
        };
        let mut following = Following::begin(&host, &plan, release, NotRunning::new());
        let why = following.end();
        lab.say(format!("{release}: {why}"));
        for words in [
            "the operator refuses this proxy".to_owned(),
            format!("the proxy is release {release} and the operator is release {ours}"),
            format!("upgrade the {behind} one minor release at a time"),
        ] {
            assert!(why.contains(&words), "{why:?} lacks {words:?}");
        }
        assert_eq!(following.chains(), BTreeMap::new());
    }
    let (_, message) = site.await_chain("one", "Programmed", "False", SOON);
    lab.say(message);
}

/// What a field that it does not know does to an older proxy is tested beside it: it refuses the chain that has it, by
/// name. Here: what becomes of that in a cluster.
fn misunderstood(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared, 1);
    let b1 = site.backend("b1", 21);
    site.chain("one", &[&b1]);
    site.chain("two", &[&b1]);
    let older = minors_from_ours(-1).expect("there is a release before ours");
    let words = format!("this release ({older}) does not understand it: unknown field `novel`");
    let two = ResourceId::Chain(ChainId {
        namespace: site.space.namespace.clone(),
        name: "two".to_owned(),
    });
    let plan = site.plan(&site.pod("edge", 31), "edge");
    let host = lab.host("proxy-31", 31);
    let following = Following::begin(&host, &plan, older, [(two, words.clone())].into());
    following.await_chains(&[("one", 1), ("two", 1)]);
    let (reason, message) = site.await_chain_saying("two", ("Programmed", "False"), &words, SOON);
    lab.say(format!("{reason}: {message}"));
    assert!(message.contains("edge-31"), "whose words these are: {message}");
    let (_, message) = site.await_chain("one", "Programmed", "True", SOON);
    assert!(message.starts_with("1 of 1"), "{message}");
    assert!(!following.ended.is_finished(), "it is served all the same");
}
