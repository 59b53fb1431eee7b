use super::*;

fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../../testdata/snapshot.json")).unwrap()
}

#[test]
fn a_good_snapshot_is_kept_whole_and_round_trips() {
    let (kept, invalid) = snapshot().validate();
    assert_eq!(invalid, []);
    assert_eq!(kept, snapshot());
    let text = serde_json::to_string_pretty(&kept).unwrap();
    assert_eq!(text.trim(), include_str!("../../testdata/snapshot.json").trim());
}

#[test]
fn each_broken_rule_rejects_its_own_entry_and_says_why() {
    type Break = fn(&mut Snapshot);
    let table: [(Break, &str); 16] = [
        (|s| s.listeners[0].port = 0, "listener sync: port 0"),
        (|s| s.listeners[0].max_connections = 0, "maxConnections is 0"),
        (
            |s| s.listeners[0].accept_proxy = crate::AcceptProxy::Require,
            "no trusted source",
        ),
        (
            |s| s.listeners.push(s.listeners[0].clone()),
            "taken by another listener",
        ),
        (|s| s.chains[0].listener = "gone".into(), "\"gone\" is not there"),
        (|s| s.chains[0].backends.clear(), "no backends"),
        (
            |s| s.chains[0].backends[1].name = "primary".into(),
            "two backends",
        ),
        (|s| s.chains[0].backends[0].weight = 0, "weight 0"),
        (
            |s| {
                s.chains[0].backends[2].target = Target::Endpoints {
                    service: "cms".into(),
                    port: 1650,
                    endpoints: vec!["10.1.0.7:0".parse().unwrap()],
                };
            },
            "port 0",
        ),
        (|s| s.chains[0].health.fall = 0, "health.fall is 0"),
        (|s| s.chains[0].failover.pace = 0, "failover.pace is 0"),
        (|s| s.chains[0].health.monitors.clear(), "no monitor"),
        (
            |s| s.chains[0].resolution.min_ttl = s.chains[0].resolution.max_ttl * 2,
            "minTTL",
        ),
        (|s| s.chains.push(s.chains[0].clone()), "twice"),
        (
            |s| {
                let mut other = s.chains[0].clone();
                other.id.name = "other".into();
                s.chains.push(other);
            },
            "leads to another chain already",
        ),
        (
            |s| {
                s.chains[0].failover.mode = Mode::Manual;
                s.chains[0].failover.active = Some("nobody".into());
            },
            "which is no backend",
        ),
    ];
    for (broken, words) in table {
        let mut snapshot = snapshot();
        broken(&mut snapshot);
        let (_, invalid) = snapshot.validate();
        assert!(
            invalid.iter().any(|i| i.to_string().contains(words)),
            "{words}: {invalid:?}"
        );
    }
}

#[test]
fn a_field_this_release_does_not_know_is_refused_by_name() {
    let text = include_str!("../../testdata/snapshot.json").replacen("\"slowStart\"", "\"fastStart\"", 1);
    let error = serde_json::from_str::<Snapshot>(&text).unwrap_err().to_string();
    assert!(error.contains("fastStart"), "{error}");
}

#[test]
fn what_people_are_shown_holds_no_secret() {
    let certificate = crate::Certificate {
        name: "shown-tls".into(),
        chain: "a certificate".into(),
        key: crate::Private::new("SECRET"),
    };
    let mut snapshot = snapshot();
    snapshot.listeners[0].tls = Some(crate::ListenerTls {
        certificates: vec![certificate.clone(); 2],
        min_version: crate::TlsVersion::V1_2,
        alpn: vec![],
        client_ca: None,
    });
    snapshot.chains[0].backends[0].tls = Some(crate::BackendTls {
        server_name: "backend.example".into(),
        ca: None,
        certificate: Some(certificate),
    });
    snapshot.pool.ticket_keys = vec![crate::TicketKey {
        id: "shown".into(),
        key: crate::Private::new("SECRET"),
    }];
    let written = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(written.matches("SECRET").count(), 4);
    assert!(!format!("{snapshot:?}").contains("SECRET"));
    let shown = serde_json::to_string(&snapshot.without_secrets()).unwrap();
    assert!(!shown.contains("SECRET"), "{shown}");
    assert_eq!(shown.matches("shown-tls").count(), 3);
}
