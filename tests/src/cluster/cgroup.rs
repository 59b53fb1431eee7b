//! Cgroups of nodes: one folder of ours per controller, in which a node's own
//! cgroups are. In: a node. Out: a name, and nothing left of it afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eventually::let_pass;
use crate::netns;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "swy-";
/// Time for processes that were killed to be gone.
const GONE: Duration = Duration::from_secs(20);
/// Time between two looks.
const POLL: Duration = Duration::from_millis(20);

/// What this machine lacks, if anything.
pub(super) fn lacking() -> Option<String> {
    let version_2 = Path::new(ROOT).join("cgroup.controllers").exists();
    version_2.then(|| {
        "nodes of the test cluster need a machine with cgroups of version 1 (hybrid); this one has version 2 alone".to_owned()
    })
}

/// The name of a node's cgroup.
pub(super) fn name(node: &str) -> String {
    format!("{PREFIX}{}-{node}", netns::owner())
}

/// The processes of one container of a node, as this machine numbers them.
pub(super) fn processes(name: &str, container: &str) -> Vec<i32> {
    let list = Path::new(ROOT)
        .join("pids")
        .join(name)
        .join("k8s.io")
        .join(container);
    let list = fs::read_to_string(list.join("cgroup.procs")).unwrap_or_default();
    list.lines().flat_map(str::parse).collect()
}

/// The memory controller's folder of one container of a node.
pub(super) fn memory(name: &str, container: &str) -> PathBuf {
    Path::new(ROOT)
        .join("memory")
        .join(name)
        .join("k8s.io")
        .join(container)
}

/// Awaits that its processes are gone, and removes it.
pub(super) fn remove(name: &str) -> Result<(), String> {
    let begun = Instant::now();
    let mut last = Ok(());
    while begun.elapsed() < GONE {
        last = controllers()
            .iter()
            .try_for_each(|it| remove_tree(&it.join(name)));
        if last.is_ok() {
            break;
        }
        let_pass(POLL);
    }
    last
}

/// Ends and removes the nodes of test programs that live no more.
pub(super) fn delete_stale() {
    let mut stale: Vec<String> = Vec::new();
    for controller in controllers() {
        for entry in fs::read_dir(controller).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix(PREFIX).is_some_and(netns::owner_is_gone) && !stale.contains(&name) {
                stale.push(name);
            }
        }
    }
    for name in stale {
        // The first process of a node is in this folder itself; the others end with it.
        let list = Path::new(ROOT).join("pids").join(&name).join("cgroup.procs");
        for pid in fs::read_to_string(list)
            .unwrap_or_default()
            .lines()
            .flat_map(str::parse)
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may just have ended
        }
        match remove(&name) {
            Ok(()) => println!("deleted {name}, left by a test program that lives no more"),
            Err(why) => eprintln!("cgroup stays behind: {why}"),
        }
    }
}

fn controllers() -> Vec<PathBuf> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Its files cannot be removed, and go with it.
fn remove_tree(folder: &Path) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(()); // not there
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))
}
