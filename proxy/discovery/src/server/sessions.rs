//! Who is connected. In: proxies that come and go. Out: at most one session per proxy; a new one waits until the one
//! before has told its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchyard_snapshot::Report;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::activity::ProxyId;

/// All sessions of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<ProxyId, Link>>>);

/// What others hold of a session.
#[derive(Clone, Debug)]
pub(super) struct Link {
    reports: mpsc::Sender<Report>,
    leave: CancellationToken,
    over: CancellationToken,
}

/// What a session holds while it lasts; it is over once this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    proxy: ProxyId,
    sessions: Sessions,
    /// Somebody newer wants the seat.
    pub(super) leave: CancellationToken,
    over: Option<DropGuard>,
}

impl Sessions {
    /// Takes the seat of `proxy`, once whoever sits there has left; none if `ended` comes first. Reports arrive at the
    /// receiver.
    pub(super) async fn enter(
        &self,
        proxy: &ProxyId,
        ended: &CancellationToken,
    ) -> Option<(Seat, mpsc::Receiver<Report>)> {
        loop {
            if ended.is_cancelled() {
                return None;
            }
            let before = match self.try_enter(proxy) {
                Ok(entered) => return Some(entered),
                Err(before) => before,
            };
            before.leave.cancel();
            tokio::select! {
                () = before.over.cancelled() => {}
                () = ended.cancelled() => {}
            }
        }
    }

    fn try_enter(&self, proxy: &ProxyId) -> Result<(Seat, mpsc::Receiver<Report>), Link> {
        let mut links = self.links();
        if let Some(before) = links.get(proxy) {
            return Err(before.clone());
        }
        let (sender, reports) = mpsc::channel(1);
        let (leave, over) = (CancellationToken::new(), CancellationToken::new());
        let link = Link {
            reports: sender,
            leave: leave.clone(),
            over: over.clone(),
        };
        links.insert(proxy.clone(), link);
        let seat = Seat {
            proxy: proxy.clone(),
            sessions: self.clone(),
            leave,
            over: Some(over.drop_guard()),
        };
        Ok((seat, reports))
    }

    pub(super) fn find(&self, proxy: &ProxyId) -> Option<Link> {
        self.links().get(proxy).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.links().len()
    }

    fn links(&self) -> MutexGuard<'_, HashMap<ProxyId, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.links().remove(&self.proxy);
        // who waits for the seat finds it free
        drop(self.over.take());
    }
}

impl Link {
    /// Hands a report to the session; nothing if it is over.
    pub(super) async fn report(&self, report: Report) {
        let _ = self.reports.send(report).await;
    }

    pub(super) async fn is_over(&self) {
        self.over.cancelled().await;
    }
}
