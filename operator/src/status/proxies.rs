//! Who runs what. In: what proxies do, in order, with the time. Out: for each proxy whether it is there, what it runs, what it
//! refuses, what it says; and which pools and chains have another status for it.
//!
//! A proxy that loses its connection goes on running what it runs, so for [`GRACE`] nothing is known to have changed: a
//! reconnect, or a new leader that everybody connects to, is not seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_discovery::Hash;
use switchyard_discovery::server::{Activity, ProxyId, What};
use switchyard_snapshot::{ChainId, PoolId, Report, ResourceId};

/// How long a proxy that is gone still counts as there.
pub const GRACE: Duration = Duration::from_secs(5);

/// A report that is older says nothing any more: proxies report every 30 s even if nothing changed.
pub const REPORT_LASTS: Duration = Duration::from_secs(90);

/// What is known of one proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyState {
    /// Since when it is gone; none: it is connected.
    gone: Option<Instant>,
    /// It has connected (again), and has not said yet what it runs.
    silent_since: Option<Instant>,
    /// What it runs.
    pub acked: BTreeMap<ResourceId, Hash>,
    /// What it refuses: the version, and why in its own words. What it runs now it does not refuse any more.
    pub refused: BTreeMap<ResourceId, (Hash, String)>,
    /// The newest, and when it came.
    report: Option<(Arc<Report>, Instant)>,
}

impl ProxyState {
    /// Its newest report, as long as it says something.
    pub fn report(&self, now: Instant) -> Option<&Report> {
        let (report, at) = self.report.as_ref()?;
        (now < *at + REPORT_LASTS).then_some(report)
    }

    /// Whether it runs this version, as far as anybody knows.
    pub fn runs(&self, resource: &ResourceId, version: Hash) -> bool {
        self.acked.get(resource) == Some(&version)
    }

    /// Why it refuses this version.
    pub fn refuses(&self, resource: &ResourceId, version: Hash) -> Option<&str> {
        let (refused, reason) = self.refused.get(resource)?;
        (*refused == version).then_some(reason)
    }
}

/// Whose status may be another now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The pool itself.
    pub pool: bool,
    /// Every chain of the pool: how many proxies there are has changed.
    pub all_chains: bool,
    /// These chains.
    pub chains: BTreeSet<ChainId>,
}

impl Touched {
    pub(super) fn everything() -> Self {
        Self {
            pool: true,
            all_chains: true,
            chains: BTreeSet::new(),
        }
    }

    pub(super) fn resources<'a>(resources: impl IntoIterator<Item = &'a ResourceId>) -> Self {
        let mut touched = Self::default();
        for resource in resources {
            match resource {
                ResourceId::Pool | ResourceId::Listener(_) | ResourceId::Peers(_) => touched.pool = true,
                ResourceId::Chain(id) => {
                    touched.chains.insert(id.clone());
                }
            }
        }
        touched
    }
}

/// The proxies of one pool, by name and UID.
pub type Members = BTreeMap<(String, String), ProxyState>;

/// Every proxy of every pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proxies {
    pools: BTreeMap<PoolId, Members>,
}

impl Proxies {
    /// A proxy did something.
    pub fn handle(&mut self, activity: Activity, now: Instant) -> Touched {
        let Activity {
            proxy: ProxyId { pool, name, uid },
            what,
        } = activity;
        let members = self.pools.entry(pool).or_default();
        let known = members.contains_key(&(name.clone(), uid.clone()));
        if !known && what == What::Disconnected {
            return Touched::default();
        }
        let state = members.entry((name, uid)).or_default();
        let touched = state.handle(what, now);
        if known { touched } else { Touched::everything() }
    }

    /// Those that are there, of one pool.
    pub fn members(&self, pool: &PoolId) -> Option<&Members> {
        self.pools.get(pool)
    }

