//! Whether this process leads, for those who must know. In: until when the lease holds. Out: a question that can be asked
//! at any moment, and tasks that run only while the answer is yes.

use std::future::Future;
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether this process leads. Clones agree.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    pub(super) fn new(valid_until: watch::Receiver<Option<Instant>>) -> Self {
        Self(valid_until)
    }

    /// A process that always leads: for tests and for tools that stand alone.
    pub fn alone() -> Self {
        let far = Instant::now() + std::time::Duration::from_secs(1 << 32);
        Self(watch::channel(Some(far)).1)
    }

    /// Right now. A process that was stopped and goes on learns by its own clock that its term is over, whatever its other
    /// tasks have noticed: ask right before each write.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process leads.
    pub async fn acquired(&mut self) {
        while !self.holds() {
            if self.0.changed().await.is_err() {
                // the candidate is gone with the process
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this process does not lead.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                Ok(()) = self.0.changed() => {}
            }
        }
    }
}

/// Runs `task` whenever this process leads. Losing the lease cancels the token that the task was given and drops the task at
/// once; getting it again starts a new one. Ends when `cancelled`, or with what the task returns.
///
/// # Errors
/// Those of the task.
pub async fn while_leading<F, T, E>(
    mut leadership: Leadership,
    cancelled: CancellationToken,
    mut task: F,
) -> Result<(), E>
where
    F: FnMut(CancellationToken) -> T,
    T: Future<Output = Result<(), E>>,
{
    loop {
        tokio::select! {
            () = leadership.acquired() => {}
            () = cancelled.cancelled() => return Ok(()),
        }
        let term = cancelled.child_token();
        let ended = term.clone().drop_guard();
        tokio::select! {
            // biased: whoever has lost the lease does not go on because it has just something to do
            biased;
            () = leadership.lost() => {}
            result = task(term) => return result,
        }
        drop(ended);
    }
}
