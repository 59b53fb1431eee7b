//! `switchyard-operator check`: what `helm test` runs. In: where an operator shall be. Out: per question of a proxy, a kubelet and
//! the API server whether it is answered, and in words why not.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::app;
use crate::args::CheckArgs;

/// How long one question may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two rounds, for an installation that is still starting.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest answer that is read, in bytes.
const ANSWER: usize = 64 * 1024;

/// Where the API server says which kinds of ours it serves.
const KINDS: &str = "/apis/switchyard.dev/v1alpha1";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The API server serves both kinds.
    Definitions,
    /// An operator is ready.
    Ready,
    /// An operator leads: the others refuse connections here.
    Discovery,
    /// An operator answers the API server.
    Webhook,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Definitions => "the API server serves ProxyPool and ProxyChain",
            Self::Ready => "an operator is ready",
            Self::Discovery => "a leader serves proxies",
            Self::Webhook => "the webhook is served",
        })
    }
}

/// Asks until everything is answered, or the time is up.
///
/// # Errors
/// What is not answered, and why, a line each.
pub async fn run(args: &CheckArgs) -> Result<Vec<Question>, String> {
    let mut open = vec![Question::Definitions, Question::Ready, Question::Discovery];
    open.extend(args.webhook_port.map(|_| Question::Webhook));
    let mut answered = Vec::new();
    let end = Instant::now() + args.within;
    loop {
        let asked = open.iter().map(|&question| async move {
            let late = |_| Err(format!("no answer within {ATTEMPT:?}"));
            let answer = timeout(ATTEMPT, ask(question, args)).await.unwrap_or_else(late);
            (question, answer)
        });
        let mut failed = Vec::new();
        open = join_all(asked)
            .await
            .into_iter()
            .filter_map(|(question, answer)| match answer {
                Ok(()) => {
                    answered.push(question);
                    None
                }
                Err(why) => {
                    failed.push(format!("it is not so that {question}: {why}"));
                    Some(question)
                }
            })
            .collect();
        if open.is_empty() {
            return Ok(answered);
        }
        if Instant::now() + PAUSE >= end {
            return Err(failed.join("\n"));
        }
        sleep(PAUSE).await;
    }
}

async fn ask(question: Question, args: &CheckArgs) -> Result<(), String> {
    match question {
        Question::Definitions => definitions().await,
        Question::Ready => ready(args).await,
        Question::Discovery => connect(args, args.discovery_port).await.map(drop),
        Question::Webhook => match args.webhook_port {
            Some(port) => connect(args, port).await.map(drop),
            None => Ok(()),
        },
    }
}

/// Every account may ask for this.
async fn definitions() -> Result<(), String> {
    let client = app::client().await.map_err(|error| error.to_string())?;
    let request = Request::get(KINDS)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    let told = client
        .request_text(request)
        .await
        .map_err(|error| error.to_string())?;
    let missing: Vec<&str> = ["ProxyPool", "ProxyChain"]
        .into_iter()
        .filter(|kind| !told.contains(&format!("\"{kind}\"")))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{KINDS} has no {}", missing.join(", no ")))
    }
}

async fn ready(args: &CheckArgs) -> Result<(), String> {
    let stream = connect(args, args.health_port).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get("/readyz")
        .header(HOST, args.operator.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        match status {
            StatusCode::OK => Ok(()),
            _ => Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim())),
        }
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or_else(|| "it hung up".to_owned(), |error| error.to_string())),
    }
}

async fn connect(args: &CheckArgs, port: u16) -> Result<TcpStream, String> {
    let refused = |error| format!("cannot connect to {}:{port}: {error}", args.operator);
    TcpStream::connect((args.operator.as_str(), port))
        .await
        .map_err(refused)
}
