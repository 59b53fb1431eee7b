//! The API server, for commands that speak to a cluster. In: the user's kubeconfig, as kubectl reads it. Out: a client and the
//! namespace to look at; every question has a deadline.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use kube::api::Api;
use kube::{Client, Config, Resource};

/// How long the API server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which namespace.
#[derive(Args, Clone, Debug)]
pub struct NamespaceArgs {
    /// The namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl NamespaceArgs {
    /// The same, with this namespace where none is given.
    #[must_use]
    pub fn or(&self, namespace: Option<&str>) -> Self {
        Self {
            namespace: self.namespace.clone().or(namespace.map(str::to_owned)),
        }
    }
}

/// A cluster, as one command sees it.
pub struct Cluster {
    client: Client,
    /// The namespace to look at.
    pub namespace: String,
}

impl Cluster {
    /// By KUBECONFIG, or the file in the home folder, or a pod's service account.
    ///
    /// # Errors
    /// In words: what is missing, and what to do.
    pub async fn connect(args: &NamespaceArgs) -> Result<Self, String> {
        let mut config = Config::infer().await.map_err(|error| {
            format!("no way to a cluster: {error}; set KUBECONFIG, or name one proxy with --admin HOST:PORT")
        })?;
        config.default_retry = false;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client =
            Client::try_from(config).map_err(|error| format!("no client for the cluster: {error}"))?;
        Ok(Self { client, namespace })
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// What the API server answers, or why it does not, in words.
pub async fn asked<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the API server did not answer within {TIMEOUT:?}")),
    }
}

/// Runs a command's future to its end.
///
/// # Errors
/// The system gives no runtime.
pub fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(work)
}
