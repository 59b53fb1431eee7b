use switchyard_snapshot::Balance;

use super::*;
use crate::chain::fixture::{candidate, view};
use crate::chain::view::Away;

const RULES: Rules = Rules {
    ttl: Duration::from_hours(1),
    prefix_v4: 32,
    prefix_v6: 64,
};

/// A table, and a view of five endpoints of which some may be away.
struct Rig {
    table: Table,
    all: Vec<Candidate>,
    view: View,
    now: Instant,
}

impl Rig {
    fn new(bound: usize) -> Self {
        let all: Vec<_> = (1..=5).map(|n| candidate(n, 1, 0)).collect();
        let now = Instant::now();
        Self {
            table: Table::new(bound, now),
            view: view(1, Balance::RoundRobin, all.clone()),
            all,
            now,
        }
    }

    fn away(&mut self, ids: &[EndpointId]) {
        let (away, here): (Vec<_>, Vec<_>) = self
            .all
            .iter()
            .cloned()
            .partition(|c| ids.contains(&c.endpoint.id));
        let absent = |c: Candidate| Away {
            endpoint: c.endpoint,
            weight: c.weight,
            rank: c.rank,
        };
        self.view = View {
            away: away.into_iter().map(absent).collect(),
            ..view(self.view.version + 1, Balance::RoundRobin, here)
        };
    }

    fn choose(&self, client: u32) -> Choice<'_> {
        let client = Ipv4Addr::from_bits(client).into();
        self.table
            .choose(&RULES, &self.view, client, &[], self.now)
            .unwrap()
    }

    /// Chooses and connects.
    fn connect(&self, client: u32) -> EndpointId {
        let choice = self.choose(client);
        let (id, why) = (choice.candidate.endpoint.id, choice.why);
        let client = Ipv4Addr::from_bits(client).into();
        self.table.connected(&RULES, client, id, why, self.now);
        id
    }
}

#[test]
fn nothing_is_remembered_while_everybody_is_at_home() {
    let rig = Rig::new(BOUND);
    for client in 0..1_000 {
        let first = rig.connect(client);
        assert_eq!(rig.connect(client), first);
        assert_eq!(rig.choose(client).why, None);
    }
    assert!(rig.table.is_empty());
}

#[test]
fn a_client_stays_where_it_went_when_its_home_returns() {
    let mut rig = Rig::new(BOUND);
    let homes: Vec<_> = (0..1_000).map(|client| rig.connect(client)).collect();
    let dead = rig.all[2].endpoint.id;
    rig.away(&[dead]);
    let during: Vec<_> = (0..1_000).map(|client| rig.connect(client)).collect();
    rig.away(&[]);
    let after: Vec<_> = (0..1_000).map(|client| rig.connect(client)).collect();
    for client in 0..1_000 {
        assert_ne!(during[client], dead);
        assert_eq!(
            after[client], during[client],
            "client {client} moved when its home returned"
        );
        assert!(
            homes[client] == dead || homes[client] == during[client],
            "client {client} moved for nothing"
        );
    }
    let exiled = homes.iter().filter(|home| **home == dead).count();
    assert_eq!(rig.table.len(), exiled);
    rig.table.return_exceptions();
    let back: Vec<_> = (0..1_000).map(|client| rig.connect(client)).collect();
    assert_eq!(back, homes);
}

#[test]
fn an_exception_ends_ttl_after_the_last_connection() {
    let mut rig = Rig::new(BOUND);
    let home = rig.connect(7);
    rig.away(&[home]);
    let refuge = rig.connect(7);
    rig.away(&[]);
    rig.now += RULES.ttl;
    assert_eq!(rig.connect(7), refuge);
    rig.now += RULES.ttl;
    rig.table
        .released(&RULES, Ipv4Addr::from_bits(7).into(), refuge, rig.now);
    rig.now += RULES.ttl;
    assert_eq!(rig.choose(7).candidate.endpoint.id, refuge);
    rig.now += Duration::from_millis(1);
    assert_eq!(rig.connect(7), home);
    assert!(rig.table.is_empty());
}

