//! The parts of a test: an API server that publishes keys, an operator at its door, pods with files.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::{Client as Kube, Config};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use switchyard_discovery::identity::client::{Client, Freshness, Settings};
use switchyard_discovery::identity::proto::identity_client::IdentityClient;
use switchyard_discovery::identity::proto::identity_server::{Identity as Service, IdentityServer};
use switchyard_discovery::identity::proto::{ExchangeRequest, ExchangeResponse};
use switchyard_discovery::identity::server::require_identity;
use switchyard_discovery::identity::{Bundle, Credential, uri_of};
use switchyard_discovery::peer::PeerIdentity;
use switchyard_snapshot::PoolId;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, transport};

use super::super::keys::Keys;
use super::super::ring::{Given, Ring};
use super::super::store::Store;
use super::super::token::tests::{ISSUER, Signer, claims, jwks};
use super::super::{Exchange, Identity, Lifetimes, Membership, PodAnswer, PodFacts};

/// Longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the API server publishes about its tokens.
pub(super) struct ApiServer {
    jwks: Arc<Mutex<String>>,
    asked: Arc<AtomicU64>,
    silent: Arc<AtomicBool>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl ApiServer {
    async fn start(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let jwks = Arc::new(Mutex::new(jwks(keys)));
        let asked = Arc::new(AtomicU64::new(0));
        let silent = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(Self::serve(listener, jwks.clone(), asked.clone(), silent.clone()));
        Self {
            jwks,
            asked,
            silent,
            address,
            task,
        }
    }

    async fn serve(
        listener: TcpListener,
        jwks: Arc<Mutex<String>>,
        asked: Arc<AtomicU64>,
        silent: Arc<AtomicBool>,
    ) {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (jwks, asked) = (jwks.clone(), asked.clone());
            let silent = silent.clone();
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let silent = silent.load(Ordering::SeqCst);
                let body = match request.uri().path() {
                    _ if silent => String::new(),
                    "/.well-known/openid-configuration" => format!("{{\"issuer\": {ISSUER:?}}}"),
                    "/openid/v1/jwks" => {
                        asked.fetch_add(1, Ordering::SeqCst);
                        jwks.lock().unwrap().clone()
                    }
                    other => panic!("nobody asks for {other}"),
                };
                async move {
                    if silent {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(Response::new(body))
                }
            });
            connections.spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .map(|_| ()),
            );
        }
    }

    pub(super) fn publish(&self, keys: &[&Signer]) {
        *self.jwks.lock().unwrap() = jwks(keys);
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// It takes requests, and answers none from now on.
    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// It is gone, with all its connections.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        let ended = (&mut self.task).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        assert!(TcpStream::connect(self.address).await.is_err(), "it is gone");
    }
}

/// Answers with the identity that the request came with.
struct WhoAmI;

#[tonic::async_trait]
impl Service for WhoAmI {
    async fn exchange(
        &self,
        request: tonic::Request<ExchangeRequest>,
    ) -> Result<tonic::Response<ExchangeResponse>, Status> {
        let identity = request.extensions().get::<PeerIdentity>().unwrap();
        let name = uri_of(identity).unwrap().into_bytes();
        Ok(tonic::Response::new(ExchangeResponse {
            chain: vec![name],
            bundle: Vec::new(),
        }))
    }
}

/// What the operator's watch knows of pods.
#[derive(Default)]
pub(super) struct Pods {
    known: Mutex<HashMap<(String, String), PodFacts>>,
    unsynced: AtomicBool,
}

impl Pods {
    pub(super) fn set(&self, name: &str, uid: &str, pool: Option<&str>, terminating: bool) {
        let membership = match pool {
            Some(pool) => Membership::Member(pool.to_owned()),
            None => Membership::NotThere("dmz".to_owned()),
        };
        let facts = PodFacts {
            uid: uid.to_owned(),
            membership,
            terminating,
        };
        self.known
            .lock()
            .unwrap()
            .insert(("edge".to_owned(), name.to_owned()), facts);
    }

    /// As after a restart during an outage of the API server.
    pub(super) fn forget_everything(&self) {
        self.known.lock().unwrap().clear();
        self.unsynced.store(true, Ordering::SeqCst);
    }

    fn answer(&self, namespace: &str, name: &str) -> PodAnswer {
        if self.unsynced.load(Ordering::SeqCst) {
            return PodAnswer::NotSynced;
        }
        let known = self.known.lock().unwrap();
        known
            .get(&(namespace.to_owned(), name.to_owned()))
            .map_or(PodAnswer::Absent, |facts| PodAnswer::Present(facts.clone()))
    }
}

/// An operator with its API server.
pub(super) struct Rig {
    pub(super) api: ApiServer,
    pub(super) signer: Signer,
    pub(super) identity: Identity,
    pub(super) pods: Arc<Pods>,
    /// Where certificates are issued.
    pub(super) door: SocketAddr,
    /// A service that needs a certificate.
    pub(super) guarded: SocketAddr,
    pub(super) files: TempDir,
    servers: Vec<JoinHandle<Result<(), transport::Error>>>,
}

