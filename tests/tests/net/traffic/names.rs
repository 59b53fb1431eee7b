//! Chains by name: TLS passed through by SNI, HTTP by Host, everything else to
//! the default chain, also where the server speaks first. Real TLS servers and
//! clients, which check each other's certificates through the proxy.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode, Nginx};
use switchyard_tests::client::{End, Wire};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tls::Certificate;
use switchyard_tests::tool;

use crate::scene::{MEASURING, PORT, SOON, chain_on, entry, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::tls_by_sni", tls_by_sni);
    suite.workers("traffic::auto", auto);
    suite.workers("traffic::server_first", server_first);
}

/// nginx that serves its host's name: on 8443 by TLS with this certificate, on 8080 in the clear.
fn web(host: &Host, certificate: &Certificate) -> Nginx {
    let (name, file, key) = (host.name(), certificate.file.display(), certificate.key.display());
    Nginx::serve(host, 8443, |_| {
        format!(
            "server {{ listen 8443 ssl; ssl_certificate {file}; ssl_certificate_key {key};\n\
             location / {{ return 200 \"{name} by TLS for $ssl_server_name\\n\"; }} }}\n\
             server {{ listen 8080; location / {{ return 200 \"{name} for $http_host\\n\"; }} }}\n"
        )
    })
}

fn web_entry(host: &Host, port: u16) -> String {
    format!("- {{name: {}, host: {}, port: {port}}}", host.name(), host.ip())
}

/// `curl URL`, with every name of example.test at the proxy's `port`.
fn curl(client: &Host, port: u16, trusted: &Path, url: &str) -> Result<String, String> {
    let mut curl = client.command("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        "--noproxy",
        "*",
        "--cacert",
    ])
    .arg(trusted)
    .arg("--connect-to")
    .arg(format!("::10.77.0.2:{port}"))
    .arg(url);
    tool::try_output(&mut curl)
}

fn versions(lab: &Lab) {
    let curl = tool::output(Command::new("curl").arg("--version"));
    let curl = curl.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    lab.say(format!(
        "{}; {}; {curl}",
        Nginx::version(),
        Certificate::version()
    ));
}

fn tls_by_sni(lab: &Lab, workers: usize) {
    versions(lab);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let (one, two) = (lab.host("web1", 11), lab.host("web2", 12));
    let files = client.directory("certificates");
    let names_of_two = ["*.wild.example.test", "exact.wild.example.test"];
    let certificates = [
        Certificate::make(&files, &["a.example.test", "exact.wild.example.test"]),
        Certificate::make(&files, &names_of_two),
    ];
    let _servers = [web(&one, &certificates[0]), web(&two, &certificates[1])];
    let tls = "protocol: TLS, tls: {mode: Passthrough}";
    let manifests = manifest::join(&[
        pool_of(&[listener("tls", PORT, tls)], ""),
        chain_on(
            "tls",
            "one",
            &[web_entry(&one, 8443)],
            "hostnames: [a.example.test, exact.wild.example.test]",
        ),
        chain_on(
            "tls",
            "two",
            &[web_entry(&two, 8443)],
            "hostnames: [\"*.wild.example.test\"]",
        ),
    ]);
    let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let get = |name: &str, certificate: &Certificate| {
        curl(&client, PORT, &certificate.file, &format!("https://{name}/"))
    };
    let told = |host: &str, name: &str| Ok(format!("{host} by TLS for {name}\n"));
    for (name, server, certificate) in [
        ("a.example.test", "web1", &certificates[0]),
        ("A.Example.TEST", "web1", &certificates[0]),
        ("x.wild.example.test", "web2", &certificates[1]),
        ("exact.wild.example.test", "web1", &certificates[0]),
    ] {
        let answer = get(name, certificate).map(|text| text.to_lowercase());
        assert_eq!(
            answer,
            told(server, name).map(|text: String| text.to_lowercase()),
            "{name}"
        );
    }
    // The client sees the server's own certificate, and refuses another's.
    let refused = get("a.example.test", &certificates[1]).expect_err("not signed by that");
    assert!(refused.contains("certificate"), "{refused}");
    // A name that nobody has is not served by anybody.
    let unknown = get("b.example.test", &certificates[0]).expect_err("nobody has that name");
    lab.say(format!(
        "unknown name: {}",
        unknown.lines().last().unwrap_or_default()
    ));

    let answer = by_openssl(&client, &["-servername", "a.example.test"], &certificates[0]).expect("served");
    assert!(answer.ends_with("web1 by TLS for a.example.test\n"), "{answer}");
    by_openssl(&client, &["-noservername"], &certificates[0]).expect_err("no name, no default chain");
    must_refuse_plain(&client, &proxy_host);
    eventually("both names are in the log", SOON, || {
        let log = proxy.access_log();
        let has =
            |name: &str, key: &str, value: &str| log.iter().any(|l| l["name"] == name && l[key] == value);
        let both = has("x.wild.example.test", "chain", "edge/two")
            && has("b.example.test", "end", "refused:noChain");
        both.then_some(()).ok_or_else(|| format!("{log:?}"))
    });
}

