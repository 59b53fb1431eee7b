//! From a chain to an established connection. In: a chain's views and a client that waits. Out: a connection to one
//! endpoint, with its place there, or why there is none.
//!
//! Each attempt goes to another endpoint while there is one; a pending one gets a competitor (RFC 8305 §5). Who has run
//! out of endpoints waits for a newer view: that is how a client that was caught in a failover is served by the
//! standby, without any client ever reaching a standby while the primary tier lives.

mod dial;
mod gone;
mod race;
mod relayed;
mod search;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::chain::view::Via;
use crate::endpoint::Place;
use crate::listener::{ChainLocal, Refused};
use crate::route::Routing;
use crate::session::end::ConnectError;
use crate::tls;
use crate::wire::Wire;
use crate::worker::thread::Worker;

use search::{Choice, Search};

pub(crate) use dial::Announce;

/// Who wants to be connected.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) chain: &'a ChainLocal,
    pub(crate) routing: &'a Routing,
    /// Only watched: nothing is read from it. None: whoever calls watches it.
    pub(crate) client: Option<&'a TcpStream>,
    /// Something that it said has been read already.
    pub(crate) has_spoken: bool,
    pub(crate) from: IpAddr,
    /// What a PROXY header says of it. Sent here where TLS follows; otherwise the caller's to send, with its first bytes.
    pub(crate) announce: Announce<'a>,
    /// What the connection is for.
    pub(crate) inside: tls::Inside,
    /// Whether to wait for an endpoint where there is none: a load balancer's probe is told the truth at once.
    pub(crate) patient: bool,
    /// Whether another proxy may serve it: not a probe, not a guest, and nobody whose TLS ended here.
    pub(crate) relayable: bool,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: Wire,
    pub(crate) place: Place,
    pub(crate) via: Via,
    /// The endpoint is another proxy: this goes first.
    pub(crate) relay: Option<Vec<u8>>,
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

/// What a search found.
#[derive(Debug)]
pub(crate) enum Found<T> {
    /// A connection that was there already.
    Kept(T, Reached),
    /// A new one.
    New(Connected),
}

/// An endpoint and a place there.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) place: Place,
    pub(crate) via: Via,
    /// The endpoint is another proxy.
    pub(crate) relayed: bool,
    /// Attempts to connect that it took; 0: the connection was there already.
    pub(crate) attempts: u32,
}

/// A search that goes on when what it found proves of no use: for requests that may be sent again.
pub(crate) struct Hunt<'a> {
    search: Search<'a>,
    /// Whose turn it is, though no connection was kept for it.
    next: Option<Choice>,
}

impl<'a> Hunt<'a> {
    pub(crate) fn new(caller: Caller<'a>) -> Self {
        Self {
            search: Search::new(caller),
            next: None,
        }
    }

    /// The next endpoint, if `kept` has a connection for it and nothing has to be waited for.
    pub(crate) fn kept<T>(&mut self, mut kept: impl FnMut(&Place, Via) -> Option<T>) -> Option<(T, Reached)> {
        self.next = None;
        let choice = self.search.choose(None).ok()?;
        if let Some(kept) = kept(&choice.place, choice.via) {
            return Some((kept, self.search.reuses(choice)));
        }
        // Another choice would pass over whoever's turn it is.
        self.next = Some(choice);
        None
    }

    /// The next endpoint, over a connection that `kept` has for it, else over a new one.
    ///
    /// # Errors
    /// As [`connect`].
    pub(crate) async fn next<T>(
        &mut self,
        mut kept: impl FnMut(&Place, Via) -> Option<T>,
    ) -> Result<Found<T>, Refused> {
        loop {
            let choice = match self.next.take() {
                Some(choice) => Ok(choice),
                None => self.search.choose(None),
            };
            match choice {
                Ok(choice) => {
                    if let Some(kept) = kept(&choice.place, choice.via) {
                        return Ok(Found::Kept(kept, self.search.reuses(choice)));
                    }
                    if let Some(connected) = self.search.attempt(choice).await? {
                        return Ok(Found::New(connected));
                    }
                }
                Err(nobody) => self.search.wait(nobody).await?,
            }
        }
    }

    /// A new connection to `reached` was of no use.
    pub(crate) fn failed(&mut self, reached: Reached, error: ConnectError, text: &str) {
        let Reached { place, via, .. } = reached;
        let choice = Choice {
            place,
            via,
            relay: None,
            away_from_home: None,
        };
        self.search.failed(&choice, error, text);
    }

    /// Whether the search has attempts left.
    pub(crate) fn may_try_again(&self) -> bool {
        self.search.may_try_again()
    }
}

/// Whether a later moment is `after` this one by now.
fn is_past(moment: Instant) -> bool {
    moment <= Instant::now()
}

#[cfg(test)]
mod tests;
