//! What each page says.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use switchyard_snapshot::Snapshot;

use super::Audience;
use crate::compile::{Compiled, Refusal};
use crate::lease::Leadership;
use crate::metrics::{self, Page};
use crate::supply::View;

/// What must be there before the operator is of use.
#[derive(Clone)]
pub struct Wait {
    /// In words.
    pub what: &'static str,
    /// Whether it is there.
    pub there: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Everything that must be there.
#[derive(Clone, Default)]
pub struct Readiness(pub Arc<Vec<Wait>>);

impl Readiness {
    /// What is still missing.
    pub fn missing(&self) -> Vec<&'static str> {
        let waits = self.0.iter().filter(|wait| !(wait.there)());
        waits.map(|wait| wait.what).collect()
    }
}

/// What pages are made of.
#[derive(Clone)]
pub struct Known {
    /// Whether the operator is of use: followers too, since they take over.
    pub readiness: Readiness,
    /// Whether it leads.
    pub leadership: Leadership,
    /// What it counts.
    pub metrics: Page,
    /// What it compiles.
    pub view: View,
}

/// Paths, and whom they are for.
const PATHS: [(&str, Audience); 4] = [
    ("/livez", Audience::Everyone),
    ("/readyz", Audience::Everyone),
    ("/metrics", Audience::Everyone),
    ("/snapshot", Audience::Local),
];

/// Answers one request.
pub(super) async fn answer<B>(
    request: &Request<B>,
    audience: Audience,
    known: &Known,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let shown = |whom: Audience| whom == Audience::Everyone || audience == Audience::Local;
    if !PATHS.iter().any(|(known, whom)| *known == path && shown(*whom)) {
        let paths: Vec<&str> = PATHS
            .iter()
            .filter(|(_, whom)| shown(*whom))
            .map(|(path, _)| *path)
            .collect();
        let error = json!({"error": format!("no {path} here"), "paths": paths});
        return respond(StatusCode::NOT_FOUND, &error);
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let error = json!({"error": format!("{path} takes GET, not {}", request.method())});
        return respond(StatusCode::METHOD_NOT_ALLOWED, &error);
    }
    match path {
        "/metrics" => match known.metrics.text() {
            Ok(text) => respond_as(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => respond(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({"error": error.to_string()}),
            ),
        },
        "/readyz" => {
            let missing = known.readiness.missing();
            let status = if missing.is_empty() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            respond(
                status,
                &json!({"ready": missing.is_empty(), "waitingFor": missing, "leads": known.leadership.holds()}),
            )
        }
        "/snapshot" => snapshot(known).await,
        _ => respond(StatusCode::OK, &json!({"alive": true})),
    }
}

/// Compiled anew, away from the threads that serve.
async fn snapshot(known: &Known) -> Response<Full<Bytes>> {
    let view = known.view.clone();
    match tokio::task::spawn_blocking(move || view.compiled()).await {
        Ok(Compiled {
            snapshots,
            refused,
            notes: _,
        }) => {
            let pools: Vec<_> = snapshots.into_values().map(Snapshot::without_secrets).collect();
            let refused: Vec<Value> = refused.iter().map(refusal).collect();
            respond(StatusCode::OK, &json!({"pools": pools, "refused": refused}))
        }
        Err(error) => respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({"error": error.to_string()}),
        ),
    }
}

fn refusal(refusal: &Refusal) -> Value {
    json!({
        "object": refusal.object.to_string(),
        "field": refusal.field.to_string(),
        "reason": refusal.reason.as_str(),
        "message": refusal.message,
    })
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut text = serde_json::to_string_pretty(body).unwrap_or_else(|error| error.to_string());
    text.push('\n');
    respond_as(status, "application/json", text)
}

fn respond_as(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
