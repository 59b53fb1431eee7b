//! The demo's resources, as a user would write them. In: where things listen. Out: YAML.

use std::net::SocketAddr;

/// Ports of the demo, all free when it began.
pub struct Ports {
    /// Of every backend.
    pub backend: u16,
    /// Of the rotating chain's listener.
    pub web: u16,
    /// Of the failback chains' listeners, in the order of [`FAILBACKS`].
    pub failback: [u16; 4],
    /// Of the sites' listeners, and their direct port.
    pub desk: [u16; 2],
}

/// Two sites whose chains stand in for each other: the third and the fourth pool.
pub const SITES: [&str; 2] = ["london", "paris"];

/// The four ways of going back.
pub const FAILBACKS: [&str; 4] = ["Sticky", "Immediate", "Delayed", "Scheduled"];

/// Seconds that the delayed chain waits.
pub const DELAY: u64 = 3;

/// Two pools; their replicas come to be at 127.0.1.1 and 127.0.2.1.
pub fn pools(ports: &Ports) -> String {
    let mut text = format!(
        "apiVersion: switchyard.dev/v1alpha1
kind: ProxyPool
metadata: {{name: web}}
spec:
  replicas: 1
  listeners:
  - {{name: web, port: {}, protocol: TCP}}
---
apiVersion: switchyard.dev/v1alpha1
kind: ProxyPool
metadata: {{name: failback}}
spec:
  replicas: 1
  listeners:
",
        ports.web
    );
    for (mode, port) in FAILBACKS.iter().zip(ports.failback) {
        text += &format!(
            "  - {{name: {}, port: {port}, protocol: TCP}}\n",
            mode.to_lowercase()
        );
    }
    text
}

/// Two sites, each with a pool and a chain of its own; they come to be at 127.0.3.1 and 127.0.4.1. `prime_time` is when guests go
/// back, `HH:MM:SS` in UTC.
pub fn sites(ports: &Ports, dns: SocketAddr, prime_time: &str) -> String {
    let [port, direct] = ports.desk;
    let mut text = String::new();
    for site in SITES {
        text += &format!(
            "---
apiVersion: switchyard.dev/v1alpha1
kind: ProxyPool
metadata: {{name: {site}}}
spec:
  site: {site}
  replicas: 1
  listeners:
  - {{name: desk, port: {port}, directPort: {direct}, protocol: TCP}}
---
apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {{name: desk-{site}}}
spec:
  poolRef: {{name: {site}}}
  group: desk
  backends:
  - {{name: {site}, host: {site}.demo.example, port: {backend}}}
  redirect: {{minStay: 1s, grace: 1m}}
{common}{schedule}",
            backend = ports.backend,
            common = common(dns),
            schedule = daily(prime_time),
        );
    }
    text
}

/// One name, three addresses, all of them primary.
pub fn web_chain(ports: &Ports, dns: SocketAddr) -> String {
    format!(
        "apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {{name: web}}
spec:
  poolRef: {{name: web}}
  backends:
  - {{name: web, host: web.demo.example, port: {}}}
{}",
        ports.backend,
        common(dns)
    )
}

/// A primary and a standby; `prime_time` is the start of prime time, `HH:MM:SS` in UTC.
pub fn failback_chain(ports: &Ports, dns: SocketAddr, mode: &str, prime_time: &str) -> String {
    let name = mode.to_lowercase();
    let mut text = format!(
        "apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {{name: {name}}}
spec:
  poolRef: {{name: failback, listener: {name}}}
  backends:
  - {{name: primary, host: primary.demo.example, port: {port}}}
  - {{name: standby, host: standby.demo.example, port: {port}, tier: 1}}
  failover: {{failback: {mode}, delay: {DELAY}s}}
{}",
        common(dns),
        port = ports.backend
    );
    if mode == "Scheduled" {
        text += &daily(prime_time);
    }
    text
}

fn daily(prime_time: &str) -> String {
    format!(
        "  schedule:
    timeZone: UTC
    starts: [{{days: [Mon, Tue, Wed, Thu, Fri, Sat, Sun], at: \"{prime_time}\"}}]
"
    )
}

fn common(dns: SocketAddr) -> String {
    format!("  resolution: {{nameservers: [\"{dns}\"]}}\n  health: {{interval: 500ms, timeout: 400ms}}\n")
}
