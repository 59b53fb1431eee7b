//! Networks that fall apart, and servers that come and go while they do: who is served, by whom, and over how many proxies. Clients
//! connect at a fixed rate, try nothing twice, and come to access points that know nothing of anybody's health.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode, Nginx};
use switchyard_tests::client::{Load, LoadPlan, Outcomes};
use switchyard_tests::eventually::{eventually, let_pass, throughout};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;

use super::clients::Clients;
use super::cuts::Cut;
use super::sites::{self, Sites, TCP, WEB, Wanted, access_of, crowd};
use crate::scene::{PORT, only};

mod alone;
mod apart;
mod flapping;

pub fn add(suite: &mut Suite) {
    flapping::add(suite); // these take longest
    apart::add(suite);
    alone::add(suite);
}

/// From a change to when every new client must be served by who lives: two probes that fail (or pass), a round of gossip, and
/// what a machine with many programs adds.
pub const SETTLED: Duration = Duration::from_secs(3);
/// Within this a cut that has been mended is forgotten: proxies that were dead to each other talk again.
pub const MENDED: Duration = Duration::from_secs(5);
/// Connections per second and site.
pub const RATE: u32 = 20;
/// Proxies that a client may be sent through, or to, before it is served.
const MOST_HOPS: usize = 2;
/// Addresses of the HTTP clients: one that was redirected is relayed for the next minute, so there are some.
const VISITORS: u8 = 30;

/// Sites with a server for lines and one for HTTP each; where it is wanted, a second tier for lines.
pub struct Scene {
    pub sites: Sites,
    pub servers: Vec<Host>,
    pub lines: Vec<Backend>,
    webs: Vec<Option<Nginx>>,
    pub spares: Vec<Backend>,
    client: Host,
    /// They come to site 1.
    requests: Clients,
}

impl Scene {
    pub fn start(lab: &Lab, replicas: &[u8], spares: bool, chain: &str) -> Self {
        let numbers: Vec<u8> = (1..).take(replicas.len()).collect();
        let servers: Vec<Host> = numbers.iter().map(|n| sites::servers(lab, *n)).collect();
        let lines = servers
            .iter()
            .map(|host| Backend::start(host, PORT, Mode::ClientFirst))
            .collect();
        let webs = servers
            .iter()
            .map(|host| Some(Nginx::start(host, WEB.server)))
            .collect();
        let spare = |n: &u8| {
            let host = sites::spare(lab, *n);
            Backend::start(&host, PORT, Mode::ClientFirst)
        };
        let spares: Vec<Backend> = if spares {
            numbers.iter().map(spare).collect()
        } else {
            Vec::new()
        };
        let wanted = Wanted {
            replicas,
            kinds: &[TCP, WEB],
            chain,
            redirect: "return: OnDemand",
            spares: !spares.is_empty(),
            ..Wanted::default()
        };
        let sites = Sites::start(lab, &wanted);
        for (site, host) in sites.sites.iter().zip(&servers) {
            let mut all = vec![host.at(PORT)];
            all.extend(spares.get(usize::from(site.number) - 1).map(Backend::address));
            site.await_serving(TCP, &all);
            site.await_serving(WEB, &[host.at(WEB.server)]);
        }
        let client = lab.host("client", 100);
        sites.open_to(&client);
        let (visitor, addresses) = crowd(&sites, lab, "visitor", 150, VISITORS);
        let url = format!("http://{}/", access_of(1, WEB));
        let requests = Clients::start(
            &visitor,
            "requests",
            "http_client.py",
            &[&url, "0.25", "GET", "0"],
            &addresses,
        );
        Self {
            sites,
            servers,
            lines,
            webs,
            spares,
            client,
            requests,
        }
    }

    /// Clients that come to a site's access point.
    pub fn load(&self, site: u8) -> Load {
        self.load_at(access_of(site, TCP))
    }

    /// Clients that come to one address.
    pub fn load_at(&self, to: SocketAddr) -> Load {
        Load::start(&self.client, LoadPlan::new(to, RATE))
    }

    /// The servers of a site die.
    pub fn kill(&mut self, site: u8) -> Instant {
        let index = usize::from(site) - 1;
        self.webs[index] = None;
        self.lines[index].kill();
        Instant::now()
    }

    /// They come back.
    pub fn revive(&mut self, site: u8) -> Instant {
        let index = usize::from(site) - 1;
        self.webs[index] = Some(Nginx::start(&self.servers[index], WEB.server));
        self.lines[index].revive();
        Instant::now()
    }

    /// The machines of a site's proxies.
    pub fn proxies(&self, site: u8) -> Vec<&Host> {
        self.sites.site(site).hosts.iter().collect()
    }

    /// The machine of one proxy: of 1-b by `(1, 2)`.
    pub fn proxy(&self, site: u8, replica: usize) -> &Host {
        &self.sites.site(site).hosts[replica - 1]
    }

    /// The end of every trial: nobody was sent through, or to, more proxies than two.
    #[track_caller]
    pub fn must_not_bounce(&self, lab: &Lab) {
        let hops = self.sites.hops();
        let most = hops.iter().max().copied().unwrap_or_default();
        let relayed = hops.iter().filter(|count| **count == MOST_HOPS).count();
        let events = self.requests.events();
        let redirects = events.iter().map(|e| e.hops.len()).max().unwrap_or_default();
        let redirected = events.iter().filter(|e| !e.hops.is_empty()).count();
        let failed: Vec<_> = events.iter().filter(|e| e.what == "failed").collect();
        lab.say(format!(
            "{} connections, {relayed} of them over two proxies, none over more than {most}; {} requests, {redirected} \
             redirected, none more than {redirects} times, {} failed{}",
            hops.len(),
            events.len(),
            failed.len(),
            failed.last().map_or(String::new(), |e| format!(", the last with {}", e.how.as_deref().unwrap_or("")))
        ));
        assert!(!hops.is_empty(), "the access logs say nothing");
        assert!(most <= MOST_HOPS, "a connection went over {most} proxies");
        assert!(
            redirects <= MOST_HOPS,
            "a request was redirected {redirects} times"
        );
    }
}

/// Waits until the newest clients of a load are served by `name`, five in a row; returns when that was seen.
#[track_caller]
pub fn await_served_by(load: &Load, name: &str, within: Duration) -> Instant {
    let begun = Instant::now();
    eventually(&format!("clients are served by {name}"), within, || {
        let seen = load.so_far().begun_since(begun);
        let by: Vec<Option<&str>> = seen
            .iter()
            .map(|o| o.served.as_ref().map(|(_, greeting)| greeting.name.as_str()))
            .collect();
        match by.last_chunk::<5>() {
            Some(last) if last.iter().all(|by| *by == Some(name)) => Ok(()),
            _ => Err(format!("{:?}", &by[by.len().saturating_sub(5)..])),
        }
    });
    Instant::now()
}

/// All that were begun in this time were served by `name`.
#[track_caller]
pub fn only_by(seen: &Outcomes, from: Instant, to: Instant, name: &str) {
    only(&seen.begun(from, to), name);
}

/// Waits until somebody who comes to `to` is served by `name`.
#[track_caller]
pub fn await_at_home(host: &Host, to: SocketAddr, name: &str, within: Duration) {
    let load = Load::start(host, LoadPlan::new(to, RATE));
    await_served_by(&load, name, within);
    load.stop();
}
