//! Time limits that are hardly ever reached. In: one for each connection that is being set up. Out: a wake-up for those
//! that are reached.
//!
//! A timer of the runtime's wakes its thread whenever it is due before all others, which costs every new connection a
//! system call. Here only the earliest moment stands in the runtime's timer. There are few different limits, so each has a
//! lane of its own, in which moments come in order; those whose connection is long established are dropped as they
//! pass.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The time limits of one worker.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    clock: RefCell<Clock>,
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Clock {
    lanes: Vec<Lane>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// What the runtime's timer is set to.
    set_to: Option<Instant>,
}

/// Alarms with the same limit, the earliest first.
#[derive(Debug)]
struct Lane {
    limit: Duration,
    due: VecDeque<Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    slot: usize,
    turn: u64,
}

/// Used by one alarm after the other; an old entry of a lane is known by its turn.
#[derive(Debug, Default)]
struct Slot {
    turn: u64,
    waker: Option<Waker>,
}

/// The limit was reached before the future was done.
#[derive(Debug)]
pub(crate) struct TooLate;

impl Alarms {
    /// What `future` gives, if it takes no longer than `limit` from the moment it is first polled.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, TooLate> {
        let mut future = std::pin::pin!(future);
        let mut alarm = Alarm {
            alarms: self,
            limit,
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
        clock.set_to = clock
            .lanes
            .iter()
            .filter_map(|lane| lane.due.front())
            .map(|due| due.at)
            .min();
        clock.set_to
    }

    /// Ends when there is an earlier moment than [`Alarms::next`] said.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// Wakes those whose moment has come.
    pub(crate) fn ring(&self, now: Instant) {
        let Clock { lanes, slots, .. } = &mut *self.clock.borrow_mut();
        for lane in lanes.iter_mut() {
            while let Some(due) = lane.due.pop_front_if(|due| due.at <= now) {
                let slot = &mut slots[due.slot];
                if slot.turn == due.turn
                    && let Some(waker) = slot.waker.take()
                {
                    waker.wake();
                }
            }
        }
        // Configurations change, and their limits with them.
        lanes.retain(|lane| !lane.due.is_empty());
    }
}

impl Clock {
    /// The slot of a new alarm, and when it is due.
    fn set(&mut self, limit: Duration, waker: Waker) -> (usize, Instant) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let entry = &mut self.slots[slot];
        entry.turn += 1;
        entry.waker = Some(waker);
        let due = Due {
            at: Instant::now() + limit,
            slot,
            turn: entry.turn,
        };
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.limit == limit) {
            lane.due.push_back(due);
        } else {
            self.lanes.push(Lane {
                limit,
                due: VecDeque::from([due]),
            });
        }
        (slot, due.at)
    }
}

/// One limit; it costs nothing before it is polled.
struct Alarm<'a> {
    alarms: &'a Alarms,
    limit: Duration,
    slot: Option<usize>,
}

impl Future for Alarm<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = &mut *self.alarms.clock.borrow_mut();
        let Some(slot) = self.slot else {
            let (slot, at) = clock.set(self.limit, cx.waker().clone());
            if clock.set_to.is_none_or(|set_to| at < set_to) {
                self.alarms.sooner.notify_one();
            }
            self.slot = Some(slot);
            return Poll::Pending;
        };
        match &mut clock.slots[slot].waker {
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
            // The lane's entry is of an old turn as soon as the slot is used again; until then nobody waits in it.
            clock.slots[slot].waker = None;
            clock.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let ms = Duration::from_millis;
        let never = std::future::pending::<()>;
        let work = async {
            let (earlier, late, later, in_time) = tokio::join!(
                // Set when others are set already, and due before them: so long before that a busy machine does not change the order.
                async {
                    tokio::time::sleep(ms(10)).await;
                    (alarms.within(ms(40), never()).await, begun.elapsed())
                },
                async { (alarms.within(ms(1000), never()).await, begun.elapsed()) },
                async { (alarms.within(ms(1100), never()).await, begun.elapsed()) },
                alarms.within(ms(60_000), tokio::time::sleep(ms(1050))),
            );
            assert!(in_time.is_ok());
            let mut before = Duration::ZERO;
            for ((result, at), due) in [(earlier, 50), (late, 1000), (later, 1100)] {
                assert!(result.is_err());
                assert!((ms(due)..ms(due + 500)).contains(&at), "{due}: {at:?}");
                assert!(at >= before, "{at:?} after {before:?}");
                before = at;
            }
        };
        let told = async {
            tokio::select! {
                () = work => {}
                () = serve(&alarms) => unreachable!(),
            }
        };
        crate::testing::rig::within(told).await;
        assert!(alarms.clock.borrow().slots.len() <= 4);
    }

    #[test]
    fn a_slot_that_is_used_again_is_not_rung_for_its_old_moment() {
        let alarms = Alarms::default();
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |alarm: &mut Alarm<'_>| Pin::new(alarm).poll(&mut cx).is_ready();
        let alarm = |seconds| Alarm {
            alarms: &alarms,
            limit: Duration::from_secs(seconds),
            slot: None,
        };
        let mut first = alarm(1);
        assert!(!poll(&mut first));
        drop(first);
        let mut second = alarm(9);
        assert!(!poll(&mut second));
        assert_eq!(alarms.clock.borrow().slots.len(), 1);
        alarms.ring(now + Duration::from_secs(5));
        assert!(!poll(&mut second));
        alarms.ring(now + Duration::from_secs(10));
        assert!(poll(&mut second));
        assert_eq!(alarms.next(), None);
        assert!(alarms.clock.borrow().lanes.is_empty());
    }
}
