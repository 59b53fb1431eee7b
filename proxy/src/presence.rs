//! What DNS answers mean for addresses. In: what is known of each question a backend hangs on. Out: a [`Listing`]: the
//! addresses the backend has by the latest answers, how fresh each is, and about whom nothing can be said. A Service's
//! addresses come with the configuration; one that leaves its Service is missing just as one that leaves DNS.
//!
//! | newest attempt | last answer | policy | the question's records |
//! | --- | --- | --- | --- |
//! | answered | – | – | the answer, fresh |
//! | failed (any way) | not older than its clamped TTL | – | the last answer, fresh |
//! | nobody answered, SERVFAIL, … | older | – | the last answer, stale |
//! | NXDOMAIN, no records | older | Stale | the last answer, stale |
//! | NXDOMAIN, no records, three in a row | any | Remove | none |
//! | no records of this family, and the other family answered since | any | any | none: a name with one family is no fault |
//! | failed | none | – | says nothing: what is known of its addresses goes on, stale |
//! | still under way for the first time | none | – | says nothing: what is known of its addresses goes on |

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use switchyard_snapshot::{Backend, Families, OnMissing, Resolution, Target};

use crate::resolve::{Clamp, Failure, FailureKind, Lookup, Question, Record, RecordKind};

/// How many denials in a row make [`OnMissing::Remove`] believe them.
const DENIALS: u32 = 3;

/// Everything the resolver said so far, by question.
pub type Lookups = BTreeMap<Question, Arc<Lookup>>;

/// What DNS says of one backend at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The addresses it has.
    pub addresses: BTreeMap<SocketAddr, Listed>,
    /// Questions that neither answered nor failed yet.
    pub waiting: BTreeSet<Question>,
    /// Failures in words, one per question whose newest attempt failed and matters.
    pub failures: Vec<String>,
    /// When time alone will change this listing.
    pub changes_at: Option<Instant>,
    names: BTreeSet<Arc<str>>,
    silent: BTreeMap<(Arc<str>, RecordKind), Silence>,
    all_silent: Option<Silence>,
}

/// One address of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name it is an address of; empty: it was given as an address.
    pub source: Arc<str>,
    /// SRV weight, 1 or more; 1 where there is none.
    pub weight: u32,
    /// SRV priority; 0 where there is none.
    pub priority: u16,
    /// How far the answer can be trusted.
    pub freshness: Freshness,
}

/// How far an answer can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// An address from the configuration, or of a Service: always.
    Given,
    /// It has not expired, or a newer one is on its way.
    Fresh,
    /// It has expired and there is no newer one.
    Stale {
        /// When it expired.
        since: Instant,
        /// Why there is no newer one, in words.
        why: String,
    },
}

impl Freshness {
    /// An address that hangs on two answers is as fresh as the older of them.
    fn worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Stale { since: a, .. }, Self::Stale { since: b, .. }) => {
                if a <= b {
                    self
                } else {
                    other
                }
            }
            (_, Self::Stale { .. }) => other,
            _ => self,
        }
    }
}

/// Where an address stands that was listed at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Listed now.
    Listed(Freshness),
    /// Not in the latest answer.
    Missing {
        /// Since when.
        since: Instant,
    },
}

impl Presence {
    /// Where the address stands by a newer listing.
    #[must_use]
    pub fn next(&self, listing: &Listing, address: SocketAddr, source: &str, now: Instant) -> Self {
        if let Some(listed) = listing.addresses.get(&address) {
            return Self::Listed(listed.freshness.clone());
        }
        match (self, listing.silence_about(source, address.ip())) {
            (Self::Missing { .. }, _)
            | (Self::Listed(_), Some(Silence::Waiting))
            | (Self::Listed(Freshness::Stale { .. }), Some(Silence::Failing { .. })) => self.clone(),
            (Self::Listed(_), Some(Silence::Failing { since, why })) => Self::Listed(Freshness::Stale {
                since: *since,
                why: why.clone(),
            }),
            (Self::Listed(_), None) => Self::Missing { since: now },
        }
    }
}

/// Why nothing can be said about an address that is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The first answer is on its way.
    Waiting,
    /// There never was an answer to this question.
    Failing {
        /// When the run of failures began.
        since: Instant,
        /// In words.
        why: String,
    },
}

