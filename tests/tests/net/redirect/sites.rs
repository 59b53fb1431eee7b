//! Sites: each has a pool of proxies behind an access point of its own, and servers; chains of the same kind form a group. In:
//! how many proxies per site, which kinds. Out: running proxies that know each other, and how clients reach them.
//!
//! ```text
//!                       ┌─ site-1-a 10.77.0.11 ─┐
//!  clients ─ access 1 ──┤                       ├── site-1  10.77.0.111  (and spare-1 .121)
//!            10.77.0.201└─ site-1-b 10.77.0.12 ─┘
//!                       ┌─ site-2-a 10.77.0.21 ─┐
//!            access 2 ──┤                       ├── site-2  10.77.0.112 …
//! ```
//!
//! An access point is an address that every proxy of the site has on its loopback; clients have a route to it with the proxies as
//! next hops, by a hash of addresses and ports, as a router with anycast would. It knows nothing of anybody's health.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tool;

use super::cuts::GOSSIP;

/// For states that are awaited, not promised, with many programs on the machine.
pub const SOON: Duration = Duration::from_secs(20);

/// 32 bytes, in base64: the key that all proxies share.
const KEY: &str = "dHJpYWxzIG9mIHJlZGlyZWN0aW9uOiAzMiBieXRlcyE=";

/// What clients of a group speak.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Of the listener, the group, and, with the site's number, the chain.
    pub name: &'static str,
    /// What clients connect to.
    pub port: u16,
    /// Where guests arrive.
    pub direct: u16,
    /// Fields of the listener.
    pub listener: &'static str,
    /// Port of the servers.
    pub server: u16,
    /// Native redirects.
    pub dialects: &'static str,
}

/// HTTP and WebSocket, by a server on port 3000.
pub const WEB: Kind = Kind {
    name: "web",
    port: 8080,
    direct: 18080,
    listener: "protocol: HTTP",
    server: 3000,
    dialects: "HTTP, WebSocket",
};
/// XMPP.
pub const XMPP: Kind = Kind {
    name: "xmpp",
    port: 5222,
    direct: 15222,
    listener: "protocol: TCP",
    server: 5222,
    dialects: "XMPP",
};
/// MQTT.
pub const MQTT: Kind = Kind {
    name: "mqtt",
    port: 1883,
    direct: 11883,
    listener: "protocol: TCP",
    server: 1883,
    dialects: "MQTT",
};
/// TLS, which the servers terminate.
pub const TLS: Kind = Kind {
    name: "tls",
    port: 8443,
    direct: 18443,
    listener: "protocol: TLS, tls: {mode: Passthrough}",
    server: 8443,
    dialects: "",
};
/// Anything: lines.
pub const TCP: Kind = Kind {
    name: "tcp",
    port: 1650,
    direct: 11650,
    listener: "protocol: TCP",
    server: 1650,
    dialects: "",
};

/// What to build.
pub struct Wanted<'a> {
    /// Proxies of each site.
    pub replicas: &'a [u8],
    pub kinds: &'a [Kind],
    /// `directAddress` of each pool.
    pub addresses: &'a str,
    /// More of each pool's spec.
    pub pool: &'a str,
    /// More of each chain's spec.
    pub chain: &'a str,
    /// More of each chain's `redirect`.
    pub redirect: &'a str,
    /// Each chain has a second tier: `spare-N`.
    pub spares: bool,
    /// More documents.
    pub more: &'a str,
    /// Data workers of each proxy.
    pub workers: usize,
    /// Limit of descriptors of each proxy.
    pub descriptors: Option<u64>,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            replicas: &[2, 2, 2],
            kinds: &[TCP],
            addresses: "[{type: PodIP}]",
            pool: "",
            chain: "",
            redirect: "",
            spares: false,
            more: "",
            workers: 1,
            descriptors: None,
        }
    }
}

/// A site's proxies.
pub struct Site {
    /// From 1.
    pub number: u8,
    /// The machine of each proxy.
    pub hosts: Vec<Host>,
    /// Each runs.
    pub proxies: Vec<Switchyard>,
}

/// Every site.
pub struct Sites {
    pub sites: Vec<Site>,
}

