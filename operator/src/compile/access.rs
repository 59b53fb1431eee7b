//! Access points: pools of a namespace that name the same one share its Service, so they must agree on it.

use std::collections::BTreeMap;

use switchyard_crds::proxypool::AccessPoint;
use switchyard_crds::{ProxyPool, Reason};

use super::{FieldPath, Given, ObjectKey, Refusal};

/// Which pools contradict an older one. The oldest pool of an access point is right.
pub fn conflicts(oldest_first: &[(ObjectKey, &Given<ProxyPool>)]) -> BTreeMap<ObjectKey, Refusal> {
    let mut first: BTreeMap<(&str, &str), (&ObjectKey, AccessPoint)> = BTreeMap::new();
    let mut conflicts = BTreeMap::new();
    for (key, given) in oldest_first {
        let pool = &given.object;
        let Some(name) = pool.access_point_name() else {
            continue;
        };
        let own = pool.spec.access_point.clone().unwrap_or_default();
        match first.get(&(key.namespace.as_str(), name)) {
            None => {
                first.insert((&key.namespace, name), (key, own));
            }
            Some((oldest, right)) => {
                if let Some(field) = difference(&own, right) {
                    let message = format!(
                        "differs from the older {oldest}, which has the same access point {name:?}: pools that share one must agree"
                    );
                    let field = FieldPath::spec().key("accessPoint").key(field);
                    let reason = Reason::Conflicted;
                    conflicts.insert(
                        key.clone(),
                        Refusal {
                            object: key.clone(),
                            field,
                            reason,
                            message,
                        },
                    );
                }
            }
        }
    }
    conflicts
}

fn difference(own: &AccessPoint, right: &AccessPoint) -> Option<&'static str> {
    let AccessPoint {
        name: _,
        host,
        service,
    } = own;
    if *host != right.host {
        Some("host")
    } else if *service != right.service {
        Some("service")
    } else {
        None
    }
}
