//! `switchyard-proxy run`: one proxy of one pool, fed by the operator. In: arguments, or the environment of a pod. Out: a
//! proxy that follows the operator until it is told to stop; then it drains.
//!
//! token ─► [`switchyard_discovery::identity::client`] ─► certificate ─► [`crate::stream`] ─► [`crate::app::Proxy`]

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use switchyard_discovery::client::Me;
use switchyard_discovery::identity::client::{Client, Connector, ConnectorError, Settings};
use switchyard_discovery::peer::PeerIdentity;
use switchyard_discovery::release::Release;
use switchyard_snapshot::{PoolId, parse_duration};
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;
use tower::{Service, service_fn};

use crate::app::{Proxy, ProxyConfig, StartError};
use crate::resolve::Resolver;
use crate::signals::StopSignals;
use crate::socket::raise_descriptor_limit;
use crate::stream::{StreamConfig, follow};

/// How long a connection waits for a certificate before it fails, to be tried again.
const CERTIFICATE_WITHIN: Duration = Duration::from_secs(5);

/// Calls that block, such as the last write of a file, may take so long once everything else has ended.
const END_WITHIN: Duration = Duration::from_secs(1);

/// What `switchyard-proxy run` takes.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Where the operator serves
    #[arg(long, value_name = "HOST:PORT", env = "SWITCHYARD_OPERATOR")]
    operator: String,
    /// The name in the operator's certificate [default: the host of its address]
    #[arg(long, value_name = "NAME", env = "SWITCHYARD_OPERATOR_NAME")]
    operator_name: Option<String>,
    /// The authorities that the operator's certificate may come from, PEM; read again for each connection
    #[arg(
        long,
        value_name = "FILE",
        env = "SWITCHYARD_CA_FILE",
        default_value = "/etc/switchyard/ca/ca.crt"
    )]
    ca_file: PathBuf,
    /// The pod's token for the audience `switchyard`; read again for each exchange
    #[arg(
        long,
        value_name = "FILE",
        env = "SWITCHYARD_TOKEN_FILE",
        default_value = "/var/run/secrets/switchyard/token"
    )]
    token_file: PathBuf,
    /// The pool this is a proxy of
    #[arg(long, value_name = "NAMESPACE/NAME", env = "SWITCHYARD_POOL", value_parser = parse_pool)]
    pool: PoolId,
    /// Name of this pod
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pod_name: String,
    /// UID of this pod
    #[arg(long, value_name = "UID", env = "POD_UID")]
    pod_uid: String,
    /// Where the last good copy and the epochs are kept, a folder of this proxy alone [default: nowhere]
    #[arg(long, value_name = "DIR", env = "SWITCHYARD_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    /// How long an operator that is there may take to say what shall run before the last good copy is used
    #[arg(long, value_name = "DURATION", env = "SWITCHYARD_PATIENCE", default_value = "2s", value_parser = parse_duration)]
    patience: Duration,
    /// Where listeners without addresses of their own are bound [default: all addresses]
    #[arg(long, value_name = "IP", env = "SWITCHYARD_BIND")]
    bind: Option<IpAddr>,
    /// Where other proxies, and guests, reach this one: the pod's address [default: where its gossip comes from]
    #[arg(long, value_name = "IP", env = "SWITCHYARD_ADVERTISE")]
    advertise: Option<IpAddr>,
    /// Data workers, one thread each [default: one per CPU]
    #[arg(long, value_name = "N", env = "SWITCHYARD_WORKERS")]
    workers: Option<NonZeroUsize>,
    /// Where everything the proxy knows is shown, and a drain can be asked for; keep it on loopback
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "SWITCHYARD_ADMIN_LISTEN",
        default_value = "127.0.0.1:17000"
    )]
    admin_listen: SocketAddr,
    /// Where the kubelet and a metrics collector ask: /livez, /readyz and /metrics only
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "SWITCHYARD_HEALTH_LISTEN",
        default_value = "0.0.0.0:17020"
    )]
    health_listen: SocketAddr,
}

fn parse_pool(text: &str) -> Result<PoolId, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(PoolId {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err("a pool is NAMESPACE/NAME".to_owned()),
    }
}

/// Why the program ended before it was told to.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot {doing}: {source}")]
    System {
        doing: &'static str,
        source: std::io::Error,
    },
    #[error("a part of the proxy died: {0}")]
    Died(String),
}

