//! Who shares a group with whom. In: chains that come and go. Out: the chains of a group, and for a unit those that share a
//! group with it: they are compiled with each other in sight.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_crds::{ProxyChain, ProxyChainSpec};
use switchyard_snapshot::ChainId;

use super::Unit;
use super::names::unit_of;

/// A group: by namespace and name.
pub type GroupId = (String, String);

/// Every group.
#[derive(Debug, Default)]
pub struct Groups {
    /// Its chains, by the unit that they belong to.
    members: BTreeMap<GroupId, BTreeMap<Unit, BTreeSet<ChainId>>>,
    /// The groups of each unit.
    of: BTreeMap<Unit, BTreeSet<GroupId>>,
}

impl Groups {
    /// A chain is there.
    pub fn join(&mut self, id: &ChainId, chain: &ProxyChain) {
        let Some(group) = group_of(id, chain) else { return };
        let unit = unit_of(id, chain);
        self.of.entry(unit.clone()).or_default().insert(group.clone());
        let units = self.members.entry(group).or_default();
        units.entry(unit).or_default().insert(id.clone());
    }

    /// A chain is not there any more as it was.
    pub fn leave(&mut self, id: &ChainId, chain: &ProxyChain) {
        let Some(group) = group_of(id, chain) else { return };
        let unit = unit_of(id, chain);
        let Some(units) = self.members.get_mut(&group) else {
            return;
        };
        super::forget(units, &unit, id);
        if !units.contains_key(&unit) {
            super::forget(&mut self.of, &unit, &group);
        }
        if units.is_empty() {
            self.members.remove(&group);
        }
    }

    /// The units that have a chain in the group.
    pub fn units<'a>(&'a self, group: &GroupId) -> impl Iterator<Item = &'a Unit> + use<'a> {
        self.members.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// The units that share a group with this one, which is not among them. One may come more than once.
    pub fn mates<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = &'a Unit> {
        let groups = self.of.get(unit).into_iter().flatten();
        groups
            .flat_map(|group| self.units(group))
            .filter(move |mate| *mate != unit)
    }

    /// The chains of other units that share a group with a chain of this one, each once, in the order of groups and units.
    pub fn chains<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = &'a ChainId> {
        let groups = self.of.get(unit).into_iter().flatten();
        let units = groups.filter_map(|group| self.members.get(group)).flatten();
        units
            .filter(move |(mate, _)| *mate != unit)
            .flat_map(|(_, chains)| chains)
    }
}

/// The group that a chain names.
pub fn group_of(id: &ChainId, chain: &ProxyChain) -> Option<GroupId> {
    let group = chain.spec.group.clone()?;
    Some((id.namespace.clone(), group))
}

/// Whether the other chains of its group see both alike. Two of one chain: before and after a change.
pub fn same_to_mates(one: &ProxyChain, other: &ProxyChain) -> bool {
    let age = |chain: &ProxyChain| chain.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let (before, after) = (&one.spec, &other.spec);
    let place = |spec: &ProxyChainSpec| spec.hostnames.first().map(|name| name.to_lowercase());
    before.group == after.group
        && before.priority == after.priority
        && before.suspend == after.suspend
        && before.schedule == after.schedule
        && before.remote == after.remote
        && before.pool_ref == after.pool_ref
        && place(before) == place(after)
        // of those that contradict each other the oldest is right
        && age(one) == age(other)
}
