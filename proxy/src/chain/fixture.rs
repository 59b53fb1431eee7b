//! What the tests of pure parts stand on: a chain with all defaults, answers, and a clock that is moved by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use switchyard_snapshot::{
    Backend, Balance, Chain, ChainId, Connect, Failback, Failover, Families, HeaderRules, Health,
    HttpVersion, Mode, Monitor, OnDown, OnMissing, Passive, Redirect, Resolution, SendProxy, Target,
};

use super::view::{Candidate, Via, View};
use crate::clock::Now;
use crate::endpoint::Endpoint;
use crate::resolve::{Answer, Failure, FailureKind, Lookup, Question, Record, RecordKind};

/// Both clocks, moved by hand.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Now);

impl Clock {
    pub fn new() -> Self {
        Self(Now {
            mono: Instant::now(),
            wall: "2026-11-21T09:00:00Z".parse().unwrap(),
        })
    }

    pub fn pass(&mut self, millis: u64) -> Now {
        self.0.mono += Duration::from_millis(millis);
        self.0.wall += SignedDuration::from_millis(millis.cast_signed());
        self.0
    }

    pub fn to(&mut self, mono: Instant) -> Now {
        let by = mono.saturating_duration_since(self.0.mono);
        self.0.mono += by;
        self.0.wall += SignedDuration::try_from(by).unwrap();
        self.0
    }

    pub fn set_wall(&mut self, wall: &str) -> Now {
        self.0.wall = wall.parse::<Timestamp>().unwrap();
        self.0
    }
}

/// `name`, at a host (or address) and port 80, on a tier.
pub fn backend(name: &str, host: &str, tier: u32) -> Backend {
    Backend {
        name: name.into(),
        target: Target::Host {
            host: host.into(),
            port: 80,
        },
        tier,
        weight: 1,
        max_connections: None,
        send_proxy: SendProxy::None,
        http: HttpVersion::Http1,
        tls: None,
    }
}

/// All defaults, but for addresses: IPv4 only.
pub fn chain(backends: Vec<Backend>) -> Chain {
    Chain {
        id: ChainId {
            namespace: "edge".into(),
            name: "sync".into(),
        },
        generation: 1,
        listener: "sync".into(),
        hostnames: Vec::new(),
        server_first: false,
        backends,
        resolution: Resolution {
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(30),
            missing_for: Duration::ZERO,
            stale_for: Duration::from_hours(1),
            on_nxdomain: OnMissing::Stale,
            on_empty: OnMissing::Stale,
            nameservers: Vec::new(),
            families: Families::V4,
        },
        balance: Balance::RoundRobin,
        slow_start: Duration::ZERO,
        health: health(),
        connect: Connect {
            timeout: Duration::from_secs(3),
            attempts: 3,
            happy_eyeballs_delay: Duration::from_millis(250),
        },
        failover: Failover {
            mode: Mode::Automatic,
            active: None,
            min_healthy: 1,
            failback: Failback::Sticky,
            delay: Duration::from_mins(1),
            on_down: OnDown::Keep,
            pace: 50,
        },
        schedule: None,
        drain_vanished: None,
        suspend: false,
        headers: HeaderRules::default(),
        group: None,
        redirect: Redirect::default(),
    }
}

pub fn health() -> Health {
    Health {
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 2,
        monitors: vec![Monitor::Tcp {
            port: None,
            send: None,
            expect: None,
        }],
        passive: Some(Passive {
            consecutive_failures: 3,
            eject_for: Duration::from_secs(10),
        }),
    }
}

pub fn question(name: &str, kind: RecordKind) -> Question {
    Question {
        name: name.into(),
        kind,
        nameservers: Vec::new(),
    }
}

/// Addresses, with a TTL of 10 s.
pub fn answer(addresses: &[&str], at: Instant) -> Arc<Lookup> {
    let mut records: Vec<Record> = addresses
        .iter()
        .map(|a| Record::Address(a.parse().unwrap()))
        .collect();
    records.sort();
    answered(records, at)
}

pub fn answered(records: Vec<Record>, at: Instant) -> Arc<Lookup> {
    Arc::new(Lookup {
        answer: Some(Answer {
            records,
            ttl: Duration::from_secs(10),
            at,
        }),
        failure: None,
    })
}

/// The newest attempt failed, after `answer`.
pub fn failing(answer: Option<&Lookup>, kind: FailureKind, in_a_row: u32, since: Instant) -> Arc<Lookup> {
    let text = match kind {
        FailureKind::NxDomain => "NXDOMAIN",
        FailureKind::Empty => "no records",
        FailureKind::Server => "SERVFAIL",
        FailureKind::Unreachable => "no answer within 5s",
    };
    Arc::new(Lookup {
        answer: answer.and_then(|lookup| lookup.answer.clone()),
        failure: Some(Failure {
            kind,
            text: text.into(),
            since,
            in_a_row,
        }),
    })
}

/// A candidate at `10.0.0.n:80`.
pub fn candidate(n: u8, weight: u32, rank: u32) -> Candidate {
    Candidate {
        endpoint: Endpoint::new("primary".into(), ([10, 0, 0, n], 80).into()),
        weight,
        rank,
        warming_since: None,
        max_connections: None,
        via: Via::default(),
        relay: None,
    }
}

/// A view of these candidates.
pub fn view(version: u64, balance: Balance, candidates: Vec<Candidate>) -> View {
    let mut chain = chain(vec![backend("primary", "10.0.0.1", 0)]);
    chain.balance = balance;
    View {
        chain: Arc::new(chain),
        version,
        tier: 0,
        candidates,
        away: Vec::new(),
        empty: None,
        detour: None,
        returning: None,
    }
}
