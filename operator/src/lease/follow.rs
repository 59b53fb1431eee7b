//! Whether this process leads, for those who must know. In: where the candidate stands. Out: questions that can be asked at
//! any moment, and tasks that run only while the answer is yes.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::election::Standing;

/// What a replica does that not all of them may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes to the API server. There is one at most.
    Leader,
    /// Serves proxies: the leader, and any replica that cannot know of one because the API server is out of its reach.
    Server,
}

/// Whether this process leads. Clones agree.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Standing>);

impl Leadership {
    pub(super) fn new(standing: watch::Receiver<Standing>) -> Self {
        Self(standing)
    }

    /// A process that always leads: for tests and for tools that stand alone.
    pub fn alone() -> Self {
        let far = Instant::now() + Duration::from_secs(1 << 32);
        Self(
            watch::channel(Standing {
                leads_until: Some(far),
                aside_until: None,
            })
            .1,
        )
    }

    /// Whether it writes, right now. A process that was stopped and goes on learns by its own clock that its term is over,
    /// whatever its other tasks have noticed: ask right before each write.
    pub fn holds(&self) -> bool {
        self.is(Role::Leader)
    }

    /// Whether it serves proxies without leading: it has not heard from the API server for longer than a lease lasts.
    pub fn stands_in(&self) -> bool {
        self.is(Role::Server) && !self.is(Role::Leader)
    }

    fn is(&self, role: Role) -> bool {
        let standing = *self.0.borrow();
        let now = Instant::now();
        let leads = standing.leads_until.is_some_and(|until| now < until);
        let aside = standing.aside_until.is_some_and(|until| now < until);
        match role {
            Role::Leader => leads,
            Role::Server => leads || !aside,
        }
    }

    /// Waits until this process has the role.
    pub async fn begins(&mut self, role: Role) {
        while !self.is(role) {
            let standing = *self.0.borrow_and_update();
            let by_itself = standing.aside_until.filter(|_| role == Role::Server);
            self.change(by_itself).await;
        }
    }

    /// Waits until this process does not have the role.
    pub async fn ends(&mut self, role: Role) {
        while self.is(role) {
            let standing = *self.0.borrow_and_update();
            let by_itself = standing.leads_until.filter(|_| role == Role::Leader);
            self.change(by_itself).await;
        }
    }

    /// Waits until the candidate stands elsewhere, or until then.
    async fn change(&mut self, until: Option<Instant>) {
        let changed = async {
            if self.0.changed().await.is_err() {
                // the candidate is gone with the process
                std::future::pending::<()>().await;
            }
        };
        match until {
            Some(until) => drop(tokio::time::timeout_at(until.into(), changed).await),
            None => changed.await,
        }
    }
}

/// How long a task may take to end after its term has ended. The lease leaves so much between two terms.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Runs `task` whenever this process has the role. Losing it cancels the token that the task was given: it shall write nothing
/// from then on, and end; who takes longer than a second is dropped. Getting it again starts a new one. Ends when
/// `cancelled`, the task first, or with what the task returns.
///
/// # Errors
/// Those of the task.
pub async fn terms<F, T, E>(
    mut leadership: Leadership,
    role: Role,
    cancelled: CancellationToken,
    mut task: F,
) -> Result<(), E>
where
    F: FnMut(CancellationToken) -> T,
    T: Future<Output = Result<(), E>>,
{
    loop {
        tokio::select! {
            () = leadership.begins(role) => {}
            () = cancelled.cancelled() => return Ok(()),
        }
        let term = cancelled.child_token();
        let running = task(term.clone());
        tokio::pin!(running);
        tokio::select! {
            // biased: whoever has lost the lease does not go on because it has just something to do
            biased;
            () = leadership.ends(role) => {}
            result = &mut running => return result,
        }
        term.cancel();
        if let Ok(result) = tokio::time::timeout(END_WITHIN, running).await {
            result?;
        }
    }
}
