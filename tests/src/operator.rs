//! The operator as a process, from outside. In: a machine of a lab, a control
//! plane, who it is. Out: a running `switchyard-operator run` that reaches the
//! API server through a way of its own, which can be cut; it is killed,
//! paused, stopped and started again as a pod would be.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::admin::{self, Admin};
use crate::apiserver::{ControlPlane, Relay, User};
use crate::backend::binary;
use crate::lab::Host;
use crate::process::Program;

/// Names the program under test; else it is looked for beside the tests.
pub const BINARY: &str = "SWITCHYARD_OPERATOR_BIN";

/// Port of the discovery stream.
pub const DISCOVERY_PORT: u16 = 17010;

/// Time for the program to start.
const SOON: Duration = Duration::from_secs(20);

/// Where the program under test is.
///
/// # Panics
/// When it is not there; the message says how to build it.
pub fn program() -> PathBuf {
    let Some(named) = std::env::var_os(BINARY) else {
        return binary("switchyard-operator");
    };
    let path = PathBuf::from(named);
    assert!(path.is_file(), "{BINARY}={}: no such file", path.display());
    path
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Plan {
    user: User,
    namespace: String,
    discovery: Option<String>,
    arguments: Vec<String>,
}

impl Plan {
    /// As `user`, with its own objects in `namespace`, watching that namespace alone.
    pub fn new(user: &User, namespace: &str) -> Self {
        Self::everywhere(user, namespace).argument(&format!("--watch-namespaces={namespace}"))
    }

    /// As [`Plan::new`], watching all namespaces.
    pub fn everywhere(user: &User, namespace: &str) -> Self {
        Self {
            user: user.clone(),
            namespace: namespace.to_owned(),
            discovery: None,
            arguments: Vec::new(),
        }
    }

    /// With this argument besides.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Reached by proxies at this `HOST:PORT`, as several replicas are at that
    /// of their Service; else at its machine's own address.
    #[must_use]
    pub fn reached_at(mut self, address: &str) -> Self {
        self.discovery = Some(address.to_owned());
        self
    }

    /// With a lease that a test need not wait for long: 3 s, given up after 2 s
    /// without renewal, looked at twice a second.
    #[must_use]
    pub fn short_lease(self) -> Self {
        self.argument("--lease-duration=3s")
            .argument("--lease-renew-deadline=2s")
            .argument("--lease-retry-period=500ms")
    }
}

/// A running operator; killed on drop. Its admin endpoints are those of [`Admin`].
pub struct Operator {
    host: Host,
    admin: Admin,
    plan: Plan,
    kubeconfig: PathBuf,
    relay: Relay,
    program: Program,
}

impl Operator {
    /// Starts it and awaits that it answers on its admin port; that does not
    /// mean that it is ready.
    ///
    /// # Panics
    /// When it does not, or has ended.
    #[track_caller]
    pub fn start(host: &Host, plane: &ControlPlane, plan: Plan) -> Self {
        let relay = plane.reach_from(host);
        let kubeconfig = plane.kubeconfig(&plan.user);
        let program = launch(host, &plan, &kubeconfig);
        let mut operator = Self {
            host: host.clone(),
            admin: Admin::new(host, &plan.namespace),
            plan,
            kubeconfig,
            relay,
            program,
        };
        operator.program.await_port(admin::PORT, SOON);
        operator
    }

    /// Starts it again after its end.
    ///
    /// # Panics
    /// As [`Operator::start`].
    #[track_caller]
    pub fn start_again(&mut self) {
        self.program = launch(&self.host, &self.plan, &self.kubeconfig);
        self.program.await_port(admin::PORT, SOON);
    }

    /// Its name among replicas: that of its machine.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Its machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where proxies of its lab reach it.
    pub fn discovery(&self) -> String {
        discovery(&self.host, &self.plan)
    }

    /// Its way to the API server.
    pub fn relay(&mut self) -> &mut Relay {
        &mut self.relay
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Stops its process where it stands (SIGSTOP): its connections stay, and
    /// it does nothing. [`Operator::go_on`] ends that.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn pause(&self) {
        self.program.signal(Signal::SIGSTOP);
    }

    /// Ends [`Operator::pause`].
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn go_on(&self) {
        self.program.signal(Signal::SIGCONT);
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

    /// What it has logged: one JSON object per event.
    pub fn log(&self) -> Vec<Value> {
        let output = self.program.output();
        output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
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

impl Deref for Operator {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

fn discovery(host: &Host, plan: &Plan) -> String {
    let own = || host.at(DISCOVERY_PORT).to_string();
    plan.discovery.clone().unwrap_or_else(own)
}

fn launch(host: &Host, plan: &Plan, kubeconfig: &std::path::Path) -> Program {
    let mut command = host.command(&program().to_string_lossy());
    command
        .env("KUBECONFIG", kubeconfig)
        .args(["run", "--namespace", &plan.namespace])
        .args(["--pod-name", host.name()])
        .args(["--discovery-address", &discovery(host, plan)])
        .args(&plan.arguments);
    let directory = host.directory("switchyard-operator");
    Program::start(host, "switchyard-operator", &directory, command)
}
