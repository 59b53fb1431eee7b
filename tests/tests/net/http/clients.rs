//! Real clients to real servers, through listeners that speak HTTP, HTTPS, or whatever comes.

use std::path::Path;
use std::process::{Command, Stdio};

use switchyard_tests::backend::Nginx;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::process::Program;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tls::Certificate;
use switchyard_tests::{manifest, tool, webservers};

use crate::scene::{SOON, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers("http::clients::curl", curl);
    suite.test("http::clients::nghttp_and_h2load", nghttp_and_h2load);
    suite.test("http::clients::openssl", openssl);
    suite.workers("http::clients::websockets", websockets);
    suite.workers("http::clients::grpc", grpc);
}

/// Listeners by name, port, and whether they take the clear and TLS.
const LISTENERS: [(&str, u16, &str, bool, bool); 3] = [
    ("clear", 80, "HTTP", true, false),
    ("secure", 443, "HTTPS", false, true),
    ("auto", 8443, "Auto", true, true),
];
/// Backends by name, number of their host, port and protocol.
const BACKENDS: [(&str, u8, u16, &str); 4] = [
    ("nginx", 11, 8080, "HTTP1"),
    ("node", 12, 3000, "HTTP1"),
    ("node2", 12, 3001, "HTTP2"),
    ("grpc", 13, 5000, "HTTP2"),
];

struct Scene {
    client: Host,
    proxy_host: Host,
    certificate: Certificate,
    _nginx: Nginx,
    _programs: [Program; 2],
    proxy: Switchyard,
}

impl Scene {
    fn start(lab: &Lab, workers: usize) -> Self {
        let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
        let nginx = Nginx::start(&lab.host("nginx", 11), 8080);
        let programs = [
            webservers::node(&lab.host("node", 12), 3000),
            webservers::grpc(&lab.host("grpc", 13), 5000),
        ];
        let certificate = Certificate::make(&client.directory("tls"), &["x.example.test", "*.example.test"]);
        let mut documents = vec![
            pool_of(&LISTENERS.map(entry), ""),
            manifest::tls_secret("all", &certificate),
        ];
        for (on, ..) in LISTENERS {
            documents.extend(BACKENDS.map(|backend| chain(on, backend)));
        }
        let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &manifest::join(&documents)));
        for (on, ..) in LISTENERS {
            for (name, number, port, _) in BACKENDS {
                let address = format!("10.77.0.{number}:{port}").parse().expect("an address");
                proxy.await_serving(&format!("{on}-{name}"), &[address], SOON);
            }
        }
        Self {
            client,
            proxy_host,
            certificate,
            _nginx: nginx,
            _programs: programs,
            proxy,
        }
    }

    fn curl(&self, url: &str, arguments: &[&str]) -> String {
        let mut command = self.client.command("curl");
        command
            .args(["-sS", "--max-time", "20", "--cacert"])
            .arg(&self.certificate.file);
        command.args(["--connect-to", &format!("::{}:", self.proxy_host.ip())]);
        tool::output(command.args(arguments).arg(url))
    }
}

fn entry((name, port, protocol, _, secure): (&str, u16, &str, bool, bool)) -> String {
    let tls = if secure {
        ", tls: {certificateRefs: [{name: all}]}"
    } else {
        ""
    };
    listener(name, port, &format!("protocol: {protocol}{tls}"))
}

fn chain(on: &str, (name, number, port, protocol): (&str, u8, u16, &str)) -> String {
    let spec = format!(
        "poolRef: {{name: edge, listener: {on}}}\nhostnames: [{name}.example.test]\n\
         backends: [{{name: {name}, host: 10.77.0.{number}, port: {port}, protocol: {protocol}}}]\n"
    );
    manifest::chain(&format!("{on}-{name}"), &spec)
}

