//! The ports of one pool: no two listeners may want the same one, and none may want one of ours.

use std::net::IpAddr;

use switchyard_crds::proxypool::Listener as Spec;

use super::faults::Faults;
use super::{FieldPath, Profile};

/// What a proxy (and, on the same machine, an agent) binds besides its listeners, unless told otherwise.
const OURS: [(u16, &str); 3] = [
    (17000, "the admin endpoint"),
    (17020, "the health and metrics endpoint"),
    (15353, "the agent's DNS"),
];

/// Where guests come.
const DIRECT_PORT: &str = "directPort";

/// One port that a listener wants.
struct Claim<'a> {
    listener: &'a str,
    field: FieldPath,
    /// Which of the listener's ports: `port`, `bindPort` or `directPort`.
    role: &'static str,
    port: u16,
    addresses: &'a [String],
}

/// Checks every listener against those before it; `path` is where the list stands.
///
/// A sidecar has no ports for guests.
pub fn check(
    listeners: &[Spec],
    path: &FieldPath,
    (profile, sidecar): (Profile, bool),
    faults: &mut Faults<'_>,
) {
    let mut held: Vec<Claim<'_>> = Vec::new();
    for (i, listener) in listeners.iter().enumerate() {
        let path = path.index(i);
        if listener.direct_port().is_none() && profile == Profile::Cluster && !sidecar {
            let words = format!(
                "must be given: its default, {} + 10000, is above 65535",
                listener.bind_port()
            );
            faults.invalid(path.key("directPort"), words);
        }
        let claims = claims(listener, &path, profile);
        let claims: Vec<Claim<'_>> = claims
            .filter(|claim| !sidecar || claim.role != DIRECT_PORT)
            .collect();
        for (n, claim) in claims.iter().enumerate() {
            if let Some((port, what)) = OURS.iter().find(|(port, _)| *port == claim.port) {
                faults.invalid(
                    claim.field.clone(),
                    format!("port {port} is taken by {what}: choose another"),
                );
            } else if let Some(other) = held
                .iter()
                .chain(&claims[..n])
                .find(|other| overlap(claim, other))
            {
                let words = format!(
                    "port {} is taken by listener {}'s {}: choose another, or another address",
                    claim.port, other.listener, other.role
                );
                faults.invalid(claim.field.clone(), words);
            }
        }
        held.extend(claims);
    }
}

/// The ports that a listener binds under this profile, and those its user wrote for the other.
fn claims<'a>(spec: &'a Spec, path: &FieldPath, profile: Profile) -> impl Iterator<Item = Claim<'a>> {
    let cluster = profile == Profile::Cluster;
    let bind_port = match (cluster, spec.bind_port) {
        (true, _) => Some(spec.bind_port()),
        (false, given) => given.filter(|port| *port != spec.port),
    };
    let direct_port = if cluster {
        spec.direct_port()
    } else {
        spec.direct_port
    };
    let claim = |role: &'static str, port: u16, written: bool| Claim {
        listener: &spec.name,
        field: path.key(if written { role } else { "port" }),
        role,
        port,
        addresses: &spec.addresses,
    };
    let port = (!cluster).then(|| claim("port", spec.port, true));
    let bind_port = bind_port.map(|port| claim("bindPort", port, spec.bind_port.is_some()));
    let direct_port = direct_port.map(|port| claim(DIRECT_PORT, port, spec.direct_port.is_some()));
    port.into_iter().chain(bind_port).chain(direct_port)
}

fn overlap(one: &Claim<'_>, other: &Claim<'_>) -> bool {
    one.port == other.port
        && (one.addresses.is_empty()
            || other.addresses.is_empty()
            || one
                .addresses
                .iter()
                .any(|a| other.addresses.iter().any(|b| same_address(a, b))))
}

/// Whether both cannot be bound at once. An unspecified address stands for all of its family.
fn same_address(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<IpAddr>(), other.parse::<IpAddr>()) else {
        return false;
    };
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}
