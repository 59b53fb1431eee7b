//! Makes objects be as they should be. In: an object as it should be, and as it was last seen. Out: it as the API server has it
//! now; a write only where something differs.
//!
//! Server-side apply with one field manager: what others set on our objects stays, unless it is a field of ours. Nothing is
//! taken over that is not ours ([`claim`]). Each request has a timeout, and no write is sent by who does not lead.

mod child;
mod claim;
mod compare;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions, ValidationDirective,
};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub use child::{Child, ChildKind};
pub use claim::{Claim, claim};
pub use compare::difference;
pub use writes::{Outcome, Verb, Writes};

use crate::FIELD_MANAGER;
use crate::lease::Leadership;

/// Label of everything that the operator makes; its value is the field manager's name.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// No request is waited for longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another replica writes.
    #[error("this replica no longer leads: {0} was not written")]
    NotLeading(String),
    /// Somebody else's object has the name.
    #[error("{0} is there already and is not this pool's: delete or rename it, or choose another name")]
    Taken(String),
    /// The object that has the name is going away.
    #[error("{0} is still being deleted; it is made again afterwards")]
    Leaving(String),
    /// The API server refused, or could not be asked.
    #[error("{object}: {source}")]
    Request {
        /// Kind, namespace and name.
        object: String,
        /// What happened.
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{0}: the API server did not answer within 10s")]
    Timeout(String),
}

impl ApplyError {
    /// Whether the object was refused for what it says: then only a change of the pool helps.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Taken(_) => true,
            Self::Request { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.is_invalid() || status.is_forbidden())
            }
            Self::NotLeading(_) | Self::Leaving(_) | Self::Timeout(_) => false,
        }
    }

    /// In one word, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotLeading(_) => "not_leading",
            Self::Taken(_) => "taken",
            Self::Leaving(_) => "leaving",
            Self::Request { .. } => "request",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// Taken while a Secret is made: pools that are looked at together must not each make new keys for the one that they share. Clones
/// are the same turn.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Mutex<()>>);

/// The way to the objects of one namespace.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    namespace: String,
    leadership: Leadership,
    writes: Writes,
    turn: Turn,
}

