//! How a chain's clients are sent away and its guests sent back.

use switchyard_crds::proxychain::{
    Dialect as DialectSpec, Redirect as Spec, RedirectFallback, RedirectReturn, Remote as RemoteSpec,
};
use switchyard_snapshot::{Dialect, Fallback, GroupPlace, Protocol, Redirect, Return};

use super::faults::Faults;
use super::{FieldPath, health};

/// `path` is where the section stands; `scheduled`: the chain has a schedule, or another of its group has.
pub fn compile(spec: &Spec, scheduled: bool, path: &FieldPath, faults: &mut Faults<'_>) -> Redirect {
    let Spec {
        dialects,
        fallback,
        return_,
        min_stay,
        grace,
    } = spec;
    if *return_ == Some(RedirectReturn::Scheduled) && !scheduled {
        faults.invalid(
            path.key("return"),
            "Scheduled needs a schedule: add spec.schedule to a chain of the group",
        );
    }
    let unsaid = if scheduled {
        RedirectReturn::Scheduled
    } else {
        RedirectReturn::WhenHealthy
    };
    let mut dialects: Vec<Dialect> = dialects.iter().map(|dialect| of(*dialect)).collect();
    dialects.sort_unstable();
    dialects.dedup();
    Redirect {
        dialects,
        fallback: match fallback {
            RedirectFallback::Relay => Fallback::Relay,
            RedirectFallback::Refuse => Fallback::Refuse,
        },
        return_: match return_.unwrap_or(unsaid) {
            RedirectReturn::Scheduled => Return::Scheduled,
            RedirectReturn::WhenHealthy => Return::WhenHealthy,
            RedirectReturn::OnDemand => Return::OnDemand,
        },
        min_stay: min_stay.get(),
        grace: grace.get(),
    }
}

fn of(spec: DialectSpec) -> Dialect {
    match spec {
        DialectSpec::HTTP => Dialect::Http,
        DialectSpec::WebSocket => Dialect::WebSocket,
        DialectSpec::XMPP => Dialect::Xmpp,
        DialectSpec::MQTT => Dialect::Mqtt,
    }
}

/// Refuses dialects that nobody can speak on such a listener.
pub fn fits(dialects: &[DialectSpec], protocol: Protocol, listener: &str, faults: &mut Faults<'_>) {
    let path = FieldPath::spec().key("redirect").key("dialects");
    for (i, dialect) in dialects.iter().enumerate() {
        let words = match (dialect, protocol) {
            (DialectSpec::HTTP | DialectSpec::WebSocket, Protocol::Tcp | Protocol::Tls) => {
                "reads no requests: leave it out, or make its protocol HTTP, HTTPS or Auto"
            }
            (DialectSpec::XMPP | DialectSpec::MQTT, Protocol::Http | Protocol::Https) => {
                "takes HTTP only: leave it out, or make its protocol TCP, TLS or Auto"
            }
            _ => continue,
        };
        faults.invalid(path.index(i), format!("listener {listener} {words}"));
    }
}

/// Where a chain beyond this cluster is; `path` is where its section stands.
pub fn remote(spec: &RemoteSpec, path: &FieldPath, faults: &mut Faults<'_>) -> GroupPlace {
    let RemoteSpec { addresses, monitors } = spec;
    GroupPlace::Remote {
        addresses: addresses.clone(),
        monitors: health::compile_monitors(monitors, &path.key("monitors"), faults),
    }
}