impl Listing {
    /// Reads what is known of a backend's questions.
    pub fn read(backend: &Backend, resolution: &Resolution, lookups: &Lookups, now: Instant) -> Self {
        let mut listing = Self::default();
        let reader = Reader {
            resolution,
            lookups,
            now,
        };
        match &backend.target {
            Target::Host { host, port } => match host.parse::<IpAddr>() {
                Ok(address) => listing.add(SocketAddr::new(address, *port), Listed::given()),
                Err(_) => reader.host(&mut listing, &normal(host), *port, &Share::default()),
            },
            Target::Srv { name } => reader.srv(&mut listing, &normal(name)),
            Target::Endpoints { endpoints, .. } => {
                for address in endpoints.iter().filter(|address| {
                    kinds(resolution.families).contains(&RecordKind::of_address(address.ip()))
                }) {
                    listing.add(*address, Listed::given());
                }
            }
        }
        listing
    }

    /// Whether an address that is not listed must nevertheless not be taken for missing, because the question it came
    /// from says nothing.
    pub fn silence_about(&self, source: &str, address: IpAddr) -> Option<&Silence> {
        if self.all_silent.is_some() {
            return self.all_silent.as_ref();
        }
        self.names.get(source).and_then(|name| {
            self.silent
                .get(&(Arc::clone(name), RecordKind::of_address(address)))
        })
    }

    /// Nothing is listed, and what is there to list is not known yet.
    pub fn pending(&self) -> bool {
        self.addresses.is_empty() && !self.waiting.is_empty()
    }

    fn add(&mut self, address: SocketAddr, listed: Listed) {
        self.addresses
            .entry(address)
            .and_modify(|known| {
                // Two SRV records that lead to one address: the better priority counts, equals share.
                if listed.priority < known.priority {
                    *known = listed.clone();
                } else if listed.priority == known.priority {
                    known.weight = known.weight.saturating_add(listed.weight);
                }
            })
            .or_insert(listed);
    }

    fn change_at(&mut self, at: Instant) {
        self.changes_at = Some(self.changes_at.map_or(at, |known| known.min(at)));
    }
}

impl Listed {
    fn given() -> Self {
        Self {
            source: "".into(),
            weight: 1,
            priority: 0,
            freshness: Freshness::Given,
        }
    }
}

impl RecordKind {
    /// The records that hold such an address.
    pub fn of_address(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::A } else { Self::Aaaa }
    }
}

/// A name as questions carry it: lower case, without the trailing dot, so that all chains ask the same question.
pub fn normal(name: &str) -> Arc<str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase().into()
}

/// The record types that `families` asks for.
pub fn kinds(families: Families) -> &'static [RecordKind] {
    match families {
        Families::V4 => &[RecordKind::A],
        Families::V6 => &[RecordKind::Aaaa],
        Families::Any | Families::PreferV4 | Families::PreferV6 => &[RecordKind::A, RecordKind::Aaaa],
    }
}

/// Every question whose answer a backend needs now: those of SRV targets once the SRV record is known.
pub fn questions(backend: &Backend, resolution: &Resolution, lookups: &Lookups) -> BTreeSet<Question> {
    let question = |name: &str, kind| Question {
        name: name.to_owned(),
        kind,
        nameservers: resolution.nameservers.clone(),
    };
    let hosts = |name: &str| {
        let name = if name.parse::<IpAddr>().is_ok() {
            None
        } else {
            Some(name.to_owned())
        };
        name.into_iter().flat_map(move |name| {
            kinds(resolution.families)
                .iter()
                .map(move |kind| question(&name, *kind))
        })
    };
    match &backend.target {
        Target::Host { host, .. } => hosts(&normal(host)).collect(),
        Target::Srv { name } => {
            let srv = question(&normal(name), RecordKind::Srv);
            let answer = lookups.get(&srv).and_then(|lookup| lookup.answer.as_ref());
            let mut all: BTreeSet<Question> = answer
                .into_iter()
                .flat_map(|answer| &answer.records)
                .filter_map(srv_target)
                .flat_map(|(target, ..)| hosts(&target).collect::<Vec<_>>())
                .collect();
            all.insert(srv);
            all
        }
        // the snapshot brings them
        Target::Endpoints { .. } => BTreeSet::new(),
    }
}

/// Target, port, weight and priority; none for `.`, which says that there is no such service (RFC 2782).
fn srv_target(record: &Record) -> Option<(Arc<str>, u16, u16, u16)> {
    match record {
        Record::Srv {
            priority,
            weight,
            port,
            target,
        } => {
            let target = normal(target);
            (!target.is_empty()).then_some((target, *port, *weight, *priority))
        }
        Record::Address(_) => None,
    }
}

/// What an address gets from the record that leads to it.
#[derive(Clone, Debug)]
struct Share {
    weight: u32,
    priority: u16,
    freshness: Freshness,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            weight: 1,
            priority: 0,
            freshness: Freshness::Fresh,
        }
    }
}

/// What one question says.
enum Heard<'a> {
    Records(&'a [Record], Freshness),
    /// There are no such records, and that is believed.
    None,
    Silent(Silence),
}

