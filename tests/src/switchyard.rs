//! The program under test, from outside. In: manifests and a host. Out: a
//! running `switchyard run`, its admin answers, metrics and sockets; reload by
//! rewriting its files; its exit.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::admin::Admin;
use crate::backend::binary;
use crate::lab::Host;
use crate::manifest::NAMESPACE;
use crate::process::Program;

pub use crate::admin::{Active, ChainState, Endpoint, Metrics, PORT as ADMIN_PORT};

/// Names the program under test; else it is looked for beside the tests.
pub const BINARY: &str = "SWITCHYARD_BIN";

const ACCESS_LOG: &str = "access.log";

/// Time for the program to start.
const SOON: Duration = Duration::from_secs(10);

/// Where the program under test is.
///
/// # Panics
/// When it is not there; the message says how to build it.
pub fn program() -> PathBuf {
    let Some(named) = std::env::var_os(BINARY) else {
        return binary("switchyard");
    };
    let path = PathBuf::from(named);
    assert!(path.is_file(), "{BINARY}={}: no such file", path.display());
    path
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Plan {
    files: Vec<(String, String)>,
    workers: usize,
    bind: Option<IpAddr>,
    arguments: Vec<String>,
    descriptors: Option<(u64, u64)>,
}

impl Plan {
    /// One proxy with so many data workers, bound to its host's address,
    /// running one file of manifests.
    pub fn new(workers: usize, manifests: &str) -> Self {
        Self {
            files: vec![("manifests.yaml".to_owned(), manifests.to_owned())],
            workers,
            bind: None,
            arguments: Vec::new(),
            descriptors: None,
        }
    }

    /// One more file.
    #[must_use]
    pub fn file(mut self, name: &str, manifests: &str) -> Self {
        self.files.push((name.to_owned(), manifests.to_owned()));
        self
    }

    /// Bound to this address instead of its host's first.
    #[must_use]
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// With this argument besides, such as `--pool`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With this hard and soft limit of open descriptors.
    #[must_use]
    pub fn descriptors(self, limit: u64) -> Self {
        self.descriptor_limits(limit, limit)
    }

    /// With these soft and hard limits of open descriptors.
    #[must_use]
    pub fn descriptor_limits(mut self, soft: u64, hard: u64) -> Self {
        self.descriptors = Some((soft, hard));
        self
    }
}

/// A running `switchyard run`; killed on drop. Its admin endpoints are those of [`Admin`].
pub struct Switchyard {
    host: Host,
    admin: Admin,
    plan: Plan,
    manifests: PathBuf,
    program: Program,
}

impl Switchyard {
    /// Starts it and awaits that it answers on its admin port; that does not
    /// mean that it is ready.
    ///
    /// # Panics
    /// When it does not, or has ended.
    #[track_caller]
    pub fn start(host: &Host, plan: Plan) -> Self {
        let manifests = host.directory("manifests");
        for (name, text) in &plan.files {
            replace(&manifests, name, text);
        }
        let program = launch(host, &plan, &manifests);
        let mut proxy = Self {
            host: host.clone(),
            admin: Admin::new(host, NAMESPACE),
            plan,
            manifests,
            program,
        };
        proxy.program.await_port(ADMIN_PORT, SOON);
        proxy
    }

    /// Starts it and awaits that it is ready.
    ///
    /// # Panics
    /// When it is not ready soon.
    #[track_caller]
    pub fn start_ready(host: &Host, plan: Plan) -> Self {
        let proxy = Self::start(host, plan);
        proxy.await_ready(SOON);
        proxy
    }

    /// Starts it again on the same files, after its end.
    ///
    /// # Panics
    /// As [`Switchyard::start`].
    #[track_caller]
    pub fn start_again(&mut self) {
        self.program = launch(&self.host, &self.plan, &self.manifests);
        self.program.await_port(ADMIN_PORT, SOON);
    }

    /// Writes a file of manifests, whole (rename), new or over the old one.
    pub fn write(&self, name: &str, manifests: &str) {
        replace(&self.manifests, name, manifests);
    }

    /// Rewrites the file that [`Plan::new`] was given.
    pub fn rewrite(&self, manifests: &str) {
        self.write("manifests.yaml", manifests);
    }

    /// Removes a file of manifests.
    pub fn remove(&self, name: &str) {
        let path = self.manifests.join(name);
        fs::remove_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Listening sockets of its host, by inode.
    pub fn listening(&self) -> BTreeMap<u64, SocketAddr> {
        self.program.listening()
    }

    /// Its access log: one JSON object per connection.
    ///
    /// # Panics
    /// When a whole line is not JSON.
    #[track_caller]
    pub fn access_log(&self) -> Vec<Value> {
        let path = self.host.directory("switchyard").join(ACCESS_LOG);
        let log = fs::read_to_string(path).unwrap_or_default();
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("access log: {e}: {line}"));
        let written = log.rfind('\n').map_or("", |end| &log[..end]);
        written.lines().map(line).collect()
    }

    /// What it has written.
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// SIGTERM, and its end.
    ///
    /// # Panics
    /// When it still runs after `within`.
    #[track_caller]
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        self.program.signal(Signal::SIGTERM);
        self.program.await_end(within)
    }

    /// Runs `switchyard ARGUMENTS` beside it, on the same machine: exit code,
    /// standard output, standard error. Subcommands that ask a proxy reach it
    /// with `--admin 127.0.0.1:17000`.
    pub fn command(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.host.command(&program().to_string_lossy());
        finish(command.args(arguments))
    }
}

impl Deref for Switchyard {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

/// Runs `switchyard check -f DIR` on these files: exit code, standard output,
/// standard error. Needs no namespace.
pub fn check(files: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        replace(directory.path(), name, text);
    }
    let mut command = Command::new(program());
    finish(command.args(["check", "-f"]).arg(directory.path()))
}

fn launch(host: &Host, plan: &Plan, manifests: &Path) -> Program {
    let binary = program();
    let mut command = match plan.descriptors {
        None => host.command(&binary.to_string_lossy()),
        Some((soft, hard)) => {
            let mut limited = host.command("prlimit");
            limited.arg(format!("--nofile={soft}:{hard}")).arg(&binary);
            limited
        }
    };
    let bind = plan.bind.unwrap_or(host.ip());
    command
        .args(["run", "-f"])
        .arg(manifests)
        .args(["--bind", &bind.to_string()])
        .args(["--workers", &plan.workers.to_string()])
        .args(&plan.arguments);
    let directory = host.directory("switchyard");
    // What it keeps survives its restart.
    command.arg("--state-dir").arg(directory.join("state"));
    command.arg("--access-log").arg(directory.join(ACCESS_LOG));
    Program::start(host, "switchyard", &directory, command)
}

fn replace(directory: &Path, name: &str, text: &str) {
    // The name ends otherwise, so that a half-written file is never read.
    let next = directory.join(format!(".{name}.next"));
    fs::write(&next, text)
        .and_then(|()| fs::rename(&next, directory.join(name)))
        .unwrap_or_else(|e| panic!("{}/{name}: {e}", directory.display()));
}

fn finish(command: &mut Command) -> (Option<i32>, String, String) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    (
        done.status.code(),
        String::from_utf8_lossy(&done.stdout).into_owned(),
        String::from_utf8_lossy(&done.stderr).into_owned(),
    )
}
