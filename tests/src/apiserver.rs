//! A real control plane on loopback, or on a machine of a lab: etcd,
//! kube-apiserver and, on demand, kube-controller-manager. In: nothing but the
//! programs that `make tools` builds. Out: clients, kubeconfigs and tokens of
//! any user, `kubectl`, and the audit log, which knows who has written what.
//!
//! RBAC decides, Pod Security admission is on, service-account tokens are
//! signed as in any cluster. On loopback no node ever joins: pods are objects
//! that a test creates and speaks for ([`pods`]). In a lab nodes can join:
//! [`crate::cluster`] brings them.

use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

use crate::eventually::eventually;
use crate::lab::Host;
use crate::netns;
use crate::process::Program;
use crate::tool;

mod audit;
mod door;
mod inlet;
mod inventory;
mod parts;
mod pki;
pub mod pods;
pub mod programs;
mod relay;
mod stale;
mod users;

pub use audit::{Audit, Entry, Mark};
pub use inlet::Inlet;
pub use relay::Relay;
pub use users::User;

use door::Door;
use pki::Pki;

/// Files of a control plane are in a folder of this name, plus its owner.
const PREFIX: &str = "switchyard-api-";
/// Who issues service-account tokens, as any cluster calls it.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Time for a part to start on a busy machine.
const START: Duration = Duration::from_mins(1);
/// Time for a part to end when asked to.
const END: Duration = Duration::from_secs(20);

/// A running control plane; it ends, and its files go, when it is dropped.
pub struct ControlPlane {
    directory: TempDir,
    pki: Pki,
    api: u16,
    etcd_at: u16,
    flags: Vec<String>,
    runtime: Runtime,
    parts: Mutex<Parts>,
    /// The lab's machine that it runs on, and the way to it from here.
    inside: Option<(Host, Door)>,
}

/// In the order in which they end.
#[derive(Default)]
struct Parts {
    scheduler: Option<Program>,
    controllers: Option<Program>,
    server: Option<Program>,
    etcd: Option<Program>,
}

impl ControlPlane {
    /// Starts etcd and the API server, and awaits that it is ready.
    ///
    /// # Panics
    /// When a part does not start; the message has what it said.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`ControlPlane::start`], with flags of kube-apiserver.
    ///
    /// # Panics
    /// As [`ControlPlane::start`].
    pub fn start_with(flags: &[&str]) -> Self {
        Self::start_in(None, flags)
    }

    /// As [`ControlPlane::start`], on a machine of a lab: nodes of that lab can
    /// join. It is reached from here by the same address as one on loopback.
    ///
    /// # Panics
    /// As [`ControlPlane::start`].
    pub fn start_on(host: &Host) -> Self {
        Self::start_in(Some(host), &[])
    }

    fn start_in(host: Option<&Host>, flags: &[&str]) -> Self {
        stale::delete(PREFIX);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", netns::owner()))
            .tempdir()
            .expect("a temporary directory");
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("control-plane")
            .enable_all()
            .build()
            .expect("a runtime");
        let [api, etcd_at] = free_ports();
        let inside = host.map(|host| (host.clone(), Door::open(host, api, runtime.handle())));
        let plane = Self {
            pki: Pki::make(directory.path(), host.map(Host::ip)),
            directory,
            api,
            etcd_at,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            runtime,
            parts: Mutex::default(),
            inside,
        };
        fs::write(plane.file("audit-policy.yaml"), audit::POLICY).expect("the audit policy");
        plane.start_etcd();
        plane.start_again();
        plane
    }

