//! Two proxies: at one, the chain's clients are told where to go; the other has them as guests.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use switchyard_snapshot::{Dialect, Fallback, GossipKey, Private};

use super::*;
use crate::chain::view::{Detour, Direct, Returning, Target};
use crate::clock::unix_ms;
use crate::proxy_protocol::Addresses;
use crate::proxy_protocol::relayed::{RelayKeys, Relayed};
use crate::route::{Relaying, Routing};
use crate::session::end::CloseReason;
use crate::testing::eventually;
use crate::testing::rig::candidate;
use crate::testing::tls::{self, Authority};

const SECOND: Duration = Duration::from_secs(1);

fn detour(to: &str, port: u16, dialects: &[Dialect]) -> Detour {
    Detour {
        why: "the test says so".into(),
        dialects: dialects.to_vec(),
        fallback: Fallback::Relay,
        targets: vec![Target {
            peer: None,
            chain: rig::chain("other").id,
            rank: 0,
            weight: 1,
            direct: vec![Direct {
                host: to.into(),
                port,
                networks: vec![],
            }],
        }],
        until: None,
    }
}

impl Front {
    /// Its chain's clients are sent to `to`; who does not follow goes to `relays`, which stand for proxies that relay.
    fn detours(&mut self, relays: &[&Site], detour: Detour) {
        let candidates = relays.iter().map(|site| candidate(site.address)).collect();
        self.control
            .publish_with(candidates, |view| view.detour = Some(Arc::new(detour)));
    }

    fn redirected(&self) -> [u64; 4] {
        self.workers.counters().chains[self.control.id()].redirected
    }
}

/// A proxy that may relay, and its direct port.
async fn start(control: Control, main: Listener) -> (Front, SocketAddr) {
    let main = Listener {
        idle_timeout: 5 * SECOND,
        direct_port: Some(0),
        max_guests: 100,
        ..main
    };
    let workers = rig::workers(1);
    let routing = Arc::into_inner(routing(vec![(main, vec![&control])])).unwrap();
    let relaying = Some(Relaying {
        keys: keys(),
        me: "test/pool/b".into(),
    });
    let at = apply(&workers, Arc::new(Routing { relaying, ..routing })).await["main"];
    let direct = workers.direct_addresses().await[0].1;
    (Front { workers, control, at }, direct)
}

/// Where clients come to that are served elsewhere.
async fn home(sites: &[&Site], change: impl FnOnce(&mut Listener)) -> Front {
    let addresses: Vec<SocketAddr> = sites.iter().map(|site| site.address).collect();
    let mut main = listener("main", Protocol::Http);
    change(&mut main);
    start(Control::simple("web", &addresses), main).await.0
}

/// Where they are served, and its direct port.
async fn host(sites: &[&Site], change: impl FnOnce(&mut Control)) -> (Front, SocketAddr) {
    let mut chain = rig::chain("web");
    chain.hostnames = vec!["*.example".into(), "web.example".into()];
    let candidates = sites.iter().map(|site| candidate(site.address)).collect();
    let mut control = Control::new(chain, candidates);
    change(&mut control);
    let mut main = listener("main", Protocol::Http);
    // Guests are looked at four times as often.
    main.handshake_timeout = SECOND;
    start(control, main).await
}

fn keys() -> RelayKeys {
    let key = Private::new("01".repeat(32));
    RelayKeys::new(&[GossipKey { key }]).unwrap()
}

