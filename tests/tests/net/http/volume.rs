//! Much data, many sockets, and peers that take nothing: memory stays where it is.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use switchyard_tests::client::frames::{DATA, END_HEADERS, END_STREAM, Fate, Frames, HEADERS, block, frame};
use switchyard_tests::client::{Reply, Wire};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::process::Program;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tls::Certificate;
use switchyard_tests::{manifest, tool, webservers};

use crate::scene::{SOON, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.alone("http::volume::gigabytes", gigabytes);
    suite.alone("http::volume::web_sockets", web_sockets);
    suite.alone("http::volume::slow_readers", slow_readers);
    suite.test("http::volume::slow_streams_hold_nobody_up", slow_streams);
}

/// Bytes by which the proxy may grow, however much flows: buffers of a few connections.
const CONSTANT: u64 = 32 << 20;
const GIGABYTES: u64 = 2_000_000_000;
const SOCKETS: usize = 5_000;
/// Responses that nobody takes, and the bytes that each may cost: the windows of both sides.
const RESPONSES: u64 = 250;
const PER_RESPONSE: u64 = 512 << 10;
/// Once they are full, nothing more comes: this long, but for what requests beside cost.
const STILL: Duration = Duration::from_secs(4);
const SETTLED: u64 = 4 << 20;
/// Idle connections to backends are closed by then.
const KEPT: Duration = Duration::from_mins(1);
/// Bytes that a web socket at rest may cost in the proxy.
const PER_SOCKET: u64 = 20_000;

struct Scene {
    client: Host,
    proxy_host: Host,
    certificate: Certificate,
    _node: Program,
    proxy: Switchyard,
}

fn scene(lab: &Lab) -> Scene {
    let (client, proxy_host, node_host) = (
        lab.host("client", 100),
        lab.host("proxy", 2),
        lab.host("node", 12),
    );
    let node = webservers::node(&node_host, 3000);
    let certificate = Certificate::make(
        &client.directory("tls"),
        &["one.example.test", "two.example.test"],
    );
    let listeners = [
        listener("clear", 80, "protocol: HTTP, idleTimeout: 60s"),
        listener(
            "secure",
            443,
            "protocol: HTTPS, tls: {certificateRefs: [{name: all}]}",
        ),
    ];
    let chain = |on: &str, name: &str, port: u16, protocol: &str| {
        let spec = format!(
            "poolRef: {{name: edge, listener: {on}}}\nhostnames: [{name}.example.test]\n\
             backends: [{{name: node, host: 10.77.0.12, port: {port}, protocol: {protocol}}}]\n"
        );
        manifest::chain(&format!("{on}-{name}"), &spec)
    };
    let manifests = manifest::join(&[
        pool_of(&listeners, ""),
        chain("clear", "one", 3000, "HTTP1"),
        chain("clear", "two", 3001, "HTTP2"),
        chain("secure", "one", 3000, "HTTP1"),
        chain("secure", "two", 3001, "HTTP2"),
        manifest::tls_secret("all", &certificate),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    for (name, port) in [("one", 3000), ("two", 3001)] {
        for on in ["clear", "secure"] {
            proxy.await_serving(&format!("{on}-{name}"), &[node_host.at(port)], SOON);
        }
    }
    Scene {
        client,
        proxy_host,
        certificate,
        _node: node,
        proxy,
    }
}

/// The most that the proxy held while `work` was done, beyond what it held before.
fn grown<T>(proxy: &mut Switchyard, work: impl FnOnce() -> T + Send) -> (u64, T)
where
    T: Send,
{
    let before = proxy.program().resident();
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut most = before;
        while !working.is_finished() {
            most = most.max(proxy.program().resident());
            switchyard_tests::eventually::let_pass(Duration::from_millis(20));
        }
        (most - before, working.join().expect("the work is done"))
    })
}

