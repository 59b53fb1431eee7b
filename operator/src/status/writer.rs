//! Writes a status, and tells its events once it is there. In: an object with its new status, based on a version of it. Out: how
//! that ended, and the newest object.
//!
//! When: [`queue`]. The write carries the version that the status was folded from, so whoever wrote in between is not
//! overwritten: the status is folded again from what is there then.

pub mod queue;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::runtime::events::Recorder;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::board::Object;
use super::counters::{Counters, Result as Ended};
use super::events::Happening;
use crate::compile::ObjectKey;
use crate::index::slim;

/// No request is waited for longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How to write.
#[derive(Clone)]
pub struct Pen {
    /// Does not repeat by itself.
    pub client: Client,
    /// The only one: it remembers what it has published.
    pub recorder: Recorder,
    /// In whose name.
    pub manager: &'static str,
    /// Where it is counted.
    pub counters: Counters,
}

/// What shall be written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The object as it was, with the status it shall have.
    pub object: Object,
    /// What happens with it.
    pub events: Vec<Happening>,
}

/// How a write ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is there, and this is what has happened.
    Written(Object, Vec<Happening>),
    /// The object was written by somebody else; this is what it is now, as far as that could be read.
    Conflict(Option<Object>),
    /// It is deleted.
    Gone,
    /// It may be there or not.
    Failed,
}

impl Pen {
    /// Writes.
    pub async fn write(self, key: ObjectKey, draft: Draft) -> (ObjectKey, Outcome) {
        let outcome = match draft.object {
            Object::Pool(pool) => self.put(&key, pool, Object::Pool, draft.events).await,
            Object::Chain(chain) => self.put(&key, chain, Object::Chain, draft.events).await,
        };
        (key, outcome)
    }

    /// Tells what has happened to an object, in order.
    pub async fn tell(self, key: ObjectKey, object: Object, events: Vec<Happening>) {
        for event in events {
            self.publish(&key, &object, &event).await;
        }
    }

    async fn put<K>(
        &self,
        key: &ObjectKey,
        object: Arc<K>,
        wrap: fn(Arc<K>) -> Object,
        events: Vec<Happening>,
    ) -> Outcome
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PostParams {
            field_manager: Some(self.manager.to_owned()),
            ..PostParams::default()
        };
        let mut object = Arc::unwrap_or_clone(object);
        // who owns which field is the API server's to say
        object.managed_fields_mut().clear();
        let (ended, written) = in_time(api.replace_status(&key.name, &params, &object)).await;
        self.counters.wrote(key.kind.as_str(), ended);
        match (ended, written) {
            (_, Ok(written)) => Outcome::Written(kept(written, wrap), events),
            (Ended::Conflict, _) => {
                let (_, newest) = in_time(api.get(&key.name)).await;
                Outcome::Conflict(newest.ok().map(|newest| kept(newest, wrap)))
            }
            (Ended::Gone, _) => Outcome::Gone,
            (_, Err(why)) => {
                tracing::warn!(object = %key, %why, "the status is not written");
                Outcome::Failed
            }
        }
    }

    async fn publish(&self, key: &ObjectKey, object: &Object, happening: &Happening) {
        let mut reference = match object {
            Object::Pool(pool) => pool.object_ref(&()),
            Object::Chain(chain) => chain.object_ref(&()),
        };
        reference.field_path = happening.field_path();
        // of the moment, while an event is about the object
        reference.resource_version = None;
        let event = happening.event();
        let (ended, published) = in_time(self.recorder.publish(&event, &reference)).await;
        self.counters.published(key.kind.as_str(), ended);
        if let Err(why) = published {
            tracing::warn!(object = %key, event = happening.reason.as_str(), %why, "the event is not published");
        }
    }
}

/// As it is kept until the watch has seen it: like what the watch passes on.
fn kept<K: Resource>(mut object: K, wrap: fn(Arc<K>) -> Object) -> Object {
    slim(object.meta_mut());
    wrap(Arc::new(object))
}

async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> (Ended, Result<T, String>) {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(answer)) => (Ended::Succeeded, Ok(answer)),
        Ok(Err(error)) => {
            let ended = match &error {
                kube::Error::Api(status) if status.is_conflict() => Ended::Conflict,
                kube::Error::Api(status) if status.is_not_found() => Ended::Gone,
                _ => Ended::Refused,
            };
            (ended, Err(error.to_string()))
        }
        Err(_) => (Ended::Timeout, Err("no answer within 5s".to_owned())),
    }
}
