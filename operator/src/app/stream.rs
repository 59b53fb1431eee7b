//! What proxies connect to. In: identities, the publisher's server, leadership. Out: while this process leads and knows
//! everything, a port that serves; otherwise none, so that proxies try the next operator at once.
//!
//! Without an API server nobody can lead, and proxies must not be locked out: whoever hears nothing from it stands in
//! ([`Role::Server`]), with what it knew last. It lets nobody stay for long, for there may be a leader that it cannot see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use switchyard_discovery::identity::server::require_identity;
use switchyard_discovery::server::{ServeError, Server, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::identity::{Identity, Options, PodAnswer, PodFacts, PodLookup, membership};
use crate::lease::{Leadership, Role, terms};
use crate::metrics::Page;
use crate::pods::Pods;
use crate::supply::View;

/// Identities need the API server once, at the start: how long to wait before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How long proxies stay with a replica that stands in before they have to look for a leader again; what they run stays,
/// and a new connection costs them one message.
const STAND_IN: Duration = Duration::from_secs(30);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    /// The server cannot go on.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// What the stream needs.
pub struct Stream {
    /// Client and leadership.
    pub context: Context,
    /// Of identities.
    pub options: Options,
    /// The pods of pools.
    pub pods: Pods,
    /// The pools.
    pub view: View,
    /// Whether everything has been seen and published.
    pub synced: watch::Receiver<bool>,
    /// Where the port is.
    pub listen: SocketAddr,
    /// Who serves.
    pub server: Server,
    /// Where identities count.
    pub metrics: Page,
    /// Told once identities are there.
    pub identified: watch::Sender<Option<Arc<Identity>>>,
    /// Told whom proxies must trust.
    pub bundle: watch::Sender<Option<Arc<str>>>,
}

impl Stream {
    /// Serves whenever this process may, until it is cancelled.
    ///
    /// # Errors
    /// The port cannot be served.
    pub async fn run(self, cancelled: CancellationToken) -> Result<(), Error> {
        let Some(identity) = cancelled.run_until_cancelled(self.identify()).await else {
            return Ok(());
        };
        let leadership = self.context.leadership.clone();
        let serving = terms(leadership.clone(), Role::Server, cancelled.clone(), |term| {
            self.term(&identity, term)
        });
        let keeping = async {
            identity.run(leadership, cancelled.clone()).await;
            Ok(())
        };
        let telling = async {
            cancelled.run_until_cancelled(self.tell(&identity)).await;
            Ok(())
        };
        let ended = tokio::try_join!(serving, keeping, telling).map(|_| ());
        self.server.stop().await;
        ended
    }

    /// The API server is asked until it answers.
    async fn identify(&self) -> Arc<Identity> {
        loop {
            let lookup = lookup(self.pods.clone(), self.view.clone(), self.synced.clone());
            match Identity::load_or_create(self.context.client.clone(), self.options.clone(), lookup).await {
                Ok(identity) => {
                    let identity = Arc::new(identity);
                    self.metrics.add(|registry| identity.register(registry));
                    self.identified.send_replace(Some(Arc::clone(&identity)));
                    return identity;
                }
                Err(error) => {
                    tracing::error!(%error, "no CA: no proxy can be let in; trying again");
                    tokio::time::sleep(ASK_AGAIN.mul_f64(fastrand::f64().mul_add(0.5, 0.75))).await;
                }
            }
        }
    }

    async fn term(&self, identity: &Identity, term: CancellationToken) -> Result<(), Error> {
        let mut synced = self.synced.clone();
        // a proxy that asked too early would be told that its chains are gone
        let seen = synced.wait_for(|synced| *synced);
        let seen = term.run_until_cancelled(async { seen.await.is_ok() }).await;
        if seen != Some(true) {
            return Ok(());
        }
        while !term.is_cancelled() {
            self.turn(identity, &term).await?;
        }
        Ok(())
    }

    /// Serves until the term ends, or proxies shall look for a leader again.
    async fn turn(&self, identity: &Identity, term: &CancellationToken) -> Result<(), Error> {
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| Error::Bind(self.listen, error))?;
        let stands_in = self.context.leadership.stands_in();
        tracing::info!(address = %self.listen, stands_in, "serving proxies");
        let routes = self
            .server
            .routes(require_identity)
            .add_service(identity.exchange_service());
        let turn = term.child_token();
        let limit = async {
            turn.run_until_cancelled(stood_in_for_long(self.context.leadership.clone()))
                .await;
            turn.cancel();
        };
        let (served, ()) = tokio::join!(
            serve(identity.server_tls().incoming(listener), routes, turn.clone()),
            limit
        );
        tracing::info!(address = %self.listen, "no longer serving proxies");
        Ok(served?)
    }

    async fn tell(&self, identity: &Identity) {
        let mut bundle = identity.bundle();
        loop {
            let text: Arc<str> = bundle.borrow_and_update().to_pem().into();
            self.bundle.send_replace(Some(text));
            if bundle.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Waits until this process has stood in without a break for [`STAND_IN`].
async fn stood_in_for_long(mut leadership: Leadership) {
    loop {
        leadership.ends(Role::Leader).await;
        if tokio::time::timeout(STAND_IN, leadership.begins(Role::Leader))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// What identities ask of the watch.
fn lookup(pods: Pods, view: View, synced: watch::Receiver<bool>) -> PodLookup {
    Arc::new(move |namespace, name| match pods.get(namespace, name) {
        Some(member) => PodAnswer::Present(PodFacts {
            membership: membership(&member, view.pool(&member.pool).as_deref()),
            uid: member.uid,
            terminating: member.terminating,
        }),
        None if *synced.borrow() => PodAnswer::Absent,
        None => PodAnswer::NotSynced,
    })
}
