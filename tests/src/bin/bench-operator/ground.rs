//! What every measurement stands on. In: how many pools, proxies and chains. Out: a control plane that has them, an operator
//! as a process under the chart's role, and pods that somebody can speak for.

use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use switchyard_crds::fixtures::yaml;
use switchyard_crds::{ProxyChain, ProxyPool};
use switchyard_discovery::identity::client::Settings;
use switchyard_discovery::peer::PeerIdentity;
use switchyard_snapshot::PoolId;
use switchyard_tests::apiserver::pods::SpokenFor;
use switchyard_tests::apiserver::{ControlPlane, User};
use switchyard_tests::eventually::eventually;
use switchyard_tests::process::Program;
use switchyard_tests::{member, operator};
use tempfile::TempDir;

/// Where pools and chains are.
pub const NAMESPACE: &str = "bench";
/// Where the operator is.
const OWN: &str = "switchyard";
/// Its service account.
const ACCOUNT: &str = "operator";
/// Requests at a time while objects are made.
const AT_A_TIME: usize = 32;
/// For states that are awaited and not measured.
pub const SOON: Duration = Duration::from_mins(5);
/// Time between two probes of an endpoint. The default of 2 s is for proxies that have a machine each: here all of them
/// share one with the API server and the operator.
pub const PROBES: Duration = Duration::from_secs(20);

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Pools.
    pub pools: usize,
    /// Proxies of all pools.
    pub proxies: usize,
    /// Chains of all pools.
    pub chains: usize,
}

impl Sizes {
    /// Proxies of each pool.
    pub fn members(self) -> usize {
        self.proxies / self.pools
    }
}

/// A control plane with our definitions, two namespaces, and a role.
pub struct Ground {
    /// The control plane.
    pub plane: ControlPlane,
    /// May do everything.
    pub client: Client,
    folder: TempDir,
    user: User,
    discovery: SocketAddr,
    admin: SocketAddr,
    health: SocketAddr,
}

impl Ground {
    /// Starts it.
    pub fn new() -> Self {
        let plane = ControlPlane::start();
        plane.install_definitions();
        for namespace in [OWN, NAMESPACE] {
            plane.kubectl(&["create", "namespace", namespace]);
        }
        plane.kubectl(&["-n", OWN, "create", "serviceaccount", ACCOUNT]);
        plane.kubectl_feed(&["apply", "-f", "-"], &rights().to_string());
        let [discovery, admin, health] = free();
        Self {
            client: plane.admin(),
            plane,
            folder: tempfile::tempdir().expect("a folder"),
            user: User::service_account(OWN, ACCOUNT),
            discovery,
            admin,
            health,
        }
    }

    /// `HOST:PORT` of the stream.
    pub fn discovery(&self) -> String {
        self.discovery.to_string()
    }

    /// As whom the audit log knows the operator.
    pub fn operator_user(&self) -> String {
        self.user.name()
    }

    /// Starts the operator; when that was.
    pub fn operator(&self) -> (Program, Instant) {
        let kubeconfig = self.plane.kubeconfig(&self.user);
        let mut command = Command::new(operator::program());
        command
            .env("KUBECONFIG", kubeconfig)
            .args(["run", "--namespace", OWN, "--pod-name", "operator-1"])
            .args(["--discovery-listen", &self.discovery()])
            .args(["--discovery-address", &self.discovery()])
            .args(["--admin-listen", &self.admin.to_string()])
            .args(["--health-listen", &self.health.to_string()]);
        let began = Instant::now();
        (
            Program::on_this_machine("operator", self.folder.path(), command),
            began,
        )
    }

    /// Asks the operator to end, and awaits that.
    pub fn stop(operator: &mut Program) {
        operator.signal(Signal::SIGTERM);
        operator.await_end(SOON);
    }

    /// All objects of a kind.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Makes pools, and chains of them that lead to `backend`.
    pub fn populate(&self, sizes: Sizes, backend: SocketAddr) {
        self.create::<ProxyPool>((0..sizes.pools).map(|n| pool(n, sizes.members())));
        self.create::<ProxyChain>((0..sizes.chains).map(|n| chain(n, n % sizes.pools, backend)));
    }

