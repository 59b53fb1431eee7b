//! The harness itself, without a proxy: do the real servers do what they are
//! told, and would the clients notice an outage?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode, Nginx};
use switchyard_tests::client::{Dialog, End, Load, LoadPlan, SessionPlan, Sessions};
use switchyard_tests::dns::{DnsServer, Kind, Queries};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::greeting::Greeting;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use crate::scene::kill;

const SOON: Duration = Duration::from_secs(10);

pub fn add(suite: &mut Suite) {
    suite.test("harness::dns_bind", |lab| dns(lab, Kind::Bind));
    suite.test("harness::dns_knot", |lab| dns(lab, Kind::Knot));
    suite.test("harness::dns_nsd", |lab| dns(lab, Kind::Nsd));
    suite.test("harness::dns_servfail_bind", |lab| servfail(lab, Kind::Bind));
    suite.test("harness::dns_servfail_knot", |lab| servfail(lab, Kind::Knot));
    suite.test("harness::dns_queries_are_counted", queries);
    suite.test("harness::load_sees_outages", outages);
    suite.test("harness::load_sees_black_holes", black_hole);
    suite.test("harness::sessions_see_their_end", sessions);
    suite.test("harness::proxy_headers_are_read", proxy_headers);
    suite.test("harness::nginx", nginx);
    suite.test("harness::ipv6_only", ipv6_only);
}

