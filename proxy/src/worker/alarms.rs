//! Deadlines that are hardly ever reached. In: moments, one for each connection that is being set up. Out: a wake-up for
//! those whose moment has come.
//!
//! A timer of the runtime's wakes its thread whenever it is due before all others, which costs every new connection a
//! system call. Here only the earliest moment stands in the runtime's timer, and moments whose connection is long
//! established are dropped when they pass.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::Notify;

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    clock: RefCell<Clock>,
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Clock {
    due: BinaryHeap<Reverse<Due>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// What the runtime's timer is set to.
    set_to: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    slot: usize,
    turn: u64,
}

/// Used by one alarm after the other; an old entry of the heap is known by its turn.
#[derive(Debug, Default)]
struct Slot {
    turn: u64,
    waker: Option<Waker>,
}

/// The moment came before the future was done.
#[derive(Debug)]
pub(crate) struct TooLate;

impl Alarms {
    /// What `future` gives, if it does so before `at`.
    pub(crate) async fn until<T>(&self, at: Instant, future: impl Future<Output = T>) -> Result<T, TooLate> {
        let mut future = std::pin::pin!(future);
        let mut alarm = Alarm {
            alarms: self,
            at,
            slot: None,
        };
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(&mut alarm).poll(cx).map(|()| Err(TooLate)),
        })
        .await
    }

    /// The earliest moment, which [`Alarms::ring`] is to be called at; none: there is none.
    pub(crate) fn next(&self) -> Option<Instant> {
        let clock = &mut *self.clock.borrow_mut();
        clock.set_to = clock.due.peek().map(|Reverse(due)| due.at);
        clock.set_to
    }

    /// Ends when there is an earlier moment than [`Alarms::next`] said.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// Wakes whose moment has come.
    pub(crate) fn ring(&self, now: Instant) {
        let clock = &mut *self.clock.borrow_mut();
        while let Some(Reverse(due)) = clock.due.peek().copied().filter(|Reverse(due)| due.at <= now) {
            clock.due.pop();
            let slot = &mut clock.slots[due.slot];
            if slot.turn == due.turn
                && let Some(waker) = slot.waker.take()
            {
                waker.wake();
            }
        }
    }
}

/// One deadline; it costs nothing before it is polled.
struct Alarm<'a> {
    alarms: &'a Alarms,
    at: Instant,
    slot: Option<usize>,
}

impl Alarm<'_> {
    fn enter(&self, waker: Waker) -> usize {
        let clock = &mut *self.alarms.clock.borrow_mut();
        let slot = clock.free.pop().unwrap_or_else(|| {
            clock.slots.push(Slot::default());
            clock.slots.len() - 1
        });
        let entry = &mut clock.slots[slot];
        entry.turn += 1;
        entry.waker = Some(waker);
        clock.due.push(Reverse(Due {
            at: self.at,
            slot,
            turn: entry.turn,
        }));
        if clock.set_to.is_none_or(|set_to| self.at < set_to) {
            self.alarms.sooner.notify_one();
        }
        slot
    }
}

impl Future for Alarm<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.slot else {
            self.slot = Some(self.enter(cx.waker().clone()));
            return Poll::Pending;
        };
        match &mut self.alarms.clock.borrow_mut().slots[slot].waker {
            // Rung.
            None => Poll::Ready(()),
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let clock = &mut *self.alarms.clock.borrow_mut();
            clock.slots[slot].waker = None;
            // The heap's entry is of an old turn as soon as the slot is used again; until then nobody waits in it.
            clock.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Does what a worker does with its alarms.
    async fn serve(alarms: &Alarms) {
        loop {
            let next = alarms
                .next()
                .unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => alarms.ring(Instant::now()),
                () = alarms.sooner() => {}
            }
        }
    }

    #[tokio::test]
    async fn who_is_late_is_told_and_who_is_not_is_left_alone() {
        let alarms = Alarms::default();
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        let never = std::future::pending::<()>;
        let work = async {
            let (late, later, in_time, earlier) = tokio::join!(
                async { (alarms.until(after(100), never()).await, begun.elapsed()) },
                async { (alarms.until(after(200), never()).await, begun.elapsed()) },
                alarms.until(after(150), tokio::time::sleep(Duration::from_millis(120))),
                // Set when others are set already, and due before them.
                async {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    (alarms.until(after(50), never()).await, begun.elapsed())
                },
            );
            assert!(in_time.is_ok());
            for ((result, at), due) in [(earlier, 50), (late, 100), (later, 200)] {
                assert!(result.is_err());
                assert!(
                    (Duration::from_millis(due)..Duration::from_millis(due + 500)).contains(&at),
                    "{due}: {at:?}"
                );
            }
        };
        tokio::select! {
            () = work => {}
            () = serve(&alarms) => unreachable!(),
        }
        assert!(alarms.clock.borrow().slots.len() <= 4);
    }

    #[test]
    fn a_slot_that_is_used_again_is_not_rung_for_its_old_moment() {
        let alarms = Alarms::default();
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |alarm: &mut Alarm<'_>| Pin::new(alarm).poll(&mut cx).is_ready();
        let mut first = Alarm {
            alarms: &alarms,
            at: now,
            slot: None,
        };
        assert!(!poll(&mut first));
        drop(first);
        let mut second = Alarm {
            alarms: &alarms,
            at: now + Duration::from_secs(9),
            slot: None,
        };
        assert!(!poll(&mut second));
        alarms.ring(now + Duration::from_secs(1));
        assert!(!poll(&mut second));
        alarms.ring(now + Duration::from_secs(10));
        assert!(poll(&mut second));
        assert_eq!(alarms.next(), None);
    }
}