/// Two gigabytes each way, in each version of HTTP, with TLS and without, to backends of each version.
fn gigabytes(lab: &Lab) {
    let Scene {
        client,
        proxy_host,
        certificate,
        mut proxy,
        _node,
    } = scene(lab);
    let curl = |arguments: &[&str], url: &str| {
        let mut command = client.command("curl");
        command
            .args(["-sS", "--max-time", "120", "-o", "/dev/null", "--cacert"])
            .arg(&certificate.file);
        command.args(["-w", "%{http_code} %{size_download} %{size_upload} %{time_total}"]);
        command
            .args(["--connect-to", &format!("::{}:", proxy_host.ip())])
            .args(arguments);
        tool::try_output(command.arg(url))
    };
    let folder = client.directory("upload");
    let file = folder.join("sparse");
    std::fs::File::create(&file)
        .and_then(|file| file.set_len(GIGABYTES))
        .expect("a sparse file");
    let (file, bytes) = (file.display().to_string(), format!("{GIGABYTES}"));
    for (version, scheme, name) in [
        ("--http1.1", "http", "one"),
        ("--http1.1", "https", "one"),
        ("--http2-prior-knowledge", "http", "two"),
        ("--http2", "https", "one"),
    ] {
        let url = format!("{scheme}://{name}.example.test/bytes/{GIGABYTES}");
        let (more, said) = grown(&mut proxy, || curl(&[version], &url));
        let said = said.expect("curl succeeds");
        lab.say(format!("{version} {url}: {said} s, grown by {} KiB", more >> 10));
        assert!(said.starts_with(&format!("200 {bytes} ")), "{said}");
        assert!(more < CONSTANT, "{more}");
        let url = format!("{scheme}://{name}.example.test/upload");
        let (more, said) = grown(&mut proxy, || curl(&[version, "-T", &file], &url));
        let said = said.expect("curl succeeds");
        lab.say(format!("{version} {url}: {said} s, grown by {} KiB", more >> 10));
        assert!(
            said.starts_with("200 ") && said.contains(&format!(" {bytes} ")),
            "{said}"
        );
        assert!(more < CONSTANT, "{more}");
    }
}

/// Thousands of web sockets at a time, of which each still answers.
fn web_sockets(lab: &Lab) {
    let mut scene = scene(lab);
    let before = scene.proxy.program().resident();
    let to = scene.proxy_host.at(80);
    let url = "ws://one.example.test/chat";
    let mut command = webservers::websockets(&scene.client, url, to, None, (SOCKETS, 1));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env("PATH", tool::PATH);
    let mut clients = command.spawn().expect("clients");
    let mut output = std::io::BufReader::new(clients.stdout.take().expect("it is piped"));
    let begun = Instant::now();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    assert_eq!(line, "open\n", "all sockets are open");
    let open = begun.elapsed();
    let more = scene.proxy.program().resident().saturating_sub(before);
    lab.say(format!(
        "{SOCKETS} open after {open:.1?}; {} bytes each in the proxy",
        more / SOCKETS as u64
    ));
    // Requests of others are served meanwhile.
    let mut beside = Wire::connect(&scene.client, to).expect("a connection");
    beside
        .say("GET /x HTTP/1.1\r\nHost: one.example.test\r\n\r\n")
        .expect("sent");
    assert_eq!(Reply::read(&mut beside).expect("a reply").status, 200);
    clients
        .stdin
        .take()
        .expect("it is piped")
        .write_all(b"close\n")
        .expect("told");
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    assert_eq!(
        line,
        format!("{SOCKETS} clients\n"),
        "each was answered once more, and closed"
    );
    assert!(clients.wait().expect("its end").success());
    assert!(more < PER_SOCKET * SOCKETS as u64, "{more}");
    let descriptors = eventually("all are closed in the proxy", SOON, || {
        match scene.proxy.program().descriptors() {
            few if few < 200 => Ok(few),
            many => Err(format!("{many} descriptors")),
        }
    });
    lab.say(format!("{descriptors} descriptors afterwards"));
}

/// Clients of each version that ask for a gigabyte, many times, and take nothing.
fn readers(client: &Host, to: SocketAddr) -> (Vec<Wire>, Vec<Frames>) {
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::narrow(client, to, 4096).expect("a connection");
        wire.say("GET /bytes/1000000000 HTTP/1.1\r\nHost: one.example.test\r\n\r\n")
            .expect("sent");
        slow.push(wire);
    }
    let mut frames = Vec::new();
    for _ in 0..10 {
        let mut connection = Frames::connect(client, to).expect("a connection");
        for number in 0..20_u32 {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "two.example.test"),
                (":path", "/bytes/1000000000"),
            ];
            connection
                .say(&frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    2 * number + 1,
                    &block(&fields),
                ))
                .expect("sent");
        }
        frames.push(connection);
    }
    (slow, frames)
}

