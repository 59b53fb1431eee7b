//! A client's way, hop by hop, as listener and search have it. In: a proxy and its views. Out: who served it, or why nobody did.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::chain::event::{ConnectFailed, Event};
use crate::chain::view::{Candidate, View};
use crate::dialect;
use crate::endpoint::EndpointId;
use crate::gossip::testing::MS;
use crate::pick::{Nobody, pick};

use super::plan::CONNECT;
use super::world::{Act, World};

/// Who waits for another view looks again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The same endpoint is tried again after this, doubled each time.
const RETRY_SAME: Duration = Duration::from_millis(100);
/// A proxy that has started takes clients of its access point after this at most.
const READY: Duration = Duration::from_secs(1);

/// A client that wants to be served.
pub(super) struct Client {
    from: IpAddr,
    /// Whose access point it came to, and when.
    home: usize,
    came: Instant,
    /// Where it is now; a guest, where that is another proxy.
    at: usize,
    begun: Instant,
    attempts: u32,
    most: u32,
    tried: Vec<EndpointId>,
    version: u64,
    /// An attempt that is pending: where to, and when it fails if nothing answers.
    silent: Option<(EndpointId, Instant)>,
}

/// What a client does next.
enum Next {
    Wait(Duration),
    Try(Candidate),
    Refused(String),
}

impl World {
    /// A client comes to some access point, which knows who is there.
    pub(super) fn newcomer(&mut self) {
        let now = self.now();
        let ready = |at: &usize| {
            let proxy = &self.proxies[*at];
            let running = proxy.running.as_ref().filter(|_| !proxy.leaving);
            running.is_some_and(|running| now >= running.began + READY)
        };
        let ready: Vec<usize> = (0..self.proxies.len()).filter(ready).collect();
        let Some(&home) = self.rng.choice(&ready) else {
            return;
        };
        let from = IpAddr::from([192, 0, 2, self.rng.u8(..)]);
        let client = Client::new(from, home, now, home, now);
        let follows = self.rng.bool();
        let view = self.running(home).state.view().clone();
        let native = view
            .detour
            .as_ref()
            .filter(|detour| follows && !detour.dialects.is_empty());
        if let Some((_, place)) = native.and_then(|detour| dialect::target(detour, from, |_| true)) {
            let to = place
                .host()
                .parse()
                .ok()
                .and_then(|ip| self.plan.proxy_at(ip))
                .unwrap();
            self.goes(&client, to);
            if self.ground.runs(to) {
                self.arrives(&client, to);
            } else {
                self.tally.refused += 1;
                self.must_serve(&client, "it was sent to a proxy that is dead");
            }
            return;
        }
        self.push(Duration::ZERO, home, Act::Client(Box::new(client)));
    }

    /// One look of a client at the views of the proxy where it is.
    pub(super) fn seek(&mut self, mut client: Client) {
        let now = self.now();
        let view = self.running(client.at).state.view().clone();
        if let Some((endpoint, until)) = client.silent {
            let given_up = !view.candidates.iter().any(|c| c.endpoint.id == endpoint);
            if now < until && !given_up {
                return self.waits(client, LOOK_AGAIN);
            }
            client.silent = None;
            self.fails(&mut client, &view, endpoint, "no answer within 1s");
            return self.waits(client, Duration::ZERO);
        }
        match self.next(&mut client, &view) {
            Next::Wait(time) => self.waits(client, time),
            Next::Refused(why) => self.refuse(&client, &why),
            Next::Try(candidate) => {
                client.attempts += 1;
                self.attempt(client, &view, &candidate);
            }
        }
    }

    fn waits(&mut self, client: Client, time: Duration) {
        self.push(time, client.at, Act::Client(Box::new(client)));
    }

