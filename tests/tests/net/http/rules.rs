//! What the proxy changes, adds and answers itself: header rules, who is spoken for, redirects to HTTPS, names with
//! certificates of their own, statuses and what the access log says of them.

use std::time::Duration;

use serde_json::Value;
use switchyard_tests::client::{Reply, Wire};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::recorder::Recorder;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tls::Certificate;
use switchyard_tests::{manifest, tool};

use crate::scene::{PORT, SOON, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.test("http::rules::headers", headers);
    suite.test("http::rules::forwarded", forwarded);
    suite.test("http::rules::https_redirect", https_redirect);
    suite.test("http::rules::names", names);
    suite.test("http::rules::statuses", statuses);
    suite.test("http::rules::limits", limits);
}

fn web(more: &str) -> String {
    manifest::chain(
        "web",
        &format!(
            "poolRef: {{name: edge}}\nbackends: [{{name: b1, host: 10.77.0.11, port: {PORT}}}]\n{more}\n"
        ),
    )
}

fn ask(client: &Host, proxy: &Host, lines: &str) -> Reply {
    let mut wire = Wire::connect(client, proxy.at(80)).expect("a connection");
    wire.say(format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
        .expect("sent");
    Reply::read(&mut wire).expect("a reply")
}

fn headers(lab: &Lab) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let recorder = Recorder::start(&lab.host("b1", 11), PORT);
    let rules = "headers:
  request:
    set: [{name: X-Set, value: ours}, {name: X-New, value: new}]
    add: [{name: X-Add, value: more}]
    remove: [X-Gone]
  response:
    set: [{name: Content-Type, value: text/html}]
    add: [{name: X-Add, value: back}]
    remove: [X-Secret]";
    let manifests = manifest::join(&[pool_of(&[listener("web", 80, "protocol: HTTP")], ""), web(rules)]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    proxy.await_serving("web", &[recorder.address()], SOON);
    let reply = ask(
        &client,
        &proxy_host,
        "X-Set: theirs\r\nX-Set: again\r\nX-Add: one\r\nx-gone: a\r\nX-GONE: b\r\nX-Kept: k\r\n",
    );
    let got = recorder.take().pop().expect("a request");
    lab.say(got.lines().join(" | "));
    assert_eq!(got.header("x-set"), ["ours"]);
    assert_eq!(got.header("x-new"), ["new"]);
    assert_eq!(got.header("x-add"), ["one", "more"]);
    assert_eq!(got.header("x-gone"), Vec::<String>::new());
    assert_eq!(got.header("x-kept"), ["k"]);
    assert_eq!(got.header("host"), ["a.example"]);
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("x-add"), Some("back"));
}

