//! Which chains share a group, and which of them have clients elsewhere. In: chains as they come and go. Out: for one chain, those
//! whose status another chain's report may change.

use std::collections::{BTreeSet, HashMap};

use switchyard_crds::ProxyChain;

use crate::compile::ObjectKey;
use crate::status::board::Object;

/// By namespace and name of the group.
#[derive(Debug, Default)]
pub struct Groups(HashMap<(String, String), Group>);

#[derive(Debug, Default)]
struct Group {
    chains: BTreeSet<ObjectKey>,
    /// Those whose clients are sent away, or have been and are not all back.
    away: BTreeSet<ObjectKey>,
}

impl Groups {
    /// An object is like this now. Whoever changes its group is unhung before.
    pub fn hang(&mut self, object: &Object) {
        let Object::Chain(chain) = object else { return };
        let Some(group) = group(chain) else { return };
        let group = self.0.entry(group).or_default();
        let redirect = chain.status.as_ref().and_then(|status| status.redirect.as_ref());
        if redirect.is_some_and(|redirect| redirect.active || redirect.to.is_some()) {
            group.away.insert(object.key());
        } else {
            group.away.remove(&object.key());
        }
        group.chains.insert(object.key());
    }

    /// An object is not there any more as it was.
    pub fn unhang(&mut self, object: &Object) {
        let Object::Chain(chain) = object else { return };
        let Some(id) = group(chain) else { return };
        if let Some(group) = self.0.get_mut(&id) {
            group.chains.remove(&object.key());
            group.away.remove(&object.key());
            if group.chains.is_empty() {
                self.0.remove(&id);
            }
        }
    }

    /// The chains of its group, itself among them.
    pub fn of(&self, chain: &ProxyChain) -> impl Iterator<Item = &ObjectKey> {
        let group = group(chain).and_then(|group| self.0.get(&group));
        group.into_iter().flat_map(|group| &group.chains)
    }

    /// The chains of its group that have clients elsewhere.
    pub fn away(&self, object: &Object) -> impl Iterator<Item = &ObjectKey> + use<'_> {
        let group = match object {
            Object::Chain(chain) => group(chain).and_then(|group| self.0.get(&group)),
            Object::Pool(_) => None,
        };
        group.into_iter().flat_map(|group| &group.away)
    }
}

fn group(chain: &ProxyChain) -> Option<(String, String)> {
    let namespace = chain.metadata.namespace.clone().unwrap_or_default();
    Some((namespace, chain.spec.group.clone()?))
}
