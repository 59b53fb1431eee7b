//! The `switchyard-operator` program: arguments, log, runtime, exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use switchyard_operator::args::{CheckArgs, Cli, Command, RunArgs};
use switchyard_operator::{app, check};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Calls that block may take so long once everything else has ended.
const END_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Crds => match switchyard_crds::manifest::all() {
            Ok(definitions) => {
                for definition in definitions {
                    println!("---\n{}", definition.yaml.trim_end());
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("switchyard-operator: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Check(args) => ask(&args),
        Command::Run(args) => {
            if let Err(error) = cli.log.start() {
                eprintln!("switchyard-operator: {error}");
                return ExitCode::from(2);
            }
            run(*args)
        }
    }
}

fn ask(args: &CheckArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("switchyard-operator: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(check::run(args)) {
        Ok(answered) => {
            for question in answered {
                println!("{question}");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: RunArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let cancelled = CancellationToken::new();
        let signalled = tokio::spawn(signals(cancelled.clone()));
        let ended = app::run(args, cancelled).await;
        signalled.abort();
        ended
    });
    // All tasks are joined. What is being written may end; a name that the C library still looks up would take half a minute.
    runtime.shutdown_timeout(END_WITHIN);
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error @ app::Error::Settings(_)) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

/// Cancels at SIGTERM or SIGINT.
async fn signals(cancelled: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught: the process ends by them at once");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    cancelled.cancel();
}
