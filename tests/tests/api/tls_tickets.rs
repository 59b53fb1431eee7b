//! Tickets of a pool: a session that began on one proxy is taken up again on another.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tls::AnyCertificate;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::shared::{SOON, Shared};
use crate::site::Site;
use crate::tls_secrets::{TLS_PORT, front, shown, write};

/// Time for one connection.
const DEADLINE: Duration = Duration::from_secs(10);

pub fn add(suite: &mut Suite, shared: &Shared) {
    let shared = shared.clone();
    suite.test("tls_tickets::they_resume_on_another_proxy", move |lab| {
        resume(lab, &shared);
    });
}

fn resume(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let backend = site.backend("b1", 21);
    front(&site, &["web-tls"]);
    site.chain("web", &[&backend]);
    write(&site, "web-tls", "web.example");
    let members = [site.member(31), site.member(32)];
    for member in &members {
        eventually("it shows the certificate", SOON, || {
            shown(&client, member, "web.example").and_then(|serial| {
                if serial.is_empty() {
                    Err("none".to_owned())
                } else {
                    Ok(())
                }
            })
        });
    }
    let visit = |config: &Arc<ClientConfig>, to: SocketAddr| {
        let config = Arc::clone(config);
        let visit = client.block_on(async move { timeout(DEADLINE, ask(config, to)).await });
        visit.expect("in time").expect("an answer")
    };
    let (first, second) = (members[0].at(TLS_PORT), members[1].at(TLS_PORT));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = || Arc::new(Arc::new(AnyCertificate::default()).client_of(version));
        let known = config();
        assert_eq!(visit(&known, first), HandshakeKind::Full, "{version:?}");
        assert_eq!(
            visit(&known, first),
            HandshakeKind::Resumed,
            "{version:?} on the same proxy"
        );
        assert_eq!(
            visit(&known, second),
            HandshakeKind::Resumed,
            "{version:?} on the other proxy"
        );
        // The other one's tickets are as good.
        assert_eq!(
            visit(&known, first),
            HandshakeKind::Resumed,
            "{version:?} back on the first"
        );
        assert_eq!(
            visit(&config(), second),
            HandshakeKind::Full,
            "{version:?} of a client without tickets"
        );
        lab.say(format!("{version:?}: resumed on either proxy"));
    }
}

/// Asks the backend for its name, and says how the handshake went. What comes before the answer, tickets among it, has been
/// read then.
async fn ask(config: Arc<ClientConfig>, to: SocketAddr) -> io::Result<HandshakeKind> {
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("web.example").map_err(io::Error::other)?;
    let mut stream = BufReader::new(TlsConnector::from(config).connect(name, stream).await?);
    stream.write_all(b"who are you?\n").await?;
    stream.flush().await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if !line.contains("\"b1\"") {
        return Err(io::Error::other(format!("no greeting of b1: {line:?}")));
    }
    let kind = stream.get_ref().get_ref().1.handshake_kind();
    kind.ok_or_else(|| io::Error::other("no handshake"))
}