impl Applier {
    /// For one namespace.
    pub fn new(client: Client, namespace: &str, leadership: Leadership, writes: Writes, turn: Turn) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            leadership,
            writes,
            turn,
        }
    }

    /// Every object of the kind with these labels, as the API server has them now.
    ///
    /// # Errors
    /// The API server refused, or did not answer.
    pub async fn list(&self, kind: ChildKind, labels: &str) -> Result<Vec<Value>, ApplyError> {
        let what = || format!("{kind}s of {}", self.namespace);
        let params = ListParams::default().labels(labels);
        let list = request(self.api(kind).list(&params), what).await?;
        Ok(list.items.iter().map(|object| complete(kind, object)).collect())
    }

    /// One object.
    ///
    /// # Errors
    /// As [`Applier::list`].
    pub async fn get(&self, kind: ChildKind, name: &str) -> Result<Option<Value>, ApplyError> {
        let object = request(self.api(kind).get_opt(name), || self.words(kind, name)).await?;
        Ok(object.map(|object| complete(kind, &object)))
    }

    /// Makes the object be as it should be; `seen` is how it was last seen. Returns it as it is now.
    ///
    /// # Errors
    /// It is somebody else's or going away, this replica does not lead, or the API server refused or did not answer.
    pub async fn apply(&self, child: &Child, seen: Option<&Value>) -> Result<Value, ApplyError> {
        let (kind, name) = (child.kind, child.name());
        let making = kind == ChildKind::Secret && seen.is_none();
        // Held until it is made; each request in between has its timeout.
        let _turn = if making {
            Some(self.turn.0.lock().await)
        } else {
            None
        };
        // What nobody has listed may be there without our labels.
        let found;
        let live = if seen.is_some() {
            seen
        } else {
            found = self.get(kind, name).await?;
            found.as_ref()
        };
        let mut desired = child.object.clone();
        if let Some(live) = live {
            match claim(&desired, live) {
                Claim::Ours => {}
                Claim::Leaving => return Err(ApplyError::Leaving(self.words(kind, name))),
                Claim::Taken => return Err(ApplyError::Taken(self.words(kind, name))),
            }
            if making {
                // The keys were planned without knowing those that are there, and the proxies may have them by now.
                keep_keys(&mut desired, live);
            }
            let Some(field) = difference(&desired, live, FIELD_MANAGER) else {
                return Ok(live.clone());
            };
            tracing::info!(object = self.words(kind, name), field, "applying");
            if kind == ChildKind::Secret {
                // Keys go on from the keys that are there: two writers must not each take a step.
                desired["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            }
        } else {
            tracing::info!(object = self.words(kind, name), "making");
        }
        let params = PatchParams {
            force: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply(FIELD_MANAGER)
        };
        let patch = Patch::Apply(&desired);
        let api = self.api(kind);
        let object = self
            .write(kind, Verb::Apply, name, api.patch(name, &params, &patch))
            .await?;
        Ok(complete(kind, &object))
    }

    /// Deletes exactly this object, and not one that was made again under its name.
    ///
    /// # Errors
    /// This replica does not lead, or the API server refused or did not answer.
    pub async fn delete(&self, kind: ChildKind, live: &Value) -> Result<(), ApplyError> {
        let name = live["metadata"]["name"].as_str().unwrap_or_default();
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: live["metadata"]["uid"].as_str().map(str::to_owned),
            resource_version: None,
        });
        tracing::info!(object = self.words(kind, name), "deleting");
        match self
            .write(kind, Verb::Delete, name, self.api(kind).delete(name, &params))
            .await
        {
            Err(ApplyError::Request { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.is_not_found() || status.is_conflict()) => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn write<T>(
        &self,
        kind: ChildKind,
        verb: Verb,
        name: &str,
        asked: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApplyError> {
        if !self.leadership.holds() {
            return Err(ApplyError::NotLeading(self.words(kind, name)));
        }
        let answer = request(asked, || self.words(kind, name)).await;
        let result = match &answer {
            Ok(_) => Outcome::Done,
            Err(ApplyError::Request { source, .. }) if matches!(**source, kube::Error::Api(_)) => {
                Outcome::Refused
            }
            Err(_) => Outcome::Unknown,
        };
        self.writes.count(kind, verb, result);
        answer
    }

    fn api(&self, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    fn words(&self, kind: ChildKind, name: &str) -> String {
        format!("{kind} {}/{name}", self.namespace)
    }
}

/// Only who owns a Secret, and how it is labelled, is ours to say where it was made by somebody else meanwhile.
fn keep_keys(desired: &mut Value, live: &Value) {
    desired["data"] = live["data"].clone();
    let there = &live["metadata"]["annotations"];
    if let Some(annotations) = desired["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|name, _| there.get(name).is_some());
        for (name, value) in annotations {
            *value = there[name.as_str()].clone();
        }
    }
}

async fn request<T>(
    asked: impl Future<Output = kube::Result<T>>,
    what: impl Fn() -> String,
) -> Result<T, ApplyError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ApplyError::Request {
            object: what(),
            source: Box::new(error),
        }),
        Err(_) => Err(ApplyError::Timeout(what())),
    }
}

/// The whole object as JSON. Items of lists come without their kind.
fn complete(kind: ChildKind, object: &DynamicObject) -> Value {
    let resource = kind.resource();
    let mut whole = object.data.clone();
    if !whole.is_object() {
        whole = json!({});
    }
    whole["apiVersion"] = Value::String(resource.api_version);
    whole["kind"] = Value::String(resource.kind);
    whole["metadata"] = json!(object.metadata);
    whole
}
