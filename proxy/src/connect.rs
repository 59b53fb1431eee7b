//! From a chain to an established connection. In: a chain's views and a client that waits. Out: a connection to one
//! endpoint, with its place there, or why there is none.
//!
//! Each attempt goes to another endpoint while there is one; a pending one gets a competitor (RFC 8305 §5). Who has run
//! out of endpoints waits for a newer view: that is how a client that was caught in a failover is served by the
//! standby, without any client ever reaching a standby while the primary tier lives.

mod dial;
mod gone;
mod race;
mod search;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::chain::view::Via;
use crate::endpoint::Place;
use crate::listener::{ChainLocal, Refused};
use crate::route::Routing;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Worker;

use search::Search;

pub(crate) use dial::Announce;

/// Who wants to be connected.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) chain: &'a ChainLocal,
    pub(crate) routing: &'a Routing,
    /// Only watched: nothing is read from it.
    pub(crate) client: &'a TcpStream,
    pub(crate) from: IpAddr,
    /// What a PROXY header says of it. Sent here where TLS follows; otherwise the caller's to send, with its first bytes.
    pub(crate) announce: Announce<'a>,
    /// What the connection is for.
    pub(crate) inside: tls::Inside,
    /// Whether to wait for an endpoint where there is none: a load balancer's probe is told the truth at once.
    pub(crate) patient: bool,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: Wire,
    pub(crate) place: Place,
    pub(crate) via: Via,
    /// Attempts it took, this one included.
    pub(crate) attempts: u32,
    /// From the first attempt on.
    pub(crate) took: Duration,
}

/// Connects to an endpoint of the chain.
///
/// # Errors
/// The chain has nobody who serves within the time that `connect` in its configuration gives, or the client left.
pub(crate) async fn connect(caller: Caller<'_>) -> Result<Connected, Refused> {
    let mut search = Search::new(caller);
    loop {
        match search.choose(None) {
            Ok(choice) => {
                if let Some(connected) = search.attempt(choice).await? {
                    return Ok(connected);
                }
            }
            Err(nobody) => search.wait(nobody).await?,
        }
    }
}

/// Whether a later moment is `after` this one by now.
fn is_past(moment: Instant) -> bool {
    moment <= Instant::now()
}

#[cfg(test)]
mod tests;
