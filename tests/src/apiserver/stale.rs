//! What killed test programs leave: processes and folders. In: a note of each
//! process that is started. Out: the next start ends and removes what has no
//! owner any more.

use std::fs;
use std::io::Write;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns;

const NOTES: &str = "processes";

/// Notes that `pid` was started for the control plane of this folder.
///
/// # Panics
/// When the note cannot be written.
pub(super) fn note(folder: &Path, pid: u32) {
    let mut notes = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join(NOTES))
        .expect("a file of our own");
    writeln!(notes, "{pid}").expect("a line");
}

/// Ends and removes the control planes of test programs that live no more.
pub(super) fn delete(prefix: &str) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return; // then nothing can have been made in it
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.strip_prefix(prefix).is_some_and(netns::owner_is_gone) {
            continue;
        }
        let folder = entry.path();
        let notes = fs::read_to_string(folder.join(NOTES)).unwrap_or_default();
        for pid in notes.lines().flat_map(str::parse::<i32>) {
            // The number may be another process's by now: ours has the folder in its arguments.
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&arguments).contains(&*folder.to_string_lossy()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may just have ended
            }
        }
        let _ = fs::remove_dir_all(&folder); // it only takes room
    }
}
