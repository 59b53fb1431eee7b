use std::net::SocketAddr;

use super::*;

fn endpoint(number: usize, verdict: Verdict) -> state::EndpointReport {
    state::EndpointReport {
        backend: "primary".into(),
        address: SocketAddr::from(([10, 0, (number / 256) as u8, (number % 256) as u8], 80)),
        tier: Some(0),
        state: verdict.state(),
        verdict,
        reason: "because".into(),
        since: jiff::Timestamp::UNIX_EPOCH,
        connections: 0,
    }
}

#[test]
fn each_verdict_has_its_state_and_those_that_serve_are_counted() {
    let all = [
        Verdict::Eject,
        Verdict::ServeStale,
        Verdict::Drain,
        Verdict::Serve,
    ];
    let all: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(n, verdict)| endpoint(n, verdict))
        .collect();
    let (listed, serving) = endpoints(&all);
    let states: Vec<EndpointState> = listed.iter().map(|endpoint| endpoint.state).collect();
    assert_eq!(
        states,
        [
            EndpointState::Ejected,
            EndpointState::Stale,
            EndpointState::Draining,
            EndpointState::Serving
        ]
    );
    assert_eq!(serving, 2);
}

#[test]
fn of_too_many_those_that_do_not_serve_are_listed_and_all_are_counted() {
    let out = ENDPOINTS_REPORTED + 6;
    let verdict = |number| {
        if number == out {
            Verdict::Eject
        } else {
            Verdict::Serve
        }
    };
    let all: Vec<_> = (0..ENDPOINTS_REPORTED + 10)
        .map(|number| endpoint(number, verdict(number)))
        .collect();
    let (listed, serving) = endpoints(&all);
    assert_eq!(listed.len(), ENDPOINTS_REPORTED);
    assert_eq!(serving as usize, all.len() - 1);
    let last = listed.last().unwrap();
    assert_eq!(
        (last.address, last.state),
        (all[out].address, EndpointState::Ejected)
    );
    assert!(listed.is_sorted_by_key(|endpoint| endpoint.address));
}