/// Every version of HTTP that curl speaks, to every listener that takes it, to every backend of its own version or not.
fn curl(lab: &Lab, workers: usize) {
    let scene = Scene::start(lab, workers);
    let body = scene.client.directory("curl").join("body");
    std::fs::write(&body, vec![b'x'; 1 << 20]).expect("a file of 1 MiB");
    // The digest of 1 MiB of `x`, as Node tells it.
    let digest = tool::output(Command::new("sha256sum").arg(&body));
    let digest = digest.split(' ').next().expect("a digest").to_owned();
    let mut asked = 0;
    for (_, port, _, clear, secure) in LISTENERS {
        let schemes = [("http", clear), ("https", secure)];
        for (scheme, _) in schemes.into_iter().filter(|(_, takes)| *takes) {
            let versions: &[(&str, &str)] = match scheme {
                "http" => &[
                    ("--http1.0", "1.0"),
                    ("--http1.1", "1.1"),
                    ("--http2-prior-knowledge", "2"),
                ],
                _ => &[("--http1.1", "1.1"), ("--http2", "2")],
            };
            for (version, expected) in versions {
                for (name, ..) in &BACKENDS[..3] {
                    let url = format!("{scheme}://{name}.example.test:{port}/some/path?q=1");
                    let said = scene.curl(&url, &[version, "-w", "\n%{http_code} %{http_version}"]);
                    let (body, end) = said.rsplit_once('\n').expect("a line of curl's own");
                    // curl says which version the response has: ours is 1.1 also to a client of 1.0.
                    let versions = [format!("200 {expected}"), "200 1.1".to_owned()];
                    let right = if *expected == "2" {
                        end == versions[0]
                    } else {
                        versions.contains(&end.to_owned())
                    };
                    assert!(right, "{version} {url}: {end}");
                    let wanted = if *name == "nginx" {
                        "nginx\n"
                    } else {
                        "\"url\":\"/some/path?q=1\""
                    };
                    assert!(body.contains(wanted), "{version} {url}: {body}");
                    asked += 1;
                }
                if *expected != "1.0" {
                    let url = format!("{scheme}://node2.example.test:{port}/upload");
                    let data = format!("@{}", body.display());
                    for node in ["node", "node2"] {
                        let url = url.replace("node2", node);
                        let said = scene.curl(&url, &[version, "--data-binary", &data]);
                        assert!(said.contains(&digest), "{version} {url}: {said}");
                        let said = scene.curl(
                            &url,
                            &[
                                version,
                                "--data-binary",
                                &data,
                                "-H",
                                "Transfer-Encoding: chunked",
                            ],
                        );
                        assert!(said.contains(&digest), "{version} {url} in chunks: {said}");
                        asked += 2;
                    }
                }
            }
        }
    }
    lab.say(format!("curl asked {asked} times"));
    let lines = scene.proxy.access_log();
    lab.say(format!(
        "access log: {}",
        lines.last().expect("a line of the last request")
    ));
}

fn nghttp_and_h2load(lab: &Lab) {
    let scene = Scene::start(lab, 1);
    let ip = scene.proxy_host.ip();
    for (scheme, port) in [("http", 80), ("http", 8443), ("https", 443), ("https", 8443)] {
        for (name, ..) in &BACKENDS[..3] {
            let mut nghttp = scene.client.command("nghttp");
            nghttp.args(["-v", "-H", &format!(":authority: {name}.example.test")]);
            let said = tool::output(nghttp.arg(format!("{scheme}://{ip}:{port}/x")));
            assert!(said.contains(":status: 200"), "{scheme} {port} {name}: {said}");

            let mut h2load = scene.client.command("h2load");
            h2load.args([
                "-n",
                "2000",
                "-c",
                "4",
                "-m",
                "20",
                "-H",
                &format!(":authority: {name}.example.test"),
            ]);
            let said = tool::output(h2load.arg(format!("{scheme}://{ip}:{port}/x")));
            let all = said.contains("2000 done, 2000 succeeded, 0 failed, 0 errored");
            assert!(all && said.contains("2000 2xx"), "{scheme} {port} {name}: {said}");
            let speed = said
                .lines()
                .find(|line| line.starts_with("finished"))
                .unwrap_or_default();
            lab.say(format!("{scheme} {port} {name}: {speed}"));
        }
    }
}

