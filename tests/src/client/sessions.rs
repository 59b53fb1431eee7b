//! Long-lived sessions, idle or asking again and again, each held until the
//! other side ends it or the test closes it. None is opened again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::{Conversation, Dialog, End};
use crate::greeting::Greeting;
use crate::lab::Host;

/// Sessions that are being opened at the same time.
const OPENING: usize = 64;

/// Time between two looks at the clients' own lateness.
const LOOK: Duration = Duration::from_millis(10);

/// What the runtime's timer, which counts milliseconds, is late by itself.
const TIMER: Duration = Duration::from_millis(2);

/// What sessions do.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// Where to.
    pub to: SocketAddr,
    /// How many.
    pub count: usize,
    /// Time between two questions; `None` = idle until closed.
    pub ask_every: Option<Duration>,
    /// Who speaks first.
    pub dialog: Dialog,
    /// Time to be greeted, and for each answer.
    pub deadline: Duration,
}

impl SessionPlan {
    /// Idle sessions of clients that ask first and give up after 10 s.
    pub fn idle(to: SocketAddr, count: usize) -> Self {
        Self {
            to,
            count,
            ask_every: None,
            dialog: Dialog::Ask,
            deadline: Duration::from_secs(10),
        }
    }

    /// Sessions that ask `every` so often.
    pub fn busy(to: SocketAddr, count: usize, every: Duration) -> Self {
        Self {
            ask_every: Some(every),
            ..Self::idle(to, count)
        }
    }
}

/// What a session has seen so far.
#[derive(Clone, Debug)]
pub struct Session {
    /// When `connect` was called.
    pub begun: Instant,
    /// Who greeted it; `None`: it was never served.
    pub served_by: Option<Greeting>,
    /// Answers it has had, the greeting included.
    pub answers: usize,
    /// Longest time an answer took.
    pub longest_answer: Duration,
    /// When and how it ended; `None` while it is open. [`End::Finished`] =
    /// closed by the test after one more good answer.
    pub ended: Option<(Instant, End)>,
    /// How much earlier than `ended` says it may have ended: the clients'
    /// thread had no time to look.
    pub late: Duration,
}

/// Open sessions.
pub struct Sessions {
    host: Host,
    plan: SessionPlan,
    records: Vec<Arc<Mutex<Session>>>,
    close: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    delays: Delays,
    watch: JoinHandle<()>,
}

impl Sessions {
    /// Opens them from `host`; returns when each has been greeted or has failed.
    pub fn open(host: &Host, plan: &SessionPlan) -> Self {
        let (close, closed) = watch::channel(false);
        let opening = Arc::new(Semaphore::new(OPENING));
        let delays = Delays::default();
        let (opened, mut all_opened) = tokio::sync::mpsc::channel::<()>(1);
        let mut sessions = Self {
            host: host.clone(),
            plan: plan.clone(),
            records: Vec::new(),
            close,
            tasks: Vec::new(),
            delays: Arc::clone(&delays),
            watch: host.spawn(watch_delays(delays)),
        };
        for _ in 0..plan.count {
            let record = Arc::new(Mutex::new(Session {
                begun: Instant::now(),
                served_by: None,
                answers: 0,
                longest_answer: Duration::ZERO,
                ended: None,
                late: Duration::ZERO,
            }));
            sessions.records.push(Arc::clone(&record));
            let (plan, closed) = (plan.clone(), closed.clone());
            let (opening, opened) = (Arc::clone(&opening), opened.clone());
            sessions.tasks.push(host.spawn(async move {
                let turn = opening.acquire().await;
                edit(&record, |session| session.begun = Instant::now());
                let conversation = open(&plan, &record).await;
                drop((turn, opened)); // this one is open, or has failed
                let end = match conversation {
                    Ok(conversation) => hold(conversation, &plan, &record, closed).await,
                    Err(end) => end,
                };
                edit(&record, |session| session.ended = Some((Instant::now(), end)));
            }));
        }
        drop(opened);
        host.block_on(async move { all_opened.recv().await });
        sessions
    }

    /// What each has seen so far.
    pub fn so_far(&self) -> Vec<Session> {
        // A copy: clients' own thread must not wait for this one, which nothing would note.
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let copy = |record: &Arc<Mutex<Session>>| {
            let mut session = record.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some((at, _)) = &session.ended {
                session.late = late_at(&delays, *at);
            }
            session
        };
        self.records.iter().map(copy).collect()
    }

