//! A proxy of a pool in a cluster, as a process: `switchyard-proxy run`, with
//! the files that a kubelet would mount. In: a machine of a lab and a pod that
//! the test speaks for ([`crate::apiserver::pods`]). Out: a proxy that follows
//! the operator; it is killed and started again as its container would be.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use switchyard_discovery::client::{Copy, Mirror};
use switchyard_snapshot::Snapshot;

use crate::admin::{self, Admin};
use crate::apiserver::ControlPlane;
use crate::apiserver::pods::SpokenFor;
use crate::backend::binary;
use crate::lab::Host;
use crate::process::Program;

/// Names the program under test; else it is looked for beside the tests.
pub const BINARY: &str = "SWITCHYARD_PROXY_BIN";

/// Who a pod's token is for.
pub const AUDIENCE: &str = "switchyard";

/// Time for the program to start.
const SOON: Duration = Duration::from_secs(20);

/// Where the program under test is.
///
/// # Panics
/// When it is not there; the message says how to build it.
pub fn program() -> PathBuf {
    let Some(named) = std::env::var_os(BINARY) else {
        return binary("switchyard-proxy");
    };
    let path = PathBuf::from(named);
    assert!(path.is_file(), "{BINARY}={}: no such file", path.display());
    path
}

/// How to run it: what its pod would tell it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `HOST:PORT` of the operator.
    pub operator: String,
    /// `NAMESPACE/NAME` of its pool.
    pub pool: String,
    /// The pod.
    pub pod: SpokenFor,
    /// The operator's authorities, PEM.
    pub authorities: String,
    /// What proves the pod; another than its own in tests of strangers.
    pub token: String,
    /// More arguments.
    pub arguments: Vec<String>,
}

impl Plan {
    /// With the pod's own token.
    ///
    /// # Panics
    /// When the API server issues none.
    pub fn new(plane: &ControlPlane, pod: &SpokenFor, pool: &str, operator: &str, authorities: &str) -> Self {
        Self {
            operator: operator.to_owned(),
            pool: format!("{}/{pool}", pod.namespace),
            pod: pod.clone(),
            authorities: authorities.to_owned(),
            token: plane.pod_token(pod, AUDIENCE),
            arguments: Vec::new(),
        }
    }
}

/// A running proxy; killed on drop. Its admin endpoints are those of [`Admin`].
pub struct Member {
    host: Host,
    admin: Admin,
    plan: Plan,
    program: Program,
}

impl Member {
    /// Starts it and awaits that it answers on its admin port; that does not
    /// mean that it has a configuration.
    ///
    /// # Panics
    /// When it does not, or has ended.
    #[track_caller]
    pub fn start(host: &Host, plan: Plan) -> Self {
        let mut member = Self::begin(host, plan);
        member.program.await_port(admin::PORT, SOON);
        member
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn begin(host: &Host, plan: Plan) -> Self {
        let program = launch(host, &plan);
        Self {
            host: host.clone(),
            admin: Admin::new(host, &plan.pod.namespace),
            plan,
            program,
        }
    }

    /// Starts it again after its end, as its container would be: the pod and
    /// what it keeps are the same.
    ///
    /// # Panics
    /// As [`Member::start`].
    #[track_caller]
    pub fn start_again(&mut self) {
        self.program = launch(&self.host, &self.plan);
        self.program.await_port(admin::PORT, SOON);
    }

    /// Has its pod's file say another bundle of authorities, as a kubelet does
    /// when the `ConfigMap` has changed.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn trust(&mut self, authorities: &str) {
        authorities.clone_into(&mut self.plan.authorities);
        let directory = self.host.directory("switchyard-proxy");
        write(&directory, "ca.crt", authorities);
    }

    /// Where clients reach it.
    pub fn at(&self, port: u16) -> SocketAddr {
        self.host.at(port)
    }

    /// What its last good copy on disk holds: what it would start with if
    /// nobody answered.
    ///
    /// # Errors
    /// There is none, in words.
    pub fn copy(&self) -> Result<Snapshot, String> {
        let file = self
            .host
            .directory("switchyard-proxy")
            .join("cache/snapshot.json");
        let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mirror = Copy::from_bytes(&bytes).and_then(Mirror::restore);
        let mirror = mirror.map_err(|e| format!("{}: {e}", file.display()))?;
        mirror
            .snapshot()
            .ok_or_else(|| format!("{}: no snapshot", file.display()))
    }

    /// The pod it is in.
    pub fn pod(&self) -> &SpokenFor {
        &self.plan.pod
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.program.kill();
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

    /// Everything it has written.
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Deref for Member {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

fn launch(host: &Host, plan: &Plan) -> Program {
    let directory = host.directory("switchyard-proxy");
    let file = |name: &str, text: &str| write(&directory, name, text);
    let mut command = host.command(&program().to_string_lossy());
    command
        .arg("run")
        .args(["--operator", &plan.operator, "--pool", &plan.pool])
        .arg("--ca-file")
        .arg(file("ca.crt", &plan.authorities))
        .arg("--token-file")
        .arg(file("token", &plan.token))
        .arg("--cache-dir")
        .arg(directory.join("cache"))
        .args(&plan.arguments)
        .env("POD_NAMESPACE", &plan.pod.namespace)
        .env("POD_NAME", &plan.pod.name)
        .env("POD_UID", &plan.pod.uid)
        .env("POD_IP", host.ip().to_string())
        .env("SWITCHYARD_ADVERTISE", host.ip().to_string());
    fs::create_dir_all(directory.join("cache")).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    Program::start(host, "switchyard-proxy", &directory, command)
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    // Replaced as a whole, as a kubelet does: the proxy may read it at any time.
    let next = directory.join(format!("{name}.next"));
    fs::write(&next, text).unwrap_or_else(|e| panic!("{}: {e}", next.display()));
    fs::rename(&next, &path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}