/// Clients that ask for much and take nothing, in each version, and one that sends much to nobody who reads: the backend is
/// held back, the proxy keeps next to nothing, others are served.
fn slow_readers(lab: &Lab) {
    let mut scene = scene(lab);
    let to = scene.proxy_host.at(80);
    let before = scene.proxy.program().resident();
    let (mut slow, frames) = readers(&scene.client, to);
    // A body that comes byte by byte, and is taken as it comes.
    let mut sender = Frames::connect(&scene.client, to).expect("a connection");
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "two.example.test"),
        (":path", "/upload"),
    ];
    sender
        .say(&frame(HEADERS, END_HEADERS, 1, &block(&post)))
        .expect("sent");
    let (mut most, mut halfway, mut asked) = (0, 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < 2 * STILL {
        let mut beside = Wire::connect(&scene.client, to).expect("a connection");
        beside
            .say("GET /x HTTP/1.1\r\nHost: one.example.test\r\nConnection: close\r\n\r\n")
            .expect("sent");
        assert_eq!(Reply::read(&mut beside).expect("a reply").status, 200);
        sender.say(&frame(DATA, 0, 1, b"x")).expect("sent");
        most = most.max(scene.proxy.program().resident());
        if begun.elapsed() < STILL {
            halfway = most;
        }
        asked += 1;
    }
    let more = most.saturating_sub(before);
    lab.say(format!(
        "250 responses that nobody takes: grown by {} KiB; {asked} requests beside were served",
        more >> 10
    ));
    assert!(more < RESPONSES * PER_RESPONSE, "{more}");
    assert!(
        most - halfway < SETTLED,
        "it goes on growing: {} bytes",
        most - halfway
    );
    sender.say(&frame(DATA, END_STREAM, 1, b"x")).expect("sent");
    let fate = sender.fate(1);
    let told = format!("\"length\":{}", asked + 1);
    let Fate::Answered(200, body) = fate else {
        panic!("{fate:?}")
    };
    assert!(
        String::from_utf8_lossy(&body).contains(&told),
        "{}",
        String::from_utf8_lossy(&body)
    );
    // Who reads on gets on.
    let mut first = slow.swap_remove(0);
    assert!(first.line().is_ok_and(|line| line.starts_with("HTTP/1.1 200")));
    first.take(3_000_000).expect("more comes as it is taken");
    drop((slow, frames, first));
    // Connections to backends are kept for a while after their last request.
    eventually("all are closed in the proxy", KEPT, || {
        match scene.proxy.program().descriptors() {
            few if few < 100 => Ok(()),
            many => Err(format!("{many} descriptors")),
        }
    });
}

/// Streams that nobody reads share their backend's connection with others, who are served.
fn slow_streams(lab: &Lab) {
    let scene = scene(lab);
    let to = scene.proxy_host.at(80);
    let ask = |path: &str, stream: u32| {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "two.example.test"),
            (":path", path),
        ];
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
    };
    let mut slow = Frames::connect(&scene.client, to).expect("a connection");
    slow.say(&ask("/x", 1)).expect("sent");
    let first = slow.fate(1);
    assert!(matches!(first, Fate::Answered(200, _)), "{first:?}");
    // One after the other, so that they find a connection to go over; each until its client takes no more.
    for number in 1..=8 {
        let stream = 2 * number + 1;
        slow.say(&ask("/bytes/1000000000", stream)).expect("sent");
        while slow.read().expect("a frame").stream != stream {}
    }
    let mut other = Frames::connect(&scene.client, to).expect("a connection");
    let begun = Instant::now();
    other.say(&ask("/x", 1)).expect("sent");
    let fate = other.fate(1);
    assert!(
        matches!(fate, Fate::Answered(200, _)),
        "after {:.1?}: {fate:?}",
        begun.elapsed()
    );
    lab.say(format!(
        "answered after {:.1?} beside 8 streams that nobody reads",
        begun.elapsed()
    ));
}
