//! The operator's parts, and what flows between them.

use std::sync::Arc;

use switchyard_discovery::server::{Activity, Publisher, Server, ServerConfig};
use tokio::sync::{mpsc, watch};

use super::stream::Stream;
use super::told::told;
use crate::admin::{Known, Readiness, Wait};
use crate::args::RunArgs;
use crate::context::Context;
use crate::identity::{Identity, Options};
use crate::index::Index;
use crate::lease::{Leadership, Role, terms};
use crate::metrics::{Gauges, Page};
use crate::pods::Pods;
use crate::secrets::{Wants, fetch};
use crate::serving::Serving;
use crate::status::{self, Board};
use crate::supply::{self, Outlets, Supply, View};
use crate::tasks::Tasks;
use crate::verdicts::Verdicts;
use crate::webhook::{self, Door, Known as Pools, Served, Settings, Trust};
use crate::{controller, watch as watches};

/// A part cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("our own definitions cannot be read: {0}")]
pub struct Error(String);

/// What all parts share while they are put together.
struct Wiring<'a> {
    context: &'a Context,
    metrics: Page,
    board: Board,
    verdicts: Verdicts,
    pods: Pods,
    serving: Serving,
}

/// Starts every part; `door` is where the webhook is served, with the name of its configuration. Hands back what admin pages are made of.
///
/// # Errors
/// A part cannot be built.
pub fn start(
    context: &Context,
    args: &RunArgs,
    identities: Options,
    door: Option<(Door, String)>,
    tasks: &mut Tasks,
) -> Result<Known, Error> {
    let board = Board::default();
    let wiring = Wiring {
        context,
        metrics: Page::new(),
        verdicts: Verdicts::new(board.clone()),
        board,
        pods: Pods::default(),
        serving: Serving::default(),
    };
    let publisher = Publisher::new();
    let (view, synced) = wiring.supply(publisher.clone(), tasks)?;
    let (server, activities) = Server::new(publisher, ServerConfig::default());
    wiring.status(activities, tasks);
    let bundle = wiring.controller(view.clone(), synced.clone(), tasks);
    let (identified, identity) = watch::channel(None);
    if let Some((door, configuration)) = door {
        let known = Pools::new(
            view.clone(),
            synced.clone(),
            Settings {
                image: context.proxy_image.clone(),
                operator: context.discovery_address.clone(),
            },
        );
        wiring.webhook(
            (door, configuration),
            known,
            identity.clone(),
            bundle.subscribe(),
            tasks,
        );
    }
    let stream = Stream {
        context: context.clone(),
        options: identities,
        pods: wiring.pods.clone(),
        view: view.clone(),
        synced: synced.clone(),
        listen: args.discovery_listen,
        server: server.clone(),
        metrics: wiring.metrics.clone(),
        identified,
        bundle,
    };
    tasks.spawn("stream", stream.run(tasks.cancelled()));
    let gauges = Gauges {
        leadership: context.leadership.clone(),
        server,
        synced: synced.clone(),
        pods: wiring.pods,
    };
    wiring
        .metrics
        .add(|registry| registry.register_collector(Box::new(gauges)));
    Ok(Known {
        readiness: readiness(synced, identity, context.leadership.clone()),
        leadership: context.leadership.clone(),
        metrics: wiring.metrics,
        view,
    })
}

/// Followers are as ready as the leader: they can take over.
fn readiness(
    synced: watch::Receiver<bool>,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    leadership: Leadership,
) -> Readiness {
    Readiness(Arc::new(vec![
        Wait {
            what: "every watch to see everything once",
            there: Arc::new(move || *synced.borrow()),
        },
        Wait {
            what: "the CA and the API server's token keys",
            there: Arc::new(move || {
                identity
                    .borrow()
                    .as_ref()
                    .is_some_and(|identity| identity.ready())
            }),
        },
        // proxies that look for an operator shall be sent to one that knows what is new
        Wait {
            what: "the API server, which has not been heard for longer than a lease lasts",
            there: Arc::new(move || !leadership.stands_in()),
        },
    ]))
}

