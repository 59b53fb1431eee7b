//! All endpoints a chain knows. In: configurations, DNS. Out: members that appear, stand in the latest answers, vanish, and
//! are in the end forgotten.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_snapshot::{Chain, Monitor};

use super::member::Member;
use crate::clock::Now;
use crate::endpoint::EndpointId;
use crate::presence::{Listing, Lookups};

/// Who vanished, or is not configured any more, is remembered this long, and longer while it has connections.
const REMEMBERED_FOR: Duration = Duration::from_mins(10);

/// How many of those are remembered.
const REMEMBERED: usize = 256;

/// Who vanished is still probed for so long: DNS servers that answer with another subset each time bring it back soon.
const PROBED_FOR: Duration = Duration::from_mins(1);

/// Connections end without a word: whoever outlives its time because of them is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The endpoints, and what DNS said of each backend last.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<EndpointId, Member>,
    ids: BTreeMap<(Arc<str>, SocketAddr), EndpointId>,
    /// One per backend of the chain.
    pub(super) listings: Vec<Listing>,
}

impl Roster {
    pub(super) fn get(&self, id: EndpointId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: EndpointId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// In the order in which they appeared.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    /// Reads every backend's listing anew.
    pub(super) fn relist(&mut self, chain: &Chain, lookups: &Lookups, now: Now) {
        self.listings.clear();
        for (at, backend) in chain.backends.iter().enumerate() {
            let listing = Listing::read(backend, &chain.resolution, lookups, now.mono);
            let name: Arc<str> = backend.name.as_str().into();
            for found in &listing.addresses {
                let id = self.ids.entry((Arc::clone(&name), *found.0)).or_insert_with(|| {
                    let member = Member::new(&name, chain, at, found, now);
                    let id = member.endpoint.id;
                    self.members.insert(id, member);
                    id
                });
                debug_assert!(self.members.contains_key(id), "ids and members agree");
            }
            for member in self.members.values_mut().filter(|m| m.endpoint.backend == name) {
                member.relist(backend, at, &listing, now.mono);
            }
            self.listings.push(listing);
        }
        for member in self.members.values_mut() {
            let name = &*member.endpoint.backend;
            if !chain.backends.iter().any(|backend| backend.name == name) {
                member.unconfigure(now.mono);
            }
        }
    }

    /// The monitors changed.
    pub(super) fn remonitor(&mut self, before: &[Monitor], after: &[Monitor]) {
        if before != after {
            self.iter_mut().for_each(|member| member.remonitor(before, after));
        }
    }

    /// When time alone changes a listing.
    pub(super) fn relist_at(&self) -> Option<Instant> {
        self.listings
            .iter()
            .filter_map(|listing| listing.changes_at)
            .min()
    }

    /// Drops who has been gone for long enough; hands back whom.
    pub(super) fn forget(&mut self, chain: &Chain, now: Instant) -> Vec<Member> {
        let mut gone: Vec<(Instant, EndpointId)> = self
            .iter()
            .filter(|member| member.endpoint.connections() == 0)
            .filter_map(|member| Some((gone_since(member, chain)?, member.endpoint.id)))
            .collect();
        gone.sort_unstable();
        let too_many = gone.len().saturating_sub(REMEMBERED);
        let due = |(n, (since, id)): (usize, &(Instant, EndpointId))| {
            let unconfigured = self.get(*id).is_some_and(|member| member.backend.is_none());
            (n < too_many || unconfigured || now >= *since + REMEMBERED_FOR).then_some(*id)
        };
        let forgotten: Vec<EndpointId> = gone.iter().enumerate().filter_map(due).collect();
        forgotten.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    fn remove(&mut self, id: EndpointId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        let key = (Arc::clone(&member.endpoint.backend), member.endpoint.address);
        self.ids.remove(&key);
        Some(member)
    }

    /// When somebody has to be forgotten, or need not be probed any more.
    pub(super) fn forget_at(&self, chain: &Chain, now: Instant) -> Option<Instant> {
        let next = |member: &Member| {
            let since = gone_since(member, chain)?;
            let moments = [since + PROBED_FOR, since + REMEMBERED_FOR];
            let mut next = moments.into_iter().filter(|_| member.backend.is_some());
            Some(next.find(|at| *at > now).unwrap_or(now + LOOK_AGAIN))
        };
        self.iter().filter_map(next).min()
    }

    /// Whether it is worth probing.
    pub(super) fn is_probed(member: &Member, chain: &Chain, now: Instant) -> bool {
        let absent = member
            .vanished_since(chain)
            .filter(|_| member.stale().is_none())
            .is_some_and(|since| now >= since + PROBED_FOR);
        member.backend.is_some() && (!absent || member.endpoint.connections() > 0)
    }
}

/// Since when an endpoint has neither a place in DNS nor in the configuration.
fn gone_since(member: &Member, chain: &Chain) -> Option<Instant> {
    member
        .unconfigured_since
        .or_else(|| member.vanished_since(chain).filter(|_| member.stale().is_none()))
}
