//! Long-lived tasks with names. In: futures that end when they are cancelled. Out: the first that ends before, which ends the
//! process; and the end of all the others, awaited.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long tasks may take to end once they are cancelled.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A task ended although nobody wanted it to.
#[derive(Debug, thiserror::Error)]
#[error("{task}: {why}")]
pub struct Died {
    /// Which.
    pub task: &'static str,
    /// In words.
    pub why: String,
}

/// Tasks that live and end together.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<(&'static str, Result<(), String>)>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
    cancelled: CancellationToken,
}

impl Tasks {
    /// No tasks yet; cancelled together with `parent`.
    pub fn new(parent: &CancellationToken) -> Self {
        Self {
            cancelled: parent.child_token(),
            ..Self::default()
        }
    }

    /// Tells when the tasks shall end.
    pub fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Starts a task.
    pub fn spawn<T, E>(&mut self, name: &'static str, task: T)
    where
        T: Future<Output = Result<(), E>> + Send + 'static,
        E: ToString,
    {
        let handle = self
            .running
            .spawn(async move { (name, task.await.map_err(|error| error.to_string())) });
        self.names.insert(handle.id(), name);
    }

    /// Waits until they shall end, or one ends before.
    ///
    /// # Errors
    /// Which one, and why.
    pub async fn run(&mut self) -> Result<(), Died> {
        let cancelled = self.cancelled.clone();
        tokio::select! {
            () = cancelled.cancelled() => Ok(()),
            Some(ended) = self.running.join_next() => {
                if self.cancelled.is_cancelled() {
                    return self.judge(ended);
                }
                self.judge(ended.map(|(name, result)| {
                    (name, result.and(Err("ended although nobody asked it to".to_owned())))
                }))
            }
        }
    }

    fn judge(
        &self,
        ended: Result<(&'static str, Result<(), String>), tokio::task::JoinError>,
    ) -> Result<(), Died> {
        match ended {
            Ok((_, Ok(()))) => Ok(()),
            Ok((task, Err(why))) => Err(Died { task, why }),
            Err(error) => Err(Died {
                task: self.names.get(&error.id()).copied().unwrap_or("a task"),
                why: error.to_string(),
            }),
        }
    }

    /// Cancels them and waits until they have ended; who takes too long is dropped.
    ///
    /// # Errors
    /// The first that failed on its way out.
    pub async fn stop(mut self) -> Result<(), Died> {
        self.cancelled.cancel();
        let mut first = Ok(());
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                first = std::mem::replace(&mut first, Ok(())).and(self.judge(ended));
            }
        };
        if tokio::time::timeout(END_WITHIN, all).await.is_err() {
            tracing::warn!("tasks that did not end within 10s are dropped");
            self.running.shutdown().await;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_ends_unasked_is_named_and_the_others_are_joined() {
        let mut tasks = Tasks::new(&CancellationToken::new());
        let cancelled = tasks.cancelled();
        tasks.spawn("patient", async move {
            cancelled.cancelled().await;
            Ok::<_, String>(())
        });
        tasks.spawn("hasty", async { Ok::<_, String>(()) });
        let died = tasks.run().await.unwrap_err();
        assert_eq!(
            (died.task, died.why.as_str()),
            ("hasty", "ended although nobody asked it to")
        );
        tasks.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_fails_or_panics_is_named() {
        let mut tasks = Tasks::new(&CancellationToken::new());
        tasks.spawn("unlucky", async { Err::<(), _>("no luck") });
        assert_eq!(tasks.run().await.unwrap_err().to_string(), "unlucky: no luck");
        tasks.spawn("panicking", async {
            let on_purpose: Result<u8, String> = "no number".parse::<u8>().map_err(|e| e.to_string());
            on_purpose.clone().unwrap();
            on_purpose.map(drop)
        });
        assert_eq!(tasks.run().await.unwrap_err().task, "panicking");
    }

    #[tokio::test]
    async fn cancelling_the_parent_is_an_orderly_end() {
        let parent = CancellationToken::new();
        let mut tasks = Tasks::new(&parent);
        let cancelled = tasks.cancelled();
        tasks.spawn("patient", async move {
            cancelled.cancelled().await;
            Ok::<_, String>(())
        });
        parent.cancel();
        tasks.run().await.unwrap();
        tasks.stop().await.unwrap();
    }
}
