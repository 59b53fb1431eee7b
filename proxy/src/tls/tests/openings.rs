//! What comes in on a port, complete or not.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use switchyard_snapshot::{AcceptProxy, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::Front;
use crate::access_log::AccessLog;
use crate::session::end::Refusal;
use crate::testing::eventually;
use crate::testing::rig::{
    self, Control, Echo, apply, ask, candidate, expect, rest, routing, within, workers,
};
use crate::testing::tls::{Authority, Client, listener};
use crate::worker::{WorkerConfig, Workers};

/// The first flight of a client.
fn hello(name: &str) -> Vec<u8> {
    let client = Client::gullible(&[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(client.config(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_takes_tls_and_plain_clients() {
    let ca = Authority::new();
    let (named, other) = (Echo::start("named").await, Echo::start("220 other").await);
    let mut chain = rig::chain("named");
    chain.hostnames = vec!["a.example".into()];
    let named = Control::new(chain, vec![candidate(named.address)]);
    let mut chain = rig::chain("other");
    chain.server_first = true;
    let other = Control::new(chain, vec![candidate(other.address)]);
    let main = listener(
        "main",
        Protocol::Auto,
        vec![ca.issue(&["a.example", "b.example"])],
    );
    let workers = workers(1);
    let at = apply(&workers, routing(vec![(main, vec![&named, &other])])).await["main"];
    let client = Client::of(&ca);
    // Inside TLS, by its name, as soon as the client says something: that server does not speak first.
    let mut stream = client.open(at, "a.example").await.unwrap();
    stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    expect(&mut stream, "namedSSH-2.0-x\r\n").await;
    // The default chain's server speaks first, inside TLS and in the clear.
    expect(&mut client.open(at, "b.example").await.unwrap(), "220 other").await;
    rig::client(at, "220 other").await;
    let mut plain = TcpStream::connect(at).await.unwrap();
    plain.write_all(b"EHLO x\r\n").await.unwrap();
    expect(&mut plain, "220 otherEHLO x\r\n").await;
    // What only begins like TLS.
    let mut odd = TcpStream::connect(at).await.unwrap();
    odd.write_all(&[22, 9, 9]).await.unwrap();
    expect(&mut odd, "220 other").await;
    workers.stop().await;
}

/// A server that answers each connection's first request with its name, and keeps what it was asked.
async fn web(name: &'static str) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let _ = tell.send(String::from_utf8(head).unwrap());
            let length = name.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_known_in_the_clear_and_inside_tls() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    /// The preface and empty settings.
    const BEGINS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let ca = Authority::new();
    let (address, mut asked) = web("web").await;
    let control = Control::simple("c", &[address]);
    for protocol in [Protocol::Auto, Protocol::Http, Protocol::Https] {
        let mut main = listener("main", protocol, vec![ca.issue(&["a.example"])]);
        main.tls.as_mut().unwrap().alpn = vec!["h2".into(), "http/1.1".into()];
        let front = Front::new(main, &control).await;
        if protocol != Protocol::Https {
            let mut plain = TcpStream::connect(front.at).await.unwrap();
            plain.write_all(REQUEST).await.unwrap();
            served(&mut plain).await;
            let head = within(asked.recv()).await.unwrap().to_lowercase();
            assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
            let mut plain = TcpStream::connect(front.at).await.unwrap();
            plain.write_all(BEGINS).await.unwrap();
            settings(&mut plain).await;
        }
        for alpn in [vec![], vec!["http/1.1"], vec!["h2"]] {
            let mut client = Client::of(&ca);
            client.alpn.clone_from(&alpn);
            let opened = client.open(front.at, "a.example").await;
            if protocol == Protocol::Http {
                opened.unwrap_err();
                continue;
            }
            let mut stream = opened.unwrap();
            if alpn == ["h2"] {
                stream.write_all(BEGINS).await.unwrap();
                settings(&mut stream).await;
                continue;
            }
            stream.write_all(REQUEST).await.unwrap();
            served(&mut stream).await;
            let head = within(asked.recv()).await.unwrap().to_lowercase();
            assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
            // HTTP/2 by its first bytes, where nothing was agreed on.
            if alpn.is_empty() {
                let mut stream = client.open(front.at, "a.example").await.unwrap();
                stream.write_all(BEGINS).await.unwrap();
                settings(&mut stream).await;
            }
        }
        let refused = front.counts().refused[Refusal::BadHandshake.index()];
        assert_eq!(
            refused,
            if protocol == Protocol::Http { 3 } else { 0 },
            "{protocol:?}"
        );
        front.workers.stop().await;
    }
}

async fn served(stream: &mut (impl AsyncRead + Unpin)) {
    let (answer, _) = rest(stream).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nweb"),
        "{answer}"
    );
}

/// The first frame of an HTTP/2 server (RFC 9113 §3.4).
async fn settings(stream: &mut (impl AsyncRead + Unpin)) {
    let mut frame = [0; 9];
    within(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_goes_before_the_handshake() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    main.accept_proxy = AcceptProxy::Require;
    main.trusted_sources = vec!["127.0.0.0/8".parse().unwrap()];
    let front = Front::new(main, &chain).await;
    let mut tcp = TcpStream::connect(front.at).await.unwrap();
    tcp.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        .await
        .unwrap();
    let connector = TlsConnector::from(Client::of(&ca).config());
    let mut stream = within(connector.connect("a.example".try_into().unwrap(), tcp))
        .await
        .unwrap();
    expect(&mut stream, "e").await;
    let sessions = front.workers.sessions(1).await;
    assert_eq!(sessions[0].client, "192.0.2.7:4711".parse().unwrap());
    front.workers.stop().await;
}

/// Nor after a silence in which the server spoke.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_of_a_stranger_is_let_through_nowhere() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let ca = Authority::new();
    let echo = Echo::start("220").await;
    let mut chain = rig::chain("c");
    chain.server_first = true;
    let chain = Control::new(chain, vec![candidate(echo.address)]);
    for protocol in [Protocol::Tls, Protocol::Auto] {
        let mut main = listener("main", protocol, vec![ca.issue(&["a.example"])]);
        main.accept_proxy = AcceptProxy::Accept;
        main.trusted_sources = vec!["10.0.0.0/8".parse().unwrap()];
        let front = Front::new(main, &chain).await;
        for (secure, greeted) in [(true, false), (true, true), (false, true)] {
            let tcp = TcpStream::connect(front.at).await.unwrap();
            if secure {
                let connector = TlsConnector::from(Client::of(&ca).config());
                let name = "a.example".try_into().unwrap();
                let mut stream = within(connector.connect(name, tcp)).await.unwrap();
                stranger(&mut stream, greeted, HEADER).await;
            } else if protocol == Protocol::Auto {
                let mut tcp = tcp;
                stranger(&mut tcp, greeted, HEADER).await;
            }
        }
        // Whoever says something else is served.
        let mut stream = Client::of(&ca).open(front.at, "a.example").await.unwrap();
        stream.write_all(b"PRO").await.unwrap();
        stream.write_all(b"FIT\r\n").await.unwrap();
        expect(&mut stream, "220PROFIT\r\n").await;
        front.workers.stop().await;
    }
}

async fn stranger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), greeted: bool, header: &[u8]) {
    if greeted {
        expect(stream, "220").await;
    }
    stream.write_all(header).await.unwrap();
    stream.flush().await.unwrap();
    let (said, ended) = rest(stream).await;
    assert!(!said.windows(5).any(|part| part == b"PROXY"), "{said:?}");
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_deadline_holds_for_the_whole_beginning() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Auto, vec![ca.issue(&["a.example"])]);
    main.handshake_timeout = Duration::from_millis(400);
    let front = Front::new(main, &chain).await;
    let begun = Instant::now();
    let whole = hello("a.example");
    let mut stuck = Vec::new();
    for first in [&whole[..], &whole[..40]] {
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        stream.write_all(first).await.unwrap();
        stuck.push(stream);
    }
    // Opened in time, and then silent: the server does not speak first.
    let mut silent = Client::of(&ca).open(front.at, "a.example").await.unwrap();
    for stream in &mut stuck {
        // The server's part of the handshake may be there, and then it is over.
        let mut bytes = Vec::new();
        let _ = within(stream.read_to_end(&mut bytes)).await;
    }
    assert_eq!(rest(&mut silent).await.1, Err(ErrorKind::ConnectionReset));
    assert!(
        (Duration::from_millis(400)..Duration::from_secs(3)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    let counts = front.counts();
    assert_eq!(counts.refused[Refusal::HandshakeTimeout.index()], 3);
    assert_eq!(counts.tls_failed, 1, "the one whose hello was complete");
    assert_eq!(counts.active, 0);
    front.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_and_harms_nobody() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let front = Front::new(
        listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]),
        &chain,
    )
    .await;
    let mut inside = Client::of(&ca).open(front.at, "a.example").await.unwrap();
    expect(&mut inside, "e").await;
    let whole = hello("a.example");
    let mut old = whole.clone();
    // No version that is spoken: the extension with the versions becomes one that nobody knows.
    let versions = old.windows(2).rposition(|pair| pair == [0, 43]).unwrap();
    old[versions] = 0x7a;
    for (first, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Refusal::BadHandshake),
        (whole[..40].to_vec(), Refusal::BadHandshake),
        ([&whole[..], &[23; 100]].concat(), Refusal::TlsHandshake),
        (whole.clone(), Refusal::TlsHandshake),
    ] {
        let before = front.counts().refused[why.index()];
        let mut stream = TcpStream::connect(front.at).await.unwrap();
        stream.write_all(&first).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        let _ = within(stream.read_to_end(&mut bytes)).await;
        eventually(
            &format!("{why:?} {}", first.len()),
            Duration::from_secs(5),
            || front.counts().refused[why.index()] == before + 1,
        )
        .await;
    }
    let mut stream = TcpStream::connect(front.at).await.unwrap();
    stream.write_all(&old).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    let _ = within(stream.read_to_end(&mut bytes)).await;
    // TLS 1.2 without the suites for it, or an alert: never a session.
    assert!(
        bytes.first().is_none_or(|first| [21, 22].contains(first)),
        "{bytes:?}"
    );
    ask(&mut inside, "unharmed").await;
    front.workers.stop().await;
}