impl RunError {
    fn system(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

/// Runs until it is told to stop. Exit code 1: something failed.
pub fn run(args: RunArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(RunError::system("start the control runtime"));
    let served = runtime.and_then(|runtime| {
        let served = runtime.block_on(serve(args));
        // All tasks are joined. What is being written may end; a name that the C library still looks up would take half a minute.
        runtime.shutdown_timeout(END_WITHIN);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "stopping");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: RunArgs) -> Result<(), RunError> {
    // before anything else: a signal that comes while the proxy starts must not kill it half-way
    let mut signals = StopSignals::install().map_err(RunError::system("listen for signals"))?;
    let descriptors = raise_descriptor_limit().map_err(RunError::system("raise the limit of descriptors"))?;
    let resolver = Resolver::start();
    let proxy = Proxy::launch(proxy_config(&args, &resolver, descriptors)).await?;
    let outcome = Box::pin(run_until_told(&args, &proxy, &mut signals)).await;
    proxy.stop().await;
    resolver.stop().await;
    outcome
}

/// Follows the operator; drains once it is told to stop.
async fn run_until_told(args: &RunArgs, proxy: &Proxy, signals: &mut StopSignals) -> Result<(), RunError> {
    let identity = Client::new(settings(args));
    let stop = CancellationToken::new();
    let renewing = identity.run(stop.clone());
    let following = follow(proxy, stream_config(args), certified(identity.clone()));
    let feeding = async {
        let ((), followed) = tokio::join!(renewing, following);
        followed
    };
    tokio::pin!(feeding);
    let outcome = tokio::select! {
        () = signals.received() => Ok(()),
        ended = &mut feeding => Err(match ended {
            Ok(()) => RunError::Died("the stream".to_owned()),
            Err(source) => RunError::System { doing: "use the folder of the last good copy", source },
        }),
        why = proxy.failed() => Err(RunError::Died(why)),
        never = proxy.beat() => match never {},
    };
    if outcome.is_ok() {
        tracing::info!(
            "draining: no new connections; sessions may finish; a second signal ends them at once"
        );
        tokio::select! {
            () = proxy.drain() => {}
            () = signals.received() => tracing::warn!("told to stop again: closing what is left"),
            // the operator shall know that it drains
            _ = &mut feeding => {}
            never = proxy.beat() => match never {},
            why = proxy.failed() => tracing::error!(why, "a part of the proxy died while it drained"),
        }
    }
    stop.cancel();
    outcome
}

fn proxy_config(args: &RunArgs, resolver: &Resolver, descriptors: u64) -> ProxyConfig {
    let cpus = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    ProxyConfig {
        name: args.pod_name.clone(),
        bind: args.bind,
        advertise: args.advertise,
        admin: args.admin_listen,
        health: Some(args.health_listen),
        workers: args.workers.unwrap_or_else(cpus),
        state_dir: args.cache_dir.as_ref().map(|folder| folder.join("chains")),
        descriptors,
        access_log: None,
        resolver: resolver.clone(),
    }
}

fn stream_config(args: &RunArgs) -> StreamConfig {
    StreamConfig {
        operator: args.operator.clone(),
        me: Me {
            identity: identity(args),
            release: Release::ours(),
        },
        folder: args.cache_dir.clone(),
        patience: args.patience,
    }
}

fn settings(args: &RunArgs) -> Settings {
    Settings {
        identity: identity(args),
        operator: args.operator.clone(),
        server_name: args.operator_name.clone(),
        bundle_file: args.ca_file.clone(),
        token_file: args.token_file.clone(),
    }
}

fn identity(args: &RunArgs) -> PeerIdentity {
    PeerIdentity {
        pool: args.pool.clone(),
        pod: args.pod_name.clone(),
        uid: args.pod_uid.clone(),
    }
}

/// There is no certificate to connect with.
#[derive(Debug, thiserror::Error)]
enum Uncertified {
    #[error("there is no certificate to connect with: {0}")]
    Missing(String),
    #[error(transparent)]
    Connector(#[from] ConnectorError),
}

/// Connects as soon as there is a certificate.
fn certified(
    identity: Client,
) -> impl Service<Uri, Response = <Connector as Service<Uri>>::Response, Error = Uncertified, Future = impl Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |uri: Uri| {
        let identity = identity.clone();
        async move {
            if tokio::time::timeout(CERTIFICATE_WITHIN, identity.ready())
                .await
                .is_err()
            {
                let why = identity.freshness().borrow().error.clone();
                return Err(Uncertified::Missing(
                    why.unwrap_or_else(|| "the operator has not answered yet".to_owned()),
                ));
            }
            Ok(identity.connector().call(uri).await?)
        }
    })
}
