//! What the operator is told, chain by chain.

use std::collections::BTreeMap;

use switchyard_snapshot::{ChainReport, Report};
use tokio::sync::watch;

use super::*;

/// Waits for a report in which it is so.
async fn told(
    reports: &mut watch::Receiver<Option<Arc<Report>>>,
    so: impl Fn(&BTreeMap<&str, &ChainReport>) -> bool,
) {
    let by_name = |report: &Report| {
        let chains = report.chains.iter();
        so(&chains.map(|chain| (chain.id.name.as_str(), chain)).collect())
    };
    let told = reports.wait_for(|report| report.as_ref().is_some_and(|report| by_name(report)));
    drop(within(told).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_one_chain_are_told_with_what_others_said_before() {
    let resolver = Resolver::start();
    let (one, other) = (Server::start("one").await, Server::start("other").await);
    let (left, right) = (listener("left"), listener("right"));
    let backends = |server: &Server| vec![at("b", 0, server.address)];
    let (a, b) = (
        chain("a", &left, backends(&one)),
        chain("b", &right, backends(&other)),
    );
    let both = snapshot(vec![left.clone(), right.clone()], vec![a, b]);
    let proxy = Proxy::start(config(&resolver), both.clone()).await.unwrap();
    let (sender, mut reports) = watch::channel(None);
    let story = async {
        let serves = |chain: Option<&&ChainReport>| chain.is_some_and(|chain| chain.active.is_some());
        told(&mut reports, |chains| {
            serves(chains.get("a")) && serves(chains.get("b"))
        })
        .await;
        // a alone runs something new
        let mut changed = both.clone();
        changed.chains[0].generation = 2;
        changed.chains[0].failover.pace = 7;
        assert!(proxy.apply(changed.clone()).await.is_clean());
        told(&mut reports, |chains| {
            chains.get("a").is_some_and(|a| a.generation == 2) && serves(chains.get("b"))
        })
        .await;
        // nobody serves b
        other.kill().await;
        told(&mut reports, |chains| {
            serves(chains.get("a")) && chains.get("b").is_some_and(|b| b.active.is_none())
        })
        .await;
        // b is gone, c is new; a client of a is counted, who is no news of a
        let _client = client(local(&left), "one").await;
        changed.chains[1] = chain("c", &right, backends(&one));
        assert!(proxy.apply(changed).await.is_clean());
        told(&mut reports, |chains| {
            chains.get("a").is_some_and(|a| a.sessions == 1)
                && !chains.contains_key("b")
                && serves(chains.get("c"))
        })
        .await;
    };
    tokio::select! {
        () = proxy.keep_reporting(&sender) => unreachable!("it never ends"),
        () = story => {}
    }
    within(proxy.stop()).await;
    resolver.stop().await;
}
