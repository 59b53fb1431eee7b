use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_snapshot::Health;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::prober::{ProbeCounters, Probed, Probers};
use super::*;
use crate::endpoint::EndpointId;
use crate::testing::rig::{nobody, within};

const SECOND: Duration = Duration::from_secs(1);

/// Longer than any test takes.
const LONG: Duration = Duration::from_mins(10);

/// Serves each connection with `serve`, until the test ends.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Target
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Target { address, host: None }
}

/// Reads until `until`, then writes `answer` and closes.
async fn says(until: &'static str, answer: &'static str) -> Target {
    server(move |mut stream| async move {
        let mut heard = Vec::new();
        while !heard.ends_with(until.as_bytes()) {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            heard.push(byte[0]);
        }
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

async fn silent() -> Target {
    server(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

fn refusing() -> Target {
    Target {
        address: nobody(),
        host: None,
    }
}

async fn failure(target: &Target, monitor: &Monitor) -> String {
    failure_within(SECOND * 5, target, monitor).await
}

/// Why a probe fails of a server that says nothing.
async fn silence(monitor: &Monitor) -> String {
    failure_within(SECOND / 4, &silent().await, monitor).await
}

async fn failure_within(limit: Duration, target: &Target, monitor: &Monitor) -> String {
    match probe(target, monitor, limit).await {
        Err(Fault::Endpoint(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn tcp(send: Option<&str>, expect: Option<&str>) -> Monitor {
    Monitor::Tcp {
        port: None,
        send: send.map(str::to_owned),
        expect: expect.map(str::to_owned),
    }
}

fn http(expect: &[u16], tls: bool) -> Monitor {
    Monitor::Http {
        port: None,
        path: "/healthz?deep=1".into(),
        host: None,
        expect: expect.to_vec(),
        tls,
    }
}

#[tokio::test]
async fn tcp_connects_and_compares() {
    let ready = says("PING\n", "+READY\r\n").await;
    assert_eq!(probe(&ready, &tcp(None, None), SECOND).await, Ok(()));
    assert_eq!(
        probe(&ready, &tcp(Some("PING\n"), Some("READY")), SECOND).await,
        Ok(())
    );
    let busy = says("PING\n", "BUSY").await;
    assert_eq!(
        failure(&busy, &tcp(Some("PING\n"), Some("READY"))).await,
        r#"expected "READY", got "BUSY""#
    );
    let mute = says("", "").await;
    assert_eq!(
        failure(&mute, &tcp(None, Some("READY"))).await,
        r#"expected "READY", got nothing"#
    );
    assert_eq!(silence(&tcp(None, Some("READY"))).await, "no answer within 250ms");
    assert_eq!(failure(&refusing(), &tcp(None, None)).await, "connection refused");
    // only the first 16 KiB count
    let late = server(|mut stream| async move {
        let _ = stream.write_all(&[b'x'; 16 * 1024]).await;
        let _ = stream.write_all(b"READY").await;
    })
    .await;
    assert!(
        failure(&late, &tcp(None, Some("READY")))
            .await
            .starts_with(r#"expected "READY", got "xxx"#)
    );
}

#[tokio::test]
async fn a_monitor_may_have_a_port_of_its_own() {
    let mut target = refusing();
    let port = says("", "").await.address.port();
    let monitor = Monitor::Tcp {
        port: Some(port),
        send: None,
        expect: None,
    };
    assert_eq!(probe(&target, &monitor, SECOND).await, Ok(()));
    target.address.set_port(port);
    assert_eq!(knock(target.address, SECOND).await, Ok(()));
}

#[tokio::test]
async fn http_asks_for_the_path_by_its_host_and_judges_the_status() {
    let mut echo = server(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let good =
            head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n") && head.contains("host: cms.example:");
        let status = if good { "204 No Content" } else { "400 Bad Request" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    assert_eq!(failure(&echo, &http(&[204], false)).await, "status 400");
    echo.host = Some("cms.example".into());
    assert_eq!(probe(&echo, &http(&[200, 204], false), SECOND).await, Ok(()));
    assert_eq!(failure(&echo, &http(&[200], false)).await, "status 204");
    let sick = says("\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    assert_eq!(failure(&sick, &http(&[200], false)).await, "status 503");
    let closing = says("\r\n\r\n", "").await;
    assert_eq!(
        failure(&closing, &http(&[200], false)).await,
        "connection closed early"
    );
    let other = says("\r\n\r\n", "220 mail.example ESMTP\r\n").await;
    assert_eq!(
        failure(&other, &http(&[200], false)).await,
        "what came back is not HTTP/1.1"
    );
    assert_eq!(silence(&http(&[200], false)).await, "no answer within 250ms");
    assert_eq!(
        failure(&refusing(), &http(&[200], false)).await,
        "connection refused"
    );
}

async fn tls_server(answer: &'static str) -> Target {
    let certified = rcgen::generate_simple_self_signed(["expired.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut head = [0; 16];
            if stream.read(&mut head).await.unwrap_or(0) > 0 {
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn tls_shakes_hands_with_anybody_who_speaks_it() {
    let good = tls_server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(probe(&good, &Monitor::Tls { port: None }, SECOND).await, Ok(()));
    assert_eq!(probe(&good, &http(&[200], true), SECOND).await, Ok(()));
    assert_eq!(failure(&good, &http(&[418], true)).await, "status 200");
    let plain = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let why = failure(&plain, &Monitor::Tls { port: None }).await;
    assert!(why.starts_with("TLS handshake failed"), "{why}");
    assert_eq!(
        silence(&Monitor::Tls { port: None }).await,
        "no answer within 250ms"
    );
}

/// A health service on h2: `ok` and the empty service serve, `down` does not, others are unknown.
async fn grpc_server() -> Target {
    server(|stream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            let mut body = request.into_body();
            tokio::spawn(async move {
                let mut message = Vec::new();
                while let Some(Ok(chunk)) = body.data().await {
                    message.extend_from_slice(&chunk);
                }
                let status = match message.get(7..).unwrap_or_default() {
                    b"" | b"ok" => Some(1),
                    b"down" => Some(2),
                    _ => None,
                };
                let head = hyper::Response::builder().header("content-type", "application/grpc");
                let Some(status) = status else {
                    let only = head.header("grpc-status", "5").body(()).unwrap();
                    respond.send_response(only, true).unwrap();
                    return;
                };
                let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
                let message = vec![0, 0, 0, 0, 2, 8, status];
                stream.send_data(message.into(), false).unwrap();
                let mut trailers = hyper::HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                stream.send_trailers(trailers).unwrap();
            });
        }
    })
    .await
}

fn grpc(service: &str) -> Monitor {
    Monitor::Grpc {
        port: None,
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let target = grpc_server().await;
    assert_eq!(probe(&target, &grpc(""), SECOND).await, Ok(()));
    assert_eq!(probe(&target, &grpc("ok"), SECOND).await, Ok(()));
    assert_eq!(failure(&target, &grpc("down")).await, "health is NOT_SERVING");
    assert_eq!(
        failure(&target, &grpc("other")).await,
        "health of this service is not known there"
    );
    let plain = says("\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let why = failure(&plain, &grpc("")).await;
    assert!(why.starts_with("HTTP/2: ") || why == "connection reset", "{why}");
    assert_eq!(silence(&grpc("")).await, "no answer within 250ms");
    assert_eq!(failure(&refusing(), &grpc("")).await, "connection refused");
}

#[test]
fn want_of_our_own_descriptors_says_nothing_about_the_endpoint() {
    let ours = Fault::io(&io::Error::from_raw_os_error(nix::libc::EMFILE));
    assert!(matches!(ours, Fault::Ours(_)));
    let theirs = Fault::io(&io::Error::from_raw_os_error(nix::libc::EHOSTUNREACH));
    assert_eq!(theirs, Fault::endpoint("host unreachable"));
}

fn health(interval: Duration, monitors: Vec<Monitor>) -> Health {
    Health {
        interval,
        timeout: SECOND * 5,
        rise: 2,
        fall: 2,
        monitors,
        passive: None,
    }
}

#[tokio::test]
async fn endpoints_are_probed_at_once_then_at_the_interval_and_no_more_when_unwatched() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    let target = server(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    })
    .await;
    let (mut probers, mut results) = Probers::new(Arc::default());
    let endpoint = EndpointId::next();
    let targets = BTreeMap::from([(endpoint, target)]);
    let monitors = vec![tcp(None, None), tcp(None, Some("never"))];
    // whatever comes of so long an interval within a test comes at once
    probers.watch(&targets, &health(LONG, monitors.clone()));
    let mut first = [0; 2];
    while first.contains(&0) {
        let Some(Probed::Monitor { monitor, result, .. }) = within(results.recv()).await else {
            panic!()
        };
        assert_eq!(result.is_ok(), monitor == 0);
        first[monitor] += 1;
    }
    within(probers.stop()).await;

    let (mut probers, mut results) = Probers::new(Arc::default());
    let health = health(SECOND / 5, monitors);
    probers.watch(&targets, &health);
    let mut at = Vec::new();
    while at.len() < 6 {
        let probed = within(results.recv()).await;
        let Some(Probed::Monitor {
            monitor,
            begun,
            result,
            ..
        }) = probed
        else {
            panic!()
        };
        assert_eq!(result.is_ok(), monitor == 0);
        if monitor == 0 {
            at.push(begun);
        }
    }
    // after the second, which falls anywhere into the first interval
    let gaps = at[1..].windows(2).map(|pair| pair[1] - pair[0]);
    let shortest = gaps.min().unwrap();
    assert!(shortest >= SECOND * 9 / 50, "the interval, less a tenth: {at:?}");
    // a busy machine may delay some of them, hardly all
    assert!(shortest < SECOND / 4, "not later: {at:?}");
    probers.watch(&targets, &health); // the same orders: the same tasks
    probers.watch(&BTreeMap::new(), &health);
    tokio::task::yield_now().await;
    while results.try_recv().is_ok() {}
    let before = accepted.load(Ordering::Relaxed);
    tokio::time::sleep(SECOND / 2).await; // the absence of probes can only be waited for
    assert!(accepted.load(Ordering::Relaxed) <= before + 1);
    probers.stop().await;
}

#[tokio::test]
async fn a_suspect_is_looked_at_twice_at_once_and_then_until_it_passes() {
    let target = refusing();
    let counters = Arc::new(ProbeCounters::default());
    let (mut probers, mut results) = Probers::new(Arc::clone(&counters));
    let endpoint = EndpointId::next();
    let is_dead = |probed| {
        let Some(Probed::Confirmed {
            endpoint: of, result, ..
        }) = probed
        else {
            panic!("{probed:?}")
        };
        assert_eq!((of, result), (endpoint, Err("connection refused".into())));
    };
    // of so long an interval nothing but the looks at once comes within a test
    let long = health(LONG, vec![tcp(None, None)]);
    probers.confirm(endpoint, &target, &long);
    for _ in 0..2 {
        is_dead(within(results.recv()).await);
    }
    let health = health(SECOND / 5, vec![tcp(None, None)]);
    probers.confirm(endpoint, &target, &health);
    for _ in 0..3 {
        is_dead(within(results.recv()).await);
    }
    probers.confirm(endpoint, &target, &health); // again: what was under way ends
    let listener = TcpListener::bind(target.address).await.unwrap();
    let alive = AtomicBool::new(false);
    while let Some(Probed::Confirmed { result, .. }) = within(results.recv()).await {
        if result.is_ok() {
            alive.store(true, Ordering::Relaxed);
            break;
        }
    }
    assert!(alive.load(Ordering::Relaxed));
    assert_eq!(counters.passed.load(Ordering::Relaxed), 1);
    drop(listener);
    probers.confirm(endpoint, &target, &health); // a new suspicion
    is_dead(within(results.recv()).await);
    probers.stop_confirming(endpoint);
    probers.stop().await;
}
