//! Who of several replicas leads. In: a Lease of `coordination.k8s.io` that all of them see. Out: [`Leadership`], which every
//! writer asks before it writes, and whoever serves proxies before it serves.
//!
//! The decision is `election`, pure; this drives it with requests, each of which has a timeout.

mod election;
mod follow;
mod record;

pub use election::Timing;
pub use follow::{Leadership, Role, terms};

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use election::{Election, Standing, Step, Wrote};

/// No request about the lease is waited for longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts to give the lease back; others only wait for its end if none of them succeeds.
const RESIGNATIONS: u32 = 3;

/// The candidate of this process.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    election: Election,
    standing: watch::Sender<Standing>,
}

impl Candidate {
    /// Stands for the Lease `name`. `identity` must be unique among all processes that ever stand.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
    ) -> (Self, Leadership) {
        let now = Instant::now();
        let election = Election::new(identity, timing, now);
        let (standing, receiver) = watch::channel(election.standing(now));
        let candidate = Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            election,
            standing,
        };
        (candidate, Leadership::new(receiver))
    }

    /// Stands until cancelled; nobody leads by this candidate after that. [`Candidate::resign`] then gives the lease back.
    pub async fn run(&mut self, cancelled: &CancellationToken) {
        tokio::select! {
            () = self.stand() => {}
            () = cancelled.cancelled() => {}
        }
        self.standing.send_modify(|standing| standing.leads_until = None);
    }

    async fn stand(&mut self) {
        loop {
            self.publish();
            match self.election.next(Instant::now()) {
                Step::Wait(until) => tokio::time::sleep_until(until.into()).await,
                Step::Read => self.read().await,
                Step::Write(intent) => self.write(&intent).await,
            }
        }
    }

    /// Once every leader's task has ended: lets another replica lead at once, if this one holds the lease. A renewal that was
    /// under way when it was told to end may have been written, and then stands in the way of the first attempt.
    pub async fn resign(mut self) {
        for _ in 0..RESIGNATIONS {
            if let Some(intent) = self.election.resign() {
                self.write(&intent).await;
            }
            if !self.election.may_be_ours() {
                return;
            }
            self.read().await;
        }
    }

    fn publish(&self) {
        let now = self.election.standing(Instant::now());
        self.standing.send_if_modified(|before| {
            let leads = now.leads_until.is_some();
            if before.leads_until.is_some() != leads {
                tracing::info!(leads, lease = self.name, "leadership");
            }
            std::mem::replace(before, now) != now
        });
    }

    async fn read(&mut self) {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.leases.get_opt(&self.name)).await;
        let now = Instant::now();
        match answer {
            Ok(Ok(lease)) => self.election.read(lease.as_ref().map(record::of), now),
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "cannot read the lease");
                self.election.failed(now);
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the lease was not read within 5s");
                self.election.failed(now);
            }
        }
    }

    async fn write(&mut self, intent: &election::Intent) {
        let sent = Instant::now();
        let lease = record::lease(&self.name, intent, jiff::Timestamp::now());
        let params = PostParams::default();
        let request = async {
            if intent.version.is_some() {
                self.leases.replace(&self.name, &params, &lease).await
            } else {
                self.leases.create(&params, &lease).await
            }
        };
        let wrote = match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(lease)) => Wrote::Done(record::of(&lease)),
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Wrote::Lost
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = self.name, "cannot write the lease");
                Wrote::Unknown
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the lease was not written within 5s");
                Wrote::Unknown
            }
        };
        self.election.wrote(wrote, sent, Instant::now());
    }
}

#[cfg(test)]
mod tests;
