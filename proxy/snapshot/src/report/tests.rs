//! Reports travel between releases: each side reads what the other writes.

use super::*;

/// As a proxy that knows nothing of redirection writes it.
const BEFORE: &str = r#"{"ready":true,"draining":false,"sessions":3,"listenErrors":[],"chains":[{
    "id":{"namespace":"edge","name":"c"},"generation":2,"suspended":false,"sessions":3,"endpoints":[],
    "endpointsTotal":0,"endpointsServing":0,"transitions":[]}]}"#;

#[test]
fn a_report_of_a_proxy_that_knows_nothing_of_redirection_is_read_and_written_as_it_was() {
    let report: Report = serde_json::from_str(BEFORE).unwrap();
    let chain = &report.chains[0];
    assert_eq!(
        (chain.guests, &chain.standing, &chain.redirect),
        (0, &None, &None)
    );
    assert_eq!(report.peers, PeersReport::default());
    let was: serde_json::Value = serde_json::from_str(BEFORE).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), was);
}

#[test]
fn what_is_said_of_redirection_is_read_back() {
    let mut report: Report = serde_json::from_str(BEFORE).unwrap();
    let to = ChainId {
        namespace: "edge".into(),
        name: "other".into(),
    };
    report.peers = PeersReport {
        alive: 3,
        suspect: 1,
        dead: 2,
    };
    let chain = &mut report.chains[0];
    chain.standing = Some(StandingReport {
        standing: Standing::Dead,
        reason: "no endpoint serves".into(),
    });
    chain.redirect = Some(RedirectReport {
        to: to.clone(),
        since: Timestamp::UNIX_EPOCH,
        why: "it is dead".into(),
    });
    chain.guests = 9;
    chain.guests_of = vec![GuestsReport { home: to, guests: 7 }];
    chain.returns_at = Some(Timestamp::UNIX_EPOCH);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}
