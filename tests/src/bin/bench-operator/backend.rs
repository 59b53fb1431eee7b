//! What all chains lead to. In: probes, each saying for which chain. Out: `up` or `down`, as the measurement wants, and how
//! many probes of each chain have been answered so since.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchyard_tests::apiserver::ControlPlane;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What a probe that passes hears.
pub const UP: &str = "up";

/// A backend of every chain.
#[derive(Clone)]
pub struct Backend {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    answers: Mutex<Answers>,
    answered: Notify,
}

struct Answers {
    up: bool,
    /// Per chain.
    given: Vec<usize>,
    /// Probes that each chain's proxies must have had until all are told.
    wanted: usize,
    /// Chains whose proxies have not all been told.
    missing: usize,
    all_told: Option<Instant>,
}

impl Backend {
    /// Answers `up` on loopback to probes of so many chains.
    pub fn start(plane: &ControlPlane, chains: usize) -> Self {
        let listener = plane.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            answers: Mutex::new(Answers {
                up: true,
                given: vec![0; chains],
                wanted: usize::MAX,
                missing: chains,
                all_told: None,
            }),
            answered: Notify::new(),
        });
        plane.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every probe passes, or none does. Returns when `proxies` probes of each chain have been told so.
    ///
    /// # Panics
    /// When they do not come within this time.
    pub fn turn(&self, plane: &ControlPlane, up: bool, proxies: usize, within: Duration) -> Instant {
        {
            let mut answers = self.state.answers();
            let chains = answers.given.len();
            *answers = Answers {
                up,
                given: vec![0; chains],
                wanted: proxies,
                missing: chains,
                all_told: None,
            };
        }
        let told = async {
            loop {
                let answered = self.state.answered.notified();
                if let Some(told) = self.state.answers().all_told {
                    return told;
                }
                answered.await;
            }
        };
        let told = plane.block_on(async { tokio::time::timeout(within, told).await });
        told.expect("every proxy probes every chain")
    }
}

impl State {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, chain: usize) {
        let mut answers = self.answers();
        let wanted = answers.wanted;
        let Some(given) = answers.given.get_mut(chain) else {
            return;
        };
        *given += 1;
        if *given == wanted {
            answers.missing -= 1;
            if answers.missing == 0 {
                answers.all_told = Some(Instant::now());
                self.answered.notify_one();
            }
        }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&state)));
        }
    }
}

/// A probe sends the number of its chain and a line's end.
async fn answer(mut stream: TcpStream, state: Arc<State>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut buffer = [0; 64];
    while !line.ends_with(b"\n") {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        line.extend_from_slice(&buffer[..count]);
    }
    let up = state.answers().up;
    stream.write_all(if up { b"up\n" } else { b"down\n" }).await?;
    // a line that is no number is of no chain
    if let Ok(chain) = String::from_utf8_lossy(&line).trim().parse() {
        state.count(chain);
    }
    Ok(())
}
