//! The two services. In: requests with a verified identity. Out: a session per proxy, or a refusal in words.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::{Request, Response, Status, Streaming};

use super::activity::{Activity, ProxyId};
use super::publisher::Publisher;
use super::session::{Responses, Session};
use super::sessions::Sessions;
use super::subscriber::Subscriber;
use crate::peer::PeerIdentity;
use crate::proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use crate::proto::discovery::{DeltaDiscoveryRequest, Node};
use crate::proto::report::reports_server::{Reports, ReportsServer};
use crate::proto::report::{Done, Report};
use crate::proto::{LARGEST_REQUEST, SNAPSHOT_TYPE};
use crate::release::{self, Release};

/// How long a proxy may take to subscribe once its stream is open.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(10);

/// What has happened and was not taken in yet; beyond it, proxies wait.
const ACTIVITIES: usize = 1024;

/// How a server serves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its own release; proxies may be one minor release away from it.
    pub release: Release,
    /// Who has not answered a response for this long is disconnected: it hangs, or it is gone.
    pub answer_within: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            release: Release::ours(),
            answer_within: Duration::from_secs(30),
        }
    }
}

/// Serves proxies from what is published. Clones are the same server.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: ServerConfig,
    pub(super) publisher: Publisher,
    pub(super) activities: mpsc::Sender<Activity>,
    pub(super) sessions: Sessions,
    pub(super) ended: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// A server, and what its proxies do. Who receives must keep up: while the channel is full, proxies wait.
    pub fn new(publisher: Publisher, config: ServerConfig) -> (Self, mpsc::Receiver<Activity>) {
        let (activities, received) = mpsc::channel(ACTIVITIES);
        let inner = Inner {
            config,
            publisher,
            activities,
            sessions: Sessions::default(),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (Self(Arc::new(inner)), received)
    }

    /// Both services, behind `identify`: what puts the [`PeerIdentity`] that the transport has verified into the
    /// extensions of each request, or refuses the request. Other services of the same port may be added.
    pub fn routes(&self, identify: impl Interceptor + Clone + Send + Sync + 'static) -> Routes {
        let discovery = AggregatedDiscoveryServiceServer::from_arc(Arc::clone(&self.0))
            .max_decoding_message_size(LARGEST_REQUEST)
            .max_encoding_message_size(usize::MAX);
        let reports = ReportsServer::from_arc(Arc::clone(&self.0)).max_decoding_message_size(LARGEST_REQUEST);
        Routes::new(InterceptedService::new(discovery, identify.clone()))
            .add_service(InterceptedService::new(reports, identify))
    }

    /// How many proxies are connected.
    pub fn connected(&self) -> usize {
        self.0.sessions.count()
    }

    /// Ends every session, tells the proxies to connect again (elsewhere, maybe), and waits until that is done. New ones
    /// are refused from now on.
    pub async fn stop(&self) {
        self.0.ended.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Inner {
    type DeltaAggregatedResourcesStream = Responses;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let identity = identity_of(&request)?;
        let mut requests = request.into_inner();
        let first = timeout(SUBSCRIBE_WITHIN, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no subscription came"))??
            .ok_or_else(|| Status::invalid_argument("the stream ended before it subscribed to anything"))?;
        let version = self.check(&identity, &first)?;
        let proxy = ProxyId::from(identity);
        let (seat, reports) = self
            .sessions
            .enter(&proxy, &self.ended)
            .await
            .ok_or_else(stopping)?;
        let (sender, responses) = mpsc::channel(1);
        let (begun, has_begun) = oneshot::channel();
        let session = Session {
            proxy: proxy.clone(),
            requests,
            responses: sender,
            reports,
            publications: self.publisher.subscribe(proxy.pool),
            subscriber: Subscriber::new(first.initial_resource_versions),
            activities: self.activities.clone(),
            config: self.config.clone(),
            ended: self.ended.clone(),
            seat,
        };
        self.tasks.spawn(session.run(version, begun));
        has_begun.await.map_err(|_| stopping())?;
        Ok(Response::new(Responses(responses)))
    }
}

impl Inner {
    /// Whether this proxy may subscribe to this; its release.
    fn check(&self, identity: &PeerIdentity, first: &DeltaDiscoveryRequest) -> Result<String, Status> {
        if first.type_url != SNAPSHOT_TYPE {
            return Err(Status::invalid_argument(format!(
                "resources of type {:?} are not served here: {SNAPSHOT_TYPE} is",
                first.type_url
            )));
        }
        if !first.resource_names_subscribe.iter().all(|name| name == "*") {
            return Err(Status::invalid_argument(
                "a proxy subscribes to everything of its pool (`*`), not to single resources",
            ));
        }
        let Some(node) = &first.node else {
            return Err(Status::invalid_argument(
                "the first request must say who asks: it has no node",
            ));
        };
        let Node { id, cluster, .. } = node;
        let PeerIdentity { pool, pod, .. } = identity;
        if *cluster != pool.to_string() || id != pod {
            return Err(Status::permission_denied(format!(
                "the proxy says it is pod {id:?} of pool {cluster:?}, but its certificate is that of pod {pod:?} of pool \
                 \"{pool}\": a proxy gets the resources of its own pool and nothing else"
            )));
        }
        let version = &node.user_agent_version;
        let theirs: Release = version.parse().map_err(|error| {
            Status::invalid_argument(format!("the proxy does not say its release: {error}"))
        })?;
        release::check(theirs, self.config.release)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(version.clone())
    }
}

#[tonic::async_trait]
impl Reports for Inner {
    async fn send(&self, request: Request<Streaming<Report>>) -> Result<Response<Done>, Status> {
        let proxy = ProxyId::from(identity_of(&request)?);
        let session = self.sessions.find(&proxy).ok_or_else(|| {
            Status::failed_precondition(
                "reports are taken from proxies that have subscribed; subscribe first",
            )
        })?;
        let mut reports = request.into_inner();
        let forward = async {
            while let Some(Report { json }) = reports.message().await? {
                match serde_json::from_slice(&json) {
                    Ok(report) => session.report(report).await,
                    Err(error) => {
                        tracing::warn!(%proxy, %error, "a report cannot be read; the one before stands");
                    }
                }
            }
            Ok(Response::new(Done {}))
        };
        tokio::select! {
            outcome = forward => outcome,
            () = session.is_over() => Err(Status::aborted("the subscription has ended; subscribe again")),
        }
    }
}

#[allow(clippy::result_large_err, reason = "tonic's services return its status")]
fn identity_of<T>(request: &Request<T>) -> Result<PeerIdentity, Status> {
    request
        .extensions()
        .get::<PeerIdentity>()
        .cloned()
        .ok_or_else(|| {
            Status::unauthenticated("nobody has verified who is asking: connect with a client certificate")
        })
}

pub(super) fn stopping() -> Status {
    Status::unavailable("this operator stops serving: connect again")
}
