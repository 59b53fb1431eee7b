//! The programs of a control plane: how each is started. In: a control plane
//! that has its folder and its keys. Out: running programs; what differs on a
//! machine of a lab stands here alone.

use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::{ControlPlane, ISSUER, START, User, free_ports, programs, stale};
use crate::eventually::eventually;
use crate::process::Program;

/// What runs of kube-controller-manager where there is no node.
const CONTROLLERS: [&str; 10] = [
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "endpointslice-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
];

/// What runs besides where there are nodes.
const CONTROLLERS_OF_NODES: [&str; 6] = [
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "job-controller",
    "ttl-after-finished-controller",
    "clusterrole-aggregation-controller",
];

/// How much garbage there may be before it is collected, in percent of what is used. These are Go programs, and collecting takes
/// a quarter of the API server's time where it is 100, the default. A machine that runs tests is short of processors, not of memory.
const GARBAGE: &str = "400";

impl ControlPlane {
    /// Starts kube-controller-manager with what tests need of it: workloads
    /// become pods, what has no owner goes, namespaces can be deleted. The
    /// first call returns when it has begun to work.
    ///
    /// # Panics
    /// When it does not, soon.
    pub fn start_controllers(&self) {
        let mut parts = self.parts();
        if parts.controllers.is_some() {
            return;
        }
        let kubeconfig = self.kubeconfig(&User::Admin);
        let mut names = CONTROLLERS.to_vec();
        if self.inside.is_some() {
            names.extend(CONTROLLERS_OF_NODES);
        }
        let mut command = self.command("kube-controller-manager");
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--root-ca-file={}", self.pki.authority.display()))
            .arg(format!(
                "--service-account-private-key-file={}",
                self.pki.tokens.key.display()
            ))
            .arg(format!("--controllers={}", names.join(",")))
            .args(["--leader-elect=false", "--secure-port=0"])
            // Else what the garbage collector must see comes in after up to 30 s.
            .args([
                "--concurrent-gc-syncs=5",
                "--kube-api-qps=500",
                "--kube-api-burst=500",
            ]);
        parts.controllers = Some(self.launch("kube-controller-manager", command));
        drop(parts);
        let published: Api<ConfigMap> = Api::namespaced(self.admin(), "default");
        eventually("the controllers work", START, || {
            let found = self.block_on(published.get_opt("kube-root-ca.crt"));
            match found.map_err(|e| e.to_string())? {
                Some(_) => Ok(()),
                None => Err("no authority is published in the namespace `default`".to_owned()),
            }
        });
    }

    /// Starts kube-scheduler: pods go to nodes.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_scheduler(&self) {
        let kubeconfig = self.kubeconfig(&User::Named("system:kube-scheduler".to_owned()));
        let mut command = self.command("kube-scheduler");
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--leader-elect=false", "--secure-port=0"])
            .args(["--kube-api-qps=500", "--kube-api-burst=500"]);
        let scheduler = self.launch("kube-scheduler", command);
        self.parts().scheduler = Some(scheduler);
    }

    /// Starts controllers and scheduler anew, if they run. Where the API server is gone for long, the real ones lose their lease,
    /// end, and are started again; ours have no lease, and would wait half a minute before they look for it.
    pub(super) fn renew_controllers(&self) {
        let (controllers, scheduler) = {
            let mut parts = self.parts();
            (parts.controllers.take(), parts.scheduler.take())
        };
        if controllers.map(drop).is_some() {
            self.start_controllers();
        }
        if scheduler.map(drop).is_some() {
            self.start_scheduler();
        }
    }

    /// Processor time that each running part has used so far.
    pub fn cpu(&self) -> Vec<(&'static str, Duration)> {
        let parts = self.parts();
        let all = [
            ("kube-scheduler", &parts.scheduler),
            ("kube-controller-manager", &parts.controllers),
            ("kube-apiserver", &parts.server),
            ("etcd", &parts.etcd),
        ];
        let used = all
            .into_iter()
            .filter_map(|(name, part)| Some((name, part.as_ref()?.cpu())));
        used.collect()
    }

    /// A program of the control plane, where the control plane is.
    pub(super) fn command(&self, program: &str) -> Command {
        let file = programs::find(program);
        let mut command = match &self.inside {
            Some((host, _)) => host.command(&file.to_string_lossy()),
            None => Command::new(file),
        };
        command.env("GOGC", GARBAGE);
        command
    }

    pub(super) fn launch(&self, name: &str, command: Command) -> Program {
        let directory = self.directory.path();
        let program = match &self.inside {
            Some((host, _)) => Program::start(host, name, directory, command),
            None => Program::on_this_machine(name, directory, command),
        };
        stale::note(directory, program.pid());
        program
    }

    /// What differs between a lab and loopback.
    fn network_flags(&self) -> Vec<String> {
        let Some((host, _)) = &self.inside else {
            return vec![
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                // An address on loopback cannot be an endpoint of the Service.
                "--endpoint-reconciler-type=none".to_owned(),
            ];
        };
        let kubelet = &self.pki.kubelet_client;
        vec![
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={}", host.ip()),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--kubelet-client-certificate={}", kubelet.certificate.display()),
            format!("--kubelet-client-key={}", kubelet.key.display()),
        ]
    }

    pub(super) fn server_flags(&self) -> Vec<String> {
        let mut flags = self.network_flags();
        flags.extend(self.common_flags());
        flags
    }

    fn common_flags(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let tokens = &self.pki.tokens;
        vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_at),
            format!("--secure-port={}", self.api),
            format!("--tls-cert-file={}", self.pki.server.certificate.display()),
            format!("--tls-private-key-file={}", self.pki.server.key.display()),
            format!("--client-ca-file={}", self.pki.authority.display()),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-key-file={}", tokens.public.display()),
            format!("--service-account-signing-key-file={}", tokens.key.display()),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--audit-policy-file={}", file("audit-policy.yaml")),
            format!("--audit-log-path={}", file("audit.jsonl")),
            // It must not rotate while a test counts.
            "--audit-log-maxsize=100000".to_owned(),
        ]
    }

    pub(super) fn start_etcd(&self) {
        let [peers] = free_ports();
        let at = format!("http://127.0.0.1:{}", self.etcd_at);
        let mut command = self.command("etcd");
        command
            .arg("--data-dir")
            .arg(self.file("etcd"))
            .args(["--listen-client-urls", &at, "--advertise-client-urls", &at])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peers}")])
            .args(["--unsafe-no-fsync", "--logger=zap", "--log-level=warn"]);
        let mut etcd = self.launch("etcd", command);
        etcd.await_port(self.etcd_at, START);
        self.parts().etcd = Some(etcd);
    }
}
