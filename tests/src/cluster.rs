//! A whole cluster on this machine: a control plane, real nodes, a pod
//! network, cluster DNS. In: the programs that `make tools` gets, and images
//! that `make image` packs. Out: what `kubectl` and clients see.
//!
//! ```text
//!  control 10.77.0.1            node-1 10.77.0.11         node-2 10.77.0.12
//!  etcd, API server,            pods 10.244.1.0/24        pods 10.244.2.0/24
//!  controllers, scheduler,
//!  clients of the trials
//!  └─ each with containerd, kubelet and kube-proxy (Services 10.96.0.0/16)
//! ```
//!
//! A node is a container in the machine's own file system: process ids,
//! mounts, cgroups and network of its own ([`node`]). When it is dropped,
//! nothing of it stays; what a killed run has left, the next removes.

use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use kube::api::ListParams;

use crate::apiserver::{ControlPlane, programs};
use crate::eventually::eventually;
use crate::lab::{Host, Lab};

mod cgroup;
pub mod images;
pub mod node;
pub mod space;

pub use images::Images;
pub use node::Node;
pub use space::Space;

/// Time for nodes and cluster DNS to be ready on a busy machine.
const START: Duration = Duration::from_mins(3);
/// Nodes that take pods.
const WORKERS: u8 = 2;
const COREDNS: &str = include_str!("cluster/coredns.yaml");

/// A running cluster; it ends when it is dropped, nodes first.
pub struct Cluster {
    nodes: Vec<Node>,
    plane: ControlPlane,
    control: Host,
    lab: Lab,
}

/// What this machine lacks to run a cluster.
pub fn lacking() -> Option<String> {
    programs::lacking_of_nodes()
        .or_else(cgroup::lacking)
        .or_else(Images::lacking)
}

impl Cluster {
    /// Starts one, and awaits that its nodes and its DNS are ready.
    ///
    /// # Panics
    /// When a part does not start; the message has what was seen of it.
    pub fn start(images: &Images) -> Self {
        cgroup::delete_stale();
        let lab = Lab::new("cluster");
        let control = lab.host("control", 1);
        let workers: Vec<(String, Host)> = (1..=WORKERS)
            .map(|number| {
                (
                    format!("node-{number}"),
                    lab.host(&format!("node-{number}"), 10 + number),
                )
            })
            .collect();
        let plane = ControlPlane::start_on(&control);
        plane.start_controllers();
        plane.start_scheduler();
        let mut machines = vec![("control".to_owned(), control.clone())];
        machines.extend(workers);
        connect(&machines);
        let nodes = machines
            .iter()
            .zip(0..)
            .map(|((name, host), number)| {
                let plan = node::Plan {
                    name,
                    number,
                    takes_pods: number > 0,
                };
                Node::start(host, &plane, &plan, images)
            })
            .collect();
        let cluster = Self {
            nodes,
            plane,
            control,
            lab,
        };
        cluster.await_ready();
        cluster
    }

    /// Its control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The machine of the control plane: it reaches Services and pods as any
    /// node does, so clients are started there.
    pub fn control(&self) -> &Host {
        &self.control
    }

    /// A machine outside of the cluster, at `10.77.0.number`: pods reach it,
    /// and it reaches nodes and pods, but no Service. `number` is from 20 on.
    pub fn outside(&self, name: &str, number: u8) -> Host {
        let host = self.lab.host(name, number);
        let routes = self.nodes.iter().map(Node::route);
        host.namespace().ip(&routes.collect::<String>());
        // Another machine may have had the address before: nodes would go on sending to that one for some seconds.
        for node in &self.nodes {
            let forget = format!("neigh flush to {} dev eth0\n", host.ip());
            node.host().namespace().ip(&forget);
        }
        host
    }

    /// A node that takes pods.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node {
        let found = self.workers().iter().find(|node| node.name() == name);
        found.unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The nodes that take pods.
    pub fn workers(&self) -> &[Node] {
        &self.nodes[1..]
    }

    /// Awaits that every node is ready.
    ///
    /// # Panics
    /// When one is not, soon.
    pub fn await_nodes(&self) {
        let all: Api<NodeObject> = Api::all(self.plane.admin());
        eventually("every node is ready", START, || {
            for node in &self.nodes {
                node.must_run();
            }
            let list = self.plane.block_on(all.list(&ListParams::default()));
            let list = list.map_err(|e| e.to_string())?;
            let ready = list.items.iter().filter(|node| is_ready(node)).count();
            if ready == self.nodes.len() {
                Ok(())
            } else {
                Err(format!("{ready} of {}", self.nodes.len()))
            }
        });
    }

    fn await_ready(&self) {
        self.await_nodes();
        // Not before: its replicas would share the first node that is there.
        self.plane.kubectl_feed(&["apply", "-f", "-"], COREDNS);
        self.plane.kubectl(&[
            "-n",
            "kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout=120s",
        ]);
    }
}

fn is_ready(node: &NodeObject) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Pods of each machine are reached through it by all others. Services have no address on any wire: a route lets processes of a
/// machine send to them, and kube-proxy turns that elsewhere.
fn connect(machines: &[(String, Host)]) {
    for (name, host) in machines {
        host.namespace().ip("route add 10.96.0.0/16 dev eth0\n");
        let others = machines.iter().zip(0..).filter(|((other, _), _)| other != name);
        let routes = others.map(|((_, via), number)| node::route(number, via));
        host.namespace().ip(&routes.collect::<String>());
    }
}

/// One cluster that all trials of a suite share, started when the first asks for it.
#[derive(Default)]
pub struct Shared {
    cluster: OnceLock<Cluster>,
}

impl Shared {
    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        self.cluster.get_or_init(|| Cluster::start(&Images::packed()))
    }
}
