//! Turning connections away. In: a connection that is not served, and why. Out: a count, a line in the access log, an end
//! that nobody takes for an empty answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access_log::{AccessLog, Record};
use crate::guest::Guest;
use crate::session::end::Refusal;
use crate::socket;
use crate::tls;
use crate::wire::Wire;
use crate::worker::alarms::Alarms;
use crate::worker::thread::Worker;

use super::serve::began;
use super::{ChainLocal, ListenerLocal};

/// How long a client may take to read what was said last: why its handshake failed, or where to go.
const READS_LAST: Duration = Duration::from_secs(1);

/// Why a connection is not served.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    /// What exactly, where the reason does not say it all.
    pub(crate) text: Option<String>,
    /// Attempts to connect.
    pub(crate) attempts: u32,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self {
            why,
            text: None,
            attempts: 0,
        }
    }
}

impl Refused {
    pub(crate) fn because(why: Refusal, text: impl Into<String>) -> Self {
        Self {
            why,
            text: Some(text.into()),
            attempts: 0,
        }
    }
}

/// Whom we turn away.
pub(super) struct Refusing<'a> {
    pub(super) listener: &'a ListenerLocal,
    pub(super) chain: Option<&'a ChainLocal>,
    pub(super) from: SocketAddr,
    pub(super) at: Instant,
    pub(super) monitor: bool,
    pub(super) guest: Option<&'a Guest>,
    pub(super) name: Option<String>,
}

impl Refusing<'_> {
    /// Counts and logs it, then closes with a reset, so that nobody takes it for an empty answer; where an alert says the
    /// same, in order. None: the connection is closed already.
    pub(super) async fn refuse(self, client: Option<Wire>, refused: Refused, worker: &Worker) {
        let why = refused.why;
        let tls = client.as_ref().and_then(tls::Opened::of);
        self.note(refused, tls, worker.shared.access_log.as_ref());
        let Some(client) = client else { return };
        match why {
            Refusal::ClientGone => {}
            Refusal::TlsHandshake | Refusal::NoCertificate => let_read(client, &worker.alarms).await,
            _ => socket::reset_on_close(client.tcp()),
        }
    }

    fn note(self, refused: Refused, tls: Option<tls::Opened>, log: Option<&AccessLog>) {
        let Refused { why, text, attempts } = refused;
        if self.monitor {
            return;
        }
        self.listener.counts.refused[why.index()].add(1);
        self.listener.counts.ended.add(1);
        if let Some(chain) = self.chain {
            chain.counts.refused[why.index()].add(1);
        }
        let Some(log) = log else { return };
        let lasted = self.at.elapsed();
        log.write(&Record {
            start: began(lasted),
            duration_ms: lasted.as_millis() as u64,
            client: self.from,
            listener: self.listener.name.clone(),
            chain: self.chain.map(|chain| chain.handle.id.to_string()),
            backend: None,
            endpoint: None,
            via: None,
            guest: self.guest.and_then(Guest::record),
            name: self.name,
            tls: tls.map(tls::Opened::record),
            http: None,
            bytes_up: 0,
            bytes_down: 0,
            attempts,
            connect_ms: None,
            end: why.word(),
            fault: why.fault(),
            why: text,
        });
    }
}

/// Ends our side and waits until the client has read that: a close with unread bytes would be a reset, which overtakes
/// what was said last.
pub(super) async fn let_read(mut client: Wire, alarms: &Alarms) {
    let reading = async {
        if client.shutdown().await.is_ok() {
            let mut bytes = [0; 1024];
            while let Ok(1..) = client.read(&mut bytes).await {}
        }
    };
    // Whether it has read or not, it is closed now.
    let _ = alarms.within(READS_LAST, reading).await;
}