impl Wiring<'_> {
    /// Watches and what is made of them.
    fn supply(
        &self,
        publisher: Publisher,
        tasks: &mut Tasks,
    ) -> Result<(View, watch::Receiver<bool>), Error> {
        let (sender, inbox) = mpsc::channel(supply::QUEUE);
        let (watched, supplied) = (watches::Metrics::default(), supply::Metrics::new());
        self.metrics.add(|registry| {
            watched.register(registry);
            supplied.register(registry);
        });
        let watching = watches::spawn(self.context, &watched, &sender, tasks);
        let wants = Wants::default();
        let index = Index::new(self.pods.clone(), wants.clone()).map_err(Error)?;
        let passing = self.serving.clone().pass_on(sender.clone());
        let cancelled = tasks.cancelled();
        tasks.spawn("serving", async move {
            cancelled.run_until_cancelled(passing).await;
            Ok::<_, String>(())
        });
        let fetching = fetch::run(self.context.client.clone(), wants, sender);
        let cancelled = tasks.cancelled();
        tasks.spawn("secrets", async move {
            cancelled.run_until_cancelled(fetching).await;
            Ok::<_, String>(())
        });
        let outlets = Outlets {
            publisher,
            board: self.board.clone(),
            verdicts: self.verdicts.clone(),
        };
        let supply = Supply::new(index, watching, outlets, supplied);
        let known = (supply.view(), supply.synced());
        let cancelled = tasks.cancelled();
        tasks.spawn("supply", async move {
            // dropped at the end: nothing that it does must be finished
            cancelled.run_until_cancelled(supply.run(inbox)).await;
            Ok::<_, String>(())
        });
        Ok(known)
    }

    fn status(&self, activities: mpsc::Receiver<Activity>, tasks: &mut Tasks) {
        let mut counters = status::Counters::default();
        self.metrics
            .add(|registry| counters = status::Counters::registered(registry));
        let parts = status::Parts {
            context: self.context.clone(),
            board: self.board.clone(),
            activities,
            counters,
            serving: self.serving.clone(),
        };
        tasks.spawn("status", status::run(parts, tasks.cancelled()));
    }

    /// Every replica answers; the leader tells the API server whom to trust.
    fn webhook(
        &self,
        (door, configuration): (Door, String),
        known: Pools,
        identified: watch::Receiver<Option<Arc<Identity>>>,
        bundle: watch::Receiver<Option<Arc<str>>>,
        tasks: &mut Tasks,
    ) {
        let metrics = webhook::Metrics::new();
        self.metrics.add(|registry| metrics.register(registry));
        let trust = Trust {
            client: self.context.client.clone(),
            leadership: self.context.leadership.clone(),
            configuration,
            bundle,
            metrics: metrics.clone(),
        };
        let served = Served {
            known,
            identified,
            metrics,
        };
        tasks.spawn("webhook", door.serve(served, tasks.cancelled()));
        let leadership = self.context.leadership.clone();
        let keeping = terms(leadership, Role::Leader, tasks.cancelled(), move |term| {
            let trust = trust.clone();
            async move {
                webhook::keep(trust, term.clone()).await;
                Ok::<_, String>(())
            }
        });
        tasks.spawn("webhook's CA bundle", keeping);
    }

    /// Hands back where the CA bundle is to be told. Workloads are looked at once everything has been seen: its hundreds of
    /// requests would keep the API server from telling what proxies wait for.
    fn controller(
        &self,
        view: View,
        synced: watch::Receiver<bool>,
        tasks: &mut Tasks,
    ) -> watch::Sender<Option<Arc<str>>> {
        let (bundle, ca_bundle) = watch::channel(None);
        let counters = controller::Counters::default();
        self.metrics.add(|registry| counters.register(registry));
        let (board, verdicts) = (self.board.clone(), self.verdicts.clone());
        let parts = controller::Parts {
            context: self.context.clone(),
            ca_bundle,
            told: Arc::new(move |pool, outcome| told(&board, &verdicts, &view, pool, outcome)),
            counters,
        };
        let leadership = self.context.leadership.clone();
        let leading = terms(leadership, Role::Leader, tasks.cancelled(), move |term| {
            let (parts, mut synced) = (parts.clone(), synced.clone());
            async move {
                let seen = async { synced.wait_for(|synced| *synced).await.is_ok() };
                match term.run_until_cancelled(seen).await {
                    Some(true) => controller::run(parts, term.clone()).await,
                    // the term, or the process, ends
                    Some(false) | None => Ok(()),
                }
            }
        });
        tasks.spawn("controller", leading);
        bundle
    }
}
