//! What each admin path answers.

use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use switchyard_snapshot::{Chain, ChainId, Snapshot};

use super::{respond, respond_as};
use crate::access_log::RELAY;
use crate::app::Running;
use crate::chain::task::ANSWER_WITHIN;
use crate::drain::Phase;
use crate::metrics;
use crate::session::SessionInfo;

/// Sessions listed at most; all are counted.
const LISTED: usize = 1000;

/// One admin path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Live,
    Ready,
    Metrics,
    Snapshot,
    Endpoints,
    Sessions,
    Table,
    Drain,
    Return,
}

impl Page {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Live,
        Self::Ready,
        Self::Metrics,
        Self::Snapshot,
        Self::Endpoints,
        Self::Sessions,
        Self::Table,
        Self::Drain,
        Self::Return,
    ];

    /// What tells nothing about clients and backends, and changes nothing.
    pub(crate) const HEALTH: &'static [Self] = &[Self::Live, Self::Ready, Self::Metrics];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Snapshot => "/snapshot",
            Self::Endpoints => "/endpoints",
            Self::Sessions => "/sessions",
            Self::Table => "/table",
            Self::Drain => "/drain",
            Self::Return => "/return",
        }
    }

    pub(super) fn method(self) -> &'static Method {
        match self {
            Self::Drain | Self::Return => &Method::POST,
            _ => &Method::GET,
        }
    }

    /// `query` is what stands after the question mark of the address.
    pub(super) async fn answer(self, running: &Running, query: Option<&str>) -> Response<Full<Bytes>> {
        match self {
            Self::Live => live(running).await,
            Self::Ready => ready(running),
            Self::Metrics => match metrics::scrape(running).await {
                Ok(text) => respond_as(StatusCode::OK, metrics::CONTENT_TYPE, text),
                Err(error) => respond(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &json!({"error": format!("metrics cannot be written: {error}")}),
                ),
            },
            Self::Snapshot => respond(StatusCode::OK, &snapshot(running)),
            Self::Endpoints => endpoints(running).await,
            Self::Sessions => respond(StatusCode::OK, &sessions(running).await),
            Self::Table => respond(StatusCode::OK, &table(running).await),
            Self::Return => give_back(running, query).await,
            Self::Drain => {
                running.drain();
                let body = json!({"draining": draining(running.life().phase())});
                respond(StatusCode::ACCEPTED, &body)
            }
        }
    }
}

/// 503 when a worker, a chain's task or who feeds them stands still: a process that hangs is better restarted.
async fn live(running: &Running) -> Response<Full<Bytes>> {
    let (workers, chains) = tokio::join!(
        tokio::time::timeout(ANSWER_WITHIN, running.workers().sessions(0)),
        running.reports()
    );
    let mut hung: Vec<String> = chains
        .iter()
        .filter(|(_, report)| report.is_none())
        .map(|(control, _)| format!("the control task of chain {}", control.handle.id))
        .collect();
    if workers.is_err() {
        hung.push("a data worker".to_owned());
    }
    if running.is_fed_no_more() {
        hung.push("the task that hears the operator and signals".to_owned());
    }
    let status = if hung.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let uptime = running.uptime().as_secs();
    respond(
        status,
        &json!({"live": hung.is_empty(), "hung": hung, "uptimeSeconds": uptime}),
    )
}