/// Versions, ALPN, names, and a session that is taken up again.
fn openssl(lab: &Lab) {
    let scene = Scene::start(lab, 1);
    lab.say(Certificate::version());
    let request = "GET /x HTTP/1.1\r\nHost: nginx.example.test\r\nConnection: close\r\n\r\n";
    for port in [443, 8443] {
        for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let to = scene.proxy_host.at(port).to_string();
            let base = [
                "-servername",
                "nginx.example.test",
                "-verify_return_error",
                "-ign_eof",
                version,
            ];
            let mut client = scene.client.command("openssl");
            client
                .args(["s_client", "-connect", &to])
                .args(base)
                .arg("-CAfile")
                .arg(&scene.certificate.file);
            let said = tool::feed(client.args(["-alpn", "http/1.1"]), request);
            for wanted in [
                &format!("New, {named}"),
                "ALPN protocol: http/1.1",
                "HTTP/1.1 200",
                "nginx\n",
            ] {
                assert!(
                    said.contains(wanted),
                    "{version} at {port}: no {wanted:?} in {said}"
                );
            }
            let mut client = scene.client.command("openssl");
            client.args([
                "s_client",
                "-connect",
                &to,
                "-alpn",
                "h2",
                "-servername",
                "nginx.example.test",
                version,
            ]);
            let said = tool::feed(&mut client, "");
            assert!(said.contains("ALPN protocol: h2"), "{version} at {port}: {said}");
        }
        let mut old = scene.client.command("openssl");
        old.args([
            "s_client",
            "-connect",
            &scene.proxy_host.at(port).to_string(),
            "-tls1_1",
        ]);
        let refused = tool::try_output(&mut old).expect_err("TLS 1.1 is refused");
        assert!(
            refused.contains("alert") || refused.contains("no protocols"),
            "{refused}"
        );
    }
}

fn websockets(lab: &Lab, workers: usize) {
    let scene = Scene::start(lab, workers);
    let ca = Some(scene.certificate.file.as_path());
    for (url, port, ca) in [
        ("ws://node.example.test/chat", 80, None),
        ("wss://node.example.test/chat", 443, ca),
        ("ws://node.example.test/chat", 8443, None),
        ("wss://node.example.test/chat", 8443, ca),
    ] {
        let said = open_and_close(&scene, url, port, ca, (20, 50));
        assert!(said.ends_with("20 clients\n"), "{url} at {port}: {said}");
        lab.say(format!(
            "{url} at {port}: 20 clients, 50 messages each, up to 25 KB"
        ));
    }
}

fn open_and_close(scene: &Scene, url: &str, port: u16, ca: Option<&Path>, many: (usize, usize)) -> String {
    let mut command = webservers::websockets(&scene.client, url, scene.proxy_host.at(port), ca, many);
    tool::feed(command.stdin(Stdio::piped()), "close\n")
}

/// Unary calls, streams of each kind, deadlines, trailers and errors, through every listener.
fn grpc(lab: &Lab, workers: usize) {
    let scene = Scene::start(lab, workers);
    let ca = Some(scene.certificate.file.as_path());
    for (port, ca) in [(80, None), (443, ca), (8443, None), (8443, ca)] {
        let to = scene.proxy_host.at(port);
        let answered = webservers::grpc_client(&scene.client, to, "grpc.example.test", ca);
        assert_eq!(answered.as_deref(), Ok("grpc"), "at {port}");
        let how = if ca.is_some() { "TLS" } else { "the clear" };
        lab.say(format!("at {port} in {how}: all calls as they must be"));
    }
}
