use switchyard_snapshot::ChainReport;

use super::*;
use crate::status::fixture::{chain_id, chain_resource, hash, pool_id, report, well};

fn of(name: &str, what: What) -> Activity {
    Activity {
        proxy: ProxyId {
            pool: pool_id(),
            name: name.into(),
            uid: format!("{name}-uid"),
        },
        what,
    }
}

fn acked(resources: &[(ResourceId, &str)], removed: &[ResourceId]) -> What {
    What::Acked {
        versions: resources
            .iter()
            .map(|(id, text)| (id.clone(), hash(text)))
            .collect(),
        removed: removed.iter().cloned().collect(),
    }
}

fn refused(resource: ResourceId, version: &str) -> What {
    What::Refused {
        resource,
        version: hash(version),
        reason: "no".into(),
    }
}

fn connected() -> What {
    What::Connected {
        version: "0.1.0".into(),
    }
}

fn only(chains: &[&str]) -> Touched {
    Touched {
        chains: chains.iter().map(|name| chain_id(name)).collect(),
        ..Touched::default()
    }
}

fn chain(name: &str) -> ChainReport {
    ChainReport {
        id: chain_id(name),
        ..well()
    }
}

fn state(proxies: &Proxies) -> &ProxyState {
    &proxies.members(&pool_id()).unwrap()[&("a".to_owned(), "a-uid".to_owned())]
}

#[test]
fn only_what_an_answer_changes_is_touched() {
    let (mut proxies, now) = (Proxies::default(), Instant::now());
    let [one, two] = ["one", "two"].map(chain_resource);
    let mut step = |what| proxies.handle(of("a", what), now);
    assert_eq!(step(connected()), Touched::everything(), "there is one more");
    assert_eq!(
        step(acked(&[(one.clone(), "1"), (two.clone(), "1")], &[])),
        only(&["one", "two"])
    );
    assert_eq!(step(acked(&[(one.clone(), "1")], &[])), Touched::default());
    assert_eq!(
        step(acked(&[(one.clone(), "2")], std::slice::from_ref(&two))),
        only(&["one", "two"])
    );
    assert_eq!(step(acked(&[], &[two])), Touched::default());
    assert_eq!(step(refused(one.clone(), "3")), only(&["one"]));
    assert_eq!(step(acked(&[(one, "3")], &[])), only(&["one"]));
    let pool = Touched {
        pool: true,
        ..Touched::default()
    };
    assert_eq!(step(refused(ResourceId::Pool, "1")), pool);
    assert_eq!(step(acked(&[(ResourceId::Listener("l".into()), "1")], &[])), pool);
}

#[test]
fn only_what_a_report_changes_is_touched() {
    let (mut proxies, now) = (Proxies::default(), Instant::now());
    proxies.handle(of("a", connected()), now);
    let mut step = |report| proxies.handle(of("a", What::Reported(report)), now);
    let first = step(report(vec![chain("one"), chain("two"), chain("zoo")]));
    assert!(
        first.pool && first.all_chains,
        "who reports for the first time counts for everybody"
    );
    assert_eq!(
        step(report(vec![chain("one"), chain("two"), chain("zoo")])),
        Touched::default()
    );
    let other = ChainReport {
        suspended: true,
        ..chain("two")
    };
    assert_eq!(
        step(report(vec![chain("new"), other.clone(), chain("zoo")])),
        only(&["new", "one", "two"])
    );
    let draining = Report {
        draining: true,
        ..report(vec![chain("new"), other, chain("zoo")])
    };
    assert_eq!(step(draining).chains, BTreeSet::new());
}

#[test]
fn what_a_proxy_refused_it_does_not_run_and_only_that_version_counts() {
    let (mut proxies, now) = (Proxies::default(), Instant::now());
    let one = chain_resource("one");
    proxies.handle(of("a", connected()), now);
    proxies.handle(of("a", acked(&[(one.clone(), "1")], &[])), now);
    proxies.handle(of("a", refused(one.clone(), "2")), now);
    assert!(!state(&proxies).runs(&one, hash("1")));
    assert_eq!(state(&proxies).refuses(&one, hash("2")), Some("no"));
    assert_eq!(state(&proxies).refuses(&one, hash("3")), None);
}

#[test]
fn who_is_gone_counts_for_five_seconds_and_who_comes_back_was_never_gone() {
    let (mut proxies, start) = (Proxies::default(), Instant::now());
    let one = chain_resource("one");
    proxies.handle(of("a", connected()), start);
    proxies.handle(of("a", acked(&[(one.clone(), "1")], &[])), start);
    assert_eq!(
        proxies.handle(of("a", What::Disconnected), start),
        Touched::default()
    );
    let later = (start + GRACE).checked_sub(Duration::from_millis(1)).unwrap();
    assert!(proxies.expire(later).is_empty());
    assert!(state(&proxies).runs(&one, hash("1")));
    assert_eq!(proxies.handle(of("a", connected()), later), Touched::default());
    // it has said nothing yet: what it ran counts until it does, or is silent for as long
    assert!(state(&proxies).runs(&one, hash("1")));
    assert_eq!(proxies.expires_at(), Some(later + GRACE));
    assert_eq!(proxies.expire(later + GRACE).len(), 1);
    assert!(!state(&proxies).runs(&one, hash("1")));
    proxies.handle(of("a", What::Disconnected), later);
    assert_eq!(
        proxies.expire(later + GRACE),
        BTreeMap::from([(pool_id(), Touched::everything())])
    );
    assert!(proxies.members(&pool_id()).is_none());
}

#[test]
fn the_first_answer_after_a_reconnect_is_the_whole_truth() {
    let (mut proxies, now) = (Proxies::default(), Instant::now());
    let [one, two] = ["one", "two"].map(chain_resource);
    proxies.handle(of("a", connected()), now);
    proxies.handle(
        of("a", acked(&[(one.clone(), "1"), (two.clone(), "1")], &[])),
        now,
    );
    proxies.handle(of("a", connected()), now);
    assert_eq!(
        proxies.handle(of("a", acked(&[(two.clone(), "1")], &[])), now),
        only(&["one"])
    );
    assert_eq!(
        proxies.handle(of("a", acked(&[(one.clone(), "1")], &[])), now),
        only(&["one"])
    );
    assert!(state(&proxies).runs(&two, hash("1")) && state(&proxies).runs(&one, hash("1")));
}

#[test]
fn a_report_lasts_ninety_seconds() {
    let (mut proxies, start) = (Proxies::default(), Instant::now());
    proxies.handle(of("a", What::Reported(report(Vec::new()))), start);
    let end = start + REPORT_LASTS;
    assert!(
        state(&proxies)
            .report(end.checked_sub(Duration::from_millis(1)).unwrap())
            .is_some()
    );
    assert!(state(&proxies).report(end).is_none());
    assert_eq!(proxies.expires_at(), Some(end));
    assert_eq!(proxies.expire(end).len(), 1);
    assert_eq!(proxies.expires_at(), None);
}

#[test]
fn nobody_is_made_by_leaving() {
    let mut proxies = Proxies::default();
    assert_eq!(
        proxies.handle(of("a", What::Disconnected), Instant::now()),
        Touched::default()
    );
    assert!(proxies.expire(Instant::now()).is_empty());
    assert_eq!(proxies, Proxies::default());
}
