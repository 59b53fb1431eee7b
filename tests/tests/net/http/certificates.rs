//! Certificates that change while clients come: no handshake fails, and the new one is served within a second.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tls::{AnyCertificate, Certificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use switchyard_tests::recorder::Recorder;

use crate::scene::{MEASURING, PORT, SOON, listener, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers_alone("http::certificates::swapped_under_load", swapped);
}

const SWAPS: usize = 100;
/// Clients that open connections all the time, one after the other.
const CLIENTS: usize = 8;
/// From the change of a file to the new certificate, for whoever connects then.
const SERVED: Duration = Duration::from_secs(1);
/// Time for one connection.
const DEADLINE: Duration = Duration::from_secs(10);

/// One connection: when it was begun, and the certificate that it was shown, or how it failed.
#[derive(Clone, Debug)]
struct Shown {
    begun: Instant,
    over: Instant,
    certificate: Result<CertificateDer<'static>, String>,
}

fn swapped(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let recorder = Recorder::start(&lab.host("b1", 11), PORT);
    let folder = client.directory("tls");
    let made: Vec<Certificate> = (0..=SWAPS)
        .map(|number| {
            let folder = folder.join(number.to_string());
            std::fs::create_dir_all(&folder).expect("a folder");
            Certificate::make(&folder, &["a.example"])
        })
        .collect();
    let other = Certificate::make(&folder, &["b.example"]);
    let fields = "protocol: HTTPS, tls: {certificateRefs: [{name: a}, {name: b}]}";
    let spec = format!("poolRef: {{name: edge}}\nbackends: [{{name: b1, host: 10.77.0.11, port: {PORT}}}]\n");
    let manifests = manifest::join(&[
        pool_of(&[listener("web", 443, fields)], ""),
        manifest::chain("web", &spec),
        manifest::tls_secret("b", &other),
    ]);
    let secret = |certificate| manifest::tls_secret("a", certificate);
    let plan = Plan::new(workers, &manifests).file("secret.yaml", &secret(&made[0]));
    let proxy = Switchyard::start_ready(&proxy_host, plan);
    proxy.await_serving("web", &[recorder.address()], SOON);

    let clients = Clients::start(&client, &proxy_host);
    let mut swaps = Vec::new();
    for next in &made[1..] {
        let wanted = der(&next.file);
        let asked = Instant::now();
        proxy.write("secret.yaml", &secret(next));
        let seen = eventually("the new certificate is served", SOON, || {
            clients.first(&wanted).ok_or_else(|| "not yet".to_owned())
        });
        swaps.push((asked, seen.saturating_duration_since(asked)));
    }
    let all = clients.stop();
    let failed: Vec<&Shown> = all.iter().filter(|one| one.certificate.is_err()).collect();
    let mut times: Vec<Duration> = swaps.iter().map(|(_, took)| *took).collect();
    times.sort();
    lab.say(format!(
        "{} handshakes, {} failed; {SWAPS} swaps, a new certificate was first seen after {:?} (median), {:?} (longest)",
        all.len(),
        failed.len(),
        times[SWAPS / 2],
        times[SWAPS - 1]
    ));
    assert!(
        failed.is_empty(),
        "{} failed, such as {:?}",
        failed.len(),
        failed[0]
    );
    assert!(all.len() > SWAPS * 5, "too few handshakes to tell");
    assert!(times[SWAPS - 1] < SERVED + MEASURING, "{times:?}");
    // Whoever came a second after a swap was shown that certificate or a later one.
    let order: Vec<CertificateDer<'_>> = made.iter().map(|one| der(&one.file)).collect();
    for one in &all {
        let shown = one
            .certificate
            .as_ref()
            .ok()
            .and_then(|shown| order.iter().position(|known| known == shown));
        let shown = shown.expect("one of ours, and not the other name's");
        let due = swaps
            .iter()
            .filter(|(asked, _)| *asked + SERVED + MEASURING < one.begun)
            .count();
        assert!(
            shown >= due,
            "certificate {shown} {:?} after {due} were changed",
            one.over - one.begun
        );
    }
}

fn der(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).expect("a certificate")
}

/// Clients that connect all the time.
struct Clients {
    host: Host,
    seen: Arc<Mutex<Vec<Shown>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Clients {
    fn start(host: &Host, proxy: &Host) -> Self {
        let (stop, stopped) = watch::channel(false);
        let seen: Arc<Mutex<Vec<Shown>>> = Arc::default();
        let (to, all) = (proxy.at(443), Arc::clone(&seen));
        let task = host.spawn(async move {
            let mut clients = JoinSet::new();
            for _ in 0..CLIENTS {
                let (all, stopped) = (Arc::clone(&all), stopped.clone());
                clients.spawn(async move {
                    while !*stopped.borrow() {
                        let begun = Instant::now();
                        let certificate = match timeout(DEADLINE, visit(to)).await {
                            Ok(shown) => shown.map_err(|error| error.to_string()),
                            Err(_) => Err("timeout".to_owned()),
                        };
                        let shown = Shown {
                            begun,
                            over: Instant::now(),
                            certificate,
                        };
                        all.lock().unwrap_or_else(PoisonError::into_inner).push(shown);
                    }
                });
            }
            while clients.join_next().await.is_some() {}
        });
        Self {
            host: host.clone(),
            seen,
            stop,
            task,
        }
    }

    /// When this certificate was first seen.
    fn first(&self, wanted: &CertificateDer<'_>) -> Option<Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = seen.iter().rev().take(2000);
        recent
            .filter(|one| one.certificate.as_ref() == Ok(wanted))
            .map(|one| one.over)
            .min()
    }

    fn stop(self) -> Vec<Shown> {
        self.stop.send_replace(true);
        let task = self.task;
        let ended = self
            .host
            .block_on(async move { timeout(2 * DEADLINE, task).await });
        ended
            .expect("clients end by their deadlines")
            .expect("clients do not panic");
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One connection with one request; the certificate that was shown.
async fn visit(to: std::net::SocketAddr) -> std::io::Result<CertificateDer<'static>> {
    let seen = Arc::new(AnyCertificate::default());
    let config = seen.client();
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("a.example").map_err(std::io::Error::other)?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream
        .write_all(b"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(std::io::Error::other(
            String::from_utf8_lossy(&answer).into_owned(),
        ));
    }
    seen.shown()
        .ok_or_else(|| std::io::Error::other("no certificate was shown"))
}
