//! The status task. In: the board, activities of proxies, leadership. Out: writes, by the leader alone.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use switchyard_discovery::server::Activity;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::counters::Counters;
use super::desk::{Desk, Dirty, Look};
use super::writer::queue::{Queue, Turn};
use super::writer::{Outcome, Pen};
use crate::compile::ObjectKey;
use crate::context::Context;
use crate::lease::{Leadership, Role};
use crate::serving::Serving;

/// So many objects are looked at before other tasks have their turn.
const BATCH: usize = 128;

/// So many activities are taken at one time.
const ACTIVITIES: usize = 256;

/// A write under way.
type Writing = Pin<Box<dyn Future<Output = (ObjectKey, Outcome)> + Send>>;

/// Events of one write that are told under way.
type Telling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Objects whose events are told at one time: a write waits for none of them.
const TELLING: usize = 4;

/// And while statuses wait for their turn: who looks wants to know what is, before what has happened.
const TELLING_BUSY: usize = 1;

/// While so many writes have events that are not told, nothing more is written.
const UNTOLD: usize = 1024;

/// What the status task needs.
pub struct Parts {
    /// How to write.
    pub context: Context,
    /// Where the others leave their news.
    pub board: Board,
    /// What proxies do; it must be read whether this process leads or not.
    pub activities: mpsc::Receiver<Activity>,
    /// Where writes are counted.
    pub counters: Counters,
    /// Who else wants to know what proxies serve.
    pub serving: Serving,
}

/// Whoever tells what proxies do is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody tells any more what proxies do")]
pub struct NoActivities;

/// Keeps statuses right until cancelled.
///
/// # Errors
/// The other end of `activities` is gone.
pub async fn run(parts: Parts, cancelled: CancellationToken) -> Result<(), NoActivities> {
    let Parts {
        context,
        board,
        mut activities,
        counters,
        serving,
    } = parts;
    let mut task = Task {
        leadership: context.leadership.clone(),
        pen: Pen {
            client: context.client,
            recorder: context.recorder,
            manager: context.field_manager,
            counters: counters.clone(),
        },
        counters,
        desk: Desk::default(),
        queue: Queue::default(),
        untold: VecDeque::new(),
        leads: false,
        serving,
    };
    let mut gained = context.leadership.clone();
    let mut lost = context.leadership;
    let mut writes = FuturesUnordered::new();
    let mut telling = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(ACTIVITIES);
    loop {
        let more = task.write(&mut writes);
        task.tell(&mut telling);
        let next = task.next();
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Ok(()),
            () = lost.ends(Role::Leader), if task.leads => {
                writes.clear();
                telling.clear();
                task.follow();
            }
            () = gained.begins(Role::Leader), if !task.leads => task.lead(),
            Some((key, outcome)) = writes.next() => task.wrote(&key, outcome),
            Some(()) = telling.next() => {}
            count = activities.recv_many(&mut batch, ACTIVITIES) => {
                if count == 0 {
                    return Err(NoActivities);
                }
                task.activities(batch.drain(..));
            }
            () = board.posted() => task.news(&board),
            () = tokio::time::sleep_until(next.into()), if !more => task.tick(),
            () = tokio::task::yield_now(), if more => {}
        }
    }
}

struct Task {
    leadership: Leadership,
    pen: Pen,
    counters: Counters,
    desk: Desk,
    queue: Queue,
    /// Of writes that are done.
    untold: VecDeque<Telling>,
    leads: bool,
    serving: Serving,
}

impl Task {
    fn lead(&mut self) {
        self.leads = true;
        let now = Instant::now();
        let dirty = self.desk.lead(now);
        self.mark(dirty, now);
    }

    fn follow(&mut self) {
        self.leads = false;
        self.desk.follow();
        self.queue = Queue::default();
        self.untold.clear();
        self.counters.queued(0);
    }

    fn news(&mut self, board: &Board) {
        let queue = &mut self.queue;
        let dirty = self.desk.take(board.take(), |gone| queue.forget(gone));
        self.mark(dirty, Instant::now());
    }

    fn activities(&mut self, batch: impl Iterator<Item = Activity>) {
        let now = Instant::now();
        for activity in batch {
            self.serving.heard(&activity);
            let dirty = self.desk.activity(activity, now);
            self.mark(dirty, now);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let dirty = self.desk.tick(now);
        self.mark(dirty, now);
    }

    fn mark(&mut self, dirty: Dirty, now: Instant) {
        if !self.leads {
            return;
        }
        for key in dirty {
            self.queue.mark(&key, now);
        }
        self.counters.queued(self.queue.len());
    }

    /// When something is due.
    fn next(&self) -> Instant {
        let queue = self.queue.next().filter(|_| self.may_write());
        let next = [queue, self.desk.next()].into_iter().flatten().min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1))
    }

    fn may_write(&self) -> bool {
        self.leads && self.untold.len() < UNTOLD
    }

    /// Starts to tell what is next.
    fn tell(&mut self, telling: &mut FuturesUnordered<Telling>) {
        let busy = self.may_write() && self.queue.is_behind(Instant::now());
        let most = if busy { TELLING_BUSY } else { TELLING };
        while telling.len() < most {
            let Some(next) = self.untold.pop_front() else {
                return;
            };
            telling.push(next);
        }
    }

    /// Starts what is due. True: there is more.
    fn write(&mut self, writes: &mut FuturesUnordered<Writing>) -> bool {
        if !self.may_write() {
            return false;
        }
        for _ in 0..BATCH {
            let now = Instant::now();
            let Some(key) = self.queue.pop(now) else {
                return false;
            };
            self.counters.folded();
            let draft = match self.desk.look(&key, now, Timestamp::now()) {
                Look::Fine => {
                    self.queue.finished(&key, Turn::Idle, 0.0, now);
                    continue;
                }
                Look::Words(_) if self.queue.words_wait(&key, now) => {
                    self.queue.finished(&key, Turn::Lazy, 0.0, now);
                    continue;
                }
                Look::Unanswered(_) if self.queue.may_wait(&key, now) => {
                    self.queue.finished(&key, Turn::Unanswered, 0.0, now);
                    continue;
                }
                Look::Words(draft) | Look::Unanswered(draft) | Look::Changed(draft) => draft,
            };
            // Who has lost the lease in this very moment writes nothing more.
            if !self.leadership.holds() {
                self.queue.finished(&key, Turn::Failed, 0.0, now);
                return false;
            }
            writes.push(Box::pin(self.pen.clone().write(key, draft)));
        }
        true
    }

    fn wrote(&mut self, key: &ObjectKey, outcome: Outcome) {
        let turn = match outcome {
            Outcome::Written(object, events) => {
                if !events.is_empty() {
                    let telling = self.pen.clone().tell(key.clone(), object.clone(), events);
                    self.untold.push_back(Box::pin(telling));
                }
                self.desk.returned(object);
                Turn::Written
            }
            Outcome::Conflict(newest) => {
                if let Some(newest) = newest {
                    self.desk.returned(newest);
                }
                Turn::Conflict
            }
            Outcome::Gone => Turn::Gone,
            Outcome::Failed => Turn::Failed,
        };
        self.queue.finished(key, turn, fastrand::f64(), Instant::now());
        self.counters.queued(self.queue.len());
    }
}
