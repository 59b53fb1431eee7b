//! Programs under test and the real servers around them. In: a command on a
//! host. Out: a running child whose output is in files; lines, listening
//! ports and its end are awaited with deadlines; it is killed on drop.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eventually::eventually;
use crate::lab::{self, Host};
use crate::sockets;

/// A child process; killed and reaped on drop.
pub struct Program {
    name: String,
    child: Child,
    output: PathBuf,
    /// The machine it runs on.
    host: Option<Host>,
}

impl Program {
    /// Starts `command` (made by [`Host::command`]); both its outputs go to
    /// one file in `directory`, which a later start of the same name continues.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(host: &Host, name: &str, directory: &Path, command: Command) -> Self {
        let program = Self::launch(name, directory, command, Some(host.clone()));
        host.show_on_failure(&program.output);
        program
    }

    /// As [`Program::start`], outside of any lab.
    ///
    /// # Panics
    /// As [`Program::start`].
    pub fn on_this_machine(name: &str, directory: &Path, command: Command) -> Self {
        Self::launch(name, directory, command, None)
    }

    fn launch(name: &str, directory: &Path, mut command: Command, host: Option<Host>) -> Self {
        let output = directory.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&output)
            .unwrap_or_else(|e| panic!("{}: {e}", output.display()));
        let second = file.try_clone().expect("a second handle of the log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {command:?}: {e}"));
        Self {
            name: name.to_owned(),
            child,
            output,
            host,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far (standard output and error).
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of what it has written, for a person to read.
    pub fn tail(&self) -> String {
        lab::tail(&self.output)
    }

    /// Awaits a line that contains `needle`, and returns it.
    ///
    /// # Panics
    /// When it has not come `within` the time, or the program has ended.
    #[track_caller]
    pub fn await_line(&mut self, needle: &str, within: Duration) -> String {
        let what = format!("{} writes {needle:?}", self.name);
        eventually(&what, within, || {
            let found = self
                .output()
                .lines()
                .find(|l| l.contains(needle))
                .map(str::to_owned);
            if found.is_none() {
                self.must_run();
            }
            found.ok_or_else(|| "no such line".to_owned())
        })
    }

    /// Awaits that something in its namespace listens on TCP `port`.
    ///
    /// # Panics
    /// As [`Program::await_line`].
    #[track_caller]
    pub fn await_port(&mut self, port: u16, within: Duration) {
        let what = format!("{} listens on port {port}", self.name);
        eventually(&what, within, || {
            self.must_run();
            let listening = self.try_listening()?;
            if listening.values().any(|address| address.port() == port) {
                Ok(())
            } else {
                Err(format!("{listening:?}"))
            }
        });
    }

    /// Listening TCP sockets of its namespace, by inode: an inode that stays
    /// is a socket that was not bound again.
    ///
    /// # Panics
    /// When they cannot be read.
    #[track_caller]
    pub fn listening(&self) -> BTreeMap<u64, SocketAddr> {
        self.try_listening()
            .unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    fn try_listening(&self) -> Result<BTreeMap<u64, SocketAddr>, String> {
        let seen = match &self.host {
            Some(host) => host.block_on(async { sockets::listening() }),
            None => sockets::listening(),
        };
        seen.map_err(|error| format!("the kernel does not tell who listens: {error}"))
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Resident memory in bytes (`VmRSS` of proc(5)).
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    /// As [`cpu`], of this program.
    pub fn cpu(&self) -> Duration {
        cpu(self.pid())
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the program is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).unwrap_or_else(|e| panic!("{}: {signal}: {e}", self.name));
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Awaits its end.
    ///
    /// # Panics
    /// When it still runs after `within`.
    #[track_caller]
    pub fn await_end(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, within, || self.ended().ok_or_else(|| "it runs".to_owned()))
    }

    /// Ends it at once (SIGKILL), as a crash would: nothing is said to peers
    /// but what the kernel says.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // an error means that it has ended
        let _ = self.child.wait();
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    #[track_caller]
    fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} has ended ({status}); it said:\n{}", self.name, self.output());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Processor time that a process has used so far, by all threads, to 1/100 s (`utime` and `stime` of proc(5), in ticks of
/// `USER_HZ`, which is 100 on Linux). A process that is gone has used none.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * fields.flat_map(str::parse::<u64>).sum::<u64>())
}