struct Reader<'a> {
    resolution: &'a Resolution,
    lookups: &'a Lookups,
    now: Instant,
}

impl<'a> Reader<'a> {
    fn question(&self, name: &str, kind: RecordKind) -> Question {
        Question {
            name: name.to_owned(),
            kind,
            nameservers: self.resolution.nameservers.clone(),
        }
    }

    fn host(&self, listing: &mut Listing, name: &Arc<str>, port: u16, share: &Share) {
        listing.names.insert(Arc::clone(name));
        let kinds = kinds(self.resolution.families);
        let all: Vec<Question> = kinds.iter().map(|kind| self.question(name, *kind)).collect();
        for (n, question) in all.iter().enumerate() {
            let sibling = all
                .iter()
                .enumerate()
                .find(|(other, _)| *other != n)
                .and_then(|(_, other)| self.lookups.get(other));
            match self.hear(listing, question, sibling.map(AsRef::as_ref)) {
                Heard::Records(records, freshness) => {
                    for record in records {
                        let Record::Address(address) = record else {
                            continue;
                        };
                        let listed = Listed {
                            source: Arc::clone(name),
                            weight: share.weight,
                            priority: share.priority,
                            freshness: share.freshness.clone().worse(freshness.clone()),
                        };
                        listing.add(SocketAddr::new(*address, port), listed);
                    }
                }
                Heard::None => {}
                Heard::Silent(silence) => {
                    listing.silent.insert((Arc::clone(name), question.kind), silence);
                }
            }
        }
    }

    fn srv(&self, listing: &mut Listing, name: &Arc<str>) {
        let question = self.question(name, RecordKind::Srv);
        match self.hear(listing, &question, None) {
            Heard::Records(records, freshness) => {
                for (target, port, weight, priority) in records.iter().filter_map(srv_target) {
                    let share = Share {
                        weight: u32::from(weight.max(1)),
                        priority,
                        freshness: freshness.clone(),
                    };
                    if let Ok(address) = target.parse::<IpAddr>() {
                        let listed = Listed {
                            source: target,
                            weight: share.weight,
                            priority,
                            freshness: share.freshness,
                        };
                        listing.add(SocketAddr::new(address, port), listed);
                    } else {
                        self.host(listing, &target, port, &share);
                    }
                }
            }
            Heard::None => {}
            Heard::Silent(silence) => listing.all_silent = Some(silence),
        }
    }

    fn hear(&self, listing: &mut Listing, question: &Question, sibling: Option<&Lookup>) -> Heard<'a> {
        let Some(lookup) = self.lookups.get(question) else {
            listing.waiting.insert(question.clone());
            return Heard::Silent(Silence::Waiting);
        };
        let Some(failure) = &lookup.failure else {
            let Some(answer) = &lookup.answer else {
                listing.waiting.insert(question.clone());
                return Heard::Silent(Silence::Waiting);
            };
            return Heard::Records(&answer.records, Freshness::Fresh);
        };
        if failure.kind == FailureKind::Empty
            && sibling.is_some_and(|other| answered_since(other, failure.since))
        {
            return Heard::None;
        }
        listing.failures.push(failure.text.clone());
        if self.denial_is_believed(failure) {
            return Heard::None;
        }
        let Some(answer) = &lookup.answer else {
            return Heard::Silent(Silence::Failing {
                since: failure.since,
                why: failure.text.clone(),
            });
        };
        let clamp = Clamp {
            min_ttl: self.resolution.min_ttl,
            max_ttl: self.resolution.max_ttl,
        };
        let expiry = answer.at + clamp.apply(answer.ttl);
        if self.now < expiry {
            listing.change_at(expiry);
            return Heard::Records(&answer.records, Freshness::Fresh);
        }
        let stale = Freshness::Stale {
            since: expiry,
            why: failure.text.clone(),
        };
        Heard::Records(&answer.records, stale)
    }

    fn denial_is_believed(&self, failure: &Failure) -> bool {
        let policy = match failure.kind {
            FailureKind::NxDomain => self.resolution.on_nxdomain,
            FailureKind::Empty => self.resolution.on_empty,
            FailureKind::Server | FailureKind::Unreachable => return false,
        };
        policy == OnMissing::Remove && failure.in_a_row >= DENIALS
    }
}

/// The other family has answered, with addresses, after this one was first found empty. An older answer is no proof: the
/// whole name may just have been emptied, and the other family be asked a moment later.
fn answered_since(other: &Lookup, since: Instant) -> bool {
    other.failure.is_none() && other.answer.as_ref().is_some_and(|answer| answer.at >= since)
}

#[cfg(test)]
mod tests;