#[test]
fn an_exception_whose_endpoint_is_gone_is_replaced() {
    let mut rig = Rig::new(BOUND);
    let home = rig.connect(7);
    rig.away(&[home]);
    let first = rig.connect(7);
    rig.away(&[home, first]);
    let second = rig.connect(7);
    assert!(second != home && second != first);
    rig.away(&[]);
    assert_eq!(rig.connect(7), second);
    assert_eq!(rig.table.len(), 1);
}

#[test]
fn a_full_table_refuses_until_something_expires() {
    let mut rig = Rig::new(3);
    let dead = rig.all[0].endpoint.id;
    let exiles: Vec<u32> = (0..100)
        .filter(|client| rig.connect(*client) == dead)
        .take(5)
        .collect();
    rig.away(&[dead]);
    let chosen: Vec<_> = exiles.iter().map(|client| rig.connect(*client)).collect();
    assert_eq!(rig.table.len(), 3);
    // Without an exception a client is sent by its scores alone, which is the same while home is away.
    assert_eq!(rig.connect(exiles[4]), chosen[4]);
    rig.now += RULES.ttl + Duration::from_secs(1);
    rig.connect(exiles[4]);
    assert_eq!(rig.table.len(), 1);
}

#[test]
fn why_a_client_is_elsewhere_is_known() {
    let mut rig = Rig::new(BOUND);
    let home = rig.connect(7);
    rig.view
        .candidates
        .iter_mut()
        .for_each(|c| c.max_connections = Some(1));
    let at_home = rig.all.iter().find(|c| c.endpoint.id == home).unwrap();
    let place = at_home.endpoint.reserve(Some(1));
    assert_eq!(rig.choose(7).why, Some(Why::Full));
    drop(place);
    assert_eq!(rig.choose(7).why, None);
    let client = Ipv4Addr::from_bits(7).into();
    let elsewhere = rig
        .table
        .choose(&RULES, &rig.view, client, &[home], rig.now)
        .unwrap();
    assert_eq!(elsewhere.why, Some(Why::Failover));
    let all: Vec<_> = rig.all.iter().map(|c| c.endpoint.id).collect();
    let nobody = rig
        .table
        .choose(&RULES, &rig.view, client, &all, rig.now)
        .unwrap_err();
    assert_eq!(nobody, Nobody::AllTried);
}

#[test]
fn who_is_not_proven_is_nobodys_home_while_another_is() {
    let mut rig = Rig::new(BOUND);
    let homes: Vec<_> = (0..100).map(|client| rig.connect(client)).collect();
    let new = rig.all[4].endpoint.id;
    rig.view.candidates[4].rank |= UNPROVEN;
    for client in 0..100 {
        let choice = rig.choose(client);
        let was = homes[client as usize];
        assert_ne!(choice.candidate.endpoint.id, new);
        assert_eq!(choice.why.is_some(), was == new);
    }
    rig.view.candidates.iter_mut().for_each(|c| c.rank |= UNPROVEN);
    assert!((0..100).all(|client| rig.choose(client).why.is_none()));
}

#[test]
fn clients_of_one_network_are_one() {
    let rules = Rules {
        prefix_v4: 24,
        ..RULES
    };
    let table: [(&str, &str, &Rules); 5] = [
        ("192.0.2.17", "192.0.2.0", &rules),
        ("192.0.2.17", "192.0.2.17", &RULES),
        (
            "192.0.2.17",
            "0.0.0.0",
            &Rules {
                prefix_v4: 0,
                ..RULES
            },
        ),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::", &RULES),
        (
            "2001:db8::1",
            "::",
            &Rules {
                prefix_v6: 0,
                ..RULES
            },
        ),
    ];
    for (client, masked, rules) in table {
        assert_eq!(
            network(client.parse().unwrap(), rules),
            masked.parse::<IpAddr>().unwrap()
        );
    }
}
