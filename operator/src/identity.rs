//! Who proxies are, and who the operator is to them. In: a Secret with authorities, the API server's token keys, what the
//! watch knows of pods. Out: TLS for the discovery port, the exchange service, the bundle that proxies need.
//!
//! ```text
//!  Secret ◄──► store ◄──► ring ── ca::plan (pure) ──► live ──► server TLS, bundle
//!  (perhaps another's)                                 │
//!  /openid/v1/jwks ──► keys ── token::verify (pure) ─┐ ▼
//!  pods ─────────────────────── admit (pure) ────────┴► exchange ──► client certificate
//! ```
//!
//! Without an API server everything goes on but rotation: authorities, keys and pods are those last seen.

mod admit;
pub mod ca;
mod exchange;
mod keys;
mod live;
mod membership;
mod metrics;
mod pods;
mod refusal;
mod ring;
mod store;
mod token;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use switchyard_discovery::identity::proto::identity_server::IdentityServer;
use switchyard_discovery::identity::server::{ServerTls, ServerTlsWriter, TlsError};
use switchyard_discovery::identity::{AuthorityError, Bundle, Credential};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use ca::Lifetimes;
pub use exchange::Exchange;
pub use live::LiveError;
pub use membership::membership;
pub use pods::{Membership, PodAnswer, PodFacts, PodLookup};
pub use refusal::Refusal;
pub use store::StoreError;
pub use token::AUDIENCE;

use crate::lease::{Leadership, Role};
use keys::Keys;
use live::Live;
use metrics::{Door, Metrics};
use ring::{Given, Ring};
use store::{Saved, Store};

/// Exchanges are small; what is larger is not read.
const MAX_MESSAGE: usize = 64 * 1024;

/// How often the Secrets are looked at, at least. With lifetimes of seconds it is more often.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// After a failure, and after somebody else wrote first.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Where things are kept and how long they live.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the operator.
    pub namespace: String,
    /// Name of the operator's Secret for authorities; it is made if there is none.
    pub secret: String,
    /// Name of a Secret that somebody else writes (`tls.crt`, `tls.key`, of a CA); none: authorities are made here.
    pub given_secret: Option<String>,
    /// Names under which proxies reach the operator: DNS names, or IP addresses.
    pub server_names: Vec<String>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// The issuer of the cluster's tokens; none: what the API server says of itself.
    pub issuer: Option<String>,
}

/// Why there are no identities.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The Secrets.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA that somebody else wrote, or one that cannot be made.
    #[error("the CA cannot be used: {0}")]
    Authority(#[from] AuthorityError),
    /// Nobody can sign.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Several operators start at once, and this one has always been too late.
    #[error("others keep writing the CA's Secret at the same time")]
    Contended,
}

/// What service and rotation share.
struct Shared {
    live: watch::Sender<Arc<Live>>,
    keys: Keys,
    pods: PodLookup,
    lifetimes: Lifetimes,
    metrics: Metrics,
}

/// Everything about identities.
pub struct Identity {
    shared: Arc<Shared>,
    store: Store,
    names: Vec<String>,
    tls: ServerTls,
    writer: ServerTlsWriter,
    bundle: watch::Sender<Bundle>,
    credential: watch::Sender<Credential>,
}