    fn create<K>(&self, objects: impl Iterator<Item = Value>)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let api = self.all::<K>();
        let creations = objects.map(|object| {
            let api = api.clone();
            async move {
                let object = serde_json::from_value(object).expect("an object of ours");
                api.create(&PostParams::default(), &object)
                    .await
                    .expect("it is made");
            }
        });
        self.plane.block_on(together(creations));
    }

    /// What kube-controller-manager says of a pool's Deployment when so many pods of it run. There are no nodes.
    pub fn pods_run(&self, sizes: Sizes) {
        let all = self.all::<Deployment>();
        let members = sizes.members();
        for n in 0..sizes.pools {
            let name = pool_name(n);
            let numbers = json!({"status": {
                "replicas": members, "readyReplicas": members, "availableReplicas": members,
                "updatedReplicas": members, "observedGeneration": 1,
            }});
            eventually(&format!("the Deployment of {name}"), SOON, || {
                let (patch, asked) = (Patch::Merge(&numbers), PatchParams::default());
                let patched = all.patch_status(&name, &asked, &patch);
                self.plane.block_on(patched).map_err(|e| e.to_string())
            });
        }
    }

    /// A pod of the pool, and how its proxy proves that it is in it.
    pub fn pod(&self, number: usize, pool: usize) -> Settings {
        let name = format!("proxy-{number}");
        let pool = pool_name(pool);
        let labels = [("switchyard.dev/pool", pool.as_str())];
        let account = self.account(&pool);
        let pod = self.plane.pod(
            (NAMESPACE, &name),
            &account,
            &labels,
            &address(number).to_string(),
        );
        let SpokenFor { uid, .. } = &pod;
        Settings {
            identity: PeerIdentity {
                pool: PoolId {
                    namespace: NAMESPACE.to_owned(),
                    name: pool.clone(),
                },
                pod: name.clone(),
                uid: uid.clone(),
            },
            operator: self.discovery(),
            server_name: None,
            bundle_file: self.bundle(&pool),
            token_file: self.file(&name, &self.plane.pod_token(&pod, member::AUDIENCE)),
        }
    }

    /// A folder below ours, which goes when this does.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// The service account of a pool's proxies, once the operator has made it.
    fn account(&self, pool: &str) -> String {
        let name = format!("{pool}-proxy");
        let accounts = self.all::<ServiceAccount>();
        eventually(&format!("the ServiceAccount {name}"), SOON, || {
            let found = self.plane.block_on(accounts.get(&name));
            found.map(drop).map_err(|e| e.to_string())
        });
        name
    }

    fn bundle(&self, pool: &str) -> PathBuf {
        let name = format!("{pool}-bootstrap");
        let maps = self.all::<ConfigMap>();
        let bundle = eventually(&format!("the ConfigMap {name}"), SOON, || {
            let map = self.plane.block_on(maps.get(&name)).map_err(|e| e.to_string())?;
            let bundle = map.data.and_then(|data| data.get("ca.crt").cloned());
            bundle.ok_or_else(|| "no authorities yet".to_owned())
        });
        self.file(&format!("{pool}-ca.crt"), &bundle)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

/// Runs all of them, some at a time.
pub async fn together<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    stream::iter(all)
        .buffer_unordered(AT_A_TIME)
        .collect::<Vec<()>>()
        .await;
}

/// An address of loopback for each proxy.
pub fn address(number: usize) -> Ipv4Addr {
    let byte = |number: usize| u8::try_from(number % 250).expect("below 250");
    Ipv4Addr::new(127, 1, byte(number / 250), byte(number) + 1)
}

/// Name of a pool.
pub fn pool_name(number: usize) -> String {
    format!("pool-{number}")
}

/// Name of a chain.
pub fn chain_name(number: usize) -> String {
    format!("chain-{number}")
}

/// The number of a chain of this name.
pub fn chain_number(name: &str) -> usize {
    let number = name.strip_prefix("chain-").and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is no chain of ours"))
}

fn pool(number: usize, replicas: usize) -> Value {
    json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool",
        "metadata": {"name": pool_name(number)},
        "spec": {"replicas": replicas, "listeners": [{"name": "sync", "port": 8443}]},
    })
}

fn chain(number: usize, pool: usize, backend: SocketAddr) -> Value {
    json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyChain",
        "metadata": {"name": chain_name(number)},
        "spec": {
            "poolRef": {"name": pool_name(pool)},
            "hostnames": [format!("{}.example.test", chain_name(number))],
            "backends": [{"name": "primary", "host": backend.ip(), "port": backend.port()}],
            "health": {
                "interval": format!("{}s", PROBES.as_secs()), "timeout": "10s", "rise": 1, "fall": 1,
                "monitors": [{"tcp": {"send": format!("{number}\n"), "expect": crate::backend::UP}}],
            },
        },
    })
}

/// The chart's role: what it needs where it watches everywhere, what it needs of its own in its namespace.
fn rights() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("charts/switchyard/files/role.yaml");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    // The third is the webhook's, which nobody turns on here.
    let mut documents = text.split("\n---\n").map(yaml);
    let mut next = || documents.next().expect("three documents");
    let (watched, mut own) = (next(), next());
    own["metadata"]["namespace"] = json!(OWN);
    let subjects = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": OWN}]);
    let group = "rbac.authorization.k8s.io";
    let bind = |kind: &str, role: &Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": {"name": role["metadata"]["name"], "namespace": OWN},
            "roleRef": {"apiGroup": group, "kind": kind, "name": role["metadata"]["name"]},
            "subjects": subjects,
        })
    };
    let (wide, narrow) = (bind("ClusterRole", &watched), bind("Role", &own));
    json!({"apiVersion": "v1", "kind": "List", "items": [watched, own, wide, narrow]})
}

/// Ports that nobody uses at this moment.
fn free<const N: usize>() -> [SocketAddr; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("an address"))
}
