//! One proxy that has subscribed. In: its answers and reports, publications of its pool. Out: responses, and word of
//! everything it does, in order.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use prost::Message;
use switchyard_snapshot::{Report, Resource as SnapshotResource};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::activity::{Activity, ProxyId, What};
use super::publication::{Piece, Publication};
use super::service::{ServerConfig, stopping};
use super::sessions::Seat;
use super::subscriber::{Answer, Delta, Refused, Subscriber};
use crate::proto::discovery::{
    Any, BadRequest, ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
    Status as ErrorDetail,
};
use crate::proto::{BAD_REQUEST_TYPE, CHAIN_TYPE, LISTENER_TYPE, PEERS_TYPE, POOL_TYPE, SNAPSHOT_TYPE};
use crate::release::Release;

/// How long a last word may take to be heard.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What a proxy is sent.
#[derive(Debug)]
pub(crate) struct Responses(pub(crate) mpsc::Receiver<Result<DeltaDiscoveryResponse, Status>>);

impl futures::Stream for Responses {
    type Item = Result<DeltaDiscoveryResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

pub(crate) struct Session {
    pub(crate) proxy: ProxyId,
    pub(crate) requests: Streaming<DeltaDiscoveryRequest>,
    pub(crate) responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) publications: watch::Receiver<Option<Arc<Publication>>>,
    pub(crate) subscriber: Subscriber,
    pub(crate) activities: mpsc::Sender<Activity>,
    pub(crate) config: ServerConfig,
    pub(crate) ended: CancellationToken,
    pub(crate) seat: Seat,
}

/// What a session wakes up for.
enum Input {
    Answer(Box<DeltaDiscoveryRequest>),
    Report(Report),
    Published,
    Gone,
    Overdue,
    Replaced,
    Ended,
}

impl Session {
    /// Serves until one end is gone. `begun` is told once the connection is known to whoever receives activities, so that
    /// no report comes before.
    pub(crate) async fn run(mut self, version: String, begun: oneshot::Sender<()>) {
        tracing::info!(proxy = %self.proxy, version, "proxy connected");
        if self.tell(What::Connected { version }).await {
            let _ = begun.send(());
            let end = self.serve().await;
            if let Err(status) = end {
                tracing::info!(proxy = %self.proxy, reason = status.message(), "proxy disconnected by us");
                // a proxy that reads nothing is not waited for
                let _ = timeout(LAST_WORD, self.responses.send(Err(status))).await;
            } else {
                tracing::info!(proxy = %self.proxy, "proxy disconnected");
            }
        }
        let gone = Activity {
            proxy: self.proxy.clone(),
            what: What::Disconnected,
        };
        if self.ended.is_cancelled() {
            let _ = timeout(LAST_WORD, self.activities.send(gone)).await;
        } else {
            let _ = self.activities.send(gone).await;
        }
    }

    async fn serve(&mut self) -> Result<(), Status> {
        let mut newest = self.publications.borrow_and_update().clone();
        loop {
            if let Some(publication) = &newest
                && let Some(delta) = self.subscriber.next(publication, Instant::now())
            {
                let response = response(delta, self.config.release);
                if self.responses.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            }
            match self.next().await {
                Input::Answer(request) => {
                    let Some(answer) = answer(*request) else {
                        continue;
                    };
                    for what in self.subscriber.answer(answer) {
                        self.tell(what).await;
                    }
                }
                Input::Report(report) => {
                    self.tell(What::Reported(report)).await;
                }
                Input::Published => newest.clone_from(&self.publications.borrow_and_update()),
                Input::Gone => return Ok(()),
                Input::Overdue => {
                    return Err(Status::deadline_exceeded(format!(
                        "no answer to a response for {} s: the proxy hangs, or is gone",
                        self.config.answer_within.as_secs()
                    )));
                }
                Input::Replaced => {
                    return Err(Status::aborted("the same proxy has connected again"));
                }
                Input::Ended => return Err(stopping()),
            }
        }
    }

    async fn next(&mut self) -> Input {
        let overdue = self.subscriber.overdue_at(self.config.answer_within);
        let at = overdue.unwrap_or_else(Instant::now);
        tokio::select! {
            () = self.ended.cancelled() => Input::Ended,
            () = self.seat.leave.cancelled() => Input::Replaced,
            message = self.requests.message() => match message {
                Ok(Some(request)) => Input::Answer(Box::new(request)),
                // half-closed, or reset, or not to be decoded: nothing more will come
                Ok(None) | Err(_) => Input::Gone,
            },
            Ok(()) = self.publications.changed() => Input::Published,
            Some(report) = self.reports.recv() => Input::Report(report),
            () = self.responses.closed() => Input::Gone,
            () = sleep_until(at.into()), if overdue.is_some() => Input::Overdue,
        }
    }

    /// False: nobody listens any more, or the server ends.
    async fn tell(&self, what: What) -> bool {
        let activity = Activity {
            proxy: self.proxy.clone(),
            what,
        };
        tokio::select! {
            sent = self.activities.send(activity) => sent.is_ok(),
            () = self.ended.cancelled() => false,
        }
    }
}

pub(crate) fn response(delta: Delta, release: Release) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: delta.version.to_string(),
        resources: delta.changed.iter().map(|piece| resource(piece)).collect(),
        type_url: SNAPSHOT_TYPE.to_owned(),
        nonce: delta.nonce.to_string(),
        removed_resources: delta.removed,
        control_plane: Some(ControlPlane {
            identifier: format!("switchyard-operator/{release}"),
        }),
    }
}

fn resource(piece: &Piece) -> Resource {
    let kind = match &piece.resource {
        SnapshotResource::Pool(_) => POOL_TYPE,
        SnapshotResource::Listener(_) => LISTENER_TYPE,
        SnapshotResource::Chain(_) => CHAIN_TYPE,
        SnapshotResource::Peers(_) => PEERS_TYPE,
    };
    Resource {
        version: piece.version.to_string(),
        resource: Some(Any {
            type_url: kind.to_owned(),
            value: piece.body.clone(),
        }),
        name: piece.name.clone(),
    }
}

/// None: the request answers nothing.
pub(crate) fn answer(request: DeltaDiscoveryRequest) -> Option<Answer> {
    let nonce = request.response_nonce.parse().ok()?;
    let refused = match request.error_detail {
        None => Refused::These([].into()),
        Some(detail) => refused(&detail),
    };
    Some(Answer { nonce, refused })
}

fn refused(detail: &ErrorDetail) -> Refused {
    let named = detail
        .details
        .iter()
        .filter(|detail| detail.type_url == BAD_REQUEST_TYPE)
        .find_map(|detail| BadRequest::decode(detail.value.clone()).ok());
    match named {
        Some(named) => Refused::These(
            named
                .field_violations
                .into_iter()
                .map(|violation| (violation.field, violation.description))
                .collect(),
        ),
        None => Refused::Response(detail.message.clone()),
    }
}