fn ready(running: &Running) -> Response<Full<Bytes>> {
    let phase = running.life().phase();
    match phase {
        Phase::Serving => match running.cut_off() {
            None => respond(StatusCode::OK, &json!({"ready": true, "proxy": running.name()})),
            Some(why) => respond(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"ready": false, "proxy": running.name(), "cutOff": why}),
            ),
        },
        Phase::Starting => {
            let waiting = running.waiting_for();
            respond(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"ready": false, "proxy": running.name(), "waitingFor": waiting}),
            )
        }
        Phase::Draining { .. } | Phase::Drained => {
            let body = json!({
                "ready": false,
                "proxy": running.name(),
                "draining": draining(phase),
                "sessions": count(running),
            });
            respond(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn draining(phase: Phase) -> Value {
    match phase {
        Phase::Draining {
            since,
            until,
            deadline,
        } => json!({
            "since": since,
            "until": until,
            "secondsLeft": deadline.saturating_duration_since(Instant::now()).as_secs(),
        }),
        Phase::Drained => json!("done"),
        Phase::Starting | Phase::Serving => Value::Null,
    }
}

fn snapshot(running: &Running) -> Value {
    let standing = running.standing();
    let rejected: Vec<Value> = standing
        .applied
        .rejected
        .iter()
        .map(|invalid| json!({"entry": invalid.resource.to_string(), "why": invalid.why}))
        .collect();
    let listen_errors: Vec<String> = standing
        .applied
        .listen_errors
        .iter()
        .map(ToString::to_string)
        .collect();
    let shown = standing
        .snapshot
        .as_deref()
        .cloned()
        .map(Snapshot::without_secrets);
    json!({
        "proxy": running.name(),
        "generation": standing.generation,
        "since": standing.since.wall,
        "confirmed": standing.confirmed.wall,
        "rejected": rejected,
        "listenErrors": listen_errors,
        "source": running.source(),
        "snapshot": shown,
    })
}

/// Whatever cannot be told is named in `silent`, and the status says so.
async fn endpoints(running: &Running) -> Response<Full<Bytes>> {
    let mut chains = Vec::new();
    let mut silent = Vec::new();
    for (control, report) in running.reports().await {
        match report {
            Some(report) => chains.push(json!(report)),
            None => silent.push(control.handle.id.to_string()),
        }
    }
    if silent.is_empty() {
        return respond(StatusCode::OK, &json!({"chains": chains}));
    }
    respond(
        StatusCode::INTERNAL_SERVER_ERROR,
        &json!({"chains": chains, "silent": silent}),
    )
}

/// Who this proxy is, whom it hears, and where clients of each of its chains go.
async fn table(running: &Running) -> Value {
    let hood = running.hood().borrow().clone();
    let now = Instant::now();
    let peers = hood.neighbours.peers.iter().map(|(id, peer)| {
        json!({
            "pool": id.pool.to_string(),
            "proxy": id.name,
            "address": peer.ip,
            "state": peer.liveness,
            "leaving": peer.said.leaving,
            "sessions": peer.said.load.sessions,
            "guestRoom": peer.said.load.guest_room,
            "heardSecondsAgo": now.saturating_duration_since(peer.confirmed).as_secs_f32(),
        })
    });
    let totals = running.workers().counters();
    let mut chains = Vec::new();
    for control in running.controls() {
        let id = &control.handle.id;
        let Some(bearings) = control.bearings().await else {
            continue;
        };
        let guests = totals.chains.get(id).map_or(0, |chain| chain.guests);
        chains.push(json!({
            "chain": id.to_string(),
            "group": bearings.table.group,
            "standing": bearings.standing,
            "redirect": bearings.redirect.map(|redirect| json!({
                "to": redirect.to.to_string(), "since": redirect.since, "why": redirect.why,
            })),
            "guests": guests,
            "returnsAt": bearings.returns_at.filter(|_| guests > 0),
            "table": bearings.table.chains,
        }));
    }
    json!({
        "proxy": running.name(),
        "pool": hood.topology.as_ref().map(|topology| topology.me.pool.to_string()),
        "peers": peers.collect::<Vec<_>>(),
        "chains": chains,
    })
}

/// `POST /return?group=NAMESPACE/NAME`, or `?chain=NAMESPACE/NAME`: guests go back now.
async fn give_back(running: &Running, query: Option<&str>) -> Response<Full<Bytes>> {
    let wanted = query.and_then(|query| query.split_once('='));
    let standing = running.standing();
    let chains = standing.snapshot.iter().flat_map(|snapshot| &snapshot.chains);
    let matches = |chain: &&Chain| match wanted {
        Some(("chain", name)) => chain.id.to_string() == name,
        Some(("group", name)) => chain
            .group
            .as_ref()
            .is_some_and(|group| name == format!("{}/{}", chain.id.namespace, group.name)),
        _ => false,
    };
    let ids: Vec<&ChainId> = chains.filter(matches).map(|chain| &chain.id).collect();
    if ids.is_empty() {
        let error = "name a group that has a chain here, as ?group=NAMESPACE/NAME, or a chain, as ?chain=NAMESPACE/NAME";
        return respond(StatusCode::NOT_FOUND, &json!({"error": error}));
    }
    let mut told = Vec::new();
    let mut going = false;
    for control in running.controls() {
        if ids.contains(&&control.handle.id) {
            let result = control.return_guests().await;
            going |= result.is_ok();
            told.push(json!({"chain": control.handle.id.to_string(), "returning": result.is_ok(), "why": result.err()}));
        }
    }
    let status = if going {
        StatusCode::ACCEPTED
    } else {
        StatusCode::CONFLICT
    };
    respond(status, &json!({"chains": told}))
}

async fn sessions(running: &Running) -> Value {
    let now = Timestamp::now();
    let listed = running.workers().sessions(LISTED).await;
    let listed: Vec<Value> = listed.iter().map(|session| describe(session, now)).collect();
    json!({
        "count": count(running),
        "draining": draining(running.life().phase()),
        "sessions": listed,
    })
}

fn describe(session: &SessionInfo, now: Timestamp) -> Value {
    json!({
        "id": session.id,
        "chain": session.chain.to_string(),
        "listener": session.listener,
        "client": session.client,
        "backend": session.backend,
        "endpoint": session.endpoint,
        "since": before(now, session.age),
        "idleSeconds": session.idle.as_secs(),
        "bytesUp": session.bytes_up,
        "bytesDown": session.bytes_down,
        "via": session.relayed.then_some(RELAY),
        "guest": session.guest,
    })
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    now.saturating_sub(age).unwrap_or(now)
}

fn count(running: &Running) -> u64 {
    running
        .workers()
        .counters()
        .chains
        .values()
        .map(|chain| chain.active)
        .sum()
}
