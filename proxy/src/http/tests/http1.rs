use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::eventually;
use crate::testing::rig::{candidate, nobody};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_all_clients_share_a_kept_connection() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut client = front.connect().await;
    for path in ["/a", "/b?c=d"] {
        let told = client.ask(&get(path)).await;
        assert_eq!((told.status(), &told.body[..]), (200, &b"one"[..]));
        assert!(!told.head.contains("keep-alive"), "{}", told.head);
    }
    let text = "GET /c HTTP/1.1\r\nHost: web.example\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
    let mut other = front.connect().await;
    let told = other.ask(text).await;
    assert!(told.has("connection: close"), "{}", told.head);
    assert_eq!(other.end().await, b"");
    assert_eq!(site.connections(), [0, 0, 0]);
    let head = site.heads().pop().unwrap();
    for line in [
        "host: web.example",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ] {
        assert!(head.lines().any(|known| known == line), "{line} in {head}");
    }
    assert!(!head.contains("x-mine") && !head.contains("connection"), "{head}");
    assert_eq!(
        front.workers.counters().chains[front.control.id()].requests,
        [0, 3, 0, 0, 0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_framing_arrive_whole() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut client = front.connect().await;
    let told = client
        .ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(told.body, b"hello");
    let told = client
        .ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n")
        .await;
    assert_eq!(told.body, b"3\r\nabc\r\n0\r\n\r\n");
    let told = client.ask(&get("/chunked")).await;
    assert_eq!(told.body, b"3\r\nabc\r\n0\r\nx-after: 1\r\n\r\n");
    client.say("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.contains("content-length: 3"));
    client.say(&get("/empty")).await;
    assert!(client.head().await.starts_with("http/1.1 204"));
    // Two at once are answered in their order.
    client.say(&(get("/echo") + &get("/x"))).await;
    assert_eq!(client.hear().await.body, b"");
    assert_eq!(client.hear().await.body, b"one");
    let told = client.ask(&get("/close")).await;
    assert_eq!(told.body, b"a\r\nto the end\r\n0\r\n\r\n");
    let mut old = front.connect().await;
    old.say("GET /chunked HTTP/1.0\r\n\r\n").await;
    let head = old.head().await;
    assert!(
        head.contains("connection: close") && !head.contains("transfer-encoding"),
        "{head}"
    );
    assert_eq!(old.end().await, b"abc");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_responses_are_passed_on() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut client = front.connect().await;
    client.say(&get("/early")).await;
    assert!(client.head().await.starts_with("http/1.1 103"));
    assert_eq!(client.hear().await.body, b"ok");
    client
        .say("POST /expect HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("http/1.1 100"));
    client.say("hi").await;
    assert_eq!(client.hear().await.body, b"hi");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_served_is_told_why_and_when_to_come_back() {
    let front = Front::with(&[], |listener| listener.http.max_body_bytes = Some(4)).await;
    let mut client = front.connect().await;
    let told = client.ask(&get("/")).await;
    assert_eq!(told.status(), 503);
    assert!(
        told.has("retry-after: 1") && told.has("cache-control: no-store"),
        "{}",
        told.head
    );
    let told = client
        .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(told.status(), 413);
    client.end().await;
    let mut client = front.connect().await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\n\r\n").await.status(), 400);
    client.end().await;
    // The attempts together shall leave most of a client's patience here.
    let mut chain = rig::chain("web");
    chain.connect.timeout = Duration::from_millis(300);
    let dead = Control::new(chain, vec![candidate(nobody())]);
    let front = Front::of(dead, |_| {}).await;
    let mut client = front.connect().await;
    assert_eq!(client.ask(&get("/")).await.status(), 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_breaks_off_is_never_taken_for_whole() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    for (path, status) in [("/garbage", 502), ("/two", 502)] {
        let told = front.connect().await.ask(&get(path)).await;
        assert_eq!(told.status(), status, "{path}");
    }
    let mut client = front.connect().await;
    client.say(&get("/cut")).await;
    assert!(client.head().await.contains("content-length: 10"));
    assert_eq!(client.end().await, b"half");
    let mut client = front.connect().await;
    let text = "POST /die HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(client.ask(text).await.status(), 502, "a POST is not sent twice");
    assert_eq!(
        site.heads()
            .iter()
            .filter(|head| head.starts_with("post"))
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_may_be_repeated_is_asked_of_another() {
    let (dying, living) = (Site::start("dying").await, Site::start("living").await);
    let dead = nobody();
    let addresses = [dead, dying.address, living.address];
    let front = Front::of(Control::simple("web", &addresses), |_| {}).await;
    let mut client = front.connect().await;
    for _ in 0..6 {
        assert_eq!(client.ask(&get("/x")).await.status(), 200);
    }
    // Kept connections to it are dead by now; nobody may notice.
    dying.kill();
    for _ in 0..6 {
        let told = client.ask(&get("/y")).await;
        assert_eq!((told.status(), &told.body[..]), (200, &b"living"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_turns_whether_or_not_a_connection_is_kept() {
    let sites = [
        Site::start("a").await,
        Site::start("b").await,
        Site::start("c").await,
    ];
    let front = Front::new(&[&sites[0], &sites[1], &sites[2]]).await;
    for keep in [false, true] {
        let mut client = front.connect().await;
        for _ in 0..15 {
            assert_eq!(
                client
                    .ask(&get(if keep { "/x" } else { "/close" }))
                    .await
                    .status(),
                200
            );
        }
    }
    for site in &sites {
        assert_eq!(site.heads().len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_to_whom_the_view_does_not_name_is_not_used() {
    let (gone, stays) = (Site::start("gone").await, Site::start("stays").await);
    let mut front = Front::new(&[&gone]).await;
    let mut client = front.connect().await;
    assert_eq!(client.ask(&get("/")).await.body, b"gone");
    front.control.publish(vec![candidate(stays.address)]);
    for _ in 0..4 {
        assert_eq!(client.ask(&get("/")).await.body, b"stays");
    }
    assert_eq!(gone.heads().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_becomes_a_relayed_session() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut client = front.connect().await;
    client
        .say("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly ")
        .await;
    let head = client.head().await;
    assert!(
        head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"),
        "{head}"
    );
    let mut bytes = [0; 14];
    within(client.0.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"welcome early ");
    client.say("more").await;
    within(client.0.read_exact(&mut bytes[..4])).await.unwrap();
    assert_eq!(&bytes[..4], b"more");
    let sessions = front.workers.sessions(9).await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].endpoint, site.address);
    client.0.shutdown().await.unwrap();
    assert_eq!(client.end().await, b"");
    let active = || front.workers.counters().listeners["main"].active;
    eventually("the session ends", Duration::from_secs(5), || active() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dawdles_is_told_or_closed() {
    let site = Site::start("one").await;
    let front = Front::with(&[&site], |listener| {
        listener.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let mut slow = front.connect().await;
    slow.say("GET / HT").await;
    let mut silent = front.connect().await;
    let mut waiting = front.connect().await;
    waiting.say(&get("/silent")).await;
    let mut idle = front.connect().await;
    assert_eq!(idle.ask(&get("/")).await.status(), 200);
    assert_eq!(slow.hear().await.status(), 408);
    assert!(
        within(silent.0.read_u8()).await.is_err(),
        "who says nothing is told nothing"
    );
    assert_eq!(idle.end().await, b"");
    assert_eq!(waiting.hear().await.status(), 504);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_drains_serves_one_request_more_and_closes_whoever_has_none() {
    let site = Site::start("one").await;
    let front = Front::with(&[&site], |listener| {
        listener.idle_timeout = Duration::from_mins(1);
    })
    .await;
    let mut idle = front.connect().await;
    assert_eq!(idle.ask(&get("/")).await.status(), 200);
    let mut late = front.connect().await;
    assert_eq!(late.ask(&get("/")).await.status(), 200);
    let mut busy = front.connect().await;
    busy.say("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        .await;
    eventually("the request arrives", Duration::from_secs(5), || {
        site.heads().len() == 3
    })
    .await;
    front.workers.stop_accepting().await;
    front.workers.leave(false).await;
    let told = late.ask(&get("/")).await;
    assert!(
        told.status() == 200 && told.has("connection: close"),
        "{}",
        told.head
    );
    assert_eq!(late.end().await, b"");
    busy.say("lo").await;
    let told = busy.hear().await;
    assert_eq!(told.body, b"hello");
    assert!(told.has("connection: close"), "{}", told.head);
    assert_eq!(busy.end().await, b"");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    assert_eq!(front.workers.drain(deadline).await, 0);
    assert_eq!(idle.end().await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_the_server_up_and_nobody_else() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut slow = front.connect().await;
    slow.say(&get("/bulk")).await;
    assert!(slow.head().await.contains("content-length: 67108864"));
    let mut other = front.connect().await;
    for _ in 0..20 {
        assert_eq!(other.ask(&get("/")).await.status(), 200);
    }
    let mut bytes = vec![0; 1 << 20];
    for _ in 0..64 {
        within(slow.0.read_exact(&mut bytes)).await.unwrap();
        assert!(bytes.iter().all(|b| *b == b'x'));
    }
    assert_eq!(slow.ask(&get("/")).await.body, b"one");
}
