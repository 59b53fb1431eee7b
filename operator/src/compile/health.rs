//! How endpoints are watched.

use switchyard_crds::proxychain::{
    GrpcMonitor, Health as Spec, HttpMonitor, Monitor as MonitorSpec, MonitorKind, Passive as PassiveSpec,
    TcpMonitor, TlsMonitor,
};
use switchyard_snapshot::{Health, Monitor, Passive};

use super::FieldPath;
use super::faults::Faults;

/// `path` is where the health section stands. Without a monitor, being reachable is what counts.
pub fn compile(spec: &Spec, path: &FieldPath, faults: &mut Faults<'_>) -> Health {
    let Spec {
        interval,
        timeout,
        rise,
        fall,
        monitors,
        passive,
    } = spec;
    for (field, length) in [("interval", interval), ("timeout", timeout)] {
        if length.is_zero() {
            faults.invalid(path.key(field), "must be above zero");
        }
    }
    let mut compiled = compile_monitors(monitors, &path.key("monitors"), faults);
    if monitors.is_empty() {
        compiled.push(Monitor::Tcp {
            port: None,
            send: None,
            expect: None,
        });
    }
    let PassiveSpec {
        consecutive_failures,
        eject_for,
    } = passive;
    Health {
        interval: interval.get(),
        timeout: timeout.get(),
        rise: *rise,
        fall: *fall,
        monitors: compiled,
        passive: Some(Passive {
            consecutive_failures: *consecutive_failures,
            eject_for: eject_for.get(),
        }),
    }
}

/// `path` is where the list stands.
pub fn compile_monitors(monitors: &[MonitorSpec], path: &FieldPath, faults: &mut Faults<'_>) -> Vec<Monitor> {
    let each = |(i, spec): (usize, &MonitorSpec)| {
        let monitor = compile_monitor(spec);
        if monitor.is_none() {
            faults.invalid(path.index(i), "must have exactly one of tcp, http, tls and grpc");
        }
        monitor
    };
    monitors.iter().enumerate().filter_map(each).collect()
}

fn compile_monitor(spec: &MonitorSpec) -> Option<Monitor> {
    Some(match spec.kind()? {
        MonitorKind::Tcp(TcpMonitor { port, send, expect }) => Monitor::Tcp {
            port: *port,
            send: send.clone(),
            expect: expect.clone(),
        },
        MonitorKind::Http(HttpMonitor {
            port,
            path,
            host,
            expect,
            tls,
        }) => Monitor::Http {
            port: *port,
            path: path.clone(),
            host: host.clone(),
            expect: expect.clone(),
            tls: *tls,
        },
        MonitorKind::Tls(TlsMonitor { port }) => Monitor::Tls { port: *port },
        MonitorKind::Grpc(GrpcMonitor { port, service }) => Monitor::Grpc {
            port: *port,
            service: service.clone().unwrap_or_default(),
        },
    })
}
