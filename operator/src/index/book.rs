//! Secrets: which there are, who names them, and what stands in those that somebody names. In: what the watch and the fetcher
//! tell, and who names what. Out: whom a change concerns, and what must be fetched.
//!
//! The watch tells of every Secret of the watched namespaces only that it is there, and in which version: what stands in those
//! that nobody names never reaches this process. A Secret that is there, named and not fetched yet is *pending*: who names it
//! is not compiled before it is there, since its certificates would be taken for gone.

use std::collections::{BTreeMap, BTreeSet};

use switchyard_crds::proxypool::{ListenerTls, TlsMode, WorkloadKind};
use switchyard_crds::{ProxyChain, ProxyPool, SecretRef};

use crate::compile::ObjectKey;
use crate::secrets::{Fetched, GOSSIP_KEYS, Known, SecretId, Secrets, Wants, ticket_keys_of};

/// What is known of Secrets.
#[derive(Debug, Default)]
pub struct Book {
    /// Every Secret that is there, by the version in which it was seen last.
    there: BTreeMap<SecretId, String>,
    named_by: BTreeMap<SecretId, BTreeSet<ObjectKey>>,
    /// What stands in those that are named, and the version of that.
    held: BTreeMap<SecretId, (String, Known)>,
    pending: BTreeSet<SecretId>,
    wants: Wants,
}

impl Book {
    /// What must be fetched is told to `wants`.
    pub fn new(wants: Wants) -> Self {
        Self {
            wants,
            ..Self::default()
        }
    }

    /// An object names these, and no others any more.
    pub fn name(&mut self, by: &ObjectKey, ids: impl Iterator<Item = SecretId>) {
        for id in ids {
            let namers = self.named_by.entry(id.clone()).or_default();
            if namers.is_empty() {
                self.wants.named(&id);
                if self.there.contains_key(&id) {
                    self.pending.insert(id.clone());
                    self.wants.open(&id);
                }
            }
            namers.insert(by.clone());
        }
    }

    /// An object names these no more; what nobody names is let go.
    pub fn unname(&mut self, by: &ObjectKey, ids: impl Iterator<Item = SecretId>) {
        for id in ids {
            let Some(namers) = self.named_by.get_mut(&id) else {
                continue;
            };
            namers.remove(by);
            if namers.is_empty() {
                self.named_by.remove(&id);
                self.held.remove(&id);
                self.pending.remove(&id);
                self.wants.unnamed(&id);
            }
        }
    }

    /// Who names it.
    pub fn namers(&self, id: &SecretId) -> impl Iterator<Item = &ObjectKey> {
        self.named_by.get(id).into_iter().flatten()
    }

    /// A Secret is there in this version; none: it is gone. True: those who name it are concerned now, and not only once it has
    /// been fetched.
    pub fn seen(&mut self, id: &SecretId, version: Option<String>) -> bool {
        let Some(version) = version else {
            self.held.remove(id);
            self.pending.remove(id);
            self.wants.close(id);
            return self.there.remove(id).is_some();
        };
        let held = self.held.get(id).map(|(version, _)| version);
        if held != Some(&version) && self.named_by.contains_key(id) {
            if held.is_none() {
                self.pending.insert(id.clone());
            }
            self.wants.open(id);
        }
        self.there.insert(id.clone(), version);
        false
    }

    /// A Secret has been asked for. True: those who name it are concerned. What nobody names any more, or what the watch has
    /// told to be gone since, is not kept.
    pub fn fetched(&mut self, id: SecretId, fetched: Fetched) -> bool {
        if !self.named_by.contains_key(&id) || !self.there.contains_key(&id) {
            return false;
        }
        match fetched {
            Fetched::Found { version, secret } => {
                self.pending.remove(&id);
                let known = Known::There(secret);
                let before = self.held.insert(id, (version, known.clone()));
                before.is_none_or(|(_, before)| before != known)
            }
            // the watch will tell it too
            Fetched::Gone => self.seen(&id, None),
            Fetched::Failed(_) if self.held.contains_key(&id) => false,
            Fetched::Failed(why) => {
                self.pending.remove(&id);
                self.held.insert(id, (String::new(), Known::Unread(why)));
                true
            }
        }
    }

    /// Whether one of these is there and has not been fetched.
    pub fn waits_for(&self, mut ids: impl Iterator<Item = SecretId>) -> bool {
        !self.pending.is_empty() && ids.any(|id| self.pending.contains(&id))
    }

    /// Whether any Secret that somebody names is there and has not been fetched.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is known of these.
    pub fn only(&self, ids: impl Iterator<Item = SecretId>) -> Secrets {
        let known = ids.filter_map(|id| {
            let (_, known) = self.held.get(&id)?;
            Some((id, known.clone()))
        });
        known.collect()
    }

    /// How many there are, and of how many it is known what stands in them.
    pub fn sizes(&self) -> (usize, usize) {
        (self.there.len(), self.held.len())
    }
}

/// The Secrets that a pool names, the one with its ticket keys, and the one with the keys of its gossip: its own, or else that of
/// the namespace. Sidecars do not gossip, but sign by what follows from the namespace's.
pub fn secrets_of_pool(pool: &ProxyPool) -> impl Iterator<Item = SecretId> {
    let terminated = |tls: &&ListenerTls| tls.mode == TlsMode::Terminate;
    let sections = pool
        .spec
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref())
        .filter(terminated);
    let mut names: BTreeSet<String> = sections
        .flat_map(|tls| tls.certificate_refs.iter().chain(&tls.client_ca_ref))
        .map(|SecretRef { name }| name.clone())
        .collect();
    if !names.is_empty() {
        names.insert(ticket_keys_of(pool.metadata.name.as_deref().unwrap_or_default()));
    }
    let sidecar = pool.spec.workload.kind == WorkloadKind::Sidecar;
    let own = pool.spec.peers.key_ref.as_ref().filter(|_| !sidecar);
    names.insert(own.map_or(GOSSIP_KEYS, |own| own.name.as_str()).to_owned());
    in_namespace(pool.metadata.namespace.as_deref(), names)
}

/// The Secrets that a chain names.
pub fn secrets_of_chain(chain: &ProxyChain) -> impl Iterator<Item = SecretId> {
    let sections = chain
        .spec
        .backends
        .iter()
        .filter_map(|backend| backend.tls.as_ref());
    let names: BTreeSet<String> = sections
        .flat_map(|tls| tls.ca_ref.iter().chain(&tls.client_certificate_ref))
        .map(|SecretRef { name }| name.clone())
        .collect();
    in_namespace(chain.metadata.namespace.as_deref(), names)
}

fn in_namespace(namespace: Option<&str>, names: BTreeSet<String>) -> impl Iterator<Item = SecretId> + use<> {
    let namespace = namespace.unwrap_or_default().to_owned();
    names.into_iter().map(move |name| SecretId {
        namespace: namespace.clone(),
        name,
    })
}

#[cfg(test)]
mod tests;
