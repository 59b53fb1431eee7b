//! Tells the API server whom to trust. In: the CA bundle as it changes, the `MutatingWebhookConfiguration` that the chart made.
//! Out: that object with the bundle in each of its webhooks; no write where it is there already.
//!
//! The object is somebody else's: nothing but `caBundle` is touched, and it is neither made nor deleted.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::FIELD_MANAGER;
use crate::lease::Leadership;

/// How often the object is looked at: somebody may have applied it anew.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How soon it is looked at again after it could not be read or written; twice as long after each failure, up to [`LOOK_EVERY`].
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it takes to keep the bundle there.
#[derive(Clone)]
pub struct Trust {
    /// The way to the API server.
    pub client: Client,
    /// Only who leads writes.
    pub leadership: Leadership,
    /// Name of the object.
    pub configuration: String,
    /// PEM; none: not known yet.
    pub bundle: watch::Receiver<Option<Arc<str>>>,
    /// Where writes are counted.
    pub metrics: Metrics,
}

/// What was found at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Everything is as it should be.
    Right,
    /// It was written.
    Written,
    /// There is no such object, or it cannot be reached or written; in words.
    Wrong(String),
}

/// Keeps the bundle there until `term` ends. Only the leader runs this.
pub async fn keep(mut trust: Trust, term: CancellationToken) {
    let mut before = Found::Right;
    let mut again = AGAIN_AFTER;
    let looking = async {
        loop {
            let bundle = trust.bundle.borrow_and_update().clone();
            let mut wait = LOOK_EVERY;
            if let Some(bundle) = bundle {
                let found = look(&trust, &bundle).await;
                tell(&trust, &found, &before);
                (wait, again) = wait_after(&found, again);
                before = found;
            }
            let changed = tokio::time::timeout(wait, trust.bundle.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return; // whoever tells it is gone with the process
            }
        }
    };
    term.run_until_cancelled(looking).await;
}

/// How long until the next look, and how long it would be after the next failure. Pure.
fn wait_after(found: &Found, again: Duration) -> (Duration, Duration) {
    match found {
        Found::Right | Found::Written => (LOOK_EVERY, AGAIN_AFTER),
        Found::Wrong(_) => (again, (again * 2).min(LOOK_EVERY)),
    }
}

/// What is the same as before is not told again.
fn tell(trust: &Trust, found: &Found, before: &Found) {
    let name = &trust.configuration;
    match found {
        Found::Written => {
            trust.metrics.bundle_written();
            tracing::info!(
                configuration = name,
                "the API server is told whom to trust at the webhook"
            );
        }
        Found::Wrong(why) if found != before => {
            tracing::warn!(
                configuration = name,
                why,
                "the webhook's CA bundle cannot be kept right"
            );
        }
        Found::Wrong(_) | Found::Right => {}
    }
}

async fn look(trust: &Trust, bundle: &str) -> Found {
    let api: Api<MutatingWebhookConfiguration> = Api::all(trust.client.clone());
    let name = &trust.configuration;
    let found = match tokio::time::timeout(TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => {
            let why = format!(
                "MutatingWebhookConfiguration {name} does not exist: no pod gets a proxy; create it, or run without \
                 --webhook-configuration"
            );
            return Found::Wrong(why);
        }
        Ok(Err(error)) => {
            return Found::Wrong(format!(
                "MutatingWebhookConfiguration {name} cannot be read: {error}"
            ));
        }
        Err(_) => return Found::Wrong("the API server does not answer".to_owned()),
    };
    let Some(patch) = plan(&found, bundle) else {
        return Found::Right;
    };
    let patch = match serde_json::from_value(patch) {
        Ok(patch) => Patch::<()>::Json(patch),
        Err(error) => return Found::Wrong(error.to_string()),
    };
    // Asked right before the write: reading took its time.
    if !trust.leadership.holds() {
        return Found::Right;
    }
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match tokio::time::timeout(TIMEOUT, api.patch(name, &params, &patch)).await {
        Ok(Ok(_)) => Found::Written,
        Ok(Err(error)) => Found::Wrong(format!(
            "MutatingWebhookConfiguration {name} cannot be written: {error}"
        )),
        Err(_) => Found::Wrong("the API server does not answer".to_owned()),
    }
}

/// What to write. Pure. None: every webhook has the bundle. The patch holds only for the version that was read: another may have
/// its webhooks in another order.
fn plan(found: &MutatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let version = found.metadata.resource_version.as_deref().unwrap_or_default();
    let mut patch = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    for (i, webhook) in found.webhooks.iter().flatten().enumerate() {
        let there = webhook.client_config.ca_bundle.as_ref();
        if there.is_none_or(|there| there.0 != bundle.as_bytes()) {
            let path = format!("/webhooks/{i}/clientConfig/caBundle");
            patch.push(json!({"op": "add", "path": path, "value": STANDARD.encode(bundle)}));
        }
    }
    (patch.len() > 1).then_some(Value::Array(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let webhook = |(i, bundle): (usize, Option<&str>)| {
            let mut config = json!({"url": "https://127.0.0.1:9443/inject"});
            if let Some(bundle) = bundle {
                config["caBundle"] = json!(STANDARD.encode(bundle));
            }
            json!({"name": format!("w{i}.switchyard.dev"), "clientConfig": config, "sideEffects": "None", "admissionReviewVersions": ["v1"]})
        };
        let webhooks: Vec<_> = bundles.iter().copied().enumerate().map(webhook).collect();
        let object =
            json!({"metadata": {"name": "switchyard", "resourceVersion": "7"}, "webhooks": webhooks});
        serde_json::from_value(object).unwrap()
    }

    fn paths(bundles: &[Option<&str>]) -> Vec<String> {
        let patch = plan(&configuration(bundles), "new");
        let operations = patch.as_ref().and_then(Value::as_array).into_iter().flatten();
        let path = |operation: &Value| format!("{} {}", operation["op"], operation["path"]).replace('"', "");
        operations.map(path).collect()
    }

    #[test]
    fn only_what_differs_is_written_and_only_to_what_was_read() {
        let test = "test /metadata/resourceVersion";
        let add = |i: usize| format!("add /webhooks/{i}/clientConfig/caBundle");
        assert_eq!(paths(&[]), [] as [String; 0]);
        assert_eq!(paths(&[Some("new")]), [] as [String; 0]);
        assert_eq!(paths(&[None]), [test.to_owned(), add(0)]);
        assert_eq!(
            paths(&[Some("new"), Some("old"), None]),
            [test.to_owned(), add(1), add(2)]
        );
    }

    #[test]
    fn what_failed_is_tried_again_soon_and_then_less_often() {
        let mut again = AGAIN_AFTER;
        let mut waits = Vec::new();
        let wrong = Found::Wrong("no".to_owned());
        let (right, written) = (Found::Right, Found::Written);
        for found in [
            &wrong, &wrong, &wrong, &wrong, &wrong, &wrong, &right, &wrong, &written, &wrong,
        ] {
            let (wait, next) = wait_after(found, again);
            again = next;
            waits.push(wait.as_millis());
        }
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 10_000, 10_000, 500, 10_000, 500]
        );
    }

    #[test]
    fn the_patch_makes_what_needs_none() {
        let before = configuration(&[Some("old"), None]);
        let patch: json_patch::Patch = serde_json::from_value(plan(&before, "new").unwrap()).unwrap();
        let mut after = serde_json::to_value(&before).unwrap();
        json_patch::patch(&mut after, &patch).unwrap();
        let after = serde_json::from_value(after).unwrap();
        assert_eq!(plan(&after, "new"), None);
    }
}