    /// Time has passed: forgets who is gone for too long, and what was brought along and never confirmed. Returns the pools that
    /// this touches.
    pub fn expire(&mut self, now: Instant) -> BTreeMap<PoolId, Touched> {
        let mut touched = BTreeMap::new();
        self.pools.retain(|pool, members| {
            let before = members.len();
            members.retain(|_, state| state.gone.is_none_or(|gone| now < gone + GRACE));
            let mut changed = members.len() < before;
            for state in members.values_mut() {
                changed |= state.expire(now);
            }
            if changed {
                touched.insert(pool.clone(), Touched::everything());
            }
            !members.is_empty()
        });
        touched
    }

    /// When [`Proxies::expire`] has something to do.
    pub fn expires_at(&self) -> Option<Instant> {
        let states = self.pools.values().flat_map(BTreeMap::values);
        states.filter_map(ProxyState::expires_at).min()
    }
}

impl ProxyState {
    fn handle(&mut self, what: What, now: Instant) -> Touched {
        match what {
            What::Connected { version: _ } => {
                // What it runs is told at once by what it brings along; until then nothing is known to have changed.
                self.gone = None;
                self.silent_since = Some(now);
                Touched::default()
            }
            What::Disconnected => {
                self.gone = Some(now);
                Touched::default()
            }
            What::Acked { versions, removed } => self.acked(versions, &removed),
            What::Refused {
                resource,
                version,
                reason,
            } => {
                self.acked.remove(&resource);
                let touched = Touched::resources([&resource]);
                self.refused.insert(resource, (version, reason));
                touched
            }
            What::Reported(report) => {
                let old = self.report.as_ref().filter(|(_, at)| now < *at + REPORT_LASTS);
                let touched = differences(old.map(|(old, _)| old.as_ref()), &report);
                self.report = Some((Arc::new(report), now));
                touched
            }
        }
    }

    fn acked(&mut self, versions: BTreeMap<ResourceId, Hash>, removed: &BTreeSet<ResourceId>) -> Touched {
        let mut changed = BTreeSet::new();
        if self.silent_since.take().is_some() {
            changed.extend(
                self.acked
                    .keys()
                    .filter(|id| !versions.contains_key(*id))
                    .cloned(),
            );
            self.acked.retain(|id, _| versions.contains_key(id));
        }
        for (id, version) in versions {
            let refused = self.refused.remove(&id).is_some();
            if self.acked.insert(id.clone(), version) != Some(version) || refused {
                changed.insert(id);
            }
        }
        for id in removed {
            let refused = self.refused.remove(id).is_some();
            if self.acked.remove(id).is_some() || refused {
                changed.insert(id.clone());
            }
        }
        Touched::resources(&changed)
    }

    fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        if self.silent_since.is_some_and(|since| now >= since + GRACE) {
            self.silent_since = None;
            changed |= !self.acked.is_empty();
            self.acked.clear();
        }
        if self
            .report
            .as_ref()
            .is_some_and(|(_, at)| now >= *at + REPORT_LASTS)
        {
            self.report = None;
            changed = true;
        }
        changed
    }

    fn expires_at(&self) -> Option<Instant> {
        let gone = self.gone.map(|gone| gone + GRACE);
        let silent = self.silent_since.map(|since| since + GRACE);
        let report = self.report.as_ref().map(|(_, at)| *at + REPORT_LASTS);
        [gone, silent, report].into_iter().flatten().min()
    }
}

/// What a new report changes. Both are sorted by chain.
fn differences(old: Option<&Report>, new: &Report) -> Touched {
    let Some(old) = old else {
        return Touched {
            pool: true,
            all_chains: true,
            chains: new.chains.iter().map(|chain| chain.id.clone()).collect(),
        };
    };
    let pool =
        old.ready != new.ready || old.draining != new.draining || old.listen_errors != new.listen_errors;
    let mut chains = BTreeSet::new();
    let (mut before, mut after) = (old.chains.iter().peekable(), new.chains.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.id.cmp(&other.id),
        };
        let one = order.is_le().then(|| before.next()).flatten();
        let other = order.is_ge().then(|| after.next()).flatten();
        if one != other {
            chains.extend(one.or(other).map(|chain| chain.id.clone()));
        }
    }
    Touched {
        pool,
        all_chains: false,
        chains,
    }
}

#[cfg(test)]
mod tests;
