use std::collections::BTreeMap;

use switchyard_snapshot::Fallback;

use super::*;

fn direct(host: &str, networks: &[&str]) -> Direct {
    Direct {
        host: host.into(),
        port: 18_443,
        networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

fn chain(name: &str) -> ChainId {
    ChainId {
        namespace: "test".into(),
        name: name.into(),
    }
}

fn one(rank: u32, weight: u32, direct: Vec<Direct>) -> Target {
    Target {
        peer: None,
        chain: chain("other"),
        rank,
        weight,
        direct,
    }
}

fn detour(targets: Vec<Target>) -> Detour {
    Detour {
        why: "the test says so".into(),
        dialects: vec![],
        fallback: Fallback::Relay,
        targets,
        until: None,
    }
}

fn chosen(detour: &Detour, client: IpAddr) -> Option<String> {
    target(detour, client, |_| true).map(|(_, place)| place.host().to_owned())
}

fn clients(count: u32) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|n| IpAddr::V4((0x0a00_0000 + n).into()))
}

#[test]
fn a_client_is_sent_where_it_can_get_to() {
    let detour = detour(vec![
        one(0, 1, vec![direct("inner", &["10.0.0.0/8"]), direct("outer", &[])]),
        one(1, 1, vec![direct("v4", &["0.0.0.0/0"])]),
        one(2, 1, vec![direct("last", &[])]),
    ]);
    let at = |client: &str| chosen(&detour, client.parse().unwrap());
    assert_eq!(at("10.1.2.3").as_deref(), Some("inner"));
    assert_eq!(at("192.0.2.1").as_deref(), Some("outer"));
    let without = |hidden: &[&str], client: &str| {
        let found = target(&detour, client.parse().unwrap(), |host| !hidden.contains(&host));
        found.map(|(_, place)| place.host().to_owned())
    };
    // The certificate decides between targets, not between addresses of one: the first that it can reach is its own.
    assert_eq!(without(&["inner"], "10.1.2.3").as_deref(), Some("v4"));
    assert_eq!(
        without(&["inner", "outer"], "2001:db8::1").as_deref(),
        Some("last")
    );
    assert_eq!(without(&["inner", "v4", "last"], "10.1.2.3"), None);
}

#[test]
fn a_host_that_cannot_be_written_is_passed_over() {
    let odd = detour(vec![
        one(0, 1, vec![direct("a b", &[])]),
        one(
            0,
            1,
            vec![Direct {
                port: 0,
                ..direct("zero", &[])
            }],
        ),
        one(1, 1, vec![direct("::1", &[])]),
        one(1, 1, vec![]),
    ]);
    for client in clients(50) {
        assert_eq!(chosen(&odd, client).as_deref(), Some("::1"));
    }
    assert_eq!(chosen(&detour(vec![]), "::1".parse().unwrap()), None);
}

#[test]
fn clients_spread_by_weight_and_stay_when_others_go() {
    let three = |names: &[(&str, u32)]| {
        let targets = names
            .iter()
            .map(|(name, weight)| one(0, *weight, vec![direct(name, &[])]));
        detour(
            targets
                .chain([one(1, 1_000, vec![direct("behind", &[])])])
                .collect(),
        )
    };
    let all = three(&[("a", 1), ("b", 2), ("c", 5)]);
    let mut counts = BTreeMap::<String, u32>::new();
    for client in clients(8_000) {
        *counts.entry(chosen(&all, client).unwrap()).or_default() += 1;
    }
    for (name, expected) in [("a", 1_000), ("b", 2_000), ("c", 5_000)] {
        let count = counts[name];
        assert!(count.abs_diff(expected) < 200, "{name}: {count}");
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
    let fewer = three(&[("a", 1), ("c", 5)]);
    for client in clients(8_000) {
        let before = chosen(&all, client).unwrap();
        if before != "b" {
            assert_eq!(chosen(&fewer, client).unwrap(), before);
        }
    }
}

#[test]
fn a_guest_goes_home_if_its_home_lives() {
    let returning = Returning {
        since: std::time::Instant::now(),
        homes: vec![
            (chain("first"), "first.example".into(), 443),
            (chain("second"), "second.example".into(), 8443),
        ],
    };
    let place = |of: Option<&ChainId>| home(&returning, of).map(|place| place.to_string());
    assert_eq!(place(None).as_deref(), Some("first.example:443"));
    assert_eq!(
        place(Some(&chain("second"))).as_deref(),
        Some("second.example:8443")
    );
    assert_eq!(place(Some(&chain("dead"))), None);
}
