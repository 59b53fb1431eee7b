//! TLS of a whole configuration.

use switchyard_snapshot::{BackendTls, Certificate, Private, TicketKey};

use super::*;
use crate::testing::rig::expect;
use crate::testing::tls::{Authority, Client};

fn tls_listener(name: &str, certificates: Vec<Certificate>) -> Listener {
    Listener {
        port: free_port(),
        ..crate::testing::tls::listener(name, Protocol::Tls, certificates)
    }
}

/// What is said of a configuration that is [`broken`].
const SAID: [&str; 7] = [
    "listener bad-ca: the CAs for client certificates: it holds no certificate in PEM",
    "listener bare: it speaks HTTPS, but has no tls",
    "listener keyless: certificate \"test-tls\": its key is no private key in PEM (PKCS#8, PKCS#1 or SEC1)",
    "listener mixed: certificate \"mixed-tls\": its key belongs to another certificate",
    "listener torn: certificate \"test-tls\": its PEM cannot be read: ",
    "chain test/astray: TLS to backend \"primary\": serverName \"not a name\" is neither a DNS name nor an IP address",
    "chain test/hangs: its listener \"mixed\" is not there",
];

/// One listener that can be used, first, and others that cannot.
fn broken(good: &Certificate, other: &Certificate) -> Vec<Listener> {
    let mixed = Certificate {
        name: "mixed-tls".into(),
        key: other.key.clone(),
        ..good.clone()
    };
    let torn = Certificate {
        chain: good.chain.replace("MII", "!!!"),
        ..good.clone()
    };
    let keyless = Certificate {
        key: Private::new("secret nonsense"),
        ..good.clone()
    };
    let bad_ca = {
        let mut listener = tls_listener("bad-ca", vec![good.clone()]);
        listener.tls.as_mut().unwrap().client_ca = Some("no PEM".into());
        listener
    };
    let bare = Listener {
        tls: None,
        protocol: Protocol::Https,
        ..tls_listener("bare", vec![])
    };
    vec![
        tls_listener("served", vec![good.clone()]),
        bad_ca,
        bare,
        tls_listener("keyless", vec![keyless]),
        tls_listener("mixed", vec![good.clone(), mixed]),
        tls_listener("torn", vec![torn]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_refused_by_name_and_the_rest_runs() {
    let resolver = Resolver::start();
    let server = Server::start("server").await;
    let ca = Authority::new();
    let good = ca.issue(&["a.example"]);
    let other = ca.issue(&["b.example"]);
    let listeners = broken(&good, &other);
    let served = listeners[0].clone();
    let on = |name: &str, listener: &Listener| chain(name, listener, vec![at("primary", 0, server.address)]);
    let mut astray = on("astray", &served);
    astray.hostnames = vec!["astray.example".into()];
    astray.backends[0].tls = Some(BackendTls {
        server_name: "not a name".into(),
        ca: None,
        certificate: None,
    });
    let mut shows = on("shows", &served);
    shows.hostnames = vec!["shows.example".into()];
    shows.backends[0].tls = Some(BackendTls {
        certificate: Some(other.clone()),
        ..ca.backend("backend.example")
    });
    let hangs = on("hangs", &listeners[4]);
    let mut all = snapshot(listeners, vec![astray, hangs, on("served", &served), shows]);
    all.pool.ticket_keys = vec![TicketKey {
        id: "00".repeat(16),
        key: Private::new("c0ffee00".repeat(8)),
    }];
    let first = listener("first");
    let first = snapshot(
        vec![first.clone()],
        vec![chain("c", &first, vec![at("b", 0, server.address)])],
    );
    let proxy = Proxy::start(config(&resolver), first).await.unwrap();
    let applied = proxy.apply(all.clone()).await;
    let said: Vec<String> = applied.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), SAID.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(SAID) {
        assert!(said.starts_with(expected), "{said}");
    }
    within(proxy.ready()).await;
    let mut stream = Client::of(&ca).open(local(&served), "a.example").await.unwrap();
    expect(&mut stream, "server").await;

    let (status, page) = request(&proxy, "GET", "/snapshot").await;
    assert_eq!(status, 200);
    for secret in [good.key.reveal(), other.key.reveal()] {
        let line = secret.lines().nth(1).unwrap();
        assert!(!page.contains(line), "a private key is shown");
    }
    assert!(
        !page.contains("c0ffee00") && page.contains("hidden"),
        "a ticket key is shown"
    );
    let (_, metrics) = request(&proxy, "GET", "/metrics").await;
    for line in [
        "switchyard_tls_handshakes_total{listener=\"served\",version=\"1.3\",kind=\"full\"} 1",
        "switchyard_tls_handshake_failures_total{listener=\"served\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    // The same again is nothing new.
    let generation = json(&proxy, "/snapshot").await["generation"].clone();
    assert_eq!(proxy.apply(all).await, applied);
    assert_eq!(json(&proxy, "/snapshot").await["generation"], generation);
    drop(stream);
    within(proxy.stop()).await;
    resolver.stop().await;
}
