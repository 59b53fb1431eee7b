//! One control plane that most tests share, started when the first asks for
//! it, and a namespace in it for each. In: a test's name. Out: a [`Space`].

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::core::NamespaceResourceScope as Namespaced;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use switchyard_tests::apiserver::{ControlPlane, User};
use switchyard_tests::eventually::eventually;

/// For states that are awaited, not promised.
pub const SOON: Duration = Duration::from_secs(20);

/// The control plane that tests share. Clones are the same one.
#[derive(Clone, Default)]
pub struct Shared {
    plane: Arc<OnceLock<Arc<ControlPlane>>>,
}

impl Shared {
    /// Not started yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The control plane, with our definitions.
    pub fn plane(&self) -> &Arc<ControlPlane> {
        self.plane.get_or_init(|| {
            let plane = ControlPlane::start();
            plane.install_definitions();
            Arc::new(plane)
        })
    }

    /// A namespace of the test's own.
    pub fn space(&self) -> Space {
        Space::new(self.plane())
    }
}

/// A namespace of one test, which admits what Pod Security calls "restricted".
pub struct Space {
    pub plane: Arc<ControlPlane>,
    pub namespace: String,
}

impl Space {
    /// A new one.
    pub fn new(plane: &Arc<ControlPlane>) -> Self {
        Self::admitting(plane, "restricted")
    }

    /// One that admits another level of Pod Security.
    pub fn admitting(plane: &Arc<ControlPlane>, level: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let namespace = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let object = json!({"metadata": {
            "name": namespace, "labels": {"pod-security.kubernetes.io/enforce": level},
        }});
        let object: Namespace = serde_json::from_value(object).unwrap();
        let asked = PostParams::default();
        let all: Api<Namespace> = Api::all(plane.admin());
        plane.block_on(all.create(&asked, &object)).unwrap();
        let space = Self {
            plane: Arc::clone(plane),
            namespace,
        };
        // kube-controller-manager makes it where it runs; pods are refused without it.
        let account = json!({"metadata": {"name": "default"}});
        let account: ServiceAccount = serde_json::from_value(account).unwrap();
        let made = plane.block_on(space.all::<ServiceAccount>().create(&asked, &account));
        assert!(
            made.as_ref().map_or_else(kube_exists, |_| true),
            "{:?}",
            made.err()
        );
        space
    }

    /// All objects of a kind in it, as administrator.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = Namespaced, DynamicType = ()>,
    {
        Api::namespaced(self.plane.admin(), &self.namespace)
    }

    /// `kubectl -n NAMESPACE ARGUMENTS` as administrator.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", &self.namespace];
        all.extend(arguments);
        self.plane.kubectl(&all)
    }

    /// `kubectl apply --server-side` of manifests that name no namespace.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        let arguments = ["-n", &self.namespace, "apply", "--server-side", "-f", "-"];
        self.plane.kubectl_feed(&arguments, manifests)
    }

    /// Awaits that a user may do this: the API server goes by the roles and bindings that it has heard of, a moment after they are
    /// there.
    #[track_caller]
    pub fn await_right(&self, user: &User, right: &ResourceAttributes) {
        let object = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name()),
                resource_attributes: Some(right.clone()),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let all: Api<SubjectAccessReview> = Api::all(self.plane.admin());
        eventually(&format!("{} may {right:?}", user.name()), SOON, || {
            let told = self.plane.block_on(all.create(&PostParams::default(), &object));
            let status = told.map_err(|e| e.to_string())?.status;
            match status {
                Some(status) if status.allowed => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// Awaits that `check` accepts an object.
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
            let found = self.plane.block_on(all.get(name)).map_err(|e| e.to_string())?;
            check(&found)
        })
    }
}

fn kube_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// A manifest of ours without a namespace.
pub fn manifest(kind: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}
