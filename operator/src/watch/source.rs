//! Which kinds are watched, and what of each object is passed on. In: objects. Out: changes.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use serde::de::DeserializeOwned;
use switchyard_crds::{ProxyChain, ProxyPool};
use switchyard_snapshot::{ChainId, PoolId};

use super::Counters;
use crate::compile::{chain_id, pool_id};
use crate::endpoints::{Definition, ServiceId, Slice};
use crate::index::{Change, slim};
use crate::pods;
use crate::secrets::SecretId;

/// A kind that is watched for the index.
pub trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// The kind, in words: of its watches, in metrics.
    const NAME: &'static str;

    /// What it takes to say that an object is gone.
    type Mark: Clone + Debug + PartialEq + Send;

    /// What an object means; none: nothing.
    fn news(self, counters: &Counters) -> Option<(Self::Mark, Change)>;

    /// An object is gone.
    fn gone(mark: Self::Mark) -> Change;
}

impl Watched for DeserializeGuard<ProxyPool> {
    const NAME: &'static str = "ProxyPool";
    type Mark = PoolId;

    fn news(self, counters: &Counters) -> Option<(PoolId, Change)> {
        let id = pool_id(self.meta());
        let change = match self.0 {
            Ok(mut pool) => {
                slim(&mut pool.metadata);
                Change::Pool(Arc::new(pool))
            }
            Err(error) => {
                unreadable("ProxyPool", &id, &error.error, counters);
                Change::PoolUnreadable(id.clone())
            }
        };
        Some((id, change))
    }

    fn gone(id: PoolId) -> Change {
        Change::PoolGone(id)
    }
}

impl Watched for DeserializeGuard<ProxyChain> {
    const NAME: &'static str = "ProxyChain";
    type Mark = ChainId;

    fn news(self, counters: &Counters) -> Option<(ChainId, Change)> {
        let id = chain_id(self.meta());
        let change = match self.0 {
            Ok(mut chain) => {
                slim(&mut chain.metadata);
                Change::Chain(Arc::new(chain))
            }
            Err(error) => {
                unreadable("ProxyChain", &id, &error.error, counters);
                Change::ChainGone(id.clone())
            }
        };
        Some((id, change))
    }

    fn gone(id: ChainId) -> Change {
        Change::ChainGone(id)
    }
}

fn unreadable(kind: &str, id: &impl std::fmt::Display, why: &str, counters: &Counters) {
    counters.unreadable.inc();
    tracing::error!(
        kind,
        object = %id,
        why,
        "cannot be read and is not used: the installed definitions are of another release than this operator"
    );
}

impl Watched for Service {
    const NAME: &'static str = "Service";
    type Mark = ServiceId;

    fn news(self, _: &Counters) -> Option<(ServiceId, Change)> {
        let id = ServiceId {
            namespace: self.metadata.namespace.clone()?,
            name: self.metadata.name.clone()?,
        };
        let definition = Definition::of(&self);
        Some((id.clone(), Change::Service(id, Some(definition))))
    }

    fn gone(id: ServiceId) -> Change {
        Change::Service(id, None)
    }
}

impl Watched for EndpointSlice {
    const NAME: &'static str = "EndpointSlice";
    type Mark = (ServiceId, String);

    fn news(self, _: &Counters) -> Option<(Self::Mark, Change)> {
        let (service, slice) = Slice::of(&self)?;
        let name = self.metadata.name?;
        let change = Change::Slice {
            service: service.clone(),
            name: name.clone(),
            slice: Some(slice),
        };
        Some(((service, name), change))
    }

    fn gone((service, name): Self::Mark) -> Change {
        Change::Slice {
            service,
            name,
            slice: None,
        }
    }
}

/// Only metadata travels: what stands in a Secret is fetched where somebody names it.
impl Watched for PartialObjectMeta<Secret> {
    const NAME: &'static str = "Secret";
    type Mark = SecretId;

    fn news(self, _: &Counters) -> Option<(SecretId, Change)> {
        let id = SecretId {
            namespace: self.metadata.namespace?,
            name: self.metadata.name?,
        };
        Some((id.clone(), Change::Secret(id, self.metadata.resource_version)))
    }

    fn gone(id: SecretId) -> Change {
        Change::Secret(id, None)
    }
}

/// Little is kept of it: whose it is, where it runs, and that it shall end.
impl Watched for Pod {
    const NAME: &'static str = "Pod";
    type Mark = (String, String);

    fn news(self, _: &Counters) -> Option<(Self::Mark, Change)> {
        let (namespace, name, pod) = pods::Pod::of(&self)?;
        let change = Change::Pod {
            namespace: namespace.clone(),
            name: name.clone(),
            pod: Some(Box::new(pod)),
        };
        Some(((namespace, name), change))
    }

    fn gone((namespace, name): Self::Mark) -> Change {
        Change::Pod {
            namespace,
            name,
            pod: None,
        }
    }
}
