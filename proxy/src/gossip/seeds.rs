//! Where to begin. In: `host:port` as people write it. Out: addresses, anew whenever a name's answer changes.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::select_all;
use futures::{FutureExt, pin_mut};

use crate::resolve::{Clamp, Question, Record, RecordKind, Resolver, Subscription};

/// Names are asked at least so often, and not more often: a name may stand for whoever is there now.
const CLAMP: Clamp = Clamp {
    min_ttl: Duration::from_secs(1),
    max_ttl: Duration::from_secs(5),
};
/// Seeds that are used; a list is a place to begin, not the members.
const MAX_SEEDS: usize = 64;
/// Addresses that are used of one name.
const MAX_ADDRESSES: usize = 128;

/// The seeds, and what their names stand for.
#[derive(Debug)]
pub(super) struct Seeds {
    fixed: Vec<SocketAddr>,
    named: Vec<(u16, Subscription)>,
}

impl Seeds {
    /// Begins to resolve. What is no `host:port` is left out, and said.
    pub(super) fn new(seeds: &[String], resolver: &Resolver) -> Self {
        let (mut fixed, mut named) = (Vec::new(), Vec::new());
        for seed in seeds.iter().take(MAX_SEEDS) {
            match read(seed) {
                Some(Seed::Address(address)) => fixed.push(address),
                Some(Seed::Name(name, port)) => {
                    for kind in [RecordKind::A, RecordKind::Aaaa] {
                        let question = Question {
                            name: name.clone(),
                            kind,
                            nameservers: Vec::new(),
                        };
                        named.push((port, resolver.subscribe(question, CLAMP)));
                    }
                }
                None => tracing::warn!(seed, "a gossip seed is not used: it is not host:port"),
            }
        }
        Self { fixed, named }
    }

    /// All that is known now.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let named = self.named.iter().flat_map(|(port, subscription)| {
            let lookup = subscription.current();
            let records = lookup
                .answer
                .iter()
                .flat_map(|answer| answer.records.iter().take(MAX_ADDRESSES));
            let ips = records.filter_map(|record| match record {
                Record::Address(ip) => Some(SocketAddr::new(*ip, *port)),
                Record::Srv { .. } => None,
            });
            ips.collect::<Vec<_>>()
        });
        let mut all: Vec<_> = self.fixed.iter().copied().chain(named).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Waits for the next answer; for ever, where there are no names.
    pub(super) async fn changed(&mut self) {
        if self.named.is_empty() {
            return std::future::pending().await;
        }
        let answers = self
            .named
            .iter_mut()
            .map(|(_, subscription)| subscription.next().boxed());
        let first = select_all(answers);
        pin_mut!(first);
        first.await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seed {
    Address(SocketAddr),
    Name(String, u16),
}

fn read(seed: &str) -> Option<Seed> {
    if let Ok(address) = seed.parse() {
        return Some(Seed::Address(address));
    }
    let (host, port) = seed.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let named = !host.is_empty() && !host.contains([':', '[', ']', ' ', '/']);
    named.then(|| Seed::Name(host.to_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_addresses_or_names_with_a_port() {
        let name = |name: &str, port| Some(Seed::Name(name.into(), port));
        for (text, seed) in [
            (
                "192.0.2.1:17946",
                Some(Seed::Address(([192, 0, 2, 1], 17946).into())),
            ),
            (
                "[2001:db8::1]:1",
                Some(Seed::Address("[2001:db8::1]:1".parse().unwrap())),
            ),
            ("DMZ-a.edge.svc:17946", name("dmz-a.edge.svc", 17946)),
            ("host:0", None),
            ("host:65536", None),
            ("host", None),
            (":1", None),
            ("2001:db8::1", None),
            ("[fe80::1]", None),
        ] {
            assert_eq!(read(text), seed, "{text}");
        }
    }
}