    /// Where the API server is, as this machine sees it (and the lab's machine that it runs on).
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.api))
    }

    /// Where other machines of its lab reach the API server.
    ///
    /// # Panics
    /// When it is not in a lab.
    pub fn address_in_lab(&self) -> SocketAddr {
        let (host, _) = self.inside.as_ref().expect("a control plane in a lab");
        host.at(self.api)
    }

    /// The certificate of the authority that everybody trusts: servers and clients.
    pub fn authority(&self) -> &Path {
        &self.pki.authority
    }

    /// Runs `task` to its end on the threads that its clients live on.
    pub fn block_on<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    /// Runs a task beside the test.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// A client of this user. It tries nothing twice: what an API server
    /// answers is what a test sees.
    ///
    /// # Panics
    /// When a kubeconfig of ours cannot be read.
    pub fn client(&self, user: &User) -> Client {
        let file = self.kubeconfig(user);
        users::client(&self.runtime, &file)
    }

    /// A client that may do everything.
    ///
    /// # Panics
    /// As [`ControlPlane::client`].
    pub fn admin(&self) -> Client {
        self.client(&User::Admin)
    }

    /// A kubeconfig of this user, as a file. A service account's holds a token
    /// for an hour, and the account must exist.
    ///
    /// # Panics
    /// When the API server issues no token.
    pub fn kubeconfig(&self, user: &User) -> PathBuf {
        users::kubeconfig(self, user)
    }

    /// A kubeconfig of this user for other machines of the lab.
    ///
    /// # Panics
    /// As [`ControlPlane::kubeconfig`], and when it is not in a lab.
    pub fn kubeconfig_in_lab(&self, user: &User) -> PathBuf {
        users::kubeconfig_for(self, user, self.address_in_lab())
    }

    /// `kubectl` as this user.
    ///
    /// # Panics
    /// As [`ControlPlane::kubeconfig`].
    pub fn kubectl_as(&self, user: &User) -> Command {
        let mut kubectl = Command::new(programs::find("kubectl"));
        kubectl
            .env("KUBECONFIG", self.kubeconfig(user))
            .env("HOME", self.directory.path());
        kubectl
    }

    /// `kubectl ARGUMENTS` as administrator: what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        tool::output(self.kubectl_as(&User::Admin).args(arguments))
    }

    /// As [`ControlPlane::kubectl`], with this on its standard input.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl_feed(&self, arguments: &[&str], input: &str) -> String {
        tool::feed(self.kubectl_as(&User::Admin).args(arguments), input)
    }

    /// Installs our definitions from `crds/`, and awaits that they are served.
    ///
    /// # Panics
    /// When the server refuses them.
    pub fn install_definitions(&self) {
        let folder = definitions();
        self.kubectl(&["apply", "--server-side", "-f", &folder.to_string_lossy()]);
        self.await_definitions();
    }

    /// Awaits that our definitions are served.
    ///
    /// # Panics
    /// When they are not, soon.
    pub fn await_definitions(&self) {
        let client = self.admin();
        eventually("both kinds are served", START, || {
            let ask = http_get("/apis/switchyard.dev/v1alpha1");
            let told = self
                .block_on(client.request_text(ask))
                .map_err(|e| e.to_string())?;
            let both = ["\"proxypools\"", "\"proxychains\""];
            if both.iter().all(|kind| told.contains(kind)) {
                Ok(())
            } else {
                Err(told)
            }
        });
    }

    /// What the API server has been asked for so far.
    pub fn audit(&self) -> Audit {
        Audit::new(self.file("audit.jsonl"))
    }

    /// Kills the API server: its connections end, its port refuses. What is
    /// stored stays in etcd.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn stop(&self) {
        let server = self.parts().server.take();
        server.expect("the API server runs").kill();
    }

    /// Stops the API server's process where it stands (SIGSTOP): connections
    /// stay, and nothing is answered. [`ControlPlane::go_on`] ends that.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Ends [`ControlPlane::freeze`].
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts the API server after [`ControlPlane::stop`], and awaits that it
    /// is ready.
    ///
    /// # Panics
    /// As [`ControlPlane::start`].
    pub fn start_again(&self) {
        let mut command = self.command("kube-apiserver");
        command.args(self.server_flags()).args(&self.flags);
        let mut server = self.launch("kube-apiserver", command);
        server.await_port(self.api, START);
        self.parts().server = Some(server);
        let client = self.admin();
        eventually("the API server is ready", START, || {
            let ask = http_get("/readyz");
            let answer = self.block_on(async { tokio::time::timeout(END, client.request_text(ask)).await });
            match answer {
                Ok(Ok(text)) if text == "ok" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        self.renew_controllers();
    }

    /// Kills the API server, and starts it again.
    ///
    /// # Panics
    /// As [`ControlPlane::start`].
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Has etcd forget every revision but the newest: who wants to watch from
    /// an older one is told that it is gone (410), and begins anew.
    ///
    /// # Panics
    /// When etcd refuses.
    pub fn compact(&self) {
        // The gateway of etcd's gRPC API: numbers are text there.
        let post = |path: &str, body: String| {
            let url = format!("http://127.0.0.1:{}/v3/kv/{path}", self.etcd_at);
            let mut curl = match &self.inside {
                Some((host, _)) => host.command("curl"),
                None => Command::new("curl"),
            };
            tool::output(curl.args(["-sSf", "-d", &body, &url]))
        };
        let answer = post("range", r#"{"key": "AA=="}"#.to_owned());
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let revision = answer["header"]["revision"].as_str().expect("a revision");
        post(
            "compaction",
            format!(r#"{{"revision": "{revision}", "physical": true}}"#),
        );
    }

    /// Gives a lab's machine a way to the API server: the same address, on its
    /// own loopback.
    pub fn reach_from(&self, host: &Host) -> Relay {
        Relay::new(host, self.address(), self.runtime.handle())
    }

    /// A way from the API server to this port of a lab's machine.
    ///
    /// # Panics
    /// When no port is free.
    pub fn let_in(&self, host: &Host, port: u16) -> Inlet {
        Inlet::new(host, port, self.runtime.handle())
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        let parts = self.parts();
        parts.server.as_ref().expect("the API server runs").signal(signal);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let parts = std::mem::take(&mut *self.parts());
        if std::thread::panicking() {
            for program in [&parts.scheduler, &parts.controllers, &parts.server, &parts.etcd]
                .into_iter()
                .flatten()
            {
                println!("{}", program.tail());
            }
        }
        drop(parts);
        if std::env::var_os(crate::lab::KEEP_FILES).is_some() {
            self.directory.disable_cleanup(true);
            println!("files of the control plane: {}", self.directory.path().display());
        }
    }
}

/// The folder of our definitions.
pub fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crds")
}

/// A GET of what has no type.
///
/// # Panics
/// When `path` is no path.
pub fn http_get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path).body(Vec::new()).expect("a path")
}

/// Ports of loopback that nobody uses, below those that the kernel gives to
/// clients' sockets: between this look and the server's start, it could.
fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let own = u16::try_from(std::process::id() % 100).expect("below 100");
    std::array::from_fn(|_| {
        loop {
            assert!(*next < 10_000, "no port is free");
            // Far apart for test programs that run at the same time.
            let port = 20_000 + (own * 100 + *next) % 10_000;
            *next += 1;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
    })
}
