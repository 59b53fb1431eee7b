//! Where the programs of the control plane are. In: a name. Out: the file
//! that `make tools` built, or one of the folder that `KUBEBUILDER_ASSETS`
//! names; some come from the system.

use std::path::PathBuf;

use crate::tool;

/// A folder of programs that a user already has.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Another place for what `make tools` builds.
pub const TOOLS: &str = "SWITCHYARD_TOOLS";

const KUBERNETES: &str = include_str!("../../kubernetes/go.mod");
const HELM: &str = include_str!("../../helm/go.mod");
const COREDNS: &str = include_str!("../../coredns/go.mod");
const ETCD: &str = include_str!("../../etcd/go.mod");

/// What Debian has.
const FROM_SYSTEM: [&str; 6] = ["openssl", "containerd", "ctr", "runc", "iptables", "nft"];

/// Where `program` is.
///
/// # Panics
/// When it is nowhere; the message says how to get it.
pub fn find(program: &str) -> PathBuf {
    search(program).unwrap_or_else(|| panic!("`make tools` builds what is missing: {program}"))
}

/// What a control plane is made of.
const PLANE: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kubectl",
    "helm",
    "openssl",
];
/// What nodes are made of, besides.
const NODES: [&str; 9] = [
    "kubelet",
    "kube-proxy",
    "kube-scheduler",
    "coredns",
    "containerd",
    "ctr",
    "runc",
    "iptables",
    "nft",
];

/// What of a control plane this machine lacks.
pub fn lacking() -> Option<String> {
    missing(&PLANE)
}

/// What of a cluster with nodes this machine lacks.
pub fn lacking_of_nodes() -> Option<String> {
    missing(&[&PLANE[..], &NODES[..]].concat())
}

fn missing(wanted: &[&str]) -> Option<String> {
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|program| search(program).is_none())
        .collect();
    (!missing.is_empty()).then(|| format!("`make tools` gets what is missing: {}", missing.join(", ")))
}

fn search(program: &str) -> Option<PathBuf> {
    let assets = std::env::var_os(ASSETS).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| home.map(|home| home.join(".cache")));
    let tools = std::env::var_os(TOOLS).map(PathBuf::from);
    let tools = tools.or_else(|| cache.map(|cache| cache.join("switchyard/tools")));
    let built = match program {
        "helm" => format!("helm-{}", version(HELM, "helm.sh/helm/v4")),
        "etcd" => format!("etcd-{}", version(ETCD, "go.etcd.io/etcd/server/v3")),
        "coredns" => format!("coredns-{}", version(COREDNS, "github.com/coredns/coredns")),
        _ => format!("kubernetes-{}", version(KUBERNETES, "k8s.io/kubernetes")),
    };
    let from_system = FROM_SYSTEM.contains(&program);
    let system = tool::PATH.split(':').map(PathBuf::from);
    assets
        .into_iter()
        .chain(tools.map(|tools| tools.join(built)))
        .chain(system.filter(|_| from_system))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The version of `module` that a go.mod requires.
fn version<'a>(file: &'a str, module: &str) -> &'a str {
    let line = file.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(module)?.strip_prefix(' ')
    });
    line.and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no version of {module} in go.mod"))
}

#[cfg(test)]
mod tests {
    use super::{HELM, KUBERNETES, version};

    #[test]
    fn versions_are_read() {
        assert!(version(KUBERNETES, "k8s.io/kubernetes").starts_with("v1."));
        assert!(version(HELM, "helm.sh/helm/v4").starts_with("v4."));
    }
}
