//! What most scenes have in common: backends with names, manifests around
//! them, and the judgement of what clients saw.

use std::time::{Duration, Instant};

use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{Outcome, Outcomes, Sessions};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::manifest;

/// What clients connect to, and what backends listen on.
pub const PORT: u16 = 1650;

/// For states that are awaited, not promised.
pub const SOON: Duration = Duration::from_secs(10);

/// What measuring may add to a promised time: a machine that runs other tests
/// too, and the time between two looks.
pub const MEASURING: Duration = Duration::from_millis(250);

/// Probes often, so that tests need not wait long; a probe has the time that
/// a busy machine may need.
pub const QUICK_HEALTH: &str = "health: {interval: 300ms, timeout: 1s, rise: 2, fall: 2}";
pub const QUICK_INTERVAL: Duration = Duration::from_millis(300);

/// A test backend on a host of its own name, at 10.77.0.`number`.
pub fn backend(lab: &Lab, name: &str, number: u8) -> Backend {
    Backend::start(&lab.host(name, number), PORT, Mode::ClientFirst)
}

/// The entry of `spec.backends` for a backend, under its own name.
pub fn entry(backend: &Backend, tier: u32) -> String {
    entry_with(backend, &format!("tier: {tier}"))
}

/// As [`entry`], with other fields.
pub fn entry_with(backend: &Backend, fields: &str) -> String {
    let address = backend.address();
    let (ip, port) = (address.ip(), address.port());
    format!(
        "- {{name: {}, host: {ip}, port: {port}, {fields}}}",
        backend.name()
    )
}

/// A chain `name` on the listener of that name.
pub fn chain(name: &str, backends: &[String], more: &str) -> String {
    chain_on(name, name, backends, more)
}

/// A chain `name` on another listener.
pub fn chain_on(listener: &str, name: &str, backends: &[String], more: &str) -> String {
    let backends = backends.join("\n");
    let spec = format!("poolRef: {{name: edge, listener: {listener}}}\nbackends:\n{backends}\n{more}\n");
    manifest::chain(name, &spec)
}

/// A pool with TCP listeners of these names on [`PORT`] and the ports after it.
pub fn pool(listeners: &[&str]) -> String {
    let listener = |(port, name): (u16, &&str)| listener(name, port, "protocol: TCP");
    let listeners: Vec<String> = (PORT..).zip(listeners).map(listener).collect();
    pool_of(&listeners, "")
}

/// The entry of `spec.listeners` for one listener.
pub fn listener(name: &str, port: u16, fields: &str) -> String {
    format!("- {{name: {name}, port: {port}, {fields}}}")
}

/// The pool, with these listeners.
pub fn pool_of(listeners: &[String], more: &str) -> String {
    manifest::pool("edge", &format!("listeners:\n{}\n{more}\n", listeners.join("\n")))
}

/// The pool with its one listener, and the chain `app` on it.
pub fn one_chain(backends: &[String], more: &str) -> String {
    manifest::join(&[pool(&["app"]), chain("app", backends, more)])
}

/// The pool with its one listener, which has these fields, and the chain `app`.
pub fn one_listener(fields: &str, backends: &[String], more: &str) -> String {
    let pool = pool_of(&[listener("app", PORT, fields)], "");
    manifest::join(&[pool, chain("app", backends, more)])
}

/// When a backend was killed. A connection that was begun before `dead` and
/// ended after `asked` was open at the kill.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub asked: Instant,
    pub dead: Instant,
}

impl Kill {
    /// Whether this connection was open at the kill.
    pub fn met(&self, outcome: &Outcome) -> bool {
        outcome.begun < self.dead && outcome.begun + outcome.lasted > self.asked
    }
}

pub fn kill(backend: &mut Backend) -> Kill {
    let asked = Instant::now();
    backend.kill();
    Kill {
        asked,
        dead: Instant::now(),
    }
}

/// Every connection was served, but for those that were open at a kill: these
/// are counted apart.
#[track_caller]
pub fn must_be_served_but_at(lab: &Lab, seen: &Outcomes, kills: &[Kill]) {
    lab.say(seen.to_string());
    let open = |o: &&Outcome| kills.iter().any(|kill| kill.met(o));
    let all = seen.iter().filter(open).count();
    let cut = seen.failed().filter(open).count();
    lab.say(format!("open at a kill: {all}, of which {cut} failed"));
    assert!(!seen.is_empty(), "no connection was begun");
    let failed: Vec<_> = seen.failed().filter(|outcome| !open(outcome)).collect();
    assert!(
        failed.is_empty(),
        "{} failed, such as {:?}",
        failed.len(),
        failed[0]
    );
}

/// Only `name` served, and everybody was served.
#[track_caller]
pub fn only(seen: &Outcomes, name: &str) {
    seen.must_all_be_served();
    let others: Vec<String> = seen.by_name().into_keys().filter(|other| other != name).collect();
    assert!(others.is_empty(), "{others:?} served too: {seen}");
}

/// Awaits that so many sessions are open.
#[track_caller]
pub fn await_open(sessions: &Sessions, count: usize, within: Duration) {
    let what = format!("{count} sessions are open");
    eventually(&what, within, || match sessions.open_now() {
        open if open == count => Ok(()),
        open => Err(format!("{open} are")),
    });
}
