//! The operator's settings. In: command line and environment. Out: values whose mistakes are all told before anything runs.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::identity::{Lifetimes, Options};
use crate::lease::Timing;
use crate::scope::Scope;

/// Where the namespace of a pod stands inside it.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Kubernetes resources to running, supplied proxies
#[derive(Debug, Parser)]
#[command(
    name = "switchyard-operator",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How the log looks.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<RunArgs>),
    /// Print the definitions of both kinds, for `kubectl apply -f -`
    Crds,
    /// Ask an installed operator from outside whether it is of use; says in words what is not, with exit code 1
    Check(CheckArgs),
}

/// Settings of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Host at which the operators are reached
    #[arg(long, value_name = "HOST")]
    pub operator: String,
    /// Port of discovery there
    #[arg(long, value_name = "PORT", default_value_t = 17010)]
    pub discovery_port: u16,
    /// Port of the pages for the kubelet there
    #[arg(long, value_name = "PORT", default_value_t = 17020)]
    pub health_port: u16,
    /// Port of the webhook there (default: it is not asked)
    #[arg(long, value_name = "PORT")]
    pub webhook_port: Option<u16>,
    /// How long an installation that is still starting is waited for
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub within: Duration,
}

/// Settings of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespace of the operator itself: of its lease, its CA and its own Service (default: this pod's)
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of this replica, unique among them (default: the host's name)
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Namespaces that are watched and may be read; none: all of them
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        env = "SWITCHYARD_WATCH_NAMESPACES"
    )]
    pub watch_namespaces: Vec<String>,
    /// Where proxies connect for their configuration
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:17010",
        env = "SWITCHYARD_DISCOVERY_LISTEN"
    )]
    pub discovery_listen: SocketAddr,
    /// HOST:PORT at which proxies reach the operators (default: switchyard-operator.NAMESPACE.svc:17010)
    #[arg(long, value_name = "HOST:PORT", env = "SWITCHYARD_DISCOVERY_ADDRESS")]
    pub discovery_address: Option<String>,
    /// Where everything the operator knows is shown; keep it on loopback
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:17000",
        env = "SWITCHYARD_ADMIN_LISTEN"
    )]
    pub admin_listen: SocketAddr,
    /// Where the kubelet and a metrics collector ask: /livez, /readyz and /metrics only
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:17020",
        env = "SWITCHYARD_HEALTH_LISTEN"
    )]
    pub health_listen: SocketAddr,
    /// Image of proxies whose pool names none
    #[arg(
        long,
        value_name = "IMAGE",
        default_value = concat!("switchyard:", env!("CARGO_PKG_VERSION")),
        env = "SWITCHYARD_PROXY_IMAGE"
    )]
    pub proxy_image: String,
    /// Who of several replicas leads.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// Who proxies are.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Pods that get a proxy.
    #[command(flatten)]
    pub webhook: WebhookArgs,
}

/// Settings of the webhook.
#[derive(Args, Clone, Debug)]
pub struct WebhookArgs {
    /// Name of the configuration of webhooks by which the API server sends pods here, and which is told whom to trust; none: no webhook
    #[arg(long, value_name = "NAME", env = "SWITCHYARD_WEBHOOK_CONFIGURATION")]
    pub webhook_configuration: Option<String>,
    /// Where the API server asks
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:9443",
        env = "SWITCHYARD_WEBHOOK_LISTEN"
    )]
    pub webhook_listen: SocketAddr,
    /// Name by which the API server reaches the webhook (default: the host of --discovery-address)
    #[arg(long, value_name = "HOST", env = "SWITCHYARD_WEBHOOK_HOST")]
    pub webhook_host: Option<String>,
}

/// Settings of identities.
#[derive(Args, Clone, Debug)]
pub struct IdentityArgs {
    /// Secret of the operator's namespace in which it keeps its CA
    #[arg(
        long,
        value_name = "NAME",
        default_value = "switchyard-ca",
        env = "SWITCHYARD_CA_SECRET"
    )]
    pub ca_secret: String,
    /// Secret of the operator's namespace in which somebody else, such as cert-manager, keeps the CA that signs instead
    #[arg(long, value_name = "NAME", env = "SWITCHYARD_CA_GIVEN_SECRET")]
    pub ca_given_secret: Option<String>,
    /// How long a CA of our own lives
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration, env = "SWITCHYARD_CA_LIFETIME")]
    pub ca_lifetime: Duration,
    /// How long a new CA is published before it signs; at least the lifetime of a certificate
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration, env = "SWITCHYARD_CA_PROPAGATION")]
    pub ca_propagation: Duration,
    /// How long a proxy's certificate lives
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration, env = "SWITCHYARD_CERTIFICATE_LIFETIME")]
    pub certificate_lifetime: Duration,
    /// Issuer of the cluster's service account tokens (default: what the API server says of itself)
    #[arg(long, value_name = "URL", env = "SWITCHYARD_TOKEN_ISSUER")]
    pub token_issuer: Option<String>,
}

