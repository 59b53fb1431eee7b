//! One-shot commands of the machine: run to the end, output returned, failure
//! told with everything the command said.

use std::io::Write;
use std::process::{Command, Stdio};

/// Where daemons and network tools live on Debian, also when the caller's
/// `PATH` does not say so.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `command` and returns its standard output.
///
/// # Panics
/// When it cannot be started or ends with another status than 0.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    match try_output(command) {
        Ok(text) => text,
        Err(why) => panic!("{why}"),
    }
}

/// Like [`output`], but the failure is the caller's to judge.
pub fn try_output(command: &mut Command) -> Result<String, String> {
    let done = command
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        Ok(text)
    } else {
        let complaint = String::from_utf8_lossy(&done.stderr);
        Err(format!("{command:?}: {}: {complaint}{text}", done.status))
    }
}

/// Runs `command` with `input` on its standard input.
///
/// # Panics
/// As [`output`].
#[track_caller]
pub fn feed(command: &mut Command, input: &str) -> String {
    let mut child = command
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stdin.take().expect("stdin is piped");
    pipe.write_all(input.as_bytes())
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    drop(pipe);
    let done = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{command:?}: {}: {complaint}\ninput was:\n{input}",
        done.status
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Whether the machine has `program` on [`PATH`].
pub fn exists(program: &str) -> bool {
    PATH.split(':')
        .any(|dir| std::path::Path::new(dir).join(program).is_file())
}