impl Rig {
    pub(super) async fn start(lifetimes: Lifetimes) -> Self {
        let signer = Signer::es256("first");
        let api = ApiServer::start(&[&signer]).await;
        let config = Config::new(format!("http://{}", api.address).parse().unwrap());
        let kube = Kube::try_from(config).unwrap();
        let pods = Arc::new(Pods::default());
        pods.set("dmz-0", "u1", Some("dmz"), false);
        let lookup = pods.clone();
        let store = Store::new(kube.clone(), "switchyard", "switchyard-ca".to_owned(), None);
        let identity = Identity::new(
            own_ring(&lifetimes),
            store,
            Keys::new(kube, None),
            vec!["127.0.0.1".to_owned()],
            lifetimes,
            Arc::new(move |namespace, name| lookup.answer(namespace, name)),
        )
        .unwrap();
        identity.shared.keys.refresh(Duration::ZERO).await;
        assert!(identity.ready());
        let mut rig = Self {
            api,
            signer,
            pods,
            door: ([127, 0, 0, 1], 0).into(),
            guarded: ([127, 0, 0, 1], 0).into(),
            files: TempDir::new().unwrap(),
            servers: Vec::new(),
            identity,
        };
        rig.write_bundle(&rig.identity.bundle().borrow().clone());
        let exchange =
            Server::builder().add_service(IdentityServer::new(Exchange(rig.identity.shared.clone())));
        let guarded =
            Server::builder().add_service(IdentityServer::with_interceptor(WhoAmI, require_identity));
        rig.door = rig.serve(exchange).await;
        rig.guarded = rig.serve(guarded).await;
        rig
    }

    async fn serve(&mut self, router: transport::server::Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = self.identity.server_tls().incoming(listener);
        self.servers
            .push(tokio::spawn(router.serve_with_incoming(incoming)));
        address
    }

    /// What the pods' `ConfigMap` says.
    pub(super) fn write_bundle(&self, bundle: &Bundle) {
        std::fs::write(self.bundle_file(), bundle.to_pem()).unwrap();
    }

    fn bundle_file(&self) -> PathBuf {
        self.files.path().join("ca.crt")
    }

    /// A proxy of pod `name`, whose token says what it should, and which asks for what it should.
    pub(super) fn proxy(&self, name: &str, uid: &str) -> Proxy {
        let token = self.signer.sign(&claims(Timestamp::now(), name, uid));
        self.proxy_with_token(&pod(name, uid), &token)
    }

    pub(super) fn proxy_with_token(&self, identity: &PeerIdentity, token: &str) -> Proxy {
        let token_file = self.files.path().join(format!("token-{}", fastrand::u64(..)));
        std::fs::write(&token_file, token).unwrap();
        let client = Client::new(Settings {
            identity: identity.clone(),
            operator: self.door.to_string(),
            server_name: None,
            bundle_file: self.bundle_file(),
            token_file: token_file.clone(),
        });
        let stop = CancellationToken::new();
        let task = {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move { client.run(stop).await })
        };
        Proxy {
            client,
            token_file,
            stop,
            task,
        }
    }

    /// Connections accepted so far, at both ports.
    pub(super) fn accepted(&self) -> u64 {
        self.identity.server_tls().counters().accepted()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

/// A proxy, as far as its certificate goes.
pub(super) struct Proxy {
    pub(super) client: Client,
    pub(super) token_file: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn ready(&self) {
        let freshness = self.client.freshness();
        tokio::time::timeout(PATIENCE, self.client.ready())
            .await
            .unwrap_or_else(|_| panic!("no certificate: {:?}", *freshness.borrow()));
    }

    /// Waits until its freshness is as it should be.
    pub(super) async fn until(&self, what: impl Fn(&Freshness) -> bool) -> Freshness {
        self.until_within(PATIENCE, what).await
    }

    /// The same, where certificates take longer.
    pub(super) async fn until_within(&self, limit: Duration, what: impl Fn(&Freshness) -> bool) -> Freshness {
        let mut freshness = self.client.freshness();
        let reached = tokio::time::timeout(limit, freshness.wait_for(|freshness| what(freshness))).await;
        let Ok(reached) = reached else {
            panic!("it stays at {:?}", *self.client.freshness().borrow());
        };
        reached.unwrap().clone()
    }

    /// A new connection to a service that needs a certificate.
    pub(super) async fn connect(&self, address: SocketAddr) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .timeout(PATIENCE);
        endpoint
            .connect_with_connector(self.client.connector())
            .await
            .map_err(|error| in_words(&error))
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// Whom the guarded service takes us for.
pub(super) async fn who_am_i(channel: &Channel) -> Result<String, Status> {
    let answer = IdentityClient::new(channel.clone())
        .exchange(ExchangeRequest::default())
        .await?;
    let name = answer.into_inner().chain.remove(0);
    Ok(String::from_utf8(name).unwrap())
}

/// A connection by hand, with whatever certificate.
pub(super) async fn dial(
    address: SocketAddr,
    bundle: &Bundle,
    credential: Option<&Credential>,
) -> Result<Channel, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(bundle.roots().unwrap());
    let mut config = match credential {
        None => builder.with_no_client_auth(),
        Some(credential) => {
            let key = rustls::sign::SingleCertAndKey::from(credential.key.clone());
            builder.with_client_cert_resolver(Arc::new(key))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: hyper::Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::from(address.ip());
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .timeout(PATIENCE);
    endpoint
        .connect_with_connector(connect)
        .await
        .map_err(|error| in_words(&error))
}

/// An error with its causes.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = format!("{words}: {next}");
        cause = next.source();
    }
    words
}

pub(super) fn pod(name: &str, uid: &str) -> PeerIdentity {
    PeerIdentity {
        pool: PoolId {
            namespace: "edge".to_owned(),
            name: "dmz".to_owned(),
        },
        pod: name.to_owned(),
        uid: uid.to_owned(),
    }
}

/// Certificates of an hour.
pub(super) fn calm() -> Lifetimes {
    let hours = Duration::from_hours;
    Lifetimes::new(hours(24 * 365), hours(24), hours(1)).unwrap()
}

pub(super) fn own_ring(lifetimes: &Lifetimes) -> Ring {
    let now = Timestamp::now();
    let empty = Ring::default();
    let plan = empty.plan(now, &Given::Nobody, lifetimes);
    empty.apply(&plan, now, &Given::Nobody, lifetimes).unwrap()
}