/// Where an access log writes, for the test to read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_says_what_was_agreed_on_and_why_not() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let lines = Lines::default();
    let (log, writer) = AccessLog::start(lines.clone()).unwrap();
    let workers = Workers::start(WorkerConfig {
        count: NonZeroUsize::MIN,
        bind: None,
        descriptors: 4096,
        access_log: Some(log),
    })
    .unwrap();
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    main.tls.as_mut().unwrap().alpn = vec!["a/1".into()];
    let at = apply(&workers, routing(vec![(main, vec![&chain])])).await["main"];
    let mut client = Client::of(&ca);
    client.alpn = vec!["a/1"];
    let mut stream = client.open(at, "a.example").await.unwrap();
    expect(&mut stream, "e").await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, (vec![], Ok(())));
    Client::of(&Authority::new())
        .open(at, "a.example")
        .await
        .unwrap_err();
    eventually("refused", Duration::from_secs(5), || {
        workers.counters().listeners["main"].active == 0
    })
    .await;
    workers.stop().await;
    writer.join().unwrap().unwrap();
    let bytes = lines.0.lock().unwrap().clone();
    let lines: Vec<serde_json::Value> = String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [served, refused] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert_eq!(
        served["tls"],
        serde_json::json!({
            "version": "1.3", "cipher": "TLS13_AES_256_GCM_SHA384", "serverName": "a.example", "alpn": "a/1",
            "resumed": false,
        })
    );
    assert_eq!(
        (&served["name"], &served["end"]),
        (&"a.example".into(), &"clientClosed".into())
    );
    assert_eq!(refused["end"], "refused:tlsHandshake");
    assert_eq!(refused["fault"], "client");
    assert_eq!(
        refused["why"],
        "the client refused with the alert UnknownCA (it does not know who signed our certificate)"
    );
}
