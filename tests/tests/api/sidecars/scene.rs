//! An operator whose webhook the API server calls, for pods of its namespace.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use switchyard_tests::apiserver::{Inlet, Mark, User};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::member::Member;
use switchyard_tests::tool;

use crate::rights;
use crate::shared::{SOON, Shared, Space};
use crate::site::Site;

/// Name of the webhook.
pub const WEBHOOK: &str = "inject.switchyard.dev";

/// Where operators serve it.
const PORT: u16 = 9443;

/// What became of a pod.
pub struct Told {
    /// As it is stored.
    pub pod: Value,
    /// What its maker was told besides.
    pub warnings: String,
}

/// One operator, a Sidecar pool `side` with listener `db` on port 8001, and a
/// chain `orders-db`.
pub struct Scene<'a> {
    pub site: Site<'a>,
    pub inlet: Inlet,
    configuration: String,
}

impl<'a> Scene<'a> {
    /// With more arguments of the operator; returns once pods are injected.
    pub fn new(lab: &'a Lab, shared: &Shared, arguments: &[&str]) -> Self {
        let space = shared.space();
        let configuration = format!("switchyard-operator-{}", space.namespace);
        rights::webhook(&space, "operator-1", &configuration);
        // As in a cluster it is there before the operator. Where that will be reached is known once it runs.
        configure(&space, &configuration, "127.0.0.1:1");
        let site = Site::with(lab, space, |plan| {
            let mut plan = plan
                .argument(&format!("--webhook-configuration={configuration}"))
                .argument("--webhook-host=127.0.0.1");
            for argument in arguments {
                plan = plan.argument(argument);
            }
            plan
        });
        let inlet = site.space.plane.let_in(site.operator.host(), PORT);
        let scene = Self {
            site,
            inlet,
            configuration,
        };
        configure(
            scene.space(),
            &scene.configuration,
            &scene.inlet.address().to_string(),
        );
        let listener = json!({"name": "db", "port": 8001, "protocol": "TCP"});
        let spec = json!({"workload": {"kind": "Sidecar"}, "listeners": [listener]});
        scene.site.apply("ProxyPool", "side", &spec);
        let backend = json!({"name": "one", "host": "10.77.0.21", "port": 1650});
        let spec = json!({"poolRef": {"name": "side", "listener": "db"}, "backends": [backend]});
        scene.site.apply("ProxyChain", "orders-db", &spec);
        scene.await_injection(SOON);
        scene
    }

    /// The namespace.
    pub fn space(&self) -> &Space {
        &self.site.space
    }

    /// Its name.
    pub fn namespace(&self) -> &str {
        &self.site.space.namespace
    }

    /// Changes what happens when the webhook cannot be asked.
    pub fn policy(&self, policy: &str) {
        let patch = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": policy}]);
        self.patch(&patch);
    }

    /// Changes the configuration by a JSON patch, as administrator.
    pub fn patch(&self, patch: &Value) {
        let patch = patch.to_string();
        let arguments = [
            "patch",
            "mutatingwebhookconfiguration",
            &self.configuration,
            "--type=json",
            "-p",
            &patch,
        ];
        self.space().plane.kubectl(&arguments);
    }

    fn client_config(&self) -> WebhookClientConfig {
        let all: Api<MutatingWebhookConfiguration> = Api::all(self.space().plane.admin());
        let found = self.space().plane.block_on(all.get(&self.configuration)).unwrap();
        found.webhooks.unwrap().remove(0).client_config
    }

    /// The CA bundle in the configuration; empty: none.
    pub fn bundle(&self) -> Vec<u8> {
        let bundle = self.client_config().ca_bundle;
        bundle.map(|bundle| bundle.0).unwrap_or_default()
    }

    /// Where the configuration sends pods.
    pub fn url(&self) -> String {
        self.client_config().url.unwrap_or_default()
    }

