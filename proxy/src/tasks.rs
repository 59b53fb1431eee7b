//! Long-lived tasks that somebody joins. In: futures with a name. Out: an orderly end for all of them, and word of
//! any that died before.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one owner: cancelled together, joined together.
#[derive(Clone, Debug)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    cancel: CancellationToken,
    died: watch::Sender<Option<String>>,
}

impl Tasks {
    /// No tasks yet; they will run on the runtime this is called on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new() -> Self {
        Self {
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            died: watch::Sender::new(None),
        }
    }

    /// Starts a task. It shall end soon after [`Tasks::cancelled`] is.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let mut obituary = Obituary {
            name: Some(name.into()),
            died: self.died.clone(),
        };
        self.tracker.spawn_on(
            async move {
                task.await;
                obituary.lay_aside();
            },
            &self.runtime,
        );
    }

    /// Tells when the tasks shall end.
    pub fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Waits for the first task that dies (panics), and says which one it was. Pending for ever if none does.
    pub async fn died(&self) -> String {
        let mut died = self.died.subscribe();
        match died.wait_for(Option::is_some).await {
            Ok(name) => name.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Cancels all tasks and waits until they have ended.
    pub async fn stop(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes down that a task died, unless it was laid aside before. A task that the runtime drops at its own shutdown
/// did not die.
struct Obituary {
    name: Option<String>,
    died: watch::Sender<Option<String>>,
}

impl Obituary {
    fn lay_aside(&mut self) {
        self.name = None;
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if let Some(name) = self.name.take().filter(|_| std::thread::panicking()) {
            self.died.send_if_modified(|died| {
                let first = died.is_none();
                died.get_or_insert(name);
                first
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named_and_others_are_joined() {
        let tasks = Tasks::new();
        let cancelled = tasks.cancelled();
        tasks.spawn("patient", async move { cancelled.cancelled().await });
        tasks.spawn("short", async {});
        tasks.spawn("unlucky", async { panic!("on purpose") });
        assert_eq!(tasks.died().await, "unlucky");
        tasks.stop().await;
    }
}
