//! Where this proxy's snapshots come from: the operator's stream, else the last good copy. In: an address, who we are, a
//! folder. Out: a proxy that runs what the operator wants, an operator that knows what runs, and a copy on disk.
//!
//! At the start the operator is asked first. If it is not there, the copy is applied at once; if it is there and says
//! nothing, after a short while. A source that is lost changes nothing that runs: there is no way to an empty
//! configuration. Whatever is held, from the copy too, is not sent again.

mod backoff;
mod copy_file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use switchyard_discovery::client::{
    ConnectError, Copy, Me, Mirror, NotRunning, Session, SessionError, connect,
};
use switchyard_snapshot::Report;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::transport::Uri;
use tower::Service;

use crate::app::{Proxy, Source};
use backoff::Backoff;
use copy_file::CopyFile;

/// Whom to follow, and as whom.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// `HOST:PORT`.
    pub operator: String,
    /// Who we are.
    pub me: Me,
    /// Where the last good copy is kept, a folder of this proxy alone; none: nowhere.
    pub folder: Option<PathBuf>,
    /// How long an operator that is there may take to say what shall run before the copy is used.
    pub patience: Duration,
}

/// The time an operator has at the start, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why a session ended, or did not begin.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Keeps `proxy` at what the operator wants, and the operator informed. `connector` makes the streams, with a fresh
/// certificate each time. Never ends.
///
/// # Errors
/// The folder cannot be used.
pub async fn follow<C>(proxy: &Proxy, config: StreamConfig, connector: C) -> std::io::Result<()>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
    C::Future: Send,
    Box<dyn std::error::Error + Send + Sync>: From<C::Error>,
{
    let file = config.folder.as_deref().map(CopyFile::open).transpose()?;
    let mirror = file.as_ref().and_then(|file| file.load(&config.me.identity.pool));
    let copies = watch::Sender::new(None);
    let (reports, newest) = watch::channel(None);
    let wishes = copies.subscribe();
    let mut follower = Follower {
        source: Source {
            operator: config.operator.clone(),
            in_sync: false,
            since: Timestamp::now(),
            from_copy: false,
            error: None,
        },
        proxy,
        copy_at: mirror.is_some().then(|| Instant::now() + config.patience),
        config,
        mirror: mirror.unwrap_or_default(),
        not_running: NotRunning::new(),
        backoff: Backoff::new(fastrand::Rng::new()),
        copies,
        reports: newest,
    };
    let keep = async {
        match file {
            Some(file) => file.keep(wishes).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(follower.run(connector), keep, proxy.keep_reporting(&reports));
    Ok(())
}

struct Follower<'a> {
    proxy: &'a Proxy,
    config: StreamConfig,
    mirror: Mirror,
    /// When the copy is applied unless something newer has come; none: it is of no use (any more).
    copy_at: Option<Instant>,
    /// What the operator was told last.
    not_running: NotRunning,
    source: Source,
    backoff: Backoff,
    copies: watch::Sender<Option<Copy>>,
    reports: watch::Receiver<Option<Arc<Report>>>,
}

impl Follower<'_> {
    async fn run<C>(&mut self, connector: C)
    where
        C: Service<Uri> + Clone + Send + 'static,
        C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
        C::Future: Send,
        Box<dyn std::error::Error + Send + Sync>: From<C::Error>,
    {
        loop {
            let lost = match self.open(connector.clone()).await {
                Ok(session) => self.serve(session).await,
                Err(lost) => lost,
            };
            self.note(&lost);
            self.use_copy().await;
            sleep(self.backoff.next()).await;
        }
    }

    async fn open<C>(&mut self, connector: C) -> Result<Session, Lost>
    where
        C: Service<Uri> + Send + 'static,
        C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
        C::Future: Send,
        Box<dyn std::error::Error + Send + Sync>: From<C::Error>,
    {
        let StreamConfig { operator, me, .. } = self.config.clone();
        let held = self.mirror.versions();
        let opening = async move {
            let channel = connect(&operator, connector).await?;
            Ok(Session::open(channel, &me, held).await?)
        };
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return opened,
                () = due(self.copy_at) => self.use_copy().await,
            }
        }
    }

    /// Until the session ends; why it did.
    async fn serve(&mut self, mut session: Session) -> Lost {
        let mut changes = self.proxy.changes();
        self.reports.mark_changed();
        loop {
            // what cannot be applied is not taken in: the operator shall not believe that it was
            let takes = !self.proxy.is_leaving();
            let done = tokio::select! {
                taken = session.next(&mut self.mirror), if takes => match taken {
                    Ok(()) => self.apply(&mut session).await,
                    Err(error) => Err(error),
                },
                Ok(()) = changes.changed() => {
                    let not_running = changes.borrow_and_update().not_running();
                    self.answer_again(&mut session, not_running).await
                }
                Ok(()) = self.reports.changed() => {
                    let report = self.reports.borrow_and_update().clone();
                    match report {
                        Some(report) => session.report(&report).await,
                        None => Ok(()),
                    }
                }
                () = due(self.copy_at) => {
                    self.use_copy().await;
                    Ok(())
                }
            };
            if let Err(error) = done {
                return error.into();
            }
        }
    }

    /// Makes the proxy run what is held now, and says what became of it.
    async fn apply(&mut self, session: &mut Session) -> Result<(), SessionError> {
        let not_running = match self.mirror.snapshot() {
            Some(snapshot) => {
                let applied = self.proxy.apply(snapshot).await;
                if applied.draining {
                    return Ok(());
                }
                self.copy_at = None;
                self.proxy.changes().borrow().not_running()
            }
            // of all that was sent the pool was not understood: what runs goes on
            None => NotRunning::new(),
        };
        session.answer(&self.mirror, &not_running).await?;
        self.not_running = not_running;
        self.copies.send_replace(Some(self.mirror.copy()));
        self.backoff.reset();
        if !self.source.in_sync {
            tracing::info!(operator = self.config.operator, "in sync with the operator");
            self.tell(true, None);
        }
        Ok(())
    }

    /// A listener that could not be bound is bound now, say.
    async fn answer_again(
        &mut self,
        session: &mut Session,
        not_running: NotRunning,
    ) -> Result<(), SessionError> {
        if not_running == self.not_running {
            return Ok(());
        }
        session.answer(&self.mirror, &not_running).await?;
        self.not_running = not_running;
        Ok(())
    }

    /// Applies the last good copy, if nothing has been applied yet and there is one.
    async fn use_copy(&mut self) {
        if self.copy_at.take().is_none() {
            return;
        }
        let Some(snapshot) = self.mirror.snapshot() else {
            return;
        };
        let applied = self.proxy.apply(snapshot).await;
        tracing::warn!(
            chains_refused = applied.rejected.len(),
            "running the last good copy: the operator has not said what shall run"
        );
        self.source.from_copy = true;
        self.proxy.tell_source(self.source.clone());
    }

    fn note(&mut self, lost: &Lost) {
        let why = lost.to_string();
        // said once, not at each of many attempts
        if self.source.in_sync || self.source.error.as_deref() != Some(&why) {
            tracing::warn!(
                operator = self.config.operator,
                error = why,
                "the operator is not heard; trying again"
            );
            self.tell(false, Some(why));
        }
    }

    fn tell(&mut self, in_sync: bool, error: Option<String>) {
        if self.source.in_sync != in_sync {
            self.source.since = Timestamp::now();
        }
        self.source.in_sync = in_sync;
        self.source.from_copy &= !in_sync;
        self.source.error = error;
        self.proxy.tell_source(self.source.clone());
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
