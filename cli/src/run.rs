//! `switchyard run`: proxies from files, without Kubernetes. In: manifests, and which of their pools to run here. Out:
//! running proxies that follow the files; what changed is touched, nothing else.
//!
//! files ─► [`crate::check::load`] ─► snapshots ─► `fleet` ─► one proxy per replica

mod fleet;
mod follow;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use switchyard_proxy::signals::StopSignals;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::check;
use fleet::Fleet;
use follow::Follower;

/// Bad input or usage: nothing was started.
const EXIT_BAD_INPUT: u8 = 2;

/// What `switchyard run` takes.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// A manifest, or a folder of them (*.yaml, *.yml, *.json); changes are followed
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Every pool of the files: replica r of the p-th pool at 127.0.p.r
    #[arg(long, conflicts_with_all = ["pool", "bind", "admin", "name", "advertise", "seeds"])]
    all: bool,
    /// The one pool to run a proxy of; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Where listeners without addresses of their own, and gossip, are bound [default: all addresses]
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// What this proxy is called among those of its pool [default: the pool's name and the address that it advertises]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The address at which other proxies, and guests, reach this one [default: the bound one]
    #[arg(long, value_name = "IP")]
    advertise: Option<IpAddr>,
    /// A proxy to begin gossip with, of this pool or another; may be given several times
    #[arg(long = "seed", value_name = "HOST:PORT")]
    seeds: Vec<String>,
    /// Data workers of each proxy, one thread each [default: one per CPU; with --all: one]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Where the admin endpoints listen [default: 127.0.0.1:17000; with --all: port 17000 of each proxy's address]
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
    /// Where epochs are kept, so that a restart goes on where it was [default: nothing is kept]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// One JSON line per connection into this file; `-` is standard output [default: none]
    #[arg(long, value_name = "FILE|-")]
    access_log: Option<PathBuf>,
}

/// Runs until it is told to stop. Exit code 2: bad input, nothing was started; 1: something failed.
pub fn run(args: RunArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => {
            eprintln!("switchyard: cannot start the control runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: RunArgs) -> ExitCode {
    // Before anything else: a signal that comes while proxies start must not kill them half-way.
    let mut signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("switchyard: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut follower = match Follower::start(&args.files) {
        Ok(follower) => follower,
        Err(error) => {
            eprintln!("switchyard: {error}");
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    let loaded = match check::load(&args.files) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            check::print_mistakes(&mistakes);
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    let mut fleet = match Fleet::start(&args, &loaded).await {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("switchyard: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    loop {
        tokio::select! {
            () = follower.changed() => reload(&args, &mut fleet, "the files changed").await,
            _ = signals.hangup.recv() => reload(&args, &mut fleet, "SIGHUP").await,
            () = signals.stop.received() => break,
            why = fleet.failed() => {
                tracing::error!(%why, "a part of a proxy died: stopping");
                fleet.stop().await;
                return ExitCode::FAILURE;
            }
        }
    }
    println!("draining: no new connections; sessions may finish. Once more (Ctrl-C) stops at once.");
    tokio::select! {
        () = fleet.drain() => {}
        () = signals.stop.received() => tracing::warn!("told to stop again: closing what is left"),
    }
    fleet.stop().await;
    ExitCode::SUCCESS
}

async fn reload(args: &RunArgs, fleet: &mut Fleet, why: &str) {
    match check::load(&args.files) {
        Ok(loaded) => match fleet.apply(args, &loaded).await {
            Ok(changes) if changes.is_empty() => tracing::debug!(why, "nothing that runs is different"),
            Ok(changes) => tracing::info!(why, changes = changes.join("; "), "reloaded"),
            Err(error) => tracing::error!(why, %error, "the reload is not complete; what ran goes on"),
        },
        Err(mistakes) => {
            tracing::error!(
                why,
                mistakes = mistakes.len(),
                "the files have mistakes; what ran goes on as it was"
            );
            check::print_mistakes(&mistakes);
        }
    }
}

struct Signals {
    stop: StopSignals,
    hangup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            stop: StopSignals::install()?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