/// Who is believed may speak for others; who is not is only who he is.
fn forwarded(lab: &Lab) {
    let (client, trusted, proxy_host) = (
        lab.host("client", 100),
        lab.host("trusted", 101),
        lab.host("proxy", 2),
    );
    let recorder = Recorder::start(&lab.host("b1", 11), PORT);
    let fields = "protocol: HTTP, trustedSources: [10.77.0.101/32]";
    let manifests = manifest::join(&[pool_of(&[listener("web", 80, fields)], ""), web("")]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    proxy.await_serving("web", &[recorder.address()], SOON);
    let claims = "Forwarded: for=192.0.2.1;proto=https\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Real-IP: 192.0.2.1\r\n";

    ask(&client, &proxy_host, claims);
    let got = recorder.take().pop().expect("a request");
    assert_eq!(got.header("x-forwarded-for"), ["10.77.0.100"]);
    assert_eq!(got.header("x-forwarded-proto"), ["http"]);
    assert_eq!(got.header("x-forwarded-host"), ["a.example"]);
    assert_eq!(got.header("x-real-ip"), Vec::<String>::new());
    let forwarded = got.header("forwarded").join(", ");
    assert!(
        forwarded.contains("for=10.77.0.100") && !forwarded.contains("192.0.2.1"),
        "{forwarded}"
    );

    ask(&trusted, &proxy_host, claims);
    let got = recorder.take().pop().expect("a request");
    assert_eq!(got.header("x-forwarded-for").join(", "), "192.0.2.1, 10.77.0.101");
    assert_eq!(got.header("x-forwarded-proto"), ["https"]);
    assert_eq!(got.header("x-forwarded-host"), ["b.example"]);
    let forwarded = got.header("forwarded").join(", ");
    assert!(
        forwarded.starts_with("for=192.0.2.1;proto=https, for=10.77.0.101"),
        "{forwarded}"
    );
}

fn https_redirect(lab: &Lab) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let recorder = Recorder::start(&lab.host("b1", 11), PORT);
    let certificate = Certificate::make(&client.directory("tls"), &["a.example"]);
    let spec = format!(
        "poolRef: {{name: edge, listener: secure}}\nbackends: [{{name: b1, host: 10.77.0.11, port: {PORT}}}]\n"
    );
    let manifests = manifest::join(&[
        pool_of(
            &[
                listener("web", 80, "protocol: HTTP, httpsRedirect: true"),
                listener(
                    "secure",
                    443,
                    "protocol: HTTPS, tls: {certificateRefs: [{name: a}]}",
                ),
            ],
            "",
        ),
        manifest::chain("web", &spec),
        manifest::tls_secret("a", &certificate),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    proxy.await_serving("web", &[recorder.address()], SOON);
    let mut curl = client.command("curl");
    curl.args([
        "-sS",
        "-X",
        "POST",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
    ]);
    curl.args([
        "--connect-to",
        &format!("::{}:", proxy_host.ip()),
        "http://a.example/x?y=1",
    ]);
    assert_eq!(tool::output(&mut curl), "308 https://a.example/x?y=1");
    let mut curl = client.command("curl");
    curl.args([
        "-sS",
        "-L",
        "-d",
        "body",
        "--connect-to",
        &format!("::{}:", proxy_host.ip()),
        "--cacert",
    ]);
    let followed = tool::output(curl.arg(&certificate.file).arg("http://a.example/x?y=1"));
    assert_eq!(followed, "POST /x?y=1");
    let got = recorder.take();
    assert_eq!(got.len(), 1, "only what came over TLS: {got:?}");
    assert_eq!(got[0].body, b"body");
}

/// Each name has its certificate and its chain; another name gets no chain.
fn names(lab: &Lab) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = [
        Recorder::start(&lab.host("b1", 11), PORT),
        Recorder::start(&lab.host("b2", 12), PORT),
    ];
    let folder = client.directory("tls");
    let certificates = [
        Certificate::make(&folder, &["a.example"]),
        Certificate::make(&folder, &["b.example", "*.b.example"]),
    ];
    let chain = |name: &str, hostnames: &str, number: u8| {
        let spec = format!(
            "poolRef: {{name: edge}}\nhostnames: [{hostnames}]\nbackends: [{{name: x, host: 10.77.0.{number}, port: {PORT}}}]\n"
        );
        manifest::chain(name, &spec)
    };
    let tls = "protocol: HTTPS, tls: {certificateRefs: [{name: a}, {name: b}]}";
    let manifests = manifest::join(&[
        pool_of(&[listener("web", 443, tls)], ""),
        chain("a", "a.example", 11),
        chain("b", "b.example, \"*.b.example\"", 12),
        manifest::tls_secret("a", &certificates[0]),
        manifest::tls_secret("b", &certificates[1]),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    for (name, backend) in [("a", &backends[0]), ("b", &backends[1])] {
        proxy.await_serving(name, &[backend.address()], SOON);
    }
    let curl = |url: &str, certificate: &Certificate, more: &[&str]| {
        let mut curl = client.command("curl");
        curl.args(["-sS", "--max-time", "10", "-w", " %{http_code}", "--cacert"])
            .arg(&certificate.file);
        curl.args(["--connect-to", &format!("::{}:", proxy_host.ip())])
            .args(more);
        tool::try_output(curl.arg(url))
    };
    for version in ["--http1.1", "--http2"] {
        for (url, which) in [
            ("https://a.example/1", 0),
            ("https://b.example/2", 1),
            ("https://x.b.example/3", 1),
        ] {
            let said = curl(url, &certificates[which], &[version]);
            let path = &url[url.len() - 2..];
            assert_eq!(said, Ok(format!("GET {path} 200")), "{url}");
            let got = [backends[0].take().len(), backends[1].take().len()];
            assert_eq!(got[which], 1, "{url}: {got:?}");
            // The other one's certificate is not served for it.
            curl(url, &certificates[1 - which], &[version]).expect_err("another certificate");
        }
        // One name in the handshake, another in the request: certificates are the listener's, so the request's counts.
        let said = curl(
            "https://a.example/4",
            &certificates[0],
            &[version, "-H", "Host: b.example"],
        );
        assert_eq!(said, Ok("GET /4 200".to_owned()));
        assert_eq!([backends[0].take().len(), backends[1].take().len()], [0, 1]);
        let said = curl(
            "https://a.example/5",
            &certificates[0],
            &[version, "-H", "Host: c.example"],
        );
        let status = said.expect("an answer").rsplit(' ').next().map(str::to_owned);
        assert!(matches!(status.as_deref(), Some("404" | "421")), "{status:?}");
    }
}

/// Statuses of our own say what happened and when to come back, and the access log says why.
fn statuses(lab: &Lab) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = lab.host("b1", 11);
    let recorder = Recorder::start(&b1, PORT);
    let more = "hostnames: [a.example]\nconnect: {timeout: 500ms, attempts: 1}\nhealth: {interval: 300ms, timeout: 300ms}\nresolution: {staleFor: 1s}";
    let fields = "protocol: HTTP, idleTimeout: 2s";
    let mute = manifest::chain(
        "mute",
        "poolRef: {name: edge}\nhostnames: [mute.example]\nbackends: [{name: m, host: 10.77.0.12, port: 1650}]\n",
    );
    let manifests = manifest::join(&[pool_of(&[listener("web", 80, fields)], ""), web(more), mute]);
    let mute = switchyard_tests::backend::Backend::start(
        &lab.host("mute", 12),
        PORT,
        switchyard_tests::backend::Mode::Mute,
    );
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    proxy.await_serving("web", &[recorder.address()], SOON);
    proxy.await_serving("mute", &[mute.address()], SOON);

    let reply = ask(&client, &proxy_host, "");
    assert_eq!(reply.status, 200);
    let mut wire = Wire::connect(&client, proxy_host.at(80)).expect("a connection");
    wire.say("GET /unknown HTTP/1.1\r\nHost: other.example\r\n\r\n")
        .expect("sent");
    assert_eq!(Reply::read(&mut wire).expect("a reply").status, 404);
    // A backend that never answers.
    let mut wire = Wire::connect(&client, proxy_host.at(80)).expect("a connection");
    wire.say("GET /never HTTP/1.1\r\nHost: mute.example\r\n\r\n")
        .expect("sent");
    let reply = Reply::read(&mut wire).expect("a reply");
    assert_eq!(reply.status, 504, "{reply:?}");

    // Nobody answers any more: 502 or 503, with a time to come back.
    let _hole = b1.black_hole(None);
    let reply = eventually("it is refused", SOON, || match ask(&client, &proxy_host, "") {
        reply if reply.status == 503 => Ok(reply),
        reply => Err(format!("{}", reply.status)),
    });
    assert!(
        reply
            .header("retry-after")
            .is_some_and(|after| after.parse::<u32>().is_ok()),
        "{reply:?}"
    );
    lab.say(format!("503: {:?}", reply.text()));

    let log = eventually("all is in the access log", SOON, || {
        let log = proxy.access_log();
        if log.iter().any(|line| line["http"]["status"] == 503) {
            Ok(log)
        } else {
            Err(format!("{} lines", log.len()))
        }
    });
    for status in [200, 404, 503, 504] {
        let line = log.iter().find(|line| line["http"]["status"] == status);
        let line: &Value = line.unwrap_or_else(|| panic!("a line with status {status}"));
        lab.say(line.to_string());
        assert_eq!(line["http"]["method"], "GET", "{line}");
        assert!(line["end"].is_string(), "{line}");
    }
}

/// Heads and bodies beyond the limits, and clients that do not get on.
fn limits(lab: &Lab) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let recorder = Recorder::start(&lab.host("b1", 11), PORT);
    let fields = "protocol: HTTP, handshakeTimeout: 1s, idleTimeout: 3s, http: {maxHeadBytes: 8192, maxBodyBytes: 1000}";
    let manifests = manifest::join(&[pool_of(&[listener("web", 80, fields)], ""), web("")]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    proxy.await_serving("web", &[recorder.address()], SOON);
    let answer = |bytes: &str| {
        let mut wire = Wire::connect(&client, proxy_host.at(80)).expect("a connection");
        wire.say(bytes).expect("sent");
        Reply::read(&mut wire).map(|reply| reply.status)
    };
    assert_eq!(
        answer(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000))),
        Ok(414)
    );
    assert_eq!(
        answer(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(9000)
        )),
        Ok(431)
    );
    assert_eq!(
        answer("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"),
        Ok(413)
    );
    assert_eq!(
        answer(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{}",
            "x".repeat(1000)
        )),
        Ok(200)
    );
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    assert_eq!(
        answer(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        )),
        Ok(413)
    );

    // A head that never ends, byte by byte: each byte is progress, and does not help.
    let mut slow = Wire::connect(&client, proxy_host.at(80)).expect("a connection");
    let begun = std::time::Instant::now();
    slow.say("GET / HTTP/1.1\r\nHost: a\r\nX: ").expect("sent");
    while begun.elapsed() < Duration::from_millis(900) {
        slow.say("y").expect("it is still open");
        switchyard_tests::eventually::let_pass(Duration::from_millis(100));
    }
    let reply = Reply::read(&mut slow).expect("an answer before the end");
    assert_eq!(reply.status, 408);
    let took = begun.elapsed();
    lab.say(format!("408 after {took:.1?} of a head that came byte by byte"));
    assert!(took < Duration::from_secs(3), "{took:?}");
    // A body that stops.
    let begun = std::time::Instant::now();
    let status = answer("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhell");
    lab.say(format!(
        "{status:?} after {:.1?} of a body that stopped",
        begun.elapsed()
    ));
    assert!(matches!(status, Ok(408 | 504) | Err(_)), "{status:?}");
    assert!(begun.elapsed() < Duration::from_secs(8));
}
