//! Access points: what the pools of a namespace that name the same one make of it together. Pure.
//!
//! In: the pools. Out: the Service's ports, whose settings count, which pools own it, and which of them contradict an older one.

use std::collections::BTreeMap;

use switchyard_crds::proxypool::{AccessPointService, AccessPointServiceType};
use switchyard_crds::{Kind, ProxyPool, Reason};

use super::owner::Owner;
use crate::compile::{FieldPath, ObjectKey, Refusal};

/// What pools make of an access point.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessPoint {
    /// Its name, and its Service's.
    pub name: String,
    /// As the oldest pool has it; its type is not `None`.
    pub service: AccessPointService,
    /// Name (the listener's) and number of each port, in the order of the pools' age and their listeners.
    pub ports: Vec<(String, u16)>,
    /// The pools that agree, oldest first.
    pub owners: Vec<Owner>,
}

/// An access point, and who may not take part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// None: no pool has it, or its pools want no Service.
    pub access_point: Option<AccessPoint>,
    /// Why a pool may not take part, by its name.
    pub refused: BTreeMap<String, Refusal>,
}

/// Settles one access point among the living pools of a namespace, in any order.
pub fn settle<'a>(name: &str, pools: impl IntoIterator<Item = &'a ProxyPool>) -> Settled {
    let mut sharing: Vec<_> = pools
        .into_iter()
        .filter(|pool| pool.access_point_name() == Some(name))
        .collect();
    sharing.sort_by_key(|pool| {
        (
            pool.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pool.metadata.name.clone(),
        )
    });
    let mut settled = Settled::default();
    let Some((oldest, _)) = sharing.split_first() else {
        return settled;
    };
    let right = oldest.spec.access_point.clone().unwrap_or_default();
    let mut ports: Vec<(String, u16)> = Vec::new();
    let mut owners = Vec::new();
    for pool in &sharing {
        let own = pool.spec.access_point.clone().unwrap_or_default();
        let path = FieldPath::spec();
        let fault = if own.host != right.host {
            Some((path.key("accessPoint").key("host"), "its host differs"))
        } else if own.service != right.service {
            Some((path.key("accessPoint").key("service"), "its Service differs"))
        } else {
            clash(pool, &ports).map(|i| {
                let path = path.key("listeners").index(i).key("port");
                (path, "its listener's name and port do not go together")
            })
        };
        if let Some((field, what)) = fault {
            let refusal = refusal(pool, field, what, name, oldest);
            settled.refused.insert(refusal.object.name.clone(), refusal);
            continue;
        }
        for listener in &pool.spec.listeners {
            let port = (listener.name.clone(), listener.port);
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        owners.extend(Owner::of(pool));
    }
    settled.access_point = (right.service.type_ != AccessPointServiceType::None).then_some(AccessPoint {
        name: name.to_owned(),
        service: right.service,
        ports,
        owners,
    });
    settled
}

/// The listener that an older pool gives another port, or whose port an older pool gives another name.
fn clash(pool: &ProxyPool, held: &[(String, u16)]) -> Option<usize> {
    pool.spec.listeners.iter().position(|listener| {
        let differs = |(name, port): &(String, u16)| (*name == listener.name) != (*port == listener.port);
        held.iter().any(differs)
    })
}

fn refusal(
    pool: &ProxyPool,
    field: FieldPath,
    what: &str,
    access_point: &str,
    oldest: &ProxyPool,
) -> Refusal {
    let oldest = ObjectKey::of(Kind::ProxyPool, &oldest.metadata);
    Refusal {
        object: ObjectKey::of(Kind::ProxyPool, &pool.metadata),
        field,
        reason: Reason::Conflicted,
        message: format!(
            "{what} from what the older {oldest} has for the same access point {access_point:?}: pools that share one must agree"
        ),
    }
}
