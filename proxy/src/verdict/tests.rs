use std::time::Duration;

use switchyard_snapshot::Monitor;

use super::*;
use crate::chain::fixture::{backend, chain};

fn track(results: &str) -> Track {
    let mut track = Track::new();
    for result in results.chars() {
        let result = if result == '+' {
            Ok(())
        } else {
            Err("status 503".to_owned())
        };
        track.record(result, 2, 2);
    }
    track
}

/// Row by row as the module's table has it; all ages are seconds before now.
#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn the_table() {
    use Verdict::{Drain, Eject, Serve, ServeStale};
    use Wanted::{Suspended, Unconfigured, Yes};
    let now = Instant::now() + Duration::from_hours(10);
    let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
    let listed = || Presence::Listed(Freshness::Fresh);
    let stale = |seconds| {
        Presence::Listed(Freshness::Stale {
            since: ago(seconds),
            why: "SERVFAIL".into(),
        })
    };
    let missing = |seconds| Presence::Missing { since: ago(seconds) };
    let confirmed = Live::Confirmed {
        why: "connection refused",
    };
    let ejected = Live::Ejected {
        failures: 3,
        why: "no answer within 3s",
        until: now + Duration::from_secs(7),
    };
    #[rustfmt::skip]
    let table = [
        (Unconfigured, "--", confirmed, missing(99), Drain, "draining: no longer configured"),
        (Suspended, "--", confirmed, missing(99), Drain, "draining: the chain is suspended"),
        (Yes, "--", confirmed, missing(99), Eject, "ejected: monitor http:8080/healthz failed 2 in a row: status 503"),
        (Yes, "---+", Live::Fine, listed(), Eject,
            "ejected: monitor http:8080/healthz passed 1 of 2 times since it failed: status 503"),
        (Yes, "+", confirmed, missing(99), Eject, "ejected: connection refused, confirmed"),
        (Yes, "+", ejected, listed(), Eject, "ejected: 3 connections in a row failed: no answer within 3s, 7 s left"),
        (Yes, "+", Live::Fine, missing(10), Drain, "draining: missing from DNS for 10 s"),
        (Yes, "+", Live::Fine, missing(9), Serve,
            "served: missing from DNS for 9 s of at most 10s, monitors tcp:9070, http:8080/healthz pass"),
        (Yes, "+", Live::Fine, stale(43), ServeStale,
            "served: stale 43 s, monitors tcp:9070, http:8080/healthz pass (DNS: SERVFAIL)"),
        (Yes, "+", Live::Fine, stale(36_000), ServeStale,
            "served: stale 36000 s, monitors tcp:9070, http:8080/healthz pass (DNS: SERVFAIL)"),
        (Yes, "", Live::Fine, stale(3_599), ServeStale,
            "served: stale 3599 s of at most 1h, monitor http:8080/healthz has not answered yet (DNS: SERVFAIL)"),
        (Yes, "-", Live::Fine, stale(3_600), Drain,
            "draining: stale 3600 s of at most 1h, monitor http:8080/healthz has not passed yet: status 503 (DNS: SERVFAIL)"),
        (Yes, "", Live::Fine, listed(), Serve, "served: monitor http:8080/healthz has not answered yet"),
        (Yes, "+", Live::Fine, listed(), Serve, "served: monitors tcp:9070, http:8080/healthz pass"),
    ];
    let mut chain = chain(vec![backend("primary", "a", 0)]);
    chain.resolution.missing_for = Duration::from_secs(10);
    chain.health.monitors = vec![
        Monitor::Tcp {
            port: Some(9070),
            send: None,
            expect: None,
        },
        Monitor::Http {
            port: Some(8080),
            path: "/healthz".into(),
            host: None,
            expect: vec![200],
            tls: false,
        },
    ];
    for (wanted, results, live, presence, verdict, text) in table {
        let tracks = [track("+"), track(results)];
        let evidence = Evidence {
            address: "10.0.0.1:80".parse().unwrap(),
            wanted,
            presence: &presence,
            tracks: &tracks,
            live,
            listed_in: "DNS",
            chain: &chain,
        };
        let judged = judge(&evidence, now);
        assert_eq!(
            (judged.0, words(&evidence, judged, now).as_str()),
            (verdict, text)
        );
    }
}

#[test]
fn monitors_have_names() {
    let address = "10.0.0.1:1650".parse().unwrap();
    let table = [
        (r#"{"tcp": {}}"#, "tcp:1650"),
        (r#"{"tcp": {"port": 9070}}"#, "tcp:9070"),
        (r#"{"http": {"path": "/", "expect": [200]}}"#, "http:1650/"),
        (
            r#"{"http": {"port": 443, "path": "/up", "expect": [200], "tls": true}}"#,
            "https:443/up",
        ),
        (r#"{"tls": {"port": 443}}"#, "tls:443"),
        (r#"{"grpc": {"port": 9000}}"#, "grpc:9000"),
        (
            r#"{"grpc": {"port": 9000, "service": "mail.Sync"}}"#,
            "grpc:9000/mail.Sync",
        ),
    ];
    for (monitor, name) in table {
        let monitor: Monitor = serde_json::from_str(monitor).unwrap();
        assert_eq!(track::name(&monitor, address), name);
    }
}