fn must_refuse_plain(client: &Host, proxy_host: &Host) {
    let mut plain = Wire::connect(client, proxy_host.at(PORT)).unwrap();
    plain.say("GET / HTTP/1.0\r\n\r\n").unwrap();
    let (took, end) = plain.end(SOON);
    assert!(
        matches!(end, End::Reset | End::Fin) && took <= MEASURING,
        "not TLS: {end} after {took:?}"
    );
}

/// What a server says to `openssl s_client` that trusts this certificate.
fn by_openssl(client: &Host, name: &[&str], trusted: &Certificate) -> Result<String, String> {
    let mut shell = client.command("sh");
    let request =
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -verify_quiet -ign_eof \"$@\"";
    shell.args([
        "-c",
        request,
        "sh",
        "-connect",
        "10.77.0.2:1650",
        "-verify_return_error",
        "-CAfile",
    ]);
    tool::try_output(shell.arg(&trusted.file).args(name))
}

/// TLS by SNI, HTTP by Host, and opaque bytes on one port.
fn auto(lab: &Lab, workers: usize) {
    versions(lab);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let (one, two) = (lab.host("web1", 11), lab.host("web2", 12));
    let files = client.directory("certificates");
    let certificate = Certificate::make(&files, &["a.example.test", "c.example.test"]);
    let _servers = [web(&one, &certificate), web(&two, &certificate)];
    let opaque = Backend::start(&lab.host("opaque", 13), PORT, Mode::ClientFirst);
    let manifests = manifest::join(&[
        pool_of(&[listener("auto", PORT, "protocol: Auto")], ""),
        chain_on(
            "auto",
            "tls",
            &[web_entry(&one, 8443)],
            "hostnames: [a.example.test]",
        ),
        chain_on(
            "auto",
            "web1",
            &[web_entry(&one, 8080)],
            "hostnames: [plain.example.test]",
        ),
        chain_on(
            "auto",
            "web2",
            &[web_entry(&two, 8080)],
            "hostnames: [\"*.plain.example.test\"]",
        ),
        chain_on("auto", "other", &[entry(&opaque, 0)], ""),
    ]);
    let _proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    let get = |url: &str| curl(&client, PORT, &certificate.file, url);
    assert_eq!(
        get("https://a.example.test/").unwrap(),
        "web1 by TLS for a.example.test\n"
    );
    assert_eq!(
        get("http://plain.example.test/").unwrap(),
        "web1 for plain.example.test\n"
    );
    assert_eq!(
        get("http://x.plain.example.test:8000/").unwrap(),
        "web2 for x.plain.example.test:8000\n"
    );
    let connect = || Wire::connect(&client, proxy_host.at(PORT)).unwrap();
    for word in ["hello\n", "\u{16}not a record\n", "GETTING\n", "S\n"] {
        let mut wire = connect();
        wire.say(word).unwrap();
        assert_eq!(
            wire.greeting().expect("the default chain").name,
            "opaque",
            "{word:?}"
        );
    }
    // A request that comes in pieces.
    let mut pieces = connect();
    for piece in [
        "GE",
        "T / HTTP/1.1\r\nConnection: close\r\nHo",
        "st: plain.example.test\r",
    ] {
        pieces.say(piece).unwrap();
        let (_, end) = pieces.end(Duration::from_millis(50));
        assert_eq!(end, End::Timeout, "{piece:?} is not all of it");
    }
    pieces.say("\n\r\n").unwrap();
    let text = String::from_utf8(pieces.take(12).unwrap()).unwrap();
    assert_eq!(text, "HTTP/1.1 200");
    lab.say("TLS by SNI, HTTP by Host and opaque bytes on one port");
}

/// The server speaks first: at once on TCP listeners, and on an Auto listener whose default chain says so.
fn server_first(lab: &Lab, workers: usize) {
    versions(lab);
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let one = lab.host("web1", 12);
    let certificate = Certificate::make(&client.directory("certificates"), &["a.example.test"]);
    let _web = web(&one, &certificate);
    let talker = Backend::start(&lab.host("talker", 11), PORT, Mode::ServerFirst);
    let auto = PORT + 1;
    let manifests = manifest::join(&[
        pool_of(
            &[
                listener("tcp", PORT, "protocol: TCP"),
                listener("auto", auto, "protocol: Auto"),
            ],
            "",
        ),
        chain_on("tcp", "plain", &[entry(&talker, 0)], ""),
        chain_on("auto", "first", &[entry(&talker, 0)], "serverFirst: true"),
        chain_on(
            "auto",
            "tls",
            &[web_entry(&one, 8443)],
            "hostnames: [a.example.test]",
        ),
    ]);
    let _proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifests));
    for port in [PORT, auto] {
        let begun = Instant::now();
        let mut silent = Wire::connect(&client, proxy_host.at(port)).unwrap();
        let greeting = silent.greeting().expect("the server speaks first");
        let took = begun.elapsed();
        lab.say(format!("port {port}: {} spoke after {took:.1?}", greeting.name));
        assert_eq!(greeting.name, "talker");
        // Waiting for the client to say something would take `handshakeTimeout`, 10 s.
        assert!(took <= Duration::from_secs(1), "{took:?}");
        assert_eq!(silent.ask().expect("and goes on").name, "talker");
    }
    let answer = curl(&client, auto, &certificate.file, "https://a.example.test/").unwrap();
    assert_eq!(answer, "web1 by TLS for a.example.test\n");
}
