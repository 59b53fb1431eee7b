//! The test cluster, kept up: `up` starts one in the background and says how to use it, `down` ends it, `hold` is one in the
//! foreground, until it is told to end (SIGINT, SIGTERM).
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the tests: it tells by printing and by ending"
)]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchyard_tests::apiserver::User;
use switchyard_tests::cluster::{self, Cluster, Images};
use switchyard_tests::eventually::eventually;
use tokio::signal::unix::{SignalKind, signal};

/// Time for a cluster to start, or to end.
const LONG: Duration = Duration::from_mins(4);

#[derive(Parser)]
enum Verb {
    /// Starts one in the background.
    Up,
    /// Ends it.
    Down,
    /// Runs one in the foreground.
    Hold,
}

fn main() -> ExitCode {
    let verb = Verb::parse();
    match verb {
        Verb::Up => up(),
        Verb::Down => down(),
        Verb::Hold => hold(),
    }
}

/// One cluster at a time is kept up on a machine, and root does it.
fn state(name: &str) -> PathBuf {
    Path::new("/run/switchyard-cluster").join(name)
}

fn up() -> ExitCode {
    if let Some(pid) = running() {
        println!("it is up already (process {pid})");
    } else {
        let folder = state("");
        let _ = fs::remove_dir_all(&folder); // what a killed one has left
        fs::create_dir_all(&folder).expect("a folder for what it says");
        let log = File::create(state("log")).expect("a log");
        let second = log.try_clone().expect("a second handle of the log");
        let program = std::env::current_exe().expect("this program has a path");
        let mut holder = Command::new(program);
        holder.arg("hold").stdin(Stdio::null()).stdout(log).stderr(second);
        // Not in this terminal's group: what ends `up` does not end the cluster.
        let mut child = holder.process_group(0).spawn().expect("it starts");
        eventually("the cluster is up", LONG, || {
            if let Ok(Some(status)) = child.try_wait() {
                let said = fs::read_to_string(state("log")).unwrap_or_default();
                eprintln!("it has ended ({status}):\n{said}");
                std::process::exit(1);
            }
            fs::metadata(state("kubeconfig")).map_err(|_| "it is still starting".to_owned())
        });
    }
    println!("export KUBECONFIG={}", state("kubeconfig").display());
    println!("export PATH={}:$PATH", tools().display());
    ExitCode::SUCCESS
}

fn down() -> ExitCode {
    let Some(pid) = running() else {
        println!("it is not up");
        return ExitCode::SUCCESS;
    };
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // it may just have ended
    eventually("the cluster has ended", LONG, || match running() {
        None => Ok(()),
        Some(_) => Err("it is still ending".to_owned()),
    });
    let _ = fs::remove_dir_all(state("")); // it only takes room
    ExitCode::SUCCESS
}

fn hold() -> ExitCode {
    if let Some(why) = cluster::lacking() {
        eprintln!("this machine cannot run the test cluster: {why}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut interrupted, mut ended) = runtime.block_on(async {
        let listen = |kind| signal(kind).expect("a signal can be listened for");
        (listen(SignalKind::interrupt()), listen(SignalKind::terminate()))
    });
    fs::create_dir_all(state("")).expect("a folder for what it says");
    fs::write(state("pid"), std::process::id().to_string()).expect("a note of who holds it");
    let cluster = Cluster::start(&Images::packed());
    let kubeconfig = cluster.plane().kubeconfig(&User::Admin);
    // Whole when it is there.
    let next = state("kubeconfig.new");
    fs::copy(kubeconfig, &next).expect("a kubeconfig");
    fs::rename(next, state("kubeconfig")).expect("a kubeconfig");
    println!("the cluster is up: KUBECONFIG={}", state("kubeconfig").display());
    runtime.block_on(async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = ended.recv() => {}
        }
    });
    println!("the cluster ends");
    drop(cluster);
    let _ = fs::remove_file(state("pid")); // who looks for it finds no process
    ExitCode::SUCCESS
}

/// The process that holds a cluster, if one does.
fn running() -> Option<i32> {
    let pid: i32 = fs::read_to_string(state("pid")).ok()?.trim().parse().ok()?;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let named = program.file_name()?.to_string_lossy().starts_with("test-cluster");
    named.then_some(pid)
}

/// Where kubectl and helm are.
fn tools() -> PathBuf {
    let kubectl = switchyard_tests::apiserver::programs::find("kubectl");
    kubectl.parent().map_or_else(PathBuf::new, Path::to_owned)
}