    /// How many are open.
    pub fn open_now(&self) -> usize {
        let open = |record: &&Arc<Mutex<Session>>| {
            let session = record.lock().unwrap_or_else(PoisonError::into_inner);
            session.ended.is_none()
        };
        self.records.iter().filter(open).count()
    }

    /// Has each ask once more and say FIN, and tells about all.
    ///
    /// # Panics
    /// When they do not end by their deadlines.
    pub fn close(mut self) -> Vec<Session> {
        self.close.send_replace(true);
        let limit = 2 * self.plan.deadline + Duration::from_secs(5);
        let tasks = std::mem::take(&mut self.tasks);
        self.host.block_on(async move {
            tokio::time::timeout(limit, async {
                for task in tasks {
                    task.await.expect("sessions do not panic");
                }
            })
            .await
            .expect("sessions end by their deadlines");
        });
        self.so_far()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.watch.abort();
    }
}

/// When the clients' thread should have looked at its clock, and when it did.
type Delays = Arc<Mutex<Vec<(Instant, Instant)>>>;

/// Notes when the thread it runs on was busy, or was not given a processor.
async fn watch_delays(delays: Delays) {
    let mut looked = Instant::now();
    loop {
        let due = looked + LOOK;
        sleep_until(due.into()).await;
        looked = Instant::now();
        if looked - due > TIMER {
            let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
            delays.push((due, looked));
        }
    }
}

/// How late the thread was when it noted something at `at`: what it found after a delay, up to its next look, may have come
/// when the delay began.
fn late_at(delays: &[(Instant, Instant)], at: Instant) -> Duration {
    let first = delays.partition_point(|(_, looked)| *looked + LOOK < at);
    let met = delays[first..].iter().take_while(|(due, _)| *due <= at);
    met.map(|(due, _)| at - *due).max().unwrap_or_default()
}

async fn open(plan: &SessionPlan, record: &Mutex<Session>) -> Result<Conversation, End> {
    let deadline = Instant::now() + plan.deadline;
    let mut conversation = Conversation::connect(plan.to, deadline).await?;
    answer(&mut conversation, plan.dialog, plan, record).await?;
    Ok(conversation)
}

async fn hold(
    mut conversation: Conversation,
    plan: &SessionPlan,
    record: &Mutex<Session>,
    mut closed: watch::Receiver<bool>,
) -> End {
    let idle = Duration::from_hours(24); // longer than any test
    let pause = plan.ask_every.unwrap_or(idle);
    loop {
        let wait = Instant::now() + pause;
        tokio::select! {
            end = conversation.end(wait) => {
                if end != End::Timeout {
                    return end;
                }
            }
            _ = closed.wait_for(|close| *close) => break,
        }
        if let Err(end) = answer(&mut conversation, Dialog::Ask, plan, record).await {
            return end;
        }
    }
    match answer(&mut conversation, Dialog::Ask, plan, record).await {
        Ok(()) => conversation.finish(Instant::now() + plan.deadline).await,
        Err(end) => end,
    }
}

async fn answer(
    conversation: &mut Conversation,
    dialog: Dialog,
    plan: &SessionPlan,
    record: &Mutex<Session>,
) -> Result<(), End> {
    let asked = Instant::now();
    let (at, greeting) = conversation.greeting(dialog, asked + plan.deadline).await?;
    let mut same = true;
    edit(record, |session| {
        session.answers += 1;
        session.longest_answer = session.longest_answer.max(at - asked);
        let first = session.served_by.get_or_insert_with(|| greeting.clone());
        same = *first == greeting;
    });
    if same {
        Ok(())
    } else {
        Err(End::Other(format!("answered by another: {greeting:?}")))
    }
}

fn edit(record: &Mutex<Session>, change: impl FnOnce(&mut Session)) {
    change(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LOOK, late_at};

    #[test]
    fn what_is_noted_after_a_delay_may_have_come_when_it_began() {
        let start = Instant::now();
        let ms = |n| Duration::from_millis(n);
        let delays = [
            (start + ms(100), start + ms(400)),
            (start + ms(900), start + ms(950)),
        ];
        let late = |n| late_at(&delays, start + ms(n));
        assert_eq!((late(99), late(100)), (ms(0), ms(0)), "it had not begun");
        assert_eq!(
            (late(399), late(401)),
            (ms(299), ms(301)),
            "the thread looked again"
        );
        assert_eq!(late_at(&delays, start + ms(401) + LOOK), ms(0), "and was in time");
        assert_eq!(late(940), ms(40));
        assert_eq!(late(2000), ms(0));
    }
}
