//! TLS of a whole configuration. In: snapshots. Out: servers that are ready, those of unchanged listeners as they were; and
//! every entry that cannot be used, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use switchyard_snapshot::{
    BackendTls, ChainId, Invalid, Listener, ListenerTls, Protocol, ResourceId, Snapshot, TicketKey,
};

use super::client::Client;
use super::server::Server;
use super::tickets::{Keys, OwnKeys};

/// TLS as it is configured now.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// As old as the process; none: the system had no random numbers when it started.
    own: Option<Arc<OwnKeys>>,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// By listener.
    servers: BTreeMap<String, Ready>,
    /// What was found to be usable, by chain and backend.
    backends: BTreeMap<(ChainId, String), BackendTls>,
}

/// A server and what it was made of.
#[derive(Clone, Debug)]
struct Ready {
    tls: ListenerTls,
    keys: Vec<TicketKey>,
    server: Arc<Server>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self {
            own: OwnKeys::new(Instant::now()).ok().map(Arc::new),
            current: Mutex::default(),
        }
    }
}

impl Keeper {
    /// With the process's own keys for tickets: proxies of a pool that run in one process share them.
    pub(crate) fn of_process() -> Self {
        static OWN: LazyLock<Option<Arc<OwnKeys>>> =
            LazyLock::new(|| OwnKeys::new(Instant::now()).ok().map(Arc::new));
        Self {
            own: OWN.clone(),
            current: Mutex::default(),
        }
    }

    /// Makes what `snapshot` needs; takes out every entry whose TLS cannot be used, and what hangs on it, and says why.
    pub(crate) fn prepare(&self, mut snapshot: Snapshot) -> (Snapshot, Vec<Invalid>) {
        let mut current = self.current();
        let mut next = Current::default();
        let mut invalid = Vec::new();
        let keys = &snapshot.pool.ticket_keys;
        snapshot.listeners.retain(|listener| {
            let known = current.servers.get(&listener.name);
            match self.ready(listener, keys, known) {
                Ok(None) => true,
                Ok(Some(ready)) => {
                    next.servers.insert(listener.name.clone(), ready);
                    true
                }
                Err(why) => {
                    let resource = ResourceId::Listener(listener.name.clone());
                    invalid.push(Invalid { resource, why });
                    false
                }
            }
        });
        let listeners: BTreeSet<&str> = snapshot.listeners.iter().map(|l| l.name.as_str()).collect();
        snapshot.chains.retain(|chain| {
            let mut why = None;
            if !listeners.contains(chain.listener.as_str()) {
                why = Some(format!("its listener {:?} is not there", chain.listener));
            }
            for backend in &chain.backends {
                let Some(tls) = &backend.tls else { continue };
                let key = (chain.id.clone(), backend.name.clone());
                let known = current.backends.get(&key) == Some(tls);
                match if known {
                    Ok(())
                } else {
                    Client::new(tls, None).map(drop)
                } {
                    Ok(()) => drop(next.backends.insert(key, tls.clone())),
                    Err(fault) => why = Some(format!("TLS to backend {:?}: {fault}", backend.name)),
                }
            }
            let Some(why) = why else { return true };
            let resource = ResourceId::Chain(chain.id.clone());
            invalid.push(Invalid { resource, why });
            false
        });
        *current = next;
        (snapshot, invalid)
    }

    /// What opens TLS at a listener, as last prepared.
    pub(crate) fn server(&self, listener: &str) -> Option<Arc<Server>> {
        self.current()
            .servers
            .get(listener)
            .map(|ready| Arc::clone(&ready.server))
    }

    /// What opens TLS at `listener`, made for the occasion.
    #[cfg(test)]
    pub(crate) fn server_for(
        &self,
        listener: &Listener,
        keys: &[TicketKey],
    ) -> Result<Option<Arc<Server>>, String> {
        let ready = self.ready(listener, keys, None)?;
        Ok(ready.map(|ready| ready.server))
    }

    fn ready(
        &self,
        listener: &Listener,
        keys: &[TicketKey],
        known: Option<&Ready>,
    ) -> Result<Option<Ready>, String> {
        let Some(tls) = &listener.tls else {
            return match listener.protocol {
                Protocol::Https => Err("it speaks HTTPS, but has no tls".to_owned()),
                _ => Ok(None),
            };
        };
        if matches!(listener.protocol, Protocol::Tcp | Protocol::Http) {
            return Ok(None);
        }
        if let Some(known) = known
            && known.tls == *tls
            && known.keys == keys
        {
            return Ok(Some(known.clone()));
        }
        let own = self
            .own
            .as_ref()
            .ok_or("this system has no random numbers for the keys of session tickets")?;
        let server = Server::new(&listener.name, tls, Keys::of(keys, own)?)?;
        Ok(Some(Ready {
            tls: tls.clone(),
            keys: keys.to_vec(),
            server: Arc::new(server),
        }))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
