mod guests;
mod relays;

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use switchyard_snapshot::{AcceptProxy, Listener, Protocol, SendProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::access_log::AccessLog;
use crate::session::end::Refusal;
use crate::testing::eventually;
use crate::testing::rig::{
    self, Control, Echo, apply, ask, assert_reset, assert_reset_after, candidate, client, expect, listener,
    rest, routing, within, workers,
};
use crate::worker::{WorkerConfig, Workers};

fn refused(workers: &Workers, why: Refusal) -> u64 {
    workers.counters().listeners["main"].refused[why.index()]
}

/// Sends `first` and reads who answers: an `Echo` says its name before it sends anything back.
async fn answer(at: SocketAddr, first: &[u8], name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(first).await.unwrap();
    expect(&mut stream, name).await;
    let mut echoed = vec![0; first.len()];
    within(stream.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(echoed, first, "not a byte is lost or added");
    stream
}

fn client_hello(name: &'static str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(config.into(), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn named(name: &str, at: SocketAddr, hostnames: &[&str]) -> Control {
    let mut chain = rig::chain(name);
    chain.hostnames = hostnames.iter().map(|name| (*name).to_owned()).collect();
    Control::new(chain, vec![candidate(at)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finds_the_chain_by_sni_or_by_default() {
    let (sync, web, other) = (
        Echo::start("sync").await,
        Echo::start("web").await,
        Echo::start("other").await,
    );
    let chains = [
        named("sync", sync.address, &["sync.example"]),
        named("web", web.address, &["*.web.example"]),
        named("other", other.address, &[]),
    ];
    let workers = workers(2);
    let all: Vec<&Control> = chains.iter().collect();
    let at = apply(&workers, routing(vec![(listener("main", Protocol::Auto), all)])).await["main"];
    answer(at, &client_hello("sync.example"), "sync").await;
    answer(at, &client_hello("a.web.example"), "web").await;
    answer(at, &client_hello("unknown.example"), "other").await;
    answer(at, b"SSH-2.0-test\r\n", "other").await;

    // In as many pieces as there are bytes, and slowly.
    let hello = client_hello("sync.example");
    let mut slow = TcpStream::connect(at).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in &hello {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    expect(&mut slow, "sync").await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_listener_takes_nothing_but_tls() {
    let sync = Echo::start("sync").await;
    let chain = named("sync", sync.address, &["sync.example"]);
    let workers = workers(1);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tls), vec![&chain])]),
    )
    .await["main"];
    answer(at, &client_hello("sync.example"), "sync").await;
    for (first, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Refusal::BadHandshake),
        (client_hello("unknown.example"), Refusal::NoChain),
    ] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&first).await.unwrap();
        assert_eq!(rest(&mut stream).await.1, Err(ErrorKind::ConnectionReset));
        assert_eq!(refused(&workers, why), 1, "{why:?}");
    }
    // Leaves in the middle.
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream
        .write_all(&client_hello("sync.example")[..20])
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.1, Err(ErrorKind::ConnectionReset));
    assert_eq!(refused(&workers, Refusal::BadHandshake), 2);
    // Leaves without a word.
    drop(TcpStream::connect(at).await.unwrap());
    eventually("gone", Duration::from_secs(5), || {
        refused(&workers, Refusal::ClientGone) == 1
    })
    .await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_clients_are_cut_off_by_the_handshake_timeout() {
    let sync = Echo::start("sync").await;
    let chain = named("sync", sync.address, &["sync.example"]);
    let workers = workers(1);
    let mut main = listener("main", Protocol::Auto);
    main.handshake_timeout = Duration::from_millis(300);
    let at = apply(&workers, routing(vec![(main, vec![&chain])])).await["main"];
    let begun = Instant::now();
    let mut silent = TcpStream::connect(at).await.unwrap();
    let mut drip = TcpStream::connect(at).await.unwrap();
    drip.write_all(b"GET / HT").await.unwrap();
    assert_eq!(rest(&mut silent).await.1, Err(ErrorKind::ConnectionReset));
    assert_eq!(rest(&mut drip).await.1, Err(ErrorKind::ConnectionReset));
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(3)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(refused(&workers, Refusal::HandshakeTimeout), 2);
    // What says too much without saying whom it wants.
    let message = [&[1, 0, 0x40, 0][..], &[0; 0x4000]].concat();
    let records: Vec<u8> = message
        .chunks(0x1000)
        .flat_map(|part| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat())
        .collect();
    let mut babbler = TcpStream::connect(at).await.unwrap();
    let _ = babbler.write_all(&records).await;
    assert_eq!(rest(&mut babbler).await.1, Err(ErrorKind::ConnectionReset));
    assert_eq!(refused(&workers, Refusal::BadHandshake), 1);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_server_speaks_first_silence_means_the_default_chain() {
    let (sync, mail) = (Echo::start("sync").await, Echo::start("220 mail").await);
    let named = named("sync", sync.address, &["sync.example"]);
    let mut chain = rig::chain("mail");
    chain.server_first = true;
    let mail = Control::new(chain, vec![candidate(mail.address)]);
    let workers = workers(1);
    let mut main = listener("main", Protocol::Auto);
    // Nobody is served because that is over.
    main.handshake_timeout = Duration::from_mins(1);
    let at = apply(&workers, routing(vec![(main, vec![&named, &mail])])).await["main"];
    client(at, "220 mail").await;
    answer(at, &client_hello("sync.example"), "sync").await;
    workers.stop().await;
}

/// Which of trusted and other sources may, must or must not send a header, on each kind of listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxy_headers_are_taken_from_trusted_sources_only() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let echo = Echo::start("e").await;
    let (open, reset) = (true, false);
    for (accept, trusted, header, expected) in [
        (AcceptProxy::Accept, true, true, open),
        (AcceptProxy::Accept, true, false, open),
        (AcceptProxy::Accept, false, false, open),
        (AcceptProxy::Accept, false, true, reset),
        (AcceptProxy::Require, true, true, open),
        (AcceptProxy::Require, true, false, reset),
        (AcceptProxy::Require, false, false, open),
        (AcceptProxy::Require, false, true, reset),
    ] {
        for protocol in [Protocol::Tcp, Protocol::Auto] {
            let what = format!("{accept:?} {protocol:?}, trusted {trusted}, header {header}");
            let chain = if protocol == Protocol::Auto {
                named("c", echo.address, &["a.example"])
            } else {
                named("c", echo.address, &[])
            };
            let workers = workers(1);
            let mut main = listener("main", protocol);
            main.accept_proxy = accept;
            main.trusted_sources = vec![
                if trusted { "127.0.0.0/8" } else { "10.0.0.0/8" }
                    .parse()
                    .unwrap(),
            ];
            let at = apply(&workers, routing(vec![(main, vec![&chain])])).await["main"];
            let mut stream = TcpStream::connect(at).await.unwrap();
            let own = client_hello("a.example");
            stream
                .write_all(&[if header { HEADER } else { b"" }, &own].concat())
                .await
                .unwrap();
            if expected == open {
                expect(&mut stream, "e").await;
                let mut echoed = vec![0; own.len()];
                within(stream.read_exact(&mut echoed)).await.unwrap();
                assert_eq!(echoed, own, "{what}");
                let sessions = workers.sessions(1).await;
                let named = header.then_some("192.0.2.7:4711".parse().unwrap());
                assert_eq!(
                    sessions[0].client,
                    named.unwrap_or(stream.local_addr().unwrap()),
                    "{what}"
                );
            } else {
                // On an opaque listener the backend, which speaks first, may have been heard before.
                assert_eq!(
                    rest(&mut stream).await.1,
                    Err(ErrorKind::ConnectionReset),
                    "{what}"
                );
            }
            workers.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_client_of_a_server_that_speaks_first_may_be_silent() {
    let echo = Echo::start("220 mail").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(1);
    let mut main = listener("main", Protocol::Tcp);
    main.accept_proxy = AcceptProxy::Accept;
    main.trusted_sources = vec!["127.0.0.0/8".parse().unwrap()];
    let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
    let begun = Instant::now();
    client(at, "220 mail").await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announces_clients_to_backends_in_proxy_headers() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let workers = workers(1);
    for version in [SendProxy::V1, SendProxy::V2] {
        let mut to = candidate(backend.local_addr().unwrap());
        to.via.send_proxy = version;
        let control = Control::new(rig::chain("c"), vec![to]);
        let at = apply(
            &workers,
            routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
        )
        .await["main"];
        let mut client = TcpStream::connect(at).await.unwrap();
        let (mut server, _) = within(backend.accept()).await.unwrap();
        // Before the client says anything: the server may be the one to speak first.
        let mut bytes = vec![0; 512];
        let length = within(server.read(&mut bytes)).await.unwrap();
        let (header, used) = crate::proxy_protocol::decode(&bytes[..length]).unwrap().unwrap();
        assert_eq!(used, length);
        let crate::proxy_protocol::Header::Proxied(addresses) = header else {
            panic!("{header:?}")
        };
        assert_eq!(
            (addresses.source, addresses.destination),
            (client.local_addr().unwrap(), at)
        );
        client.write_all(b"after").await.unwrap();
        expect(&mut server, "after").await;
    }
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_max_connections_clients_wait_in_the_backlog() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    for count in [1, 2] {
        let workers = workers(count);
        let mut main = listener("main", Protocol::Tcp);
        main.max_connections = 3;
        let at = apply(&workers, routing(vec![(main.clone(), vec![&control])])).await["main"];
        main.port = at.port();
        let mut inside = Vec::new();
        for _ in 0..3 {
            inside.push(client(at, "e").await);
        }
        let mut waiting = TcpStream::connect(at).await.unwrap();
        let answered = tokio::time::timeout(Duration::from_millis(200), waiting.read(&mut [0])).await;
        assert!(answered.is_err(), "{answered:?}");
        assert_eq!(workers.counters().listeners["main"].active, 3);
        inside.pop();
        expect(&mut waiting, "e").await;
        // A raised limit is heard of by those who wait.
        let mut next = TcpStream::connect(at).await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(200), next.read(&mut [0]))
                .await
                .is_err()
        );
        main.max_connections = 4;
        main.port = 0;
        apply(&workers, routing(vec![(main, vec![&control])])).await;
        expect(&mut next, "e").await;
        assert!(workers.counters().listeners["main"].limited > 0);
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_let_in_or_not_and_probes_are_told_the_truth() {
    let echo = Echo::start("e").await;
    let mut control = Control::simple("c", &[echo.address]);
    let workers = workers(1);
    let mut main = listener("main", Protocol::Tcp);
    main.allowed_sources = vec!["10.0.0.0/8".parse().unwrap()];
    let at = apply(&workers, routing(vec![(main.clone(), vec![&control])])).await["main"];
    assert_reset(at).await;
    assert_eq!(refused(&workers, Refusal::SourceNotAllowed), 1);

    // A probe needs no other permission, is not counted, and finds room where nobody else does.
    main.monitor_sources = vec!["127.0.0.0/8".parse().unwrap()];
    apply(&workers, routing(vec![(main, vec![&control])])).await;
    let mut probe = client(at, "e").await;
    ask(&mut probe, "served like a client").await;
    // A client would wait for longer than this test does.
    control.chain.connect.timeout = Duration::from_mins(1);
    control.publish(vec![]);
    // A probe does not wait for an endpoint.
    assert_reset(at).await;
    drop(probe);
    let totals = workers.counters();
    assert_eq!(totals.listeners["main"].accepted, 1);
    assert_eq!(totals.chains[control.id()].sessions, 0);
    workers.stop().await;
}

/// Where an access log writes, for the test to read.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

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
async fn writes_one_line_per_connection() {
    let echo = Echo::start("e").await;
    let control = named("c", echo.address, &["a.example"]);
    let lines = Lines::default();
    let (log, writer) = AccessLog::start(lines.clone()).unwrap();
    let count = NonZeroUsize::MIN;
    let config = WorkerConfig {
        count,
        bind: None,
        descriptors: 4096,
        access_log: Some(log),
    };
    let workers = Workers::start(config).unwrap();
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Auto), vec![&control])]),
    )
    .await["main"];
    let hello = client_hello("a.example");
    let mut stream = answer(at, &hello, "e").await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, (vec![], Ok(())));
    let mut stray = TcpStream::connect(at).await.unwrap();
    stray.write_all(&client_hello("b.example")).await.unwrap();
    rest(&mut stray).await.1.unwrap_err();
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
        (&served["chain"], &served["name"], &served["end"]),
        (&"test/c".into(), &"a.example".into(), &"clientClosed".into())
    );
    assert_eq!(
        (&served["bytesUp"], &served["bytesDown"], &served["attempts"]),
        (&hello.len().into(), &(hello.len() + 1).into(), &1.into())
    );
    assert_eq!(served["endpoint"], echo.address.to_string());
    assert_eq!(
        (&refused["end"], &refused["fault"]),
        (&"refused:noChain".into(), &"proxy".into())
    );
    assert_eq!(refused["why"], "no chain for \"b.example\"");
}