    /// How often the operator wrote the configuration since `mark`.
    pub fn configuration_writes(&self, mark: Mark) -> usize {
        let user = User::service_account(self.namespace(), "operator-1").name();
        let writes = self.space().plane.audit().writes(&user, mark);
        let of_it = writes
            .iter()
            .filter(|entry| entry.object_ref.resource == "mutatingwebhookconfigurations");
        of_it.count()
    }

    /// A pod at 10.77.0.`number` that asked and got a proxy, which runs and is
    /// ready; and its machine, which others cannot tell from the pod.
    pub fn beside(&self, number: u8) -> (Host, Member) {
        let space = self.space();
        let name = format!("app-{number}");
        let labels = [("switchyard.dev/inject", "true")];
        let at = format!("10.77.0.{number}");
        let pod = space
            .plane
            .pod((&space.namespace, &name), "default", &labels, &at);
        let host = self.site.lab.host(&name, number);
        let mut plan = self.site.plan(&pod, "side");
        plan.arguments.push("--workers=1".to_owned());
        let member = Member::start(&host, plan);
        member.await_ready(SOON);
        (host, member)
    }

    /// Awaits that a pod that asks gets a proxy with variables.
    #[track_caller]
    pub fn await_injection(&self, within: Duration) {
        let ask = pod("probe", &json!({"switchyard.dev/inject": "true"}));
        eventually("pods are injected", within, || {
            let told = self.try_create(&ask, &["--dry-run=server"])?;
            if injected(&told.pod) && told.pod["spec"]["containers"][0]["env"].is_array() {
                Ok(())
            } else {
                Err(told.warnings)
            }
        });
    }

    /// Creates a pod, as administrator.
    #[track_caller]
    pub fn create(&self, pod: &Value) -> Value {
        self.try_create(pod, &[]).unwrap().pod
    }

    /// What would be stored of a pod; or why the API server refuses.
    pub fn dry_run(&self, pod: &Value) -> Result<Value, String> {
        let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
        let asked = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let all = self.space().all::<Pod>();
        let made = self.space().plane.block_on(all.create(&asked, &pod));
        let made = made.map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(made).unwrap())
    }

    /// A pod as it was stored; or why the API server refuses.
    pub fn try_create(&self, pod: &Value, flags: &[&str]) -> Result<Told, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pod.to_string()).unwrap();
        let mut kubectl = self.space().plane.kubectl_as(&User::Admin);
        kubectl
            .args(["-n", self.namespace(), "create", "-o", "json"])
            .args(flags)
            .arg("-f")
            .arg(file.path());
        let done = kubectl.output().map_err(|error| error.to_string())?;
        let warnings = String::from_utf8_lossy(&done.stderr).into_owned();
        if !done.status.success() {
            return Err(warnings);
        }
        let pod = serde_json::from_slice(&done.stdout).map_err(|error| error.to_string())?;
        Ok(Told { pod, warnings })
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // It would be asked for by others that share the control plane.
        let mut kubectl = self.site.space.plane.kubectl_as(&User::Admin);
        kubectl.args([
            "delete",
            "mutatingwebhookconfiguration",
            &self.configuration,
            "--ignore-not-found",
        ]);
        if let Err(error) = tool::try_output(&mut kubectl) {
            self.site
                .lab
                .say(format!("{} is left behind: {error}", self.configuration));
        }
    }
}

/// Writes the configuration as a chart does: without a CA bundle.
fn configure(space: &Space, name: &str, address: &str) {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": name},
        "webhooks": [{
            "name": WEBHOOK, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "timeoutSeconds": 5, "reinvocationPolicy": "IfNeeded",
            "clientConfig": {"url": format!("https://{address}/inject")},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                "scope": "Namespaced"}],
            "objectSelector": {"matchLabels": {"switchyard.dev/inject": "true"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}},
        }],
    });
    space
        .plane
        .kubectl_feed(&["apply", "-f", "-"], &object.to_string());
}

/// A pod that Pod Security "restricted" admits.
pub fn pod(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app", "image": "none.example/app",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// Whether it has a proxy.
pub fn injected(pod: &Value) -> bool {
    pod["spec"]["initContainers"][0]["name"] == "switchyard-proxy"
}