impl Sites {
    /// Starts proxies, and awaits that each is ready and knows all others.
    pub fn start(lab: &Lab, wanted: &Wanted<'_>) -> Self {
        let manifests = manifests(wanted);
        let seeds: Vec<String> = (1..)
            .zip(wanted.replicas)
            .map(|(site, _)| format!("{}:{GOSSIP}", proxy_ip(site, 1)))
            .collect();
        let mut sites = Vec::new();
        for (number, replicas) in (1..).zip(wanted.replicas) {
            let hosts: Vec<Host> = (1..=*replicas)
                .map(|replica| lab.host(&proxy_name(number, replica), 10 * number + replica))
                .collect();
            let proxies = hosts
                .iter()
                .map(|host| {
                    host.namespace()
                        .ip(&format!("addr add {}/32 dev lo\n", access(number)));
                    Switchyard::start(host, plan(host, number, &seeds, &manifests, wanted))
                })
                .collect();
            sites.push(Site {
                number,
                hosts,
                proxies,
            });
        }
        let sites = Self { sites };
        for proxy in sites.proxies() {
            proxy.await_ready(SOON);
        }
        sites.await_meeting(SOON);
        sites
    }

    /// The site of this number.
    pub fn site(&self, number: u8) -> &Site {
        &self.sites[usize::from(number) - 1]
    }

    /// As [`Sites::site`], to change it.
    pub fn site_mut(&mut self, number: u8) -> &mut Site {
        &mut self.sites[usize::from(number) - 1]
    }

    /// Every proxy.
    pub fn proxies(&self) -> impl Iterator<Item = &Switchyard> {
        self.sites.iter().flat_map(|site| &site.proxies)
    }

    /// The machines of every proxy.
    pub fn hosts(&self) -> Vec<&Host> {
        self.sites.iter().flat_map(|site| &site.hosts).collect()
    }

    /// Awaits that each proxy knows every other one, by its table.
    #[track_caller]
    pub fn await_meeting(&self, within: Duration) {
        let names: Vec<String> = self.hosts().iter().map(|host| host.name().to_owned()).collect();
        for (proxy, own) in self.proxies().zip(&names) {
            eventually(&format!("{own} knows all others"), within, || {
                let (status, table) = proxy.get("/table")?;
                let missing: Vec<_> = names
                    .iter()
                    .filter(|name| *name != own && !table.contains(*name))
                    .collect();
                match (status, missing.as_slice()) {
                    (200, []) => Ok(()),
                    _ => Err(format!("{status}: {missing:?} are missing in {table}")),
                }
            });
        }
    }

    /// Lets `client` reach every site's access point.
    pub fn open_to(&self, client: &Host) {
        let mut shell = client.command("sh");
        tool::output(shell.args(["-c", "echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy"]));
        for site in &self.sites {
            let hops: Vec<String> = site
                .hosts
                .iter()
                .map(|host| format!("nexthop via {}", host.ip()))
                .collect();
            let hops = hops.join(" ");
            client
                .namespace()
                .ip(&format!("route add {}/32 {hops}\n", access(site.number)));
        }
    }

    /// How many proxies each client's connection went over, by their logs: 1 for those served where they came to, 2 for those that
    /// were relayed. Ports are used again: a line that is no relayed guest's begins another connection.
    pub fn hops(&self) -> Vec<usize> {
        let mut lines: BTreeMap<String, Vec<(Timestamp, bool)>> = BTreeMap::new();
        for line in self.proxies().flat_map(Switchyard::access_log) {
            let start = line["start"].as_str().and_then(|start| start.parse().ok());
            if let (Some(client), Some(start)) = (line["client"].as_str(), start) {
                let relayed = line["guest"]["relayed"] == true;
                lines.entry(client.to_owned()).or_default().push((start, relayed));
            }
        }
        let mut hops = Vec::new();
        for mut of_client in lines.into_values() {
            of_client.sort_unstable();
            for (_, relayed) in of_client {
                match hops.last_mut() {
                    Some(last) if relayed => *last += 1,
                    _ => hops.push(1),
                }
            }
        }
        hops
    }
}

impl Site {
    /// Awaits that each proxy sees these servers of the chain serve, and no others.
    #[track_caller]
    pub fn await_serving(&self, kind: Kind, servers: &[SocketAddr]) {
        for proxy in &self.proxies {
            proxy.await_serving(&format!("{}-{}", kind.name, self.number), servers, SOON);
        }
    }

    /// Awaits that each proxy has this tier active; returns when that was seen.
    #[track_caller]
    pub fn await_tier(&self, kind: Kind, tier: u32) -> Instant {
        for proxy in &self.proxies {
            let chain = format!("{}-{}", kind.name, self.number);
            proxy.await_chain(&chain, &format!("tier {tier} is active"), SOON, |state| {
                state.active.as_ref().is_some_and(|active| active.tier == tier)
            });
        }
        Instant::now()
    }

