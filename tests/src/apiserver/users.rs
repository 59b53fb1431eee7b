//! Who asks the API server. In: a user. Out: its kubeconfig, and clients.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{ControlPlane, ISSUER};

/// A user of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// A person of this name, in no group: may do what a test's roles say.
    Named(String),
    /// The kubelet of a node.
    Node(String),
    /// A service account; it must exist.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl User {
    /// A service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// As RBAC and the audit log call it.
    pub fn name(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Named(name) => name.clone(),
            Self::Node(name) => format!("system:node:{name}"),
            Self::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
        }
    }
}

impl ControlPlane {
    /// A token of a service account for `audience`, which dies with the pod of
    /// this name and uid if one is given. The API server issues none for less
    /// than ten minutes.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn token(
        &self,
        (namespace, account): (&str, &str),
        audience: &str,
        pod: Option<(&str, &str)>,
        seconds: i64,
    ) -> String {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]),
                expiration_seconds: Some(seconds),
                bound_object_ref: pod.map(|(name, uid)| BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(name.to_owned()),
                    uid: Some(uid.to_owned()),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let asked = PostParams::default();
        let answer = self.block_on(accounts.create_token_request(account, &asked, &request));
        let answer = answer.unwrap_or_else(|e| panic!("a token of {namespace}/{account}: {e}"));
        let token = answer.status.and_then(|status| status.token);
        token.expect("an answer with a token")
    }
}

pub(super) fn kubeconfig(plane: &ControlPlane, user: &User) -> PathBuf {
    kubeconfig_for(plane, user, plane.address())
}

/// A kubeconfig that leads to this address of the API server.
pub(super) fn kubeconfig_for(plane: &ControlPlane, user: &User, server: SocketAddr) -> PathBuf {
    let place = if server == plane.address() { "" } else { "-in-lab" };
    let file = plane.file(&format!("{}{place}.kubeconfig", user.name().replace(':', "-")));
    if file.is_file() {
        return file;
    }
    let credentials = match user {
        User::Admin => by_certificate(plane, user, &["system:masters".to_owned()]),
        User::Named(_) => by_certificate(plane, user, &[]),
        User::Node(_) => by_certificate(plane, user, &["system:nodes".to_owned()]),
        User::ServiceAccount { namespace, name } => {
            json!({"token": plane.token((namespace, name), ISSUER, None, 3600)})
        }
    };
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority": plane.pki.authority,
        }}],
        "users": [{"name": "it", "user": credentials}],
    });
    // Two tests may want it at once: each writes its own, and one stays.
    let next = tempfile::NamedTempFile::new_in(plane.directory.path()).expect("a file");
    fs::write(next.path(), config.to_string()).expect("a kubeconfig");
    next.persist(&file).expect("a kubeconfig");
    file
}

pub(super) fn client(runtime: &Runtime, kubeconfig: &Path) -> Client {
    let text = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig of ours");
    let options = KubeConfigOptions::default();
    let config = runtime.block_on(Config::from_custom_kubeconfig(text, &options));
    let mut config = config.expect("a kubeconfig of ours");
    config.default_retry = false;
    let _inside = runtime.enter();
    Client::try_from(config).expect("a client")
}

fn by_certificate(plane: &ControlPlane, user: &User, groups: &[String]) -> serde_json::Value {
    let (certificate, key) = plane.pki.client(&user.name(), groups);
    json!({
        "client-certificate-data": BASE64.encode(certificate),
        "client-key-data": BASE64.encode(key),
    })
}