fn addresses(server: &DnsServer, name: &str) -> Vec<String> {
    let answer = server.dig(&["+short", &format!("{name}.example.test"), "A"]);
    let mut lines: Vec<String> = answer.unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn dns(lab: &Lab, kind: Kind) {
    let host = lab.host("dns", 53);
    let mut server = DnsServer::start(&host, kind, |zone| {
        zone.set("app", 1, &["A 10.77.0.11"]);
        let many: Vec<String> = (1..=120).map(|n| format!("A 10.77.1.{n}")).collect();
        zone.set("many", 1, &many);
        zone.set("_sync._tcp", 1, &["SRV 10 3 1650 app"]);
    });
    lab.say(server.version());
    assert_eq!(addresses(&server, "app"), ["10.77.0.11"]);

    let change = server.edit(|zone| {
        zone.set("app", 1, &["A 10.77.0.12", "A 10.77.0.13"]);
    });
    lab.say(format!(
        "a change is served after {:.0?}",
        change.served - change.asked
    ));
    assert_eq!(addresses(&server, "app"), ["10.77.0.12", "10.77.0.13"]);

    let srv = server.dig(&["+short", "_sync._tcp.example.test", "SRV"]).unwrap();
    assert_eq!(srv.trim(), "10 3 1650 app.example.test.");

    let small = ["+bufsize=512", "+ignore", "many.example.test", "A"];
    let cut = server.dig(&small).unwrap();
    assert!(cut.contains(" tc"), "not truncated: {cut}");
    assert_eq!(addresses(&server, "many").len(), 120, "dig asks again over TCP");

    server.edit(|zone| {
        zone.remove("app");
    });
    let gone = server.dig(&["app.example.test", "A"]).unwrap();
    assert!(gone.contains("status: NXDOMAIN"), "{gone}");

    // Other machines are dropped, its own is not: the server lives.
    let silence = server.silence();
    let client = lab.host("client", 100);
    let dig = |seconds: u32| {
        let mut dig = client.command("dig");
        dig.args([
            &format!("+time={seconds}"),
            "+tries=1",
            "@10.77.0.53",
            "many.example.test",
        ]);
        dig
    };
    tool::try_output(&mut dig(1)).expect_err("it is silent");
    drop(silence);
    tool::output(&mut dig(5));

    server.kill();
    tool::try_output(&mut dig(1)).expect_err("it is dead");
    server.edit(|zone| {
        zone.set("app", 1, &["A 10.77.0.14"]);
    });
    server.revive();
    assert_eq!(addresses(&server, "app"), ["10.77.0.14"]);
}

fn servfail(lab: &Lab, kind: Kind) {
    let host = lab.host("dns", 53);
    let mut server = DnsServer::start(&host, kind, |zone| {
        zone.set("app", 1, &["A 10.77.0.11"]);
    });
    lab.say(server.version());
    server.servfail(true);
    let answer = server.dig(&["app.example.test", "A"]).unwrap();
    assert!(answer.contains("status: SERVFAIL"), "{answer}");
    server.edit(|zone| {
        zone.set("app", 1, &["A 10.77.0.12"]);
    });
    let answer = server.dig(&["app.example.test", "A"]).unwrap();
    assert!(answer.contains("status: SERVFAIL"), "{answer}");
    server.servfail(false);
    assert_eq!(addresses(&server, "app"), ["10.77.0.12"]);
}

fn queries(lab: &Lab) {
    let host = lab.host("dns", 53);
    let server = DnsServer::start(&host, Kind::Bind, |zone| {
        zone.set("app", 1, &["A 10.77.0.11"]);
    });
    lab.say(server.version());
    for _ in 0..3 {
        addresses(&server, "app");
    }
    server.dig(&["+tcp", "APP.example.test", "A"]).unwrap();
    server.dig(&["app.example.test", "AAAA"]).unwrap();
    // The log is written after the answer.
    eventually("queries are counted", SOON, || {
        let seen = (server.queries("app", "A"), server.queries("app", "AAAA"));
        let wanted = (Queries { all: 4, tcp: 1 }, Queries { all: 1, tcp: 0 });
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
}

fn outages(lab: &Lab) {
    let client = lab.host("client", 100);
    let mut backend = Backend::start(&lab.host("b1", 11), 1650, Mode::ClientFirst);
    let load = Load::start(&client, LoadPlan::new(backend.address(), 200));
    let_pass(Duration::from_secs(2));
    let killed = kill(&mut backend);
    let_pass(Duration::from_secs(1));
    let reviving = Instant::now();
    backend.revive();
    let revived = Instant::now();
    let_pass(Duration::from_secs(2));
    let seen = load.stop();
    lab.say(format!("outage of {:.2?}", revived - killed.asked));
    lab.say(seen.to_string());

    let before = seen.ended_before(killed.asked);
    before.must_all_be_served();
    assert_eq!(
        before.by_name(),
        BTreeMap::from([("b1".to_owned(), before.len())])
    );
    let during = seen.begun_since(killed.dead).ended_before(reviving);
    assert!(during.len() > 150, "{}", during.len());
    assert_eq!(during.failed().count(), during.len());
    assert!(during.iter().all(|o| o.end == End::Refused), "{during}");
    seen.begun_since(revived).must_all_be_served();
    let gap = seen.longest_gap();
    assert!(
        gap >= Duration::from_millis(950) && gap < Duration::from_secs(3),
        "{gap:?}"
    );
}

fn black_hole(lab: &Lab) {
    let client = lab.host("client", 100);
    let host = lab.host("b1", 11);
    let backend = Backend::start(&host, 1650, Mode::ServerFirst);
    let mut plan = LoadPlan::new(backend.address(), 100);
    plan.dialog = Dialog::Listen;
    plan.deadline = Duration::from_millis(500);
    let load = Load::start(&client, plan);
    let_pass(Duration::from_secs(1));
    let hole = host.black_hole(None);
    let dropped = Instant::now();
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    drop(hole);
    lab.say(seen.to_string());
    let during = seen.begun_since(dropped);
    assert!(during.len() > 50, "{}", during.len());
    assert_eq!(during.failed().count(), during.len());
    assert!(during.iter().all(|o| o.end == End::Timeout), "{during}");
    // These have the usual time: the short one was for those in the hole.
    let mut plan = LoadPlan::new(backend.address(), 100);
    plan.dialog = Dialog::Listen;
    let seen = Load::run(&client, plan, Duration::from_secs(1));
    lab.say(seen.to_string());
    seen.must_all_be_served();
}

fn sessions(lab: &Lab) {
    let client = lab.host("client", 100);
    let mut first = Backend::start(&lab.host("b1", 11), 1650, Mode::ClientFirst);
    let second = Backend::start(&lab.host("b2", 12), 1650, Mode::ClientFirst);
    let busy = SessionPlan::busy(first.address(), 20, Duration::from_millis(100));
    let busy = Sessions::open(&client, &busy);
    let idle = Sessions::open(&client, &SessionPlan::idle(second.address(), 100));
    assert_eq!((busy.open_now(), idle.open_now()), (20, 100));
    assert_eq!(second.held(), 100);
    eventually("the busy ones ask", SOON, || {
        let answers: Vec<usize> = busy.so_far().iter().map(|s| s.answers).collect();
        if answers.iter().all(|n| *n >= 5) {
            Ok(())
        } else {
            Err(format!("{answers:?}"))
        }
    });
    first.kill();
    eventually("the busy ones end", SOON, || match busy.open_now() {
        0 => Ok(()),
        open => Err(format!("{open} open")),
    });
    let closed = idle.close();
    assert!(
        closed
            .iter()
            .all(|s| s.answers == 2 && matches!(s.ended, Some((_, End::Finished)))),
        "{closed:?}"
    );
    let ended = busy.close();
    assert!(
        ended
            .iter()
            .all(|s| matches!(s.ended, Some((_, End::Fin | End::Reset)))),
        "{ended:?}"
    );
    lab.say("20 busy sessions saw their end, 100 idle ones lived");
}

fn proxy_headers(lab: &Lab) {
    let host = lab.host("b1", 11);
    let backend = Backend::start_with(&host, 1650, &["--mode", "client-first", "--proxy-protocol"]);
    let send = |header: &'static [u8]| {
        host.block_on(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let talk = async {
                let mut stream = tokio::net::TcpStream::connect("127.0.0.1:1650").await?;
                stream.write_all(header).await?;
                stream.write_all(b"who are you?\n").await?;
                stream.shutdown().await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                std::io::Result::Ok(answer)
            };
            tokio::time::timeout(SOON, talk).await.expect("an answer in time")
        })
    };
    let addresses = (
        "192.0.2.1:4000".parse().unwrap(),
        "192.0.2.2:443".parse().unwrap(),
    );
    let read = |answer: String| serde_json::from_str::<Greeting>(&answer).unwrap().proxy.unwrap();
    let v1 = read(send(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\r\n").unwrap());
    assert_eq!((v1.version, v1.addresses), (1, Some(addresses)));
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x0f\xa0\x01\xbb";
    let v2 = read(send(binary).unwrap());
    assert_eq!((v2.version, v2.addresses), (2, Some(addresses)));
    send(b"GET / HTTP/1.1\r\n").expect_err("reset");
    assert_eq!(backend.accepted().len(), 2, "{:?}", backend.accepted());
}

fn nginx(lab: &Lab) {
    let host = lab.host("web", 20);
    let server = Nginx::start(&host, 8080);
    lab.say(Nginx::version());
    let get = || {
        let mut status = host.command("bash");
        status.args([
            "-c",
            "exec 3<>/dev/tcp/10.77.0.20/8080; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3",
        ]);
        tool::output(&mut status)
    };
    assert!(get().contains("200 OK"));
    server.answer_healthy(false);
    assert!(get().contains("503 "));
    server.answer_healthy(true);
    assert!(get().contains("200 OK"));
}

fn ipv6_only(lab: &Lab) {
    let client = lab.host_v6_only("client", 100);
    let dns = lab.host_v6_only("dns", 53);
    let backend = Backend::start(&lab.host_v6_only("b1", 11), 1650, Mode::ClientFirst);
    assert_eq!(backend.address().to_string(), "[fd77::11]:1650");
    let server = DnsServer::start(&dns, Kind::Nsd, |zone| {
        zone.set("app", 1, &["AAAA fd77::11"]);
    });
    lab.say(server.version());
    let mut dig = client.command("dig");
    let answer = tool::output(dig.args(["+short", "@fd77::53", "app.example.test", "AAAA"]));
    assert_eq!(answer.trim(), "fd77::11");
    let load = Load::start(&client, LoadPlan::new(backend.address(), 50));
    let_pass(Duration::from_millis(500));
    load.stop().must_all_be_served();
}