    /// The active tier and its epoch, of each proxy.
    #[track_caller]
    pub fn tiers(&self, kind: Kind) -> Vec<(u32, u64)> {
        let tier = |proxy: &Switchyard| {
            let state = proxy.chain(&format!("{}-{}", kind.name, self.number));
            let active = state.active.expect("a tier is active");
            (active.tier, active.epoch)
        };
        self.proxies.iter().map(tier).collect()
    }
}

/// A site's access point.
pub fn access(site: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 200 + site).into()
}

/// Where clients of this kind come to at a site.
pub fn access_of(site: u8, kind: Kind) -> SocketAddr {
    SocketAddr::new(access(site), kind.port)
}

/// The machine of a site's servers.
pub fn servers(lab: &Lab, site: u8) -> Host {
    lab.host(&format!("site-{site}"), 110 + site)
}

/// The machine of a site's second tier.
pub fn spare(lab: &Lab, site: u8) -> Host {
    lab.host(&format!("spare-{site}"), 120 + site)
}

/// A machine of clients at 10.77.0.`number` that has so many addresses more; they are returned.
pub fn crowd(sites: &Sites, lab: &Lab, name: &str, number: u8, addresses: u8) -> (Host, Vec<IpAddr>) {
    let host = lab.host(name, number);
    let more: Vec<IpAddr> = (1..=addresses)
        .map(|n| Ipv4Addr::new(10, 77, number, n).into())
        .collect();
    host.add_addresses(&more);
    sites.open_to(&host);
    (host, more)
}

fn proxy_name(site: u8, replica: u8) -> String {
    format!("site-{site}-{}", char::from(b'a' + replica - 1))
}

fn proxy_ip(site: u8, replica: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 10 * site + replica).into()
}

fn plan(host: &Host, site: u8, seeds: &[String], manifests: &str, wanted: &Wanted<'_>) -> Plan {
    // Bound to all addresses, as the access point's is one of them.
    let mut plan = Plan::new(wanted.workers, manifests).bind(Ipv4Addr::UNSPECIFIED.into());
    let advertised = host.ip().to_string();
    for argument in [
        "--pool",
        &format!("site-{site}"),
        "--name",
        host.name(),
        "--advertise",
        &advertised,
    ] {
        plan = plan.argument(argument);
    }
    for seed in seeds
        .iter()
        .filter(|seed| **seed != format!("{advertised}:{GOSSIP}"))
    {
        plan = plan.argument("--seed").argument(seed);
    }
    match wanted.descriptors {
        Some(limit) => plan.descriptors(limit),
        None => plan,
    }
}

fn manifests(wanted: &Wanted<'_>) -> String {
    let mut documents = vec![format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: gossip, namespace: {}}}\ndata: {{current: {KEY}}}\n",
        manifest::NAMESPACE
    )];
    for (site, _) in (1..).zip(wanted.replicas) {
        documents.push(pool(site, wanted));
        documents.extend(wanted.kinds.iter().map(|kind| chain(site, *kind, wanted)));
    }
    documents.extend((!wanted.more.is_empty()).then(|| wanted.more.to_owned()));
    manifest::join(&documents)
}

fn pool(site: u8, wanted: &Wanted<'_>) -> String {
    let listener = |kind: &Kind| {
        format!(
            "- {{name: {}, port: {}, {}}}\n",
            kind.name, kind.port, kind.listener
        )
    };
    let listeners: String = wanted.kinds.iter().map(listener).collect();
    manifest::pool(
        &format!("site-{site}"),
        &format!(
            "site: site-{site}\naccessPoint: {{host: {}}}\ndirectAddress: {}\n\
             peers: {{keyRef: {{name: gossip}}}}\nlisteners:\n{listeners}{}\n",
            access(site),
            wanted.addresses,
            wanted.pool
        ),
    )
}

fn chain(site: u8, kind: Kind, wanted: &Wanted<'_>) -> String {
    let mut backends = format!(
        "- {{name: main, host: 10.77.0.{}, port: {}}}\n",
        110 + site,
        kind.server
    );
    if wanted.spares {
        let spare = format!(
            "- {{name: spare, host: 10.77.0.{}, port: {}, tier: 1}}\n",
            120 + site,
            kind.server
        );
        backends.push_str(&spare);
    }
    manifest::chain(
        &format!("{}-{site}", kind.name),
        &format!(
            "poolRef: {{name: site-{site}, listener: {}}}\nbackends:\n{backends}\
             health: {{interval: 300ms, timeout: 1s, rise: 2, fall: 2}}\ngroup: {}\npriority: {site}\n\
             redirect: {{dialects: [{}], {}}}\n{}\n",
            kind.name, kind.name, kind.dialects, wanted.redirect, wanted.chain
        ),
    )
}
