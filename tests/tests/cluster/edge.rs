//! A pool with two listeners, each with a chain, and clients of both. In: a namespace, settings of the pool. Out: clients that
//! never stop, and what they saw.

use std::time::{Duration, Instant};

use switchyard_tests::apiserver::User;
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{
    Load, LoadPlan, Outcomes, RequestPlan, Requests, Session, SessionPlan, Sessions,
};
use switchyard_tests::cluster::{Cluster, Space};
use switchyard_tests::lab::Lab;
use switchyard_tests::process::Program;

use crate::world::SOON;

/// How long sessions may take to leave.
pub const DRAIN: Duration = Duration::from_secs(15);
/// How long a pod that shall end goes on as before, and what it has to end in.
pub const PRE_STOP: Duration = Duration::from_secs(5);
/// Port of the listener for lines.
const LINE: u16 = 8443;
/// Port of the listener for requests.
const WEB: u16 = 8080;

/// Servers outside of the cluster, two of each kind.
pub struct Servers {
    pub line: Vec<Backend>,
    pub web: Vec<Backend>,
}

impl Servers {
    /// Starts them at `10.77.0.number` and the next.
    pub fn start(cluster: &Cluster, number: u8) -> Self {
        let hosts = [number, number + 1].map(|number| cluster.outside(&format!("s{number}"), number));
        let line = hosts
            .iter()
            .map(|host| Backend::start(host, 1650, Mode::ClientFirst))
            .collect();
        let web = hosts
            .iter()
            .map(|host| Backend::start(host, 8080, Mode::Http))
            .collect();
        Self { line, web }
    }
}

/// A pool `edge` with the chains `line` and `web`.
pub struct Edge<'a> {
    pub space: Space<'a>,
    /// Never read: they serve as long as it lives.
    pub servers: Servers,
    /// Never read: shows what it holds when the trial has failed.
    logs: Option<Logs>,
}

/// What the first proxies say, also after they have gone.
struct Logs(Program);

impl Logs {
    fn follow(space: &Space<'_>) -> Self {
        let mut kubectl = space.cluster().plane().kubectl_as(&User::Admin);
        kubectl
            .args([
                "-n",
                &space.name,
                "logs",
                "-f",
                "--prefix",
                "--max-log-requests=20",
            ])
            .args(["-l", "switchyard.dev/pool=edge"]);
        let directory = space.cluster().control().directory(&space.name);
        Self(Program::on_this_machine("logs", &directory, kubectl))
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("── the first proxies\n{}", self.0.tail());
        }
    }
}

impl<'a> Edge<'a> {
    /// Applies it, and awaits that it is ready. `pool`: more of the pool's spec.
    pub fn apply(space: Space<'a>, number: u8, pool: &str) -> Self {
        let servers = Servers::start(space.cluster(), number);
        let mut edge = Self {
            space,
            servers,
            logs: None,
        };
        edge.space.apply(&edge.manifests(pool));
        edge.space.wait("proxypool/edge", "Ready", SOON);
        for chain in ["proxychain/line", "proxychain/web"] {
            edge.space.wait(chain, "Ready", SOON);
        }
        edge.space.await_rollout("deployment/edge", SOON);
        edge.logs = Some(Logs::follow(&edge.space));
        edge.space
            .await_ways("edge", &[("line", LINE), ("web", WEB)], SOON);
        edge
    }

    fn manifests(&self, pool: &str) -> String {
        let backends = |servers: &[Backend]| {
            let list = servers.iter().map(|it| {
                let at = it.address();
                format!(
                    "  - {{name: {}, host: {}, port: {}}}\n",
                    it.name(),
                    at.ip(),
                    at.port()
                )
            });
            list.collect::<String>()
        };
        format!(
            "apiVersion: switchyard.dev/v1alpha1\nkind: ProxyPool\nmetadata: {{name: edge}}\nspec:\n\
             \x20 drain: {{timeout: {}s}}\n\
             \x20 listeners:\n\
             \x20 - {{name: line, port: {LINE}, protocol: TCP}}\n\
             \x20 - {{name: web, port: {WEB}, protocol: HTTP}}\n{pool}\n---\n\
             apiVersion: switchyard.dev/v1alpha1\nkind: ProxyChain\nmetadata: {{name: line}}\nspec:\n\
             \x20 poolRef: {{name: edge, listener: line}}\n  backends:\n{}---\n\
             apiVersion: switchyard.dev/v1alpha1\nkind: ProxyChain\nmetadata: {{name: web}}\nspec:\n\
             \x20 poolRef: {{name: edge, listener: web}}\n  backends:\n{}",
            DRAIN.as_secs(),
            backends(&self.servers.line),
            backends(&self.servers.web),
        )
    }

    /// Starts clients of the access point, on the machine of the control plane: 200 new connections and 1,000 requests a
    /// second, and `sessions` that stay.
    pub fn clients(&self, sessions: usize) -> Clients {
        let host = self.space.cluster().control();
        let line = self.space.service("edge", LINE);
        let requests = RequestPlan {
            to: self.space.service("edge", WEB),
            host: "edge".to_owned(),
            per_second: 1000,
            clients: 50,
        };
        let every = Duration::from_secs(1);
        Clients {
            begun: Instant::now(),
            sessions: Sessions::open(host, &SessionPlan::busy(line, sessions, every)),
            load: Load::start(host, LoadPlan::new(line, 200)),
            requests: Requests::start(host, requests),
        }
    }
}

/// Clients under way.
pub struct Clients {
    begun: Instant,
    pub load: Load,
    requests: Requests,
    pub sessions: Sessions,
}

impl Clients {
    /// Stops them: no connection and no request may have failed. Returns what became of the sessions.
    #[track_caller]
    pub fn must_not_have_noticed(self, lab: &Lab) -> Vec<Session> {
        let (seen, sessions) = self.stop(lab);
        seen.must_all_be_served();
        sessions
    }

    /// Stops them: no request may have failed. Returns what became of connections and sessions.
    #[track_caller]
    pub fn stop(self, lab: &Lab) -> (Outcomes, Vec<Session>) {
        let seen = self.load.stop();
        let requests = self.requests.stop();
        let sessions = self.sessions.close();
        lab.say(format!("for {:.1?}: {seen}", self.begun.elapsed()));
        lab.say(requests.to_string());
        let failed = requests.failed();
        for one in failed.iter().take(10) {
            let after = one.due.saturating_duration_since(self.begun);
            lab.say(format!(
                "failed request, due {after:.1?} after the start: {:?}",
                one.what
            ));
        }
        assert!(failed.is_empty(), "{} requests failed", failed.len());
        (seen, sessions)
    }
}