impl Identity {
    /// Reads the CA, or makes the first one. Of several replicas that start at the same time one makes it, and the others
    /// read it. That is the only write that needs no leadership.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn load_or_create(
        client: Client,
        options: Options,
        pods: PodLookup,
    ) -> Result<Self, IdentityError> {
        let Options {
            namespace,
            secret,
            given_secret,
            server_names,
            lifetimes,
            issuer,
        } = options;
        let store = Store::new(client.clone(), &namespace, secret, given_secret);
        let keys = Keys::new(client, issuer);
        let ring = first(&store, &lifetimes).await?;
        Self::new(ring, store, keys, server_names, lifetimes, pods)
    }

    fn new(
        ring: Ring,
        store: Store,
        keys: Keys,
        names: Vec<String>,
        lifetimes: Lifetimes,
        pods: PodLookup,
    ) -> Result<Self, IdentityError> {
        let live = Live::next(None, ring, &names, Timestamp::now(), lifetimes.certificate)?;
        let (writer, tls) = ServerTls::new(&live.credential, &live.bundle)?;
        let metrics = Metrics::default();
        Ok(Self {
            store,
            names,
            tls,
            writer,
            bundle: watch::Sender::new(live.bundle.clone()),
            credential: watch::Sender::new(live.credential.clone()),
            shared: Arc::new(Shared {
                live: watch::Sender::new(Arc::new(live)),
                keys,
                pods,
                lifetimes,
                metrics,
            }),
        })
    }

    /// TLS for the discovery port; its certificates change by themselves.
    pub fn server_tls(&self) -> ServerTls {
        self.tls.clone()
    }

    /// The service by which proxies come by their certificates. It needs no interceptor; every other service on the port
    /// needs [`require_identity`](switchyard_discovery::identity::server::require_identity).
    pub fn exchange_service(&self) -> IdentityServer<Exchange> {
        IdentityServer::new(Exchange(self.shared.clone())).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Whom proxies have to trust: `Bundle::to_pem` is what stands in their `ConfigMap`.
    pub fn bundle(&self) -> watch::Receiver<Bundle> {
        self.bundle.subscribe()
    }

    /// The operator's own key and certificate, as they change: for a server that asks nobody for a certificate.
    pub fn credential(&self) -> watch::Receiver<Credential> {
        self.credential.subscribe()
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
        registry.register_collector(Box::new(Door(self.tls.counters())));
    }

    /// The API server's token keys are known: a first proxy can be let in.
    pub fn ready(&self) -> bool {
        self.shared.keys.known()
    }

    /// Keeps everything fresh until `stop`: the token keys, the authorities (rotated by the leader, read by all), and the
    /// operator's own certificate, which waits for nobody: not for an API server that takes its time either.
    pub async fn run(&self, mut leadership: Leadership, stop: CancellationToken) {
        let rotate = async {
            loop {
                let wait = self.look(&leadership).await;
                let led = leadership.holds();
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    // Whoever begins to lead looks at once.
                    () = leadership.begins(Role::Leader), if !led => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rotate => {}
            never = self.renew() => match never {},
            () = self.shared.keys.keep() => {}
        }
    }

    /// Keeps the operator's own certificate fresh, and signed by whoever's turn it is, by what is known of authorities.
    async fn renew(&self) -> Infallible {
        let mut told = false;
        loop {
            let often = self.often(LOOK_EVERY);
            // When it is due, and not up to a tenth of its life later: a machine that stands still has all the rest.
            let due = self.shared.live.borrow().due_in(Timestamp::now());
            let wait = if told { often } else { due.clamp(often / 10, often) };
            tokio::time::sleep(wait).await;
            let renewed = self.put_to_use(None, Timestamp::now());
            if let Err(error) = &renewed
                && !told
            {
                tracing::error!(
                    %error,
                    "the operator's own certificate cannot be renewed: once it has expired, no proxy can connect; look at the CA's \
                     Secret"
                );
            }
            told = renewed.is_err();
        }
    }

    /// Looks once. Out: how long until the next time.
    async fn look(&self, leadership: &Leadership) -> Duration {
        match self.turn(leadership).await {
            Ok(Saved::Yes) => self.often(LOOK_EVERY),
            Ok(Saved::Conflict) => self.often(RETRY_AFTER),
            Err(error) => {
                tracing::warn!(%error, "the CA is not looked after; going on with what was known");
                self.often(LOOK_EVERY)
            }
        }
    }

    /// `longest`, or less where things live for seconds.
    fn often(&self, longest: Duration) -> Duration {
        longest.min(self.shared.lifetimes.certificate / 10)
    }

    async fn turn(&self, leadership: &Leadership) -> Result<Saved, IdentityError> {
        let loaded = self.store.load().await?;
        let given = given(&self.store).await;
        // Asking took its time.
        let now = Timestamp::now();
        let plan = loaded.ring.plan(now, &given, &self.shared.lifetimes);
        if plan.is_empty() || !leadership.holds() {
            self.put_to_use(Some(loaded.ring), now)?;
            return Ok(Saved::Yes);
        }
        let ring = loaded.ring.apply(&plan, now, &given, &self.shared.lifetimes)?;
        // Asked again right before the write: making a key took its time.
        if !leadership.holds() {
            return Ok(Saved::Conflict);
        }
        let saved = self.store.save(&loaded, &ring).await?;
        if saved == Saved::Yes {
            tracing::info!(added = plan.add.is_some(), signs_from = ?plan.add, forgotten = plan.forget.len(), "the CA is rotated");
            self.put_to_use(Some(ring), Timestamp::now())?;
        }
        Ok(saved)
    }

    /// Puts `ring` to use; none: the one in use.
    fn put_to_use(&self, ring: Option<Ring>, now: Timestamp) -> Result<(), IdentityError> {
        let before = self.shared.live.borrow().clone();
        let ring = ring.unwrap_or_else(|| before.ring.clone());
        let live = Live::next(
            Some(&before),
            ring,
            &self.names,
            now,
            self.shared.lifetimes.certificate,
        )?;
        if live.differs_at_the_door(&before) {
            self.writer.replace(&live.credential, &live.bundle)?;
            self.credential.send_replace(live.credential.clone());
        }
        let metrics = &self.shared.metrics;
        metrics
            .ca_not_after
            .set(live.authority.validity().until.as_second());
        metrics
            .ca_trusted
            .set(i64::try_from(live.bundle.iter().count()).unwrap_or(i64::MAX));
        self.bundle.send_if_modified(|bundle| {
            let changed = *bundle != live.bundle;
            bundle.clone_from(&live.bundle);
            changed
        });
        self.shared.live.send_replace(Arc::new(live));
        Ok(())
    }
}

/// The ring at the start.
async fn first(store: &Store, lifetimes: &Lifetimes) -> Result<Ring, IdentityError> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let now = Timestamp::now();
        let loaded = store.load().await?;
        if loaded.ring.signer(now).is_some() {
            return Ok(loaded.ring);
        }
        // Without an authority there is nothing to go on with: what is wrong with a given one ends the start.
        let given = match store.given().await? {
            None => Given::Nobody,
            Some(pem) => Given::from_pem(pem)?,
        };
        let plan = loaded.ring.plan(now, &given, lifetimes);
        let ring = loaded.ring.apply(&plan, now, &given, lifetimes)?;
        if store.save(&loaded, &ring).await? == Saved::Yes {
            return Ok(ring);
        }
        tokio::time::sleep(RETRY_AFTER.mul_f64(fastrand::f64() / 10.0)).await;
    }
    Err(IdentityError::Contended)
}

/// What somebody else writes, now. What cannot be read is told, and changes nothing.
async fn given(store: &Store) -> Given {
    let read = match store.given().await {
        Ok(None) => return Given::Nobody,
        Ok(Some(pem)) => Given::from_pem(pem).map_err(IdentityError::from),
        Err(error) => Err(error.into()),
    };
    read.unwrap_or_else(|error| {
        tracing::warn!(%error, "going on with the CA that was given before");
        Given::Unreadable
    })
}

#[cfg(test)]
mod tests;
