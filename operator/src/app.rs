//! Wiring: builds every part in order, runs them as tasks, and ends the process when one of them ends.
//!
//! ```text
//! watches ─► index ─► dirty pools ─► compile ─► publisher ─► stream (leader) ─► proxies
//!                └──────────┴──────────► status (leader) ◄────── activity ◄───────┘
//!                                          ▲
//! pools ─► controller (leader) ─► workloads┘      lease ─► leadership: asked by everybody who writes or serves
//! ```

mod parts;
mod stream;
mod told;

use std::convert::Infallible;
use std::time::Duration;

use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Audience, BindError};
use crate::args::{Mistakes, RunArgs};
use crate::context::Context;
use crate::lease::Candidate;
use crate::tasks::{Died, Tasks};
use crate::webhook::Door;

/// How long a connection to the API server may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take to be sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the operator does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Settings(#[from] Mistakes),
    /// Nothing says where the API server is.
    #[error("no way to the API server: {0}; give a kubeconfig by KUBECONFIG, or run in a pod")]
    Config(#[from] kube::config::InferConfigError),
    /// The client cannot be built from it.
    #[error("no client for the API server: {0}")]
    Client(#[from] kube::Error),
    /// A port of ours is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A part cannot be built.
    #[error(transparent)]
    Part(#[from] parts::Error),
    /// A task ended.
    #[error(transparent)]
    Died(#[from] Died),
}

/// Runs the operator until it is cancelled.
///
/// # Errors
/// It cannot start, or one of its tasks ended.
pub async fn run(args: RunArgs, cancelled: CancellationToken) -> Result<(), Error> {
    let settings = args.settings()?;
    // before anything else: who asks early is told what is waited for
    let health = Admin::bind(args.health_listen, Audience::Everyone).await?;
    let admin = Admin::bind(args.admin_listen, Audience::Local).await?;
    let door = match &args.webhook.webhook_configuration {
        Some(configuration) => Some((
            Door::bind(args.webhook.webhook_listen).await?,
            configuration.clone(),
        )),
        None => None,
    };
    let client = client().await?;
    let (candidate, leadership) = Candidate::new(
        client.clone(),
        &settings.namespace,
        &args.lease.lease_name,
        settings.identity.clone(),
        settings.timing,
    );
    tracing::info!(
        namespace = settings.namespace,
        identity = settings.identity,
        scope = ?settings.scope,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    let identities = settings.identities.clone();
    let context = Context::new(client, &args, settings, leadership);
    let mut tasks = Tasks::new(&cancelled);
    let known = parts::start(&context, &args, identities, door, &mut tasks)?;
    for (name, page) in [("health", health), ("admin", admin)] {
        tasks.spawn(name, page.serve(known.clone(), tasks.cancelled()));
    }
    // The lease outlives the tasks: it is given back only after the last of them has ended.
    let mut lease = Tasks::new(&CancellationToken::new());
    lease.spawn("lease", stand(candidate, lease.cancelled()));
    let ended = tokio::select! {
        ended = tasks.run() => ended,
        ended = lease.run() => ended,
    };
    let stopped = tasks.stop().await;
    let resigned = lease.stop().await;
    Ok(ended.and(stopped).and(resigned)?)
}

async fn stand(mut candidate: Candidate, ended: CancellationToken) -> Result<(), Infallible> {
    candidate.run(&ended).await;
    candidate.resign().await;
    Ok(())
}

/// A client for the API server that a kubeconfig or the pod's service account leads to. It repeats nothing.
///
/// # Errors
/// Nothing says where the API server is, or what says it cannot be used.
pub async fn client() -> Result<Client, Error> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // It would repeat any request up to 15 times, with pauses of minutes: each caller has its own timeout and backs off itself.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