    fn next(&mut self, client: &mut Client, view: &View) -> Next {
        let now = self.now();
        if view.version != client.version {
            client.version = view.version;
            client.most = client.most.max(client.attempts + 1);
        }
        // a guest is never sent on
        let guest = client.at != client.home;
        if let Some(detour) = view
            .detour
            .as_ref()
            .filter(|_| guest || view.candidates.is_empty())
        {
            return Next::Refused(detour.why.clone());
        }
        let deadline = client.begun + CONNECT * view.chain.connect.attempts;
        if now >= deadline {
            return Next::Refused("nothing answered in time".to_owned());
        }
        let spent = client.attempts >= client.most;
        let picked = if spent && !view.candidates.is_empty() {
            Err(Nobody::AllTried)
        } else {
            let mut luck = self.rng.clone();
            let rotation = &mut self.running(client.at).rotation;
            let mut random = || luck.u64(..);
            let picked = pick(view, rotation, Some(client.from), &client.tried, now, &mut random);
            picked.cloned()
        };
        match picked {
            Ok(candidate) => Next::Try(candidate),
            Err(Nobody::AllTried) if !spent => {
                client.tried.clear();
                Next::Wait(RETRY_SAME * (1 << client.attempts.min(5)))
            }
            Err(Nobody::AllTried | Nobody::Full) => Next::Wait(LOOK_AGAIN),
            Err(Nobody::Empty) => match &view.empty {
                Some(empty) if now >= empty.since + CONNECT => Next::Refused(empty.why.clone()),
                _ => Next::Wait(LOOK_AGAIN),
            },
        }
    }

    fn attempt(&mut self, mut client: Client, view: &View, candidate: &Candidate) {
        let (at, id) = (client.at, candidate.endpoint.id);
        let Some(relay) = &candidate.relay else {
            let (_, result) = self.try_server(at, id);
            return match result {
                Ok(()) => self.served(&client),
                Err(why) if why.starts_with("no answer") => {
                    client.silent = Some((id, self.now() + CONNECT));
                    self.waits(client, LOOK_AGAIN);
                }
                Err(why) => {
                    self.fails(&mut client, view, id, &why);
                    self.waits(client, MS);
                }
            };
        };
        let to = self.plan.proxy(&relay.peer).unwrap();
        self.goes(&client, to);
        let answers = self.ground.passes(at, to) && !self.ground.gone[to];
        if answers && self.ground.runs(to) {
            return self.arrives(&client, to);
        }
        if answers {
            self.fails(&mut client, view, id, "connection refused");
            return self.waits(client, MS);
        }
        client.silent = Some((id, self.now() + CONNECT));
        self.waits(client, LOOK_AGAIN);
    }

    /// It comes to a direct port.
    fn arrives(&mut self, client: &Client, to: usize) {
        if self.proxies[to].full || self.proxies[to].leaving {
            return self.refuse(client, "no guests are taken");
        }
        if self.running(to).state.view().detour.is_some() {
            self.tally.bounced += 1;
            let why = format!("{to} sends its own clients elsewhere");
            return self.must_serve(client, &why);
        }
        let guest = Client::new(client.from, client.home, client.came, to, self.now());
        self.push(MS, to, Act::Client(Box::new(guest)));
    }

    fn fails(&mut self, client: &mut Client, view: &View, endpoint: EndpointId, why: &str) {
        client.tried.push(endpoint);
        let mut known = view.candidates.iter().map(|c| &c.endpoint);
        let in_a_row = known
            .find(|known| known.id == endpoint)
            .map_or(1, |known| known.note_failure());
        let failed = ConnectFailed {
            endpoint,
            in_a_row,
            why: why.to_owned(),
            at: self.now(),
        };
        self.tell(client.at, Event::ConnectFailed(failed));
    }

    fn served(&mut self, client: &Client) {
        if client.at == client.home {
            self.tally.at_home += 1;
        } else {
            self.tally.elsewhere += 1;
        }
    }

    fn refuse(&mut self, client: &Client, why: &str) {
        self.tally.refused += 1;
        assert!(!why.is_empty(), "seed {}: refused without a word", self.seed);
        let waited = self.now().duration_since(client.came);
        let words = format!("{} refuses after {waited:?}: {why}", client.at);
        self.must_serve(client, &words);
    }
}

impl Client {
    fn new(from: IpAddr, home: usize, came: Instant, at: usize, begun: Instant) -> Self {
        Self {
            from,
            home,
            came,
            at,
            begun,
            attempts: 0,
            most: 3,
            tried: Vec::new(),
            version: 0,
            silent: None,
        }
    }

    pub(super) fn came(&self) -> Instant {
        self.came
    }

    /// Whose client it is.
    pub(super) fn home(&self) -> usize {
        self.home
    }
}
