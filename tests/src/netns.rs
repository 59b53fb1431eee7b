//! Network namespaces of our own. In: a name per machine. Out: a namespace
//! with `lo` up, into which threads and processes can be put; it is deleted on
//! drop, and what a killed run left behind is deleted by the next.
//!
//! A namespace is named `swy-PID-START-NUMBER-HOST`: process id and start time
//! of the test program say whether its owner still lives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tool;

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "swy-";

/// `ip netns add` mounts its directory on first use, and two at once race.
static ADDING: Mutex<()> = Mutex::new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One network namespace; deleted on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates a namespace; `host` only makes its name readable.
    ///
    /// # Panics
    /// When the machine refuses (not root, no namespaces).
    pub fn new(host: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{host}", owner());
        {
            let _one_at_a_time = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
            tool::output(Command::new("ip").args(["netns", "add", &name]));
        }
        let namespace = Self { name };
        namespace.ip("link set lo up\n");
        namespace
    }

    /// The name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// A command that runs inside. The process id is the program's own:
    /// `nsenter` replaces itself.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .args(["--", program])
            .env("PATH", tool::PATH);
        command
    }

    /// Gives lines to `ip -batch` inside.
    pub fn ip(&self, lines: &str) {
        tool::feed(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines);
    }

    /// Moves the calling thread into the namespace whose file this is, for
    /// good: meant for threads started for that.
    ///
    /// # Panics
    /// When it is gone, or the machine refuses.
    pub fn enter_path(path: &Path) {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        setns(file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Deletes the namespaces of test programs that live no more, after killing
/// the processes that were left in them.
pub fn delete_stale() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return; // nobody has made a namespace on this machine yet
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.strip_prefix(PREFIX).is_some_and(owner_is_gone) {
            continue;
        }
        let pids = tool::try_output(Command::new("ip").args(["netns", "pids", &name]));
        for pid in pids.unwrap_or_default().lines().flat_map(str::parse) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may just have ended
        }
        delete(&name);
        println!("deleted {name}, left by a test program that lives no more");
    }
}

/// `PID-START` of this process: what it makes on the machine is named so.
pub(crate) fn owner() -> String {
    let pid = std::process::id();
    let start = start_time(pid).expect("this process is in /proc");
    format!("{pid}-{start}")
}

/// Whether the process that made something named `PID-START-…` lives no more.
pub(crate) fn owner_is_gone(name: &str) -> bool {
    let mut parts = name.splitn(3, '-');
    let (Some(pid), Some(start)) = (parts.next(), parts.next()) else {
        return false;
    };
    pid.parse()
        .is_ok_and(|pid| start_time(pid).as_deref() != Some(start))
}

fn delete(name: &str) {
    if let Err(why) = tool::try_output(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("namespace stays behind: {why}");
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)): start time in ticks since boot.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}
