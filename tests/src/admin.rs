//! What a program's admin port answers, as the tests read it: `/readyz`,
//! `/endpoints`, `/metrics` and anything else. In: a machine. Out: answers,
//! and states that are awaited.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::eventually::eventually;
use crate::lab::Host;

/// Port of the admin endpoints, on loopback.
pub const PORT: u16 = 17000;

/// Time for one request.
const SOON: Duration = Duration::from_secs(10);

/// The admin port of the one program on a machine.
#[derive(Clone)]
pub struct Admin {
    host: Host,
    /// Of the chains that are asked for by name.
    namespace: String,
}

impl Admin {
    /// Of the program on `host`, whose chains are of this namespace.
    pub fn new(host: &Host, namespace: &str) -> Self {
        Self {
            host: host.clone(),
            namespace: namespace.to_owned(),
        }
    }

    /// Awaits 200 from `/readyz`.
    ///
    /// # Panics
    /// When it does not come `within` the time.
    #[track_caller]
    pub fn await_ready(&self, within: Duration) {
        eventually("/readyz answers 200", within, || match self.get("/readyz")? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status}: {body}")),
        });
    }

    /// GET from the admin port: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let path = path.to_owned();
        let get = async move { tokio::time::timeout(SOON, get(&path)).await };
        match self.host.block_on(get) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {SOON:?}")),
        }
    }

    /// GET of JSON.
    ///
    /// # Panics
    /// When the answer is not 200 with JSON.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        match self.get(path) {
            Ok((200, body)) => {
                serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    /// What `/endpoints` says of the chain `name`.
    ///
    /// # Panics
    /// When it does not know that chain, or says it in other words.
    #[track_caller]
    pub fn chain(&self, name: &str) -> ChainState {
        self.find_chain(name).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As [`Admin::chain`], for chains that may be missing.
    pub fn find_chain(&self, name: &str) -> Result<ChainState, String> {
        #[derive(Deserialize)]
        struct Endpoints {
            chains: Vec<ChainState>,
        }
        let (status, body) = self.get("/endpoints")?;
        let all: Endpoints =
            serde_json::from_str(&body).map_err(|error| format!("/endpoints: {status}: {error}: {body}"))?;
        let wanted = format!("{}/{name}", self.namespace);
        let found = all.chains.into_iter().find(|chain| chain.chain == wanted);
        found.ok_or_else(|| format!("no chain {wanted} in {body}"))
    }

    /// Awaits that `check` accepts the state of the chain `name`.
    ///
    /// # Panics
    /// When it does not `within` the time; the last state is told.
    #[track_caller]
    pub fn await_chain(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        check: impl Fn(&ChainState) -> bool,
    ) -> ChainState {
        eventually(&format!("chain {name}: {what}"), within, || {
            let state = self.find_chain(name)?;
            if check(&state) {
                Ok(state)
            } else {
                Err(format!("{state:#?}"))
            }
        })
    }

    /// Awaits that the chain's endpoints in state Serving are `addresses`
    /// (in any order) and no others.
    ///
    /// # Panics
    /// As [`Admin::await_chain`].
    #[track_caller]
    pub fn await_serving(&self, name: &str, addresses: &[SocketAddr], within: Duration) {
        let mut wanted: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        wanted.sort();
        let what = format!("serving are {wanted:?}");
        self.await_chain(name, &what, within, |state| state.serving() == wanted);
    }

    /// The metrics.
    ///
    /// # Panics
    /// When `/metrics` does not answer 200.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        match self.get("/metrics") {
            Ok((200, text)) => Metrics::parse(&text),
            other => panic!("/metrics: {other:?}"),
        }
    }
}

/// One chain, as `/endpoints` tells it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainState {
    /// `namespace/name`
    pub chain: String,
    /// The active tier.
    pub active: Option<Active>,
    /// When it goes back to the primary, where that is planned.
    pub failback_at: Option<String>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl ChainState {
    /// Addresses of its endpoints in state Serving, sorted.
    pub fn serving(&self) -> Vec<String> {
        let serving = self.endpoints.iter().filter(|e| e.state == "Serving");
        let mut addresses: Vec<String> = serving.map(|e| e.address.clone()).collect();
        addresses.sort();
        addresses
    }

    /// Addresses of its endpoints that clients are sent to, sorted: those in
    /// state Serving, and those in state Stale (DNS says nothing new of them).
    pub fn usable(&self) -> Vec<String> {
        let used = |e: &&Endpoint| e.state == "Serving" || e.state == "Stale";
        let mut addresses: Vec<String> = self
            .endpoints
            .iter()
            .filter(used)
            .map(|e| e.address.clone())
            .collect();
        addresses.sort();
        addresses
    }

    /// Its endpoint with this address.
    pub fn endpoint(&self, address: SocketAddr) -> Option<&Endpoint> {
        let address = address.to_string();
        self.endpoints.iter().find(|e| e.address == address)
    }
}

/// The tier that serves.
#[derive(Clone, Debug, Deserialize)]
pub struct Active {
    /// Its first backend's name.
    pub backend: String,
    /// 0 is primary.
    pub tier: u32,
    /// RFC 3339.
    pub since: String,
    /// Grows with every change of tier.
    pub epoch: u64,
    /// Why, in words.
    pub reason: String,
}

/// One endpoint, as `/endpoints` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoint {
    /// Its backend's name.
    pub backend: String,
    /// `address:port`
    pub address: String,
    /// Its backend's tier.
    pub tier: u32,
    /// Serving, Stale, Ejected or Draining.
    pub state: String,
    /// Why, in words.
    pub reason: String,
    /// RFC 3339.
    pub since: String,
    /// Client connections on it.
    pub connections: u64,
}

/// Samples of a `/metrics` answer (Prometheus text format).
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self {
            samples: lines.filter_map(sample).collect(),
        }
    }

    /// Sum of the samples of the metric `name` that carry all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let matching = self.samples.iter().filter(|(series, _)| {
            series.split('{').next() == Some(name) && wanted.iter().all(|l| series.contains(l))
        });
        matching.map(|(_, value)| value).sum()
    }

    /// Every series with its value, for messages.
    pub fn series(&self) -> &[(String, f64)] {
        &self.samples
    }
}

async fn get(path: &str) -> Result<(u16, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(("127.0.0.1", PORT)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort(); // one request each
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
