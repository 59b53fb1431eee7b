//! One node: containerd, kubelet and kube-proxy on a machine of the cluster's
//! lab. In: the machine, the control plane, images. Out: a node that joins;
//! it is cut off and joined again, and its containers' processes are found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::cgroup;
use super::images::Images;
use crate::apiserver::{ControlPlane, User, programs};
use crate::lab::{Cut, Host};
use crate::process::Program;
use crate::tool;

const ENTER: &str = include_str!("enter.sh");
const FIRST: &str = include_str!("node.sh");
const KUBELET: &str = include_str!("kubelet.yaml");
const KUBE_PROXY: &str = include_str!("kube-proxy.yaml");
const CONTAINERD: &str = include_str!("containerd.toml");
const CNI: &str = include_str!("pods.conflist");
/// Whom cluster DNS asks about names that are not the cluster's; a trial that wants such names puts a server there.
pub const NAMESERVER: &str = "10.77.0.53";

/// What a node is to be.
pub(super) struct Plan<'a> {
    pub(super) name: &'a str,
    /// Its pods are in `10.244.number.0/24`.
    pub(super) number: u8,
    /// Else only those that tolerate a control plane's taint.
    pub(super) takes_pods: bool,
}

/// A running node; all of it ends when it is dropped.
pub struct Node {
    name: String,
    number: u8,
    host: Host,
    cgroup: String,
    directory: PathBuf,
    first: Mutex<Program>,
}

/// How pods of the node with this number are reached by other machines.
pub(super) fn route(number: u8, via: &Host) -> String {
    format!("route add 10.244.{number}.0/24 via {}\n", via.ip())
}

impl Node {
    /// Starts it; it is ready some seconds later.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub(super) fn start(host: &Host, plane: &ControlPlane, plan: &Plan<'_>, images: &Images) -> Self {
        let directory = host.directory("node");
        write_configuration(&directory, host, plane, plan);
        let cgroup = cgroup::name(plan.name);
        let images = if plan.takes_pods {
            images.all()
        } else {
            images.least()
        };
        let images: Vec<String> = images.iter().map(|it| it.display().to_string()).collect();
        let flags = if plan.takes_pods {
            format!("--node-labels=topology.kubernetes.io/zone=zone-{}", plan.number)
        } else {
            "--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule".to_owned()
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER, "enter", &cgroup])
            .arg(host.namespace().path())
            .arg(directory.join("node.sh"))
            .env("PATH", tool::PATH)
            .env("NODE", &directory)
            .env("NAME", plan.name)
            .env("ADDRESS", host.ip().to_string())
            .env("IMAGES", images.join(" "))
            .env("KUBELET", programs::find("kubelet"))
            .env("KUBELET_FLAGS", flags)
            .env("KUBE_PROXY", programs::find("kube-proxy"));
        let first = Program::start(host, "node", &directory, command);
        for log in ["containerd.log", "kubelet.log", "kube-proxy.log"] {
            host.show_on_failure(&directory.join(log));
        }
        Self {
            name: plan.name.to_owned(),
            number: plan.number,
            host: host.clone(),
            cgroup,
            directory,
            first: Mutex::new(first),
        }
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where its files are: configurations and logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Pulls its cable: nothing comes or goes until the guard is dropped.
    pub fn cut_off(&self) -> Cut {
        self.host.cut_off()
    }

    /// The processes of one of its containers, as this machine numbers them. `id` is as a pod's status has it:
    /// `containerd://…`.
    pub fn processes(&self, id: &str) -> Vec<i32> {
        cgroup::processes(&self.cgroup, id.trim_start_matches("containerd://"))
    }

    /// The folder by which the kernel's limits of one of its containers are read and set (`memory` of cgroups v1).
    pub fn memory_group(&self, id: &str) -> PathBuf {
        cgroup::memory(&self.cgroup, id.trim_start_matches("containerd://"))
    }

    /// Gives an image that it has a second name, as a release has that changes nothing.
    ///
    /// # Panics
    /// When it does not have the image.
    #[track_caller]
    pub fn tag(&self, image: &str, name: &str) {
        let full = |it: &str| format!("docker.io/{it}");
        let mut ctr = self.command("ctr");
        ctr.args(["--namespace", "k8s.io", "images", "tag", "--force"]);
        tool::output(ctr.args([full(image), full(name)]));
    }

    /// A command among its processes and mounts.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first_process()))
            .args(["--net", "--mount", "--pid", "--cgroup", "--", program]);
        command
    }

    /// A route to its pods.
    pub(super) fn route(&self) -> String {
        route(self.number, &self.host)
    }

    /// Fails when it has ended.
    ///
    /// # Panics
    /// When it has.
    #[track_caller]
    pub(super) fn must_run(&self) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            first.runs(),
            "{} has ended; it said:\n{}",
            self.name,
            first.output()
        );
    }

    /// The node's first process is the only child of the one that was started.
    fn first_process(&self) -> i32 {
        let started = self.first.lock().unwrap_or_else(PoisonError::into_inner).pid();
        let file = format!("/proc/{started}/task/{started}/children");
        let children = fs::read_to_string(&file).unwrap_or_default();
        let first = children.split_whitespace().next().and_then(|it| it.parse().ok());
        first.unwrap_or_else(|| panic!("{} has no first process: {children:?}", self.name))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.first
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .kill();
        if let Err(why) = cgroup::remove(&self.cgroup) {
            eprintln!("cgroup stays behind: {why}");
        }
    }
}

fn write_configuration(directory: &Path, host: &Host, plane: &ControlPlane, plan: &Plan<'_>) {
    let write = |name: &str, text: &str| {
        let file = directory.join(name);
        fs::write(&file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        file.display().to_string()
    };
    let copy = |name: &str, user: &User| {
        let text = fs::read_to_string(plane.kubeconfig_in_lab(user)).expect("a kubeconfig of ours");
        write(name, &text)
    };
    let cni = directory.join("cni");
    fs::create_dir_all(&cni).unwrap_or_else(|e| panic!("{}: {e}", cni.display()));
    write("node.sh", FIRST);
    let subnet = format!("10.244.{}.0/24", plan.number);
    write("cni/pods.conflist", &CNI.replace("SUBNET", &subnet));
    write(
        "containerd.toml",
        &CONTAINERD.replace("CNI", &cni.display().to_string()),
    );
    let resolver = write("resolv.conf", &format!("nameserver {NAMESERVER}\n"));
    let kubelet = KUBELET.replace("AUTHORITY", &plane.authority().display().to_string());
    write("kubelet.yaml", &kubelet.replace("RESOLV_CONF", &resolver));
    copy("kubelet.kubeconfig", &User::Node(plan.name.to_owned()));
    let kubeconfig = copy(
        "kube-proxy.kubeconfig",
        &User::Named("system:kube-proxy".to_owned()),
    );
    let kube_proxy = KUBE_PROXY.replace("KUBECONFIG", &kubeconfig);
    write("kube-proxy.yaml", &kube_proxy.replace("NAME", host.name()));
}