/// The child's part of the tests below: a proxy with few descriptors. Run by them only, in a process of its own.
#[test]
fn few_descriptors_child() {
    let Ok(backend) = std::env::var("FEW_DESCRIPTORS_BACKEND") else {
        return;
    };
    let descriptors: u64 = std::env::var("FEW_DESCRIPTORS_TOLD").unwrap().parse().unwrap();
    let limit = 128;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let control = Control::simple("c", &[backend.parse().unwrap()]);
        let count = NonZeroUsize::MIN;
        let workers = Workers::start(WorkerConfig {
            count,
            bind: None,
            descriptors,
            access_log: None,
        })
        .unwrap();
        let at = apply(
            &workers,
            routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
        )
        .await["main"];
        println!("\nlistening {at}");
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
            .await
            .unwrap()
            .unwrap();
        let totals = &workers.counters().listeners["main"];
        println!("\ncounts {} {}", totals.limited, totals.accept_errors);
        workers.stop().await;
    });
}

/// Connects 200 clients to a proxy that has 128 descriptors and believes to have `told`, while one session goes on; then
/// lets them go. How many were served while all were there (`least`, and whoever else is before it is quiet), and how often the
/// proxy was limited and failed to accept.
async fn exhaust(told: u64, least: usize) -> (usize, u64, u64) {
    const QUIET: Duration = Duration::from_millis(500);
    let echo = Echo::start("e").await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "listener::tests::few_descriptors_child", "--nocapture"])
        .env("FEW_DESCRIPTORS_BACKEND", echo.address.to_string())
        .env("FEW_DESCRIPTORS_TOLD", told.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let at: SocketAddr = lines
        .find_map(|line| line.strip_prefix("listening ").map(|at| at.parse().unwrap()))
        .unwrap();
    let mut first = client(at, "e").await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(at).await.unwrap());
    }
    let mut served = 0;
    let mut answers: FuturesUnordered<_> = crowd
        .iter_mut()
        .map(|stream| async { stream.read(&mut [0]).await })
        .collect();
    let begun = Instant::now();
    loop {
        match tokio::time::timeout(QUIET, answers.next()).await {
            Ok(Some(answered)) => served += usize::from(matches!(answered, Ok(1))),
            Ok(None) => break,
            Err(_) if served >= least => break,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "only {served}"),
        }
    }
    drop(answers);
    ask(&mut first, "still served").await;
    drop(crowd);
    // Nobody has to be told that there are descriptors again.
    for _ in 0..10 {
        client(at, "e").await;
    }
    ask(&mut first, "served to the end").await;
    drop(child.stdin.take());
    let counts = lines
        .find_map(|line| line.strip_prefix("counts ").map(str::to_owned))
        .unwrap();
    assert!(child.wait().unwrap().success());
    let (limited, errors) = counts.split_once(' ').unwrap();
    (served, limited.parse().unwrap(), errors.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_accepting_before_descriptors_run_out() {
    let (served, limited, errors) = exhaust(128, 47).await;
    // Of 128 descriptors 32 are kept back; two for each session.
    assert_eq!(served, 47, "and the first one");
    assert!(limited > 0);
    assert_eq!(errors, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_running_out_of_descriptors_all_the_same() {
    let (served, _, errors) = exhaust(100_000, 21).await;
    assert!(served > 20, "{served}");
    assert!(errors > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_to_be_accepted_when_a_listener_closes_is_served() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(2);
    let main: Listener = Listener {
        max_connections: 1,
        ..listener("main", Protocol::Tcp)
    };
    let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
    let _inside = client(at, "e").await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(TcpStream::connect(at).await.unwrap());
    }
    assert!(workers.apply(routing(vec![])).await.is_empty());
    for stream in &mut waiting {
        expect(stream, "e").await;
        ask(stream, "to the end").await;
    }
    assert_eq!(
        TcpStream::connect(at).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    workers.stop().await;
}

/// What became of a client that connects again and again until it is refused: how often it was served, and what else it met.
fn storm(at: SocketAddr) -> (usize, Vec<std::io::Error>) {
    let (mut served, mut cut) = (0, Vec::new());
    loop {
        let mut stream = match std::net::TcpStream::connect(at) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return (served, cut),
            Err(error) => panic!("{error}"),
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match stream.read_exact(&mut [0; 1]) {
            Ok(()) => served += 1,
            Err(error) => cut.push(error),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_cut_while_a_listener_closes() {
    let echo = Echo::start("e").await;
    let control = Control::simple("c", &[echo.address]);
    let workers = workers(2);
    let accepted = || {
        let counters = workers.counters();
        counters.listeners.get("main").map_or(0, |it| it.accepted)
    };
    // It goes, or gives way to one at another address with the same port, which then goes.
    for gives_way in [false, false, false, true, true, true] {
        let mut main = listener("main", Protocol::Tcp);
        if gives_way {
            main.addresses = vec!["0.0.0.0".parse().unwrap()];
            main.port = rig::free_port();
        }
        let at = apply(&workers, routing(vec![(main.clone(), vec![&control])])).await["main"];
        let at = SocketAddr::from(([127, 0, 0, 1], at.port()));
        let before = accepted();
        let clients: Vec<_> = (0..8).map(|_| std::thread::spawn(move || storm(at))).collect();
        eventually("clients are served", Duration::from_secs(10), || {
            accepted() > before + 100
        })
        .await;
        if gives_way {
            main.addresses = vec!["127.0.0.1".parse().unwrap()];
            apply(&workers, routing(vec![(main, vec![&control])])).await;
        }
        assert!(workers.apply(routing(vec![])).await.is_empty());
        for client in clients {
            let (served, cut) = tokio::task::spawn_blocking(|| client.join().unwrap())
                .await
                .unwrap();
            assert!(cut.is_empty(), "{gives_way}: {served} served, then {cut:?}");
        }
    }
    workers.stop().await;
}
