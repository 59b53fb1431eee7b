//! What follows from a chain alone.

use super::{BackendTarget, MonitorKind, ProxyChainSpec, RedirectReturn};
use crate::fixtures::{CHAIN, yaml};

fn spec() -> ProxyChainSpec {
    serde_json::from_value(yaml(CHAIN)["spec"].clone()).unwrap()
}

#[test]
fn tiers_are_those_of_the_backends_in_order() {
    let mut spec = spec();
    assert_eq!(spec.tiers(), [0, 1, 2, 3]);
    spec.backends.reverse();
    spec.backends[0].tier = 9;
    assert_eq!(spec.tiers(), [0, 1, 2, 9]);
    assert_eq!(ProxyChainSpec::default().tiers(), [] as [u32; 0]);
}

#[test]
fn guests_return_by_the_schedule_where_there_is_one() {
    let mut spec = spec();
    assert_eq!(spec.redirect_return(), RedirectReturn::Scheduled);
    spec.redirect.return_ = None;
    assert_eq!(spec.redirect_return(), RedirectReturn::Scheduled);
    spec.schedule = None;
    assert_eq!(spec.redirect_return(), RedirectReturn::WhenHealthy);
    spec.redirect.return_ = Some(RedirectReturn::OnDemand);
    assert_eq!(spec.redirect_return(), RedirectReturn::OnDemand);
}

#[test]
fn a_backend_has_one_target() {
    let spec = spec();
    let target = |name: &str| spec.backend(name).unwrap().target();
    assert_eq!(
        target("primary"),
        Some(BackendTarget::Host {
            host: "cms-1.corp.example",
            port: 1650
        })
    );
    assert_eq!(
        target("by-srv"),
        Some(BackendTarget::Srv("_sync._tcp.corp.example"))
    );
    assert!(matches!(target("by-service"), Some(BackendTarget::Service(service)) if service.name == "cms"));
    assert!(
        matches!(target("by-dial-in"), Some(BackendTarget::DialIn(dial_in)) if dial_in.listener == "cms-in")
    );
    let mut both = spec.backend("primary").unwrap().clone();
    both.srv = Some("_sync._tcp.corp.example".into());
    assert_eq!(both.target(), None);
    both.host = None;
    assert_eq!(both.target(), None, "a port without its host");
}

#[test]
fn a_monitor_does_one_thing() {
    let monitors = spec().health.monitors;
    let kinds: Vec<_> = monitors.iter().map(|monitor| monitor.kind().unwrap()).collect();
    assert!(matches!(
        kinds.as_slice(),
        [
            MonitorKind::Tcp(_),
            MonitorKind::Http(_),
            MonitorKind::Tls(_),
            MonitorKind::Grpc(_)
        ]
    ));
    let mut both = monitors[0].clone();
    both.tls.clone_from(&monitors[2].tls);
    assert_eq!(both.kind(), None);
}
