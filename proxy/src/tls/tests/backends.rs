//! Backends that speak TLS, or should.

use std::time::Duration;

use switchyard_snapshot::{BackendTls, Chain, HttpVersion, Protocol, SendProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::proxy_protocol::{self, Header};
use crate::session::end::{ConnectError, Refusal};
use crate::testing::rig::{
    self, Control, Echo, apply, ask, assert_reset, candidate, client, expect, routing, within, workers,
};
use crate::testing::tls::{Authority, Client, TlsEcho, accept, listener, server_config};

fn chain(tls: BackendTls) -> Chain {
    let mut chain = rig::chain("c");
    chain.connect.attempts = 2;
    chain.backends[0].tls = Some(tls);
    chain
}

fn over_tls(address: std::net::SocketAddr) -> crate::chain::view::Candidate {
    let mut candidate = candidate(address);
    candidate.via.tls = true;
    candidate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_and_tls_clients_reach_a_backend_that_proves_its_name() {
    let ca = Authority::new();
    for (name, http, heard) in [
        (
            "backend.example",
            HttpVersion::Http1,
            (None, Some("backend.example")),
        ),
        (
            "backend.example",
            HttpVersion::Http2,
            (Some("h2"), Some("backend.example")),
        ),
        ("127.0.0.1", HttpVersion::Http1, (None, None)),
    ] {
        let server = TlsEcho::start("e", server_config(&ca.issue(&[name]), None)).await;
        let mut chain = chain(ca.backend(name));
        chain.backends[0].http = http;
        let control = Control::new(chain, vec![over_tls(server.address)]);
        let workers = workers(1);
        let plain = rig::listener("plain", Protocol::Tcp);
        let at = apply(&workers, routing(vec![(plain, vec![&control])])).await;
        let mut stream = client(at["plain"], "e").await;
        ask(&mut stream, "from a plain client").await;
        let tls = listener("tls", Protocol::Tls, vec![ca.issue(&["a.example"])]);
        let at = apply(&workers, routing(vec![(tls, vec![&control])])).await;
        let mut stream = Client::of(&ca).open(at["tls"], "a.example").await.unwrap();
        expect(&mut stream, "e").await;
        ask(&mut stream, "from a TLS client").await;
        let told = server.heard.lock().unwrap().clone();
        let (alpn, name) = heard;
        assert_eq!(told, vec![(alpn.map(str::to_owned), name.map(str::to_owned)); 2]);
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_shown_to_a_backend_that_asks() {
    let (ca, proxies) = (Authority::new(), Authority::new());
    let config = server_config(&ca.issue(&["backend.example"]), Some(&proxies));
    let server = TlsEcho::start("e", config).await;
    let workers = workers(1);
    let mut tls = ca.backend("backend.example");
    tls.certificate = Some(proxies.issue(&["proxy"]));
    let mut control = Control::new(chain(tls), vec![over_tls(server.address)]);
    let main = rig::listener("main", Protocol::Tcp);
    let at = apply(&workers, routing(vec![(main.clone(), vec![&control])])).await["main"];
    client(at, "e").await;
    // Without one, under the same name, at once.
    control.chain.backends[0].tls = Some(ca.backend("backend.example"));
    control.publish(vec![over_tls(server.address)]);
    // In TLS 1.3 the handshake is done before the server has looked.
    assert_reset(at).await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_prove_its_name_is_a_failed_attempt_and_another_is_tried() {
    let (ca, other) = (Authority::new(), Authority::new());
    let expired = ca.issue_with(
        &rcgen::KeyPair::generate().unwrap(),
        &["backend.example"],
        |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        },
    );
    let plain = Echo::start("plain").await;
    let mut bad = Vec::new();
    for certificate in [
        ca.issue(&["other.example"]),
        expired,
        other.issue(&["backend.example"]),
    ] {
        bad.push(TlsEcho::start("bad", server_config(&certificate, None)).await);
    }
    let good = TlsEcho::start("good", server_config(&ca.issue(&["backend.example"]), None)).await;
    for (address, words) in [
        (
            bad[0].address,
            "asked for as \"backend.example\", is not accepted: it is for another name",
        ),
        (bad[1].address, "it has expired"),
        (
            bad[2].address,
            "it was signed by none of the CAs that are trusted here",
        ),
        (plain.address, "something that is no TLS"),
    ] {
        let alone = Control::new(chain(ca.backend("backend.example")), vec![over_tls(address)]);
        let mut first = over_tls(address);
        let mut second = over_tls(good.address);
        (first.rank, second.rank) = (0, 1);
        // The second is asked because the first has failed, not because it is slow.
        let mut patient = chain(ca.backend("backend.example"));
        patient.connect.timeout = Duration::from_secs(5);
        patient.connect.happy_eyeballs_delay = Duration::from_secs(5);
        let mut beside = Control::new(patient, vec![first, second]);
        let workers = workers(1);
        let (one, two) = (
            rig::listener("alone", Protocol::Tcp),
            rig::listener("beside", Protocol::Tcp),
        );
        let at = apply(&workers, routing(vec![(two, vec![&beside])])).await;
        client(at["beside"], "good").await;
        let failed = within(beside.failures.recv()).await.unwrap();
        assert!(failed.why.contains(words), "{}", failed.why);
        let counts = &workers.counters().chains[beside.id()];
        assert_eq!(counts.connect_errors[ConnectError::Tls.index()], 1);
        let at = apply(&workers, routing(vec![(one, vec![&alone])])).await;
        assert_reset(at["alone"]).await;
        let counts = &workers.counters().chains[alone.id()];
        assert_eq!(counts.refused[Refusal::ConnectFailed.index()], 1);
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_never_answers_the_handshake_is_given_up_in_time() {
    let ca = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = TlsEcho::start("good", server_config(&ca.issue(&["backend.example"]), None)).await;
    let mut first = over_tls(silent.local_addr().unwrap());
    let mut second = over_tls(good.address);
    (first.rank, second.rank) = (0, 1);
    let mut chain = chain(ca.backend("backend.example"));
    chain.connect.timeout = Duration::from_mins(1);
    let control = Control::new(chain, vec![first, second]);
    let workers = workers(1);
    let main = rig::listener("main", Protocol::Tcp);
    let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
    // A competitor is started: the first attempt would last longer than this client waits.
    client(at, "good").await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_goes_before_tls() {
    let ca = Authority::new();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut to = over_tls(backend.local_addr().unwrap());
    to.via.send_proxy = SendProxy::V2;
    let mut chain = chain(ca.backend("backend.example"));
    chain.connect.timeout = Duration::from_secs(4);
    let control = Control::new(chain, vec![to]);
    let workers = workers(1);
    let main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
    let mut client = Client::of(&ca).open(at, "a.example").await.unwrap();
    let from = client.get_ref().0.local_addr().unwrap();
    let (mut tcp, _) = within(backend.accept()).await.unwrap();
    let mut bytes = Vec::new();
    let length = loop {
        // Not a byte of what follows.
        bytes.push(within(tcp.read_u8()).await.unwrap());
        if let Some((header, length)) = proxy_protocol::decode(&bytes).unwrap() {
            let Header::Proxied(addresses) = header else {
                panic!("{header:?}")
            };
            assert_eq!((addresses.source, addresses.destination), (from, at));
            break length;
        }
    };
    assert_eq!(length, bytes.len());
    let name = b"a.example";
    assert!(
        bytes.windows(name.len()).any(|part| part == name),
        "the name that the client asked for"
    );
    let config = server_config(&ca.issue(&["backend.example"]), None);
    let mut server = accept(&config, tcp).await.unwrap();
    client.write_all(b"inside").await.unwrap();
    expect(&mut server, "inside").await;
    workers.stop().await;
}
