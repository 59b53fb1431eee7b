//! A namespace of one trial. In: a cluster. Out: `kubectl` in it, objects
//! that are awaited, addresses that clients go to, processes of pods; when
//! the trial has failed, what was in it.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope as Namespaced;
use kube::{Api, Resource};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use super::Cluster;
use crate::apiserver::User;
use crate::eventually::eventually;
use crate::tool;

/// A namespace; it is deleted when it is dropped.
pub struct Space<'a> {
    cluster: &'a Cluster,
    /// Its name.
    pub name: String,
}

impl<'a> Space<'a> {
    /// A new one, which admits what Pod Security calls "restricted".
    pub fn new(cluster: &'a Cluster, trial: &str) -> Self {
        Self::admitting(cluster, trial, "restricted")
    }

    /// One that admits another level of Pod Security.
    pub fn admitting(cluster: &'a Cluster, trial: &str, level: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{trial}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\n\
             metadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}\n"
        );
        cluster.plane().kubectl_feed(&["create", "-f", "-"], &manifest);
        Self { cluster, name }
    }

    /// The cluster.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// `kubectl -n NAMESPACE ARGUMENTS`.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        self.cluster.plane().kubectl(&all)
    }

    /// `kubectl apply` of manifests that name no namespace.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        let arguments = ["-n", &self.name, "apply", "-f", "-"];
        self.cluster.plane().kubectl_feed(&arguments, manifests);
    }

    /// `kubectl wait --for=condition=CONDITION OBJECT`.
    ///
    /// # Panics
    /// When it does not come `within` the time.
    #[track_caller]
    pub fn wait(&self, object: &str, condition: &str, within: Duration) {
        let condition = format!("--for=condition={condition}");
        let within = format!("--timeout={}s", within.as_secs());
        self.kubectl(&["wait", &condition, object, &within]);
    }

    /// `kubectl rollout status OBJECT`.
    ///
    /// # Panics
    /// When it is not done `within` the time.
    #[track_caller]
    pub fn await_rollout(&self, object: &str, within: Duration) {
        let within = format!("--timeout={}s", within.as_secs());
        self.kubectl(&["rollout", "status", object, &within]);
    }

    /// All objects of a kind in it.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = Namespaced, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.plane().admin(), &self.name)
    }

    /// Awaits that `check` accepts an object.
    ///
    /// # Panics
    /// When it does not `within` the time.
    #[track_caller]
    pub fn await_object<K, T>(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        check: impl Fn(&K) -> Result<T, String>,
    ) -> T
    where
        K: Resource<Scope = Namespaced, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let all = self.all::<K>();
        eventually(&format!("{} {name}: {what}", K::kind(&())), within, || {
            let found = self
                .cluster
                .plane()
                .block_on(all.get(name))
                .map_err(|e| e.to_string())?;
            check(&found)
        })
    }

    /// Its pods with these labels.
    ///
    /// # Panics
    /// When the API server does not tell.
    #[track_caller]
    pub fn pods(&self, labels: &str) -> Vec<Pod> {
        let asked = ListParams::default().labels(labels);
        let list = self.cluster.plane().block_on(self.all::<Pod>().list(&asked));
        list.unwrap_or_else(|e| panic!("pods of {}: {e}", self.name))
            .items
    }

    /// A port of a Service, at its cluster address.
    ///
    /// # Panics
    /// When there is no such Service.
    #[track_caller]
    pub fn service(&self, name: &str, port: u16) -> SocketAddr {
        let found = self.cluster.plane().block_on(self.all::<Service>().get(name));
        let spec = found.ok().and_then(|service| service.spec);
        let ip = spec.and_then(|spec| spec.cluster_ip?.parse().ok());
        let ip = ip.unwrap_or_else(|| panic!("Service {}/{name}: no address", self.name));
        SocketAddr::new(ip, port)
    }

    /// Awaits that the clients' node leads to all proxies of a pool, for these listeners and their ports.
    ///
    /// # Panics
    /// When it does not `within` the time.
    #[track_caller]
    pub fn await_ways(&self, pool: &str, listeners: &[(&str, u16)], within: Duration) {
        self.await_ways_to(pool, &format!("switchyard.dev/pool={pool}"), listeners, within);
    }

    /// Awaits that the clients' node leads to all pods of a Service, which have these labels, for these ports of it and what the
    /// pods listen on: kube-proxy hears of endpoints when others do, and writes its rules at most once a second.
    ///
    /// # Panics
    /// When it does not `within` the time.
    #[track_caller]
    pub fn await_ways_to(&self, service: &str, labels: &str, ports: &[(&str, u16)], within: Duration) {
        eventually("the clients' node leads to all pods", within, || {
            let ips = self.pods(labels).into_iter();
            let ips: Vec<_> = ips.filter_map(|pod| pod.status?.pod_ip).collect();
            if ips.is_empty() {
                return Err(format!("{labels}: no pod has an address"));
            }
            let mut nft = self.cluster.control().command("nft");
            let rules = tool::try_output(nft.args(["list", "table", "ip", "kube-proxy"]))?;
            let leads = |name: &str, port: u16, ip: &str| {
                let chain = format!("{}/{service}/tcp/{name} {{", self.name);
                let to = format!("{ip} . {port}");
                let mut chains = rules.split("\tchain ");
                chains.any(|it| it.starts_with("service-") && it.contains(&chain) && it.contains(&to))
            };
            let all = ips
                .iter()
                .flat_map(|ip| ports.iter().map(move |&(name, port)| (name, port, ip)));
            let missing: Vec<_> = all.filter(|&(name, port, ip)| !leads(name, port, ip)).collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{missing:?}"))
            }
        });
    }

    /// Sends a signal to every process of a pod's first container, as the machine itself would.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub fn signal(&self, pod: &Pod, signal: Signal) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let processes = self.processes(pod);
        assert!(!processes.is_empty(), "pod {name} has no process");
        for process in processes {
            kill(Pid::from_raw(process), signal).unwrap_or_else(|e| panic!("pod {name}: {signal}: {e}"));
        }
    }

    /// The processes of a pod's first container, as this machine numbers them.
    pub fn processes(&self, pod: &Pod) -> Vec<i32> {
        let id = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref()?.first()?.container_id.clone());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        match (id, node) {
            (Some(id), Some(node)) => self.cluster.node(&node).processes(&id),
            _ => Vec::new(),
        }
    }

    /// What is in it, for a person to read.
    pub fn describe(&self) -> String {
        let ask = |arguments: &[&str]| {
            let mut kubectl = self.cluster.plane().kubectl_as(&User::Admin);
            kubectl
                .args(["-n", &self.name, "--request-timeout=10s"])
                .args(arguments);
            tool::try_output(&mut kubectl).unwrap_or_else(|why| why)
        };
        [
            ask(&["get", "pp,pch,pods,services,endpointslices", "-o", "wide"]),
            ask(&["get", "events", "--sort-by=.lastTimestamp"]),
            ask(&[
                "logs",
                "--all-containers",
                "--prefix",
                "--tail=30",
                "-l",
                "app.kubernetes.io/name",
            ]),
        ]
        .join("\n")
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("── namespace {}\n{}", self.name, self.describe());
        }
        let mut kubectl = self.cluster.plane().kubectl_as(&User::Admin);
        kubectl.args(["delete", "namespace", &self.name, "--wait=false"]);
        if let Err(why) = tool::try_output(&mut kubectl) {
            eprintln!("namespace {} stays: {why}", self.name);
        }
    }
}