/// Settings of the lease.
#[derive(Args, Clone, Debug)]
pub struct LeaseArgs {
    /// Name of the Lease over which replicas agree on their leader
    #[arg(
        long,
        value_name = "NAME",
        default_value = "switchyard-operator",
        env = "SWITCHYARD_LEASE_NAME"
    )]
    pub lease_name: String,
    /// How long a leader that falls silent is waited for, in whole seconds
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, env = "SWITCHYARD_LEASE_DURATION")]
    pub lease_duration: Duration,
    /// A leader that could not renew its lease for so long stops leading; shorter than the duration
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "SWITCHYARD_LEASE_RENEW_DEADLINE")]
    pub lease_renew_deadline: Duration,
    /// How often the lease is renewed by its holder and looked at by the others
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, env = "SWITCHYARD_LEASE_RETRY_PERIOD")]
    pub lease_retry_period: Duration,
}

/// How the log looks.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace), or directives such as `switchyard_operator=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "info,kube_runtime=warn,kube_client=off",
        env = "SWITCHYARD_LOG"
    )]
    log: String,
    /// One JSON object, or one line of text, per event
    #[arg(long, global = true, value_enum, default_value = "json")]
    log_format: LogFormat,
}

/// Of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What is wrong with the settings; each line is one mistake.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(Vec<String>);

/// Settings that make sense together.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the operator itself.
    pub namespace: String,
    /// Unique among replicas, also across restarts of one pod.
    pub identity: String,
    /// What is watched.
    pub scope: Scope,
    /// `HOST:PORT` at which proxies reach the operators.
    pub discovery_address: String,
    /// Of the lease.
    pub timing: Timing,
    /// Of identities.
    pub identities: Options,
}

impl RunArgs {
    /// Fills in what depends on the surroundings, and checks what belongs together.
    ///
    /// # Errors
    /// Every mistake, in words.
    pub fn settings(&self) -> Result<Settings, Mistakes> {
        let mut mistakes = Vec::new();
        let namespace = self.namespace.clone().or_else(|| {
            let text = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
            Some(text.trim().to_owned()).filter(|name| !name.is_empty())
        });
        if namespace.is_none() {
            mistakes
                .push("--namespace must be given outside a pod: the namespace of the operator".to_owned());
        }
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let pod_name = self.pod_name.clone().unwrap_or_else(|| host().trim().to_owned());
        let namespaces: BTreeSet<String> = self
            .watch_namespaces
            .iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        let timing = Timing::new(
            self.lease.lease_duration,
            self.lease.lease_renew_deadline,
            self.lease.lease_retry_period,
        );
        let timing = timing.map_err(|why| mistakes.push(why)).ok();
        let lifetimes = Lifetimes::new(
            self.identity.ca_lifetime,
            self.identity.ca_propagation,
            self.identity.certificate_lifetime,
        );
        let lifetimes = lifetimes.map_err(|why| mistakes.push(why)).ok();
        let service = |namespace: &str| {
            format!(
                "switchyard-operator.{namespace}.svc:{}",
                self.discovery_listen.port()
            )
        };
        let given = self.discovery_address.clone();
        let discovery_address = given.or_else(|| namespace.as_deref().map(service));
        let server_name = discovery_address.as_deref().and_then(host_of);
        if discovery_address.is_some() && server_name.is_none() {
            mistakes.push("--discovery-address must be HOST:PORT".to_owned());
        }
        match (namespace, timing, lifetimes, discovery_address, server_name) {
            (Some(namespace), Some(timing), Some(lifetimes), Some(discovery_address), Some(server_name))
                if mistakes.is_empty() =>
            {
                Ok(Settings {
                    discovery_address,
                    identities: Options {
                        namespace: namespace.clone(),
                        secret: self.identity.ca_secret.clone(),
                        given_secret: self.identity.ca_given_secret.clone(),
                        server_names: [Some(server_name), self.webhook.webhook_host.clone()]
                            .into_iter()
                            .flatten()
                            .collect(),
                        lifetimes,
                        issuer: self.identity.token_issuer.clone(),
                    },
                    namespace,
                    // a restarted container is another process: it must not take its predecessor's term for its own
                    identity: format!("{pod_name}_{:016x}", fastrand::u64(..)),
                    scope: Scope::of(namespaces),
                    timing,
                })
            }
            _ => Err(Mistakes(mistakes)),
        }
    }
}

/// The host of `HOST:PORT`, an IPv6 address without its brackets.
fn host_of(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    (!host.is_empty()).then(|| host.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    switchyard_snapshot::parse_duration(text).map_err(|error| error.to_string())
}

impl LogArgs {
    /// Starts the log, on standard error.
    ///
    /// # Errors
    /// The filter cannot be read.
    pub fn start(&self) -> Result<(), String> {
        let filter =
            EnvFilter::try_new(&self.log).map_err(|error| format!("--log {:?}: {error}", self.log))?;
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Ok(())
    }
}