async fn connect(at: SocketAddr) -> Raw {
    Raw(TcpStream::connect(at).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_follows_and_the_server_sees_its_own_name() {
    let site = Site::start("two").await;
    let (there, direct) = host(&[&site], |_| ()).await;
    let mut here = home(&[], |_| ()).await;
    here.detours(&[], detour("127.0.0.1", direct.port(), &[Dialect::Http]));
    let mut client = here.connect().await;
    let told = client.ask(&get("/a?b=%20c")).await;
    assert_eq!(told.status(), 307);
    let location = format!("http://127.0.0.1:{}/a?b=%20c", direct.port());
    assert_eq!(told.field("location"), Some(location.as_str()));
    assert!(
        told.has("cache-control: no-store") && told.has("connection: close"),
        "{}",
        told.head
    );
    assert!(told.field("retry-after").is_none() && told.field("alt-svc").is_none());
    assert_eq!(client.end().await, b"");
    assert_eq!(here.redirected(), [1, 0, 0, 0]);

    let mut followed = connect(direct).await;
    let request = format!(
        "GET /a?b=%20c HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n",
        direct.port()
    );
    assert_eq!(followed.ask(&request).await.body, b"two");
    let head = site.heads().pop().unwrap();
    let named = format!("x-forwarded-host: 127.0.0.1:{}", direct.port());
    for line in ["get /a?b=%20c http/1.1", "host: web.example", &named] {
        assert!(head.lines().any(|known| known == line), "{line} in {head}");
    }
    // Who asks for one of the chain's own names gets that one through.
    assert_eq!(
        followed
            .ask("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
            .await
            .status(),
        200
    );
    assert!(site.heads().pop().unwrap().contains("host: other.example"));
    assert_eq!(there.workers.counters().chains[there.control.id()].guests, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_when_a_detour_begins_is_told_too() {
    let relay = Site::start("relay").await;
    for (dialects, status) in [(&[Dialect::Http][..], 307), (&[], 200)] {
        let dead = Control::new(rig::patient("web"), vec![candidate(rig::nobody())]);
        let (mut here, _) = start(dead, listener("main", Protocol::Http)).await;
        let mut waits = here.connect().await;
        waits.say(&get("/")).await;
        let failed = || {
            here.workers.counters().chains[here.control.id()]
                .connect_errors
                .iter()
                .sum::<u64>()
        };
        eventually("nobody is reached", 5 * SECOND, || failed() > 0).await;
        here.detours(&[&relay], detour("b.example", 8080, dialects));
        assert_eq!(waits.hear().await.status(), status);
        assert_eq!(here.redirected(), [u64::from(status == 307), 0, 0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_back_is_not_redirected_again_but_parallel_connections_are() {
    let relay = Site::start("relay").await;
    // `parallel` says nothing for a while.
    let mut here = home(&[], |listener| listener.handshake_timeout = 60 * SECOND).await;
    here.detours(&[&relay], detour("b.example", 8080, &[Dialect::Http]));
    let mut parallel = here.connect().await;
    // Only who is accepted before counts as parallel.
    let accepted = || here.workers.counters().listeners["main"].accepted;
    eventually("it is accepted", 5 * SECOND, || accepted() == 1).await;
    // Moments are told apart by the millisecond.
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(here.connect().await.ask(&get("/")).await.status(), 307);
    assert_eq!(
        parallel.ask(&get("/")).await.status(),
        307,
        "it did not come back: it was here"
    );
    let mut back = here.connect().await;
    assert_eq!(back.ask(&get("/")).await.body, b"relay");
    assert_eq!(here.redirected(), [2, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_long_body_first_reads_the_answer_then() {
    let mut here = home(&[], |_| ()).await;
    here.detours(&[], detour("b.example", 8080, &[Dialect::Http]));
    let long = vec![b'x'; 10 << 20];
    let chunk = [
        format!("{:x}\r\n", long.len()).into_bytes(),
        long.clone(),
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    for (framing, body) in [
        (format!("Content-Length: {}", long.len()), &long),
        ("Transfer-Encoding: chunked".to_owned(), &chunk),
    ] {
        // Each from an address of its own, or the second would be back.
        let mut client = from(
            if body.len() == long.len() {
                "127.0.0.2"
            } else {
                "127.0.0.3"
            },
            here.at,
        )
        .await;
        client
            .say(&format!(
                "POST /up HTTP/1.1\r\nHost: web.example\r\nAuthorization: x\r\n{framing}\r\n\r\n"
            ))
            .await;
        within(client.0.write_all(body)).await.unwrap();
        let told = client.hear().await;
        assert_eq!(
            (told.status(), told.field("location")),
            (307, Some("http://b.example:8080/up"))
        );
        assert_eq!(client.end().await, b"", "{framing}");
    }
    let mut careful = from("127.0.0.4", here.at).await;
    careful
        .say("POST /up HTTP/1.1\r\nHost: web.example\r\nContent-Length: 10485760\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(careful.hear().await.status(), 307, "at once, and no 100");
    assert_eq!(careful.end().await, b"");
}

/// A client at another address of loopback.
async fn from(address: &str, at: SocketAddr) -> Raw {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    Raw(socket.connect(at).await.unwrap())
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_handshakes_are_redirected_where_their_own_dialect_is_listed() {
    let relay = Site::start("relay").await;
    let mut here = home(&[], |_| ()).await;
    here.detours(&[&relay], detour("b.example", 8080, &[Dialect::WebSocket]));
    assert_eq!(
        from("127.0.0.2", here.at).await.ask(&get("/")).await.body,
        b"relay"
    );
    let told = from("127.0.0.2", here.at).await.ask(HANDSHAKE).await;
    assert_eq!(
        (told.status(), told.field("location")),
        (307, Some("//b.example:8080/ws"))
    );
    here.detours(&[&relay], detour("b.example", 8080, &[Dialect::Http]));
    let mut client = from("127.0.0.3", here.at).await;
    client.say(HANDSHAKE).await;
    assert!(client.head().await.starts_with("http/1.1 101"));
    assert_eq!(
        from("127.0.0.3", here.at).await.ask(&get("/")).await.status(),
        307
    );
    // What has no path cannot be found elsewhere.
    let asterisk = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        from("127.0.0.4", here.at).await.ask(asterisk).await.body,
        b"relay"
    );
    let absolute = "GET http://web.example/x?y HTTP/1.1\r\nHost: ignored\r\n\r\n";
    let told = from("127.0.0.5", here.at).await.ask(absolute).await;
    assert_eq!(told.field("location"), Some("http://b.example:8080/x?y"));
    assert_eq!(here.redirected(), [2, 1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_end_when_a_detour_begins() {
    let site = Site::start("one").await;
    // `silent` says nothing until the others are done.
    let mut here = home(&[&site], |listener| listener.handshake_timeout = 60 * SECOND).await;
    let mut idle = here.connect().await;
    assert_eq!(idle.ask(&get("/")).await.status(), 200);
    let mut busy = here.connect().await;
    busy.say("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        .await;
    eventually("the request arrives", 5 * SECOND, || site.heads().len() == 2).await;
    let mut silent = here.connect().await;
    here.detours(&[], detour("b.example", 8080, &[Dialect::Http]));
    assert_eq!(idle.end().await, b"");
    busy.say("lo").await;
    let told = busy.hear().await;
    assert_eq!(
        (told.status(), &told.body[..]),
        (200, &b"hello"[..]),
        "what is under way is served"
    );
    assert_eq!(busy.end().await, b"");
    assert_eq!(
        silent.ask(&get("/")).await.status(),
        307,
        "a connection that stands already"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_server_when_a_detour_begins_is_redirected() {
    let (mut here, _) = start(
        Control::new(rig::patient("web"), vec![]),
        listener("main", Protocol::Http),
    )
    .await;
    let mut client = here.connect().await;
    client.say(&get("/")).await;
    let accepted = || here.workers.counters().listeners["main"].accepted;
    eventually("it waits", 5 * SECOND, || accepted() == 1).await;
    here.detours(&[], detour("b.example", 8080, &[Dialect::Http]));
    assert_eq!(client.hear().await.status(), 307);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_sent_anywhere_is_told_so() {
    let mut here = home(&[], |listener| {
        listener.monitor_sources = vec!["127.0.0.9/32".parse().unwrap()];
    })
    .await;
    let refuse = |to: &str, dialects: &[Dialect]| Detour {
        fallback: Fallback::Refuse,
        ..detour(to, 8080, dialects)
    };
    here.detours(&[], refuse("b.example", &[Dialect::Xmpp]));
    let told = here.connect().await.ask(&get("/")).await;
    assert_eq!(told.status(), 503);
    assert!(
        told.field("retry-after").is_some() && told.field("location").is_none(),
        "{}",
        told.head
    );
    // A host that no Location can hold.
    here.detours(&[], refuse("b example", &[Dialect::Http]));
    assert_eq!(here.connect().await.ask(&get("/")).await.status(), 503);
    here.detours(&[], refuse("b.example", &[Dialect::Http]));
    let told = from("127.0.0.9", here.at).await.ask(&get("/")).await;
    assert_eq!(told.status(), 503, "a load balancer's probe is told the truth");
    assert_eq!(here.connect().await.ask(&get("/")).await.status(), 307);

    let relay = Site::start("relay").await;
    let (mut there, direct) = host(&[], |_| ()).await;
    there.detours(&[&relay], detour("c.example", 8080, &[Dialect::Http]));
    let told = connect(direct).await.ask(&get("/")).await;
    assert_eq!(
        (told.status(), told.field("location")),
        (503, None),
        "a guest is sent no further"
    );
    assert_eq!(relay.heads().len(), 0);
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// A proxy whose certificate is for these names, and what opens TLS to it.
async fn secure(names: &[&str]) -> (Front, tls::Client) {
    let authority = Authority::new();
    let mut main = tls::listener("main", Protocol::Https, vec![authority.issue(names)]);
    if let Some(tls) = &mut main.tls {
        tls.alpn = vec!["h2".into(), "http/1.1".into()];
    }
    let (front, _) = start(Control::simple("web", &[]), main).await;
    (front, tls::Client::of(&authority))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_only_where_the_certificate_goes() {
    let (mut here, client) = secure(&["web.example", "*.direct.example", "192.0.2.1"]).await;
    let ask = async |here: &Front| {
        let stream: Tls = client.open(here.at, "web.example").await.unwrap();
        let mut raw = Raw(stream);
        let told = raw.ask(&get("/x")).await;
        assert_eq!(raw.end().await, b"");
        told
    };
    here.detours(&[], detour("stranger.example", 8443, &[Dialect::Http]));
    let told = ask(&here).await;
    assert_eq!((told.status(), told.field("location")), (503, None));
    here.detours(&[], detour("a.direct.example", 8443, &[Dialect::Http]));
    let told = ask(&here).await;
    assert_eq!(told.field("location"), Some("https://a.direct.example:8443/x"));
    assert!(told.has("connection: close"), "{}", told.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_what_cannot_be_redirected_shall_come_again_and_is_relayed_then() {
    let authority = Authority::new();
    let certificate = authority.issue(&["web.example", "b.example"]);
    let relay = tls::TlsEcho::start("relay", tls::server_config(&certificate, None)).await;
    let (mut here, client) = secure(&["web.example", "b.example"]).await;
    // Of what is inside TLS nothing is known before it is opened: it may be a handshake of WebSocket.
    let there = detour("b.example", 8443, &[Dialect::WebSocket]);
    here.control.publish_with(vec![candidate(relay.address)], |view| {
        view.detour = Some(Arc::new(there));
    });
    let mut raw = Raw(client.open(here.at, "web.example").await.unwrap());
    let told = raw.ask(&get("/x")).await;
    assert_eq!((told.status(), told.field("retry-after")), (503, Some("1")));
    assert!(told.has("connection: close"), "{}", told.head);
    assert_eq!(raw.end().await, b"");
    let mut again = tls::Client::of(&authority)
        .open(here.at, "web.example")
        .await
        .unwrap();
    rig::expect(&mut again, "relay").await;
}

async fn http2(stream: Tls) -> SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // What it ends with is told to those who wait on its streams.
        let _ = connection.await;
    });
    send.ready().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_told_of_an_alternative_and_that_the_connection_ends() {
    let (mut here, mut client) = secure(&["web.example", "b.example"]).await;
    client.alpn = vec!["h2"];
    let until = Timestamp::now() + SignedDuration::from_mins(10);
    let there = Detour {
        until: Some(until),
        ..detour("b.example", 8443, &[Dialect::Http, Dialect::WebSocket])
    };
    here.detours(&[], there);
    let stream = client.open(here.at, "web.example").await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let request = |method: Method, path: &str| {
        let uri = format!("https://web.example{path}");
        Request::builder().method(method).uri(uri).body(()).unwrap()
    };
    let (first, mut body) = send.send_request(request(Method::POST, "/a"), false).unwrap();
    body.reserve_capacity(1 << 16);
    let (second, _) = send.send_request(request(Method::GET, "/b"), true).unwrap();
    // Only now: both are on their way before either is answered.
    tokio::spawn(async move {
        // What it ends with is told to those who wait on its streams.
        let _ = connection.await;
    });
    for (response, path) in [(first, "/a"), (second, "/b")] {
        let response = within(response).await.unwrap();
        let headers = response.headers();
        assert_eq!(response.status(), 307);
        assert_eq!(headers["location"], format!("https://b.example:8443{path}"));
        let (service, age) = headers["alt-svc"].to_str().unwrap().split_once("; ma=").unwrap();
        assert_eq!(service, "h2=\"b.example:8443\"");
        let age: i64 = age.parse().unwrap();
        assert!((590..=600).contains(&age), "{age}");
    }
    assert!(gone(&send).await.is_go_away());
    assert_eq!(here.redirected(), [2, 0, 0, 0]);
}

/// The home of guests is alive.
fn returning(control: &mut Control, site: &Site, min_stay: Duration, dialects: &[Dialect]) {
    control.chain.redirect.min_stay = min_stay;
    control.chain.redirect.dialects = dialects.to_vec();
    control.publish_with(vec![candidate(site.address)], |view| {
        view.returning = Some(Arc::new(Returning {
            since: Instant::now(),
            homes: vec![
                (rig::chain("first").id, "first.example".into(), 80),
                (rig::chain("home").id, "home.example".into(), 8080),
            ],
        }));
    });
}

/// The turn of up to `most` guests has come; of how many it has.
async fn call(there: &Front, most: u32, older_than: Duration) -> u32 {
    let homes = ["first", "home"].map(|name| rig::chain(name).id).into();
    let chain = there.control.id();
    let why = CloseReason::Returned;
    there
        .workers
        .return_guests(chain, most, older_than, &homes, why)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_are_sent_home_when_their_turn_comes() {
    let site = Site::start("two").await;
    let (mut there, direct) = host(&[&site], |_| ()).await;
    let mut guests = Vec::new();
    for _ in 0..3 {
        let mut guest = connect(direct).await;
        assert_eq!(guest.ask(&get("/")).await.status(), 200);
        guests.push(guest);
    }
    let mut local = there.connect().await;
    assert_eq!(local.ask(&get("/")).await.status(), 200);
    returning(&mut there.control, &site, Duration::ZERO, &[Dialect::Http]);
    for guest in &mut guests {
        assert_eq!(guest.ask(&get("/")).await.status(), 200, "not yet its turn");
    }
    let hour = Duration::from_hours(1);
    assert_eq!(call(&there, 9, hour).await, 0, "they may stay for an hour");
    assert_eq!(call(&there, 1, Duration::ZERO).await, 1);
    let (mut left, mut gone) = (Vec::new(), 0);
    for mut guest in guests {
        let told = guest.ask(&get("/z?y")).await;
        if told.status() == 200 {
            left.push(guest);
            continue;
        }
        gone += 1;
        assert_eq!(
            (told.status(), told.field("location")),
            (307, Some("http://first.example/z?y"))
        );
        assert!(told.has("connection: close") && told.has("cache-control: no-store"));
        assert_eq!(guest.end().await, b"");
    }
    assert_eq!(gone, 1, "one was called");
    assert_eq!(call(&there, 9, Duration::ZERO).await, 2);
    assert_eq!(call(&there, 9, Duration::ZERO).await, 0, "nobody is called twice");
    for mut guest in left {
        assert_eq!(guest.ask(&get("/")).await.status(), 307);
    }
    let told = local.ask(&get("/")).await;
    assert!(
        told.status() == 200 && !told.has("connection: close"),
        "no guest: {}",
        told.head
    );
    let left = || there.workers.counters().chains[there.control.id()].guests == 0;
    eventually("all guests have left", 5 * SECOND, left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_are_still_there_after_the_grace_are_sent_away_at_pace() {
    let site = Site::start("two").await;
    let (mut there, direct) = host(&[&site], |control| control.chain.failover.pace = 4).await;
    let slow = "POST /echo HTTP/1.1\r\nHost: web.example\r\nContent-Length: 5\r\n\r\nhel";
    let mut guests = Vec::new();
    for _ in 0..6 {
        let mut guest = connect(direct).await;
        guest.say(&get("/silent")).await;
        guests.push(guest);
    }
    let mut local = there.connect().await;
    local.say(slow).await;
    eventually("all are under way", 5 * SECOND, || site.heads().len() == 7).await;
    there.control.chain.redirect.grace = Duration::ZERO;
    let begun = Instant::now();
    returning(&mut there.control, &site, Duration::ZERO, &[Dialect::Http]);
    for guest in &mut guests {
        let told = guest.hear().await;
        assert_eq!(told.status(), 503, "{}", told.head);
        assert!(told.has("connection: close"), "{}", told.head);
        assert_eq!(guest.end().await, b"");
    }
    // Six, four each second; the first sweep may have been late by some of that.
    assert!(begun.elapsed() >= SECOND / 2, "{:?}", begun.elapsed());
    local.say("lo").await;
    assert_eq!(local.hear().await.body, b"hello", "no guest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_http2_connections_are_told_goaway_when_a_detour_begins() {
    let site = Site::start("one").await;
    let (mut here, mut client) = secure(&["web.example"]).await;
    here.control.publish(vec![candidate(site.address)]);
    client.alpn = vec!["h2"];
    let mut send = http2(client.open(here.at, "web.example").await.unwrap()).await;
    let request = Request::builder().uri("https://web.example/").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 200);
    here.detours(&[], detour("b.example", 8443, &[Dialect::Http]));
    assert!(gone(&send).await.is_go_away());
}

/// Why no more can be asked on a connection.
async fn gone(send: &SendRequest<Bytes>) -> h2::Error {
    within(async {
        loop {
            match send.clone().ready().await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => break error,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_need_not_be_told_are_not() {
    let site = Site::start("two").await;
    let (mut there, direct) = host(&[&site], |_| ()).await;
    let guest = async || {
        let mut guest = connect(direct).await;
        assert_eq!(guest.ask(&get("/")).await.status(), 200);
        guest
    };
    returning(&mut there.control, &site, Duration::ZERO, &[Dialect::WebSocket]);
    let (mut plain, mut handshake) = (guest().await, guest().await);
    assert_eq!(call(&there, 9, Duration::ZERO).await, 2);
    let told = plain.ask(&get("/")).await;
    assert!(
        told.status() == 200 && told.has("connection: close"),
        "{}",
        told.head
    );
    assert_eq!(plain.end().await, b"");
    let told = handshake.ask(HANDSHAKE).await;
    assert_eq!(
        (told.status(), told.field("location")),
        (307, Some("//first.example/ws"))
    );
    // Nothing can be told: it ends as soon as nothing is under way.
    returning(&mut there.control, &site, Duration::ZERO, &[]);
    let mut silent = guest().await;
    assert_eq!(call(&there, 9, Duration::ZERO).await, 1);
    assert_eq!(silent.end().await, b"");
    // Relayed: at home as soon as it connects again.
    returning(&mut there.control, &site, Duration::ZERO, &[Dialect::Http]);
    let mut relayed = connect(direct).await;
    let header = keys().seal(&Relayed {
        addresses: Addresses {
            source: "192.0.2.7:4711".parse().unwrap(),
            destination: "198.51.100.1:80".parse().unwrap(),
        },
        chain: there.control.id().clone(),
        home: rig::chain("home").id,
        to: "test/pool/b".into(),
        hops: vec!["test/pool/a".into()],
        time: unix_ms(),
        nonce: [7; 16],
    });
    relayed.0.write_all(&header.unwrap()).await.unwrap();
    let told = relayed
        .ask("GET / HTTP/1.1\r\nHost: home.elsewhere\r\n\r\n")
        .await;
    assert_eq!(told.status(), 200);
    assert_eq!(call(&there, 9, Duration::ZERO).await, 1);
    assert_eq!(relayed.end().await, b"");
    let head = site.heads().pop().unwrap();
    for line in [
        "host: web.example",
        "x-forwarded-host: home.elsewhere",
        "x-forwarded-for: 192.0.2.7",
    ] {
        assert!(head.lines().any(|known| known == line), "{line} in {head}");
    }
}
