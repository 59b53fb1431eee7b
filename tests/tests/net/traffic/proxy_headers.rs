//! PROXY protocol, version 1 and 2: who may send a header, and what servers
//! that read it are told.

use std::net::SocketAddr;

use switchyard_tests::backend::{Backend, Nginx};
use switchyard_tests::client::{End, Wire};
use switchyard_tests::eventually::eventually;
use switchyard_tests::greeting::Greeting;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tool;

use crate::scene::{PORT, SOON, chain_on, entry_with, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::proxy_header_in", header_in);
    suite.workers("traffic::proxy_header_out", header_out);
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 443\r\n";
const V1_V6: &[u8] = b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 443\r\n";
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x0f\xa0\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Connects, sends `header`, asks.
fn ask(host: &Host, to: SocketAddr, header: &[u8]) -> Result<Greeting, End> {
    let mut wire = Wire::connect(host, to)?;
    wire.say(header)?;
    wire.ask()
}

#[track_caller]
fn must_be_closed(host: &Host, to: SocketAddr, header: &[u8], what: &str) {
    match ask(host, to, header) {
        Err(End::Reset | End::Fin) => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// Who the backend was told the client is.
fn client_of(greeting: &Greeting) -> SocketAddr {
    let header = greeting.proxy.as_ref().expect("the backend reads headers");
    header.addresses.expect("a header with addresses").0
}

/// A backend that reads headers, behind four listeners.
struct In {
    trusted: Host,
    stranger: Host,
    backend: Backend,
    proxy: Switchyard,
    accept: SocketAddr,
    require: SocketAddr,
    none: SocketAddr,
    /// Accept, from some sources only.
    some: SocketAddr,
}

impl In {
    fn start(lab: &Lab, workers: usize) -> Self {
        let proxy_host = lab.host("proxy", 2);
        let flags = ["--mode", "client-first", "--proxy-protocol"];
        let backend = Backend::start_with(&lab.host("b1", 11), PORT, &flags);
        let trust = "protocol: TCP, handshakeTimeout: 1s, trustedSources: [10.77.0.100/32]";
        let listeners = [
            listener("accept", PORT, &format!("{trust}, proxyProtocol: Accept")),
            listener("require", PORT + 1, &format!("{trust}, proxyProtocol: Require")),
            listener("none", PORT + 2, "protocol: TCP"),
            listener(
                "some",
                PORT + 3,
                &format!("{trust}, proxyProtocol: Accept, allowedSources: [192.0.2.0/24]"),
            ),
        ];
        let mut documents = vec![pool_of(&listeners, "")];
        for name in ["accept", "require", "none", "some"] {
            documents.push(chain_on(
                name,
                name,
                &[entry_with(&backend, "proxyProtocol: V2")],
                "",
            ));
        }
        let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifest::join(&documents)));
        proxy.await_serving("accept", &[backend.address()], SOON);
        Self {
            trusted: lab.host("trusted", 100),
            stranger: lab.host("stranger", 101),
            backend,
            proxy,
            accept: proxy_host.at(PORT),
            require: proxy_host.at(PORT + 1),
            none: proxy_host.at(PORT + 2),
            some: proxy_host.at(PORT + 3),
        }
    }
}

/// Headers of trusted sources count; others are closed.
fn header_in(lab: &Lab, workers: usize) {
    let scene = In::start(lab, workers);
    must_count(&scene);
    must_be_refused(&scene);
    // A stranger's header is found once the backend is connected: that one is no refusal.
    let wanted = [
        "refused:badProxyHeader",
        "untrustedProxyHeader",
        "refused:sourceNotAllowed",
    ];
    eventually("each reason is in the log", SOON, || {
        let log = scene.proxy.access_log();
        let ends: Vec<&str> = log.iter().filter_map(|line| line["end"].as_str()).collect();
        let all = wanted.iter().all(|end| ends.contains(end));
        all.then_some(()).ok_or_else(|| format!("{ends:?}"))
    });
    lab.say(format!("headers of strangers, and malformed ones: {wanted:?}"));
}

fn must_count(scene: &In) {
    let (trusted, accept) = (&scene.trusted, scene.accept);
    let claimed: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    for to in [accept, scene.require, scene.some] {
        for header in [V1, V2] {
            let greeting = ask(trusted, to, header).unwrap_or_else(|end| panic!("{to} {header:?}: {end}"));
            let addresses = greeting.proxy.as_ref().unwrap().addresses;
            assert_eq!(
                addresses,
                Some((claimed, "192.0.2.2:443".parse().unwrap())),
                "{to}"
            );
        }
    }
    let v6 = ask(trusted, accept, V1_V6).expect("served");
    assert_eq!(
        client_of(&v6),
        "[2001:db8::1]:4000".parse::<SocketAddr>().unwrap()
    );
    for header in [V1_UNKNOWN, V2_LOCAL] {
        let own = ask(trusted, accept, header).expect("served");
        assert_eq!(client_of(&own).ip(), trusted.ip(), "such a header names nobody");
    }
    // In pieces, as the network may cut it.
    let mut pieces = Wire::connect(trusted, accept).unwrap();
    for byte in V2 {
        pieces.say([*byte]).unwrap();
    }
    assert_eq!(client_of(&pieces.ask().expect("served")), claimed);
    let own = ask(trusted, accept, b"").expect("Accept: a header may be missing");
    assert_eq!(client_of(&own).ip(), trusted.ip());
    let own = ask(&scene.stranger, accept, b"").expect("strangers without a header are served");
    assert_eq!(client_of(&own).ip(), scene.stranger.ip());
}

fn must_be_refused(scene: &In) {
    let (trusted, stranger) = (&scene.trusted, &scene.stranger);
    let before = scene.backend.accepted().len();
    must_be_closed(trusted, scene.require, b"", "Require: no header");
    must_be_closed(
        trusted,
        scene.accept,
        b"PROXY TCP4 192.0.2.1 192.0.2.2 4000\r\n",
        "a malformed header",
    );
    for header in [V1, V2] {
        must_be_closed(stranger, scene.accept, header, "a stranger's header");
    }
    // Where nobody may send one, it is bytes like any others, and believed by nobody.
    for host in [trusted, stranger] {
        let greeting = ask(host, scene.none, V1).expect("opaque bytes");
        assert_eq!(client_of(&greeting).ip(), host.ip());
    }
    // allowedSources judges who the header says it is.
    let outside = b"PROXY TCP4 198.51.100.1 192.0.2.2 4000 443\r\n";
    must_be_closed(trusted, scene.some, outside, "a source that is not allowed");
    let served = scene.backend.accepted().split_off(before);
    let claims = |greeting: &&Greeting| {
        let header = greeting.proxy.as_ref().and_then(|header| header.addresses);
        header.is_some_and(|(client, _)| !client.ip().to_string().starts_with("10.77."))
    };
    assert_eq!(
        served.iter().filter(claims).count(),
        0,
        "no refused header reached the backend"
    );
}

/// nginx that wants headers on 8080, answers and logs what they say, and may be watched on 8081.
fn logging_nginx(web: &Host) -> Nginx {
    Nginx::serve(web, 8080, |directory| {
        let log = directory.join("proxied.log");
        format!(
            "log_format proxied '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr';\n\
             server {{ listen 8080 proxy_protocol; access_log {} proxied;\n\
             location / {{ return 200 \"$proxy_protocol_addr\\n\"; }} }}\n\
             server {{ listen 8081; }}\n",
            log.display()
        )
    })
}

/// Servers that read headers see the client: nginx, and one that reads both versions strictly; IPv4 and IPv6.
fn header_out(lab: &Lab, workers: usize) {
    lab.say(Nginx::version());
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let nginx = logging_nginx(&lab.host("web", 11));
    let host = lab.host("b1", 12);
    let flags = ["--mode", "client-first", "--proxy-protocol"];
    let strict = Backend::start_with(&host, PORT, &flags);
    // nginx takes no probe without a header for an answer: it is watched on its other port.
    let watch = "health: {monitors: [{tcp: {port: 8081}}]}";
    let web_entry =
        |version: &str| format!("- {{name: web, host: 10.77.0.11, port: 8080, proxyProtocol: {version}}}");
    let listeners = ["web1", "web2", "strict1", "strict2"];
    let entries: Vec<String> = (PORT..)
        .zip(listeners)
        .map(|(port, name)| listener(name, port, "protocol: TCP"))
        .collect();
    let manifests = manifest::join(&[
        pool_of(&entries, ""),
        chain_on("web1", "web1", &[web_entry("V1")], watch),
        chain_on("web2", "web2", &[web_entry("V2")], watch),
        chain_on(
            "strict1",
            "strict1",
            &[entry_with(&strict, "proxyProtocol: V1")],
            "",
        ),
        chain_on(
            "strict2",
            "strict2",
            &[entry_with(&strict, "proxyProtocol: V2")],
            "",
        ),
    ]);
    let plan = Plan::new(workers, &manifests).bind("::".parse().unwrap());
    let proxy = Switchyard::start_ready(&proxy_host, plan);
    proxy.await_serving("strict2", &[strict.address()], SOON);

    for port in [PORT, PORT + 1] {
        for (to, wanted) in [("10.77.0.2", "10.77.0.100\n"), ("[fd77::2]", "fd77::100\n")] {
            let mut curl = client.command("curl");
            curl.args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"]);
            let answer = tool::output(curl.arg(format!("http://{to}:{port}/")));
            assert_eq!(answer, wanted, "{to}:{port}");
        }
    }
    // The log is written after the answer.
    let logged = eventually("nginx was told twice of each, once in each version", SOON, || {
        let logged = nginx.file("proxied.log");
        let twice = |(client, server): (&str, &str)| {
            let told = |l: &&str| l.starts_with(client) && l.ends_with(server);
            logged.lines().filter(told).count() == 2
        };
        let pairs = [("10.77.0.100 ", " 10.77.0.2"), ("fd77::100 ", " fd77::2")];
        if pairs.into_iter().all(twice) {
            Ok(logged)
        } else {
            Err(logged)
        }
    });
    lab.say(format!("nginx was told:\n{logged}"));

    for (port, version) in [(PORT + 2, 1), (PORT + 3, 2)] {
        for to in [
            proxy_host.at(port),
            SocketAddr::new(proxy_host.ipv6().into(), port),
        ] {
            let mut wire = Wire::connect(&client, to).unwrap();
            let header = wire.ask().expect("served").proxy.expect("a header");
            assert_eq!(
                (header.version, header.addresses),
                (version, Some((wire.local(), to)))
            );
        }
    }
}
