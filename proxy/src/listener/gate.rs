//! A limit over all workers. In: who wants in, who leaves. Out: passes, and a wake-up for those who wait.
//!
//! Entering and leaving cost one atomic operation each; the list of those who wait is only touched when someone does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// Counts what is inside; the limit is the caller's, so that it may change at any time.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: AtomicU32,
    waiting: AtomicU32,
    freed: Notify,
}

/// The limits of one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    /// Everybody.
    pub(crate) all: Arc<Gate>,
    /// The guests among them.
    pub(crate) guests: Arc<Gate>,
}

/// Somebody's right to be inside; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    size: u32,
}

impl Gate {
    /// Whether `size` more would fit now.
    pub(crate) fn has_room(&self, size: u32, limit: u32) -> bool {
        self.inside.load(Ordering::SeqCst).saturating_add(size) <= limit
    }

    /// Lets `size` in if they fit.
    pub(crate) fn enter(self: &Arc<Self>, size: u32, limit: u32) -> Option<Pass> {
        let before = self.inside.fetch_add(size, Ordering::SeqCst);
        let pass = Pass {
            gate: Arc::clone(self),
            size,
        };
        // Dropping the pass takes it back.
        (before.saturating_add(size) <= limit).then_some(pass)
    }

    /// Lets `size` in whether they fit or not.
    pub(crate) fn enter_anyway(self: &Arc<Self>, size: u32) -> Pass {
        self.inside.fetch_add(size, Ordering::SeqCst);
        Pass {
            gate: Arc::clone(self),
            size,
        }
    }

    /// Waits until `size` more fit, or may fit because [`Gate::reconsider`] was called; the caller asks again.
    pub(crate) async fn wait_for_room(&self, size: u32, limit: u32) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self);
        let freed = self.freed.notified();
        tokio::pin!(freed);
        // In the list before looking once more: who leaves after this look wakes us.
        freed.as_mut().enable();
        if !self.has_room(size, limit) {
            freed.await;
        }
    }

    /// Wakes everybody who waits: the limit may be another one.
    pub(crate) fn reconsider(&self) {
        self.freed.notify_waiters();
    }
}

/// Counts a waiter, also when it gives up.
struct Waiting<'g>(&'g Gate);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(self.size, Ordering::SeqCst);
        if self.gate.waiting.load(Ordering::SeqCst) > 0 {
            self.gate.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_leaves_wakes_who_waits() {
        let gate = Arc::<Gate>::default();
        let inside: Vec<Pass> = (0..3).filter_map(|_| gate.enter(1, 3)).collect();
        assert_eq!(inside.len(), 3);
        assert!(gate.enter(1, 3).is_none());
        assert!(gate.enter(1, 4).is_some(), "a refused one left nothing behind");
        let waiter = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                loop {
                    if let Some(pass) = gate.enter(1, 3) {
                        break pass;
                    }
                    gate.wait_for_room(1, 3).await;
                }
            })
        };
        tokio::task::yield_now().await;
        drop(inside);
        let pass = tokio::time::timeout(Duration::from_secs(5), waiter)
            .await
            .unwrap()
            .unwrap();
        assert!(gate.has_room(2, 3) && !gate.has_room(3, 3));
        drop(pass);
        assert!(gate.has_room(3, 3));
    }

    #[tokio::test]
    async fn a_new_limit_is_heard_of() {
        let gate = Arc::<Gate>::default();
        let _inside = gate.enter(1, 1).unwrap();
        let waiting = Arc::clone(&gate);
        let waiter = tokio::spawn(async move { waiting.wait_for_room(1, 1).await });
        while gate.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        gate.reconsider();
        tokio::time::timeout(Duration::from_secs(5), waiter)
            .await
            .unwrap()
            .unwrap();
    }
}
