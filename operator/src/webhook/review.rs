//! One question of the API server. Pure. In: the bytes of an `AdmissionReview` (`admission.k8s.io/v1`), the Sidecar pools of the
//! pod's namespace. Out: the answer, which always allows, and what became of the pod, for metrics and the log.
//!
//! Kubernetes, "Dynamic Admission Control": the answer carries the request's UID, and a JSON patch (RFC 6902) in base64.

mod patch;

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::choose::{self, Choice, Reason, choose};
use super::inject::{Settings, inject};
use crate::sidecar::Sidecar;

/// Of the reviews that we understand.
const VERSION: &str = "admission.k8s.io/v1";

/// Kubernetes cuts a longer warning short.
const WARNING: usize = 256;

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    uid: String,
    namespace: String,
    /// None: it is not about a pod that is made.
    pod: Option<Value>,
}

/// What became of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was given something.
    Injected,
    /// It has everything already, or asks for nothing.
    Unchanged,
    /// No pool selects it.
    Unmatched,
    /// Something of the pod stands in the way.
    Hindered,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The review to send back.
    pub review: Value,
    /// What became of the pod.
    pub outcome: Outcome,
    /// What its maker is told.
    pub warnings: Vec<String>,
}

impl Review {
    /// Reads a question.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let mut review: Value =
            serde_json::from_slice(body).map_err(|error| format!("this is no JSON: {error}"))?;
        let (version, kind) = (review["apiVersion"].as_str(), review["kind"].as_str());
        if (version, kind) != (Some(VERSION), Some("AdmissionReview")) {
            return Err(format!(
                "expected kind AdmissionReview of {VERSION}: set admissionReviewVersions to [v1]"
            ));
        }
        let request = review["request"].take();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let uid = text(&request["uid"]);
        if uid.is_empty() {
            return Err("the review has no request.uid".to_owned());
        }
        let kind = (&request["kind"]["group"], &request["kind"]["kind"]);
        let made = kind == (&json!(""), &json!("Pod"))
            && request["operation"] == "CREATE"
            && request["subResource"].as_str().unwrap_or_default().is_empty();
        let namespace = text(&request["namespace"]);
        let mut request = request;
        let pod = request["object"].take();
        Ok(Self {
            uid,
            namespace,
            pod: made.then_some(pod).filter(Value::is_object),
        })
    }

    /// Namespace of the pod; its own metadata may not say it yet.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Answers; `pools` are the Sidecar pools of the namespace, the oldest first.
    pub fn answer(&self, pools: &[Sidecar], settings: &Settings, excluded: &BTreeSet<String>) -> Answer {
        let pod = self.pod.as_ref().filter(|_| !excluded.contains(&self.namespace));
        let Some(pod) = pod else {
            return self.allow(None, Outcome::Unchanged, Vec::new());
        };
        match choose(pod, &self.namespace, pools) {
            Choice::Unasked => self.allow(None, Outcome::Unchanged, Vec::new()),
            Choice::None(reason, why) => {
                let outcome = match reason {
                    Reason::Unmatched => Outcome::Unmatched,
                    Reason::Hindered => Outcome::Hindered,
                };
                self.allow(None, outcome, vec![why])
            }
            Choice::Pool(sidecar, mut warnings) => {
                let (made, more) = inject(pod, sidecar, settings);
                warnings.extend(more);
                let patch = patch::between(pod, &made);
                let outcome = if patch.is_empty() {
                    Outcome::Unchanged
                } else {
                    Outcome::Injected
                };
                self.allow(Some((choose::name(sidecar), patch)), outcome, warnings)
            }
        }
    }

    fn allow(&self, made: Option<(&str, Vec<Value>)>, outcome: Outcome, warnings: Vec<String>) -> Answer {
        let mut response = json!({"uid": self.uid, "allowed": true});
        if let Some((pool, patch)) = made {
            // In the audit log, under the name of the webhook.
            response["auditAnnotations"] = json!({"pool": format!("{}/{pool}", self.namespace)});
            if !patch.is_empty() {
                response["patchType"] = json!("JSONPatch");
                response["patch"] = json!(STANDARD.encode(Value::Array(patch).to_string()));
            }
        }
        if !warnings.is_empty() {
            let short = warnings.iter().map(|warning| shortened(warning));
            response["warnings"] = short.collect();
        }
        Answer {
            review: json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}),
            outcome,
            warnings,
        }
    }
}

fn shortened(warning: &str) -> String {
    let text = format!("switchyard: {warning}");
    if text.chars().count() <= WARNING {
        return text;
    }
    text.chars().take(WARNING - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
