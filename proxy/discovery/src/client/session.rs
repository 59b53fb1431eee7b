//! One connection to the operator. In: a channel. Out: responses, taken into a mirror; answers and reports go back.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::poll_fn;
use switchyard_snapshot::Report;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tower::Service;

use super::mirror::{Mirror, MirrorError, NotRunning};
use crate::causes::with_causes;
use crate::peer::PeerIdentity;
use crate::proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use crate::proto::report::Report as WireReport;
use crate::proto::report::reports_client::ReportsClient;
use crate::proto::{LARGEST_RESPONSE, SNAPSHOT_TYPE};
use crate::release::Release;

/// From the first packet to a connection that is ready, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long the operator may take to accept a subscription.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// A connection over which nothing comes for this long is asked whether it lives: an operator that hangs does not close it.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// How long it may take to say so.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What may be under way to us before we have read it: a cold start is one round trip, not many.
const WINDOW: u32 = 4 << 20;

/// There is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address makes no sense.
    #[error("{address:?} is no address of an operator: HOST:PORT is")]
    Address {
        /// As given.
        address: String,
    },
    /// TCP, TLS or HTTP/2 failed.
    #[error("cannot connect to the operator at {address}: {why}")]
    Failed {
        /// As given.
        address: String,
        /// With its causes.
        why: String,
    },
}

/// Connects to an operator, `HOST:PORT`, over whatever streams `connector` makes.
///
/// # Errors
/// See [`ConnectError`]; after 10 s at the latest.
pub async fn connect<C>(address: &str, connector: C) -> Result<Channel, ConnectError>
where
    C: Service<Uri> + Send + 'static,
    C::Response: hyper::rt::Read + hyper::rt::Write + Send + Unpin,
    C::Future: Send,
    Box<dyn std::error::Error + Send + Sync>: From<C::Error>,
{
    // TLS is the connector's: tonic would want its own for `https`
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| ConnectError::Address {
        address: address.to_owned(),
    })?;
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let connecting = endpoint.connect_with_connector(connector);
    let failed = |why| ConnectError::Failed {
        address: address.to_owned(),
        why,
    };
    match timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(failed(with_causes(&error))),
        Err(_) => Err(failed(format!("nothing within {} s", CONNECT_WITHIN.as_secs()))),
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// What the connection's certificate says, too.
    pub identity: PeerIdentity,
    /// The release of this program.
    pub release: Release,
}

/// Why a session ended, or did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The operator does not want us, and will not the next time either unless something changes.
    #[error("the operator refuses this proxy: {0}")]
    Refused(String),
    /// The connection is gone, or the operator stops.
    #[error("the operator is gone: {0}")]
    Lost(String),
    /// What came cannot be taken in.
    #[error(transparent)]
    Response(#[from] MirrorError),
}

type Outcome = Pin<Box<dyn Future<Output = SessionError> + Send>>;

/// A subscription that stands.
pub struct Session {
    release: Release,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    reports: mpsc::Sender<WireReport>,
    reporting: Outcome,
    /// Of the response that was taken in last.
    nonce: Option<String>,
}

impl Session {
    /// Subscribes, saying what is `held` already: [`Mirror::versions`].
    ///
    /// # Errors
    /// See [`SessionError`]; after 10 s at the latest.
    pub async fn open(
        channel: Channel,
        me: &Me,
        held: HashMap<String, String>,
    ) -> Result<Self, SessionError> {
        let (requests, mut outgoing) = mpsc::channel(2);
        let first = DeltaDiscoveryRequest {
            node: Some(Node {
                id: me.identity.pod.clone(),
                cluster: me.identity.pool.to_string(),
                user_agent_name: "switchyard-proxy".to_owned(),
                user_agent_version: me.release.to_string(),
            }),
            type_url: SNAPSHOT_TYPE.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: held,
            ..DeltaDiscoveryRequest::default()
        };
        // there is room for two
        let _ = requests.try_send(first);
        let mut client = AggregatedDiscoveryServiceClient::new(channel.clone())
            .max_decoding_message_size(LARGEST_RESPONSE);
        let opening = client.delta_aggregated_resources(poll_fn(move |context| outgoing.poll_recv(context)));
        let responses = timeout(OPEN_WITHIN, opening)
            .await
            .map_err(|_| SessionError::Lost(format!("no answer within {} s", OPEN_WITHIN.as_secs())))?
            .map_err(|status| said(&status))?
            .into_inner();
        let (reports, mut reported) = mpsc::channel(1);
        let reporting = async move {
            let mut client = ReportsClient::new(channel);
            match client
                .send(poll_fn(move |context| reported.poll_recv(context)))
                .await
            {
                Ok(_) => SessionError::Lost("it wants no more reports".to_owned()),
                Err(status) => said(&status),
            }
        };
        Ok(Self {
            release: me.release,
            requests,
            responses,
            reports,
            reporting: Box::pin(reporting),
            nonce: None,
        })
    }

    /// Waits for the next response and takes it into `mirror`. Then the mirror's snapshot shall be applied, and
    /// [`Session::answer`] called. May be dropped while it waits; nothing is lost.
    ///
    /// # Errors
    /// The session is over.
    pub async fn next(&mut self, mirror: &mut Mirror) -> Result<(), SessionError> {
        let response = tokio::select! {
            message = self.responses.message() => message.map_err(|status| said(&status))?,
            error = &mut self.reporting => return Err(error),
        };
        let response = response.ok_or_else(|| SessionError::Lost("it ended the stream".to_owned()))?;
        let nonce = response.nonce.clone();
        mirror.take(response, self.release)?;
        self.nonce = Some(nonce);
        Ok(())
    }

    /// Says that all that `mirror` holds runs, but for what is `not_running`; again whenever that changes. Nothing is said
    /// before the first response.
    ///
    /// # Errors
    /// The session is over.
    pub async fn answer(&mut self, mirror: &Mirror, not_running: &NotRunning) -> Result<(), SessionError> {
        let Some(nonce) = &self.nonce else {
            return Ok(());
        };
        let request = mirror.answer(nonce, not_running);
        self.requests.send(request).await.map_err(|_| gone())
    }

    /// Sends a report.
    ///
    /// # Errors
    /// The session is over.
    pub async fn report(&mut self, report: &Report) -> Result<(), SessionError> {
        let json = serde_json::to_vec(report)
            .map_err(|error| SessionError::Lost(format!("a report cannot be written: {error}")))?;
        tokio::select! {
            sent = self.reports.send(WireReport { json }) => sent.map_err(|_| gone()),
            error = &mut self.reporting => Err(error),
        }
    }
}

fn gone() -> SessionError {
    SessionError::Lost("it does not read any more".to_owned())
}

fn said(status: &Status) -> SessionError {
    let mut words = status.message().to_owned();
    if let Some(cause) = std::error::Error::source(status) {
        // a connection that broke: only its causes say why
        words = format!("{words}: {}", with_causes(cause));
    }
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition => {
            SessionError::Refused(words)
        }
        _ if words.is_empty() => SessionError::Lost(status.code().to_string()),
        _ => SessionError::Lost(words),
    }
}
