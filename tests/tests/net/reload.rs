//! The files change while clients are connected: what changed is touched, and
//! nothing else. Sockets are compared by inode.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{End, Load, LoadPlan, SessionPlan, Sessions, Wire};
use switchyard_tests::eventually::{eventually, let_pass, throughout};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use super::scene::{PORT, SOON, await_open, backend, chain, entry, listener, only, pool_of};

pub fn add(suite: &mut Suite) {
    suite.workers("reload::under_load", under_load);
    suite.workers("reload::invalid_edits", invalid_edits);
    suite.workers("reload::port_is_taken", port_is_taken);
    suite.workers("reload::sighup", sighup);
}

/// Where chain `idle`, `busy`, `changing` and `added` listen.
const IDLE: u16 = PORT;
const BUSY: u16 = PORT + 1;
const CHANGING: u16 = PORT + 2;
const ADDED: u16 = PORT + 3;

fn tcp(name: &str, port: u16) -> String {
    listener(name, port, "protocol: TCP")
}

/// Inodes of the sockets that listen on these ports.
fn sockets(proxy: &Switchyard, ports: &[u16]) -> BTreeMap<u64, SocketAddr> {
    let mut all = proxy.listening();
    all.retain(|_, address| ports.contains(&address.port()));
    all
}

#[track_caller]
fn await_listening(proxy: &Switchyard, port: u16, wanted: usize) {
    eventually(
        &format!("{wanted} sockets listen on {port}"),
        SOON,
        || match sockets(proxy, &[port]).len() {
            count if count == wanted => Ok(()),
            count => Err(format!("{count} do")),
        },
    );
}

/// A pool with four listeners at most: chains `idle` and `busy`, which stay, `changing` and `added`.
struct Yard {
    client: Host,
    proxy_host: Host,
    backends: [Backend; 2],
    proxy: Switchyard,
}

impl Yard {
    fn start(lab: &Lab, workers: usize) -> Self {
        let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
        let backends = [backend(lab, "b1", 11), backend(lab, "b2", 12)];
        let first = Self::manifests(&backends, &[tcp("changing", CHANGING)], &[("changing", 0)]);
        let proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &first));
        Self {
            client,
            proxy_host,
            backends,
            proxy,
        }
    }

    /// The chains `idle` and `busy`, and these besides, each with the index of its backend.
    fn manifests(backends: &[Backend; 2], listeners: &[String], chains: &[(&str, usize)]) -> String {
        let kept = [tcp("idle", IDLE), tcp("busy", BUSY)];
        let mut documents = vec![pool_of(&[&kept[..], listeners].concat(), "")];
        for (name, backend) in [("idle", 0), ("busy", 1)].iter().chain(chains) {
            documents.push(chain(name, &[entry(&backends[*backend], 0)], ""));
        }
        manifest::join(&documents)
    }

    fn rewrite(&self, listeners: &[String], chains: &[(&str, usize)]) {
        self.proxy
            .rewrite(&Self::manifests(&self.backends, listeners, chains));
    }

    fn idle(&self, port: u16, count: usize) -> Sessions {
        let sessions = Sessions::open(&self.client, &SessionPlan::idle(self.proxy_host.at(port), count));
        assert_eq!(sessions.open_now(), count, "all were served");
        sessions
    }

    fn load(&self, port: u16, per_second: u32) -> Load {
        Load::start(&self.client, LoadPlan::new(self.proxy_host.at(port), per_second))
    }

    fn kept_sockets(&self) -> BTreeMap<u64, SocketAddr> {
        sockets(&self.proxy, &[IDLE, BUSY, CHANGING])
    }

    /// Changes, adds, limits and removes; says when new connections of `changing` must go to b2.
    fn edit(&self, lab: &Lab, workers: usize) -> Instant {
        let asked = Instant::now();
        self.rewrite(&[tcp("changing", CHANGING)], &[("changing", 1)]);
        self.proxy
            .await_serving("changing", &[self.backends[1].address()], SOON);
        let changed = Instant::now();
        lab.say(format!(
            "a chain leads elsewhere {:.1?} after the edit",
            changed - asked
        ));

        let both = [("changing", 1), ("added", 0)];
        self.rewrite(&[tcp("changing", CHANGING), tcp("added", ADDED)], &both);
        await_listening(&self.proxy, ADDED, workers);
        let added = self.idle(ADDED, 50);

        let before = self.kept_sockets();
        let at_changing = self.idle(CHANGING, 20);
        // Longer than any of the listener's other clients needs, who must all be served.
        let limited = listener("changing", CHANGING, "protocol: TCP, idleTimeout: 3s");
        self.rewrite(&[limited.clone(), tcp("added", ADDED)], &both);
        must_leave(
            at_changing,
            "sessions of the changed listener are idle for too long",
        );
        assert_eq!(
            self.kept_sockets(),
            before,
            "a limit changes without binding again"
        );

        self.rewrite(&[limited], &[("changing", 1)]);
        await_listening(&self.proxy, ADDED, 0);
        let refused = Wire::connect(&self.client, self.proxy_host.at(ADDED));
        assert!(matches!(refused, Err(End::Refused)), "{refused:?}");
        must_leave(added, "sessions of the removed chain leave");
        changed
    }
}

/// Awaits that all of them ended, with FIN.
#[track_caller]
fn must_leave(sessions: Sessions, what: &str) {
    await_open(&sessions, 0, SOON);
    let left = sessions.close();
    let fin = left
        .iter()
        .filter(|s| matches!(s.ended, Some((_, End::Fin))))
        .count();
    assert_eq!(fin, left.len(), "{what}: not all with FIN: {:?}", left[0]);
}

/// Chains are changed, added and removed, a limit changes: 1,000 idle and 200 busy sessions of other chains, and 100
/// new connections a second, do not notice.
fn under_load(lab: &Lab, workers: usize) {
    let yard = Yard::start(lab, workers);
    let before = yard.kept_sockets();
    assert_eq!(
        before.len(),
        3 * workers,
        "one socket for each listener and worker: {before:?}"
    );
    let idle = yard.idle(IDLE, 1000);
    let busy = SessionPlan::busy(yard.proxy_host.at(BUSY), 200, Duration::from_millis(200));
    let busy = Sessions::open(&yard.client, &busy);
    let (load, changing) = (yard.load(IDLE, 100), yard.load(CHANGING, 50));

    let changed = yard.edit(lab, workers);
    assert_eq!(yard.kept_sockets(), before, "nothing was bound again");
    // Before they are closed: all ask at once then, which is the test's own doing.
    let longest = busy.so_far().iter().map(|s| s.longest_answer).max();
    let longest = longest.expect("there are sessions");

    let (seen, seen_changing) = (load.stop(), changing.stop());
    lab.say(format!("beside the changes: {seen}"));
    lab.say(format!("on the changed chain: {seen_changing}"));
    only(&seen, "b1");
    seen_changing.must_all_be_served();
    only(&seen_changing.begun_since(changed), "b2");
    for (what, sessions) in [("idle", idle.close()), ("busy", busy.close())] {
        let lived = sessions
            .iter()
            .filter(|s| matches!(s.ended, Some((_, End::Finished))))
            .count();
        lab.say(format!("{what}: {lived} of {} sessions lived", sessions.len()));
        assert_eq!(lived, sessions.len());
    }
    lab.say(format!("longest answer beside the changes: {longest:.1?}"));
    assert!(longest <= Duration::from_secs(1), "{longest:?}");
}

/// Mistakes are reported with file, line and field; what runs goes on as it was.
fn invalid_edits(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = backend(lab, "b1", 11);
    let good = chain("app", &[entry(&b1, 0)], "");
    let plan = Plan::new(workers, &pool_of(&[tcp("app", PORT)], "")).file("chain.yaml", &good);
    let proxy = Switchyard::start_ready(&proxy_host, plan);
    let before = sockets(&proxy, &[PORT]);
    let snapshot = proxy.json("/snapshot");
    let sessions = Sessions::open(&client, &SessionPlan::idle(proxy_host.at(PORT), 20));
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));
    // Each mistake stands alone on the line that the report must name.
    let edits = [
        ("balance: Fastest", "balance"),
        ("connect: {attempts: 0}", "connect.attempts"),
        ("failover: {failback: Scheduled}", "failover.failback"),
        ("health: {interval: soon}", "health.interval"),
        ("balanse: Random", "balanse"),
    ];
    for (mistake, field) in edits {
        let text = chain("app", &[entry(&b1, 0)], mistake);
        let line = 1 + text
            .lines()
            .position(|line| line.contains(mistake))
            .expect("the mistake has a line");
        let said = proxy.output().len();
        proxy.write("chain.yaml", &text);
        let place = format!("chain.yaml:{line}:");
        let report = eventually(&format!("{mistake:?} is reported"), SOON, || {
            let output = proxy.output();
            let new = &output[said..];
            let found = new.lines().find(|l| l.contains(&place) && l.contains(field));
            found
                .map(str::to_owned)
                .ok_or_else(|| format!("no line has {place:?} and {field:?}: {new}"))
        });
        lab.say(report);
    }
    // Not even well-formed.
    proxy.write("chain.yaml", "spec: {{{\n");
    eventually("bad YAML is reported", SOON, || {
        let found = proxy.output().lines().any(|l| l.contains("chain.yaml:1:"));
        found.then_some(()).ok_or_else(|| "no line has it".to_owned())
    });
    assert_eq!(proxy.json("/snapshot"), snapshot, "what runs is as it was");
    assert_eq!(sockets(&proxy, &[PORT]), before);
    // The next good edit counts.
    let b2 = backend(lab, "b2", 12);
    let correcting = Instant::now();
    proxy.write("chain.yaml", &chain("app", &[entry(&b2, 0)], ""));
    proxy.await_serving("app", &[b2.address()], SOON);
    let corrected = Instant::now();
    let_pass(Duration::from_millis(500));
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    only(&seen.served_before(correcting), "b1");
    only(&seen.begun_since(corrected), "b2");
    assert_eq!(sockets(&proxy, &[PORT]), before);
    drop(sessions);
}

/// A new listener's port is taken: said in words; the rest of the edit counts; once the port is free an edit binds it.
fn port_is_taken(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = [backend(lab, "b1", 11), backend(lab, "b2", 12)];
    let [b1, b2] = backends.each_ref().map(|b| entry(b, 0));
    let first = manifest::join(&[
        pool_of(&[tcp("app", PORT)], ""),
        chain("app", std::slice::from_ref(&b1), ""),
    ]);
    let mut proxy = Switchyard::start_ready(&proxy_host, Plan::new(workers, &first));
    let before = sockets(&proxy, &[PORT]);
    let mut thief = Backend::start(&proxy_host, ADDED, Mode::ClientFirst);
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));
    let second = |limit: u32| {
        let listeners = [
            tcp("app", PORT),
            listener("added", ADDED, &format!("protocol: TCP, maxConnections: {limit}")),
        ];
        manifest::join(&[
            pool_of(&listeners, ""),
            chain("app", std::slice::from_ref(&b2), ""),
            chain("added", std::slice::from_ref(&b2), ""),
        ])
    };
    proxy.rewrite(&second(10));
    let report = proxy.program().await_line("added", SOON);
    lab.say(&report);
    let port = format!("port {ADDED} of {}", proxy_host.ip());
    assert!(
        report.contains(&port) && report.contains("another process listens there"),
        "{report}"
    );
    proxy.await_serving("app", &[backends[1].address()], SOON);
    thief.kill();
    proxy.rewrite(&second(11));
    await_listening(&proxy, ADDED, workers);
    let mut wire = Wire::connect(&client, proxy_host.at(ADDED)).unwrap();
    assert_eq!(wire.ask().unwrap().name, "b2");
    load.stop().must_all_be_served();
    assert_eq!(sockets(&proxy, &[PORT]), before);
}

/// SIGHUP reads the files again, also those whose change nobody can see (behind a link).
fn sighup(lab: &Lab, workers: usize) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let backends = [backend(lab, "b1", 11), backend(lab, "b2", 12)];
    let [b1, b2] = backends.each_ref().map(|b| chain("app", &[entry(b, 0)], ""));
    let elsewhere = proxy_host.directory("elsewhere").join("chain.yaml");
    std::fs::write(&elsewhere, b1).unwrap();
    link(&proxy_host, &elsewhere);
    let plan = Plan::new(workers, &pool_of(&[tcp("app", PORT)], ""));
    let mut proxy = Switchyard::start_ready(&proxy_host, plan);
    proxy.await_serving("app", &[backends[0].address()], SOON);
    let before = sockets(&proxy, &[PORT]);
    let sessions = Sessions::open(&client, &SessionPlan::idle(proxy_host.at(PORT), 20));
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));

    std::fs::write(&elsewhere, b2).unwrap();
    let address = backends[0].address().to_string();
    throughout(
        "the edit is not seen",
        Duration::from_millis(500),
        || match proxy.chain("app").serving() {
            serving if serving == [address.clone()] => Ok(()),
            serving => Err(format!("{serving:?}")),
        },
    );
    let asked = Instant::now();
    proxy.program().signal(Signal::SIGHUP);
    proxy.await_serving("app", &[backends[1].address()], SOON);
    let reread = Instant::now();
    let_pass(Duration::from_millis(500));
    let seen = load.stop();
    lab.say(format!("read again {:.1?} after SIGHUP\n{seen}", reread - asked));
    seen.must_all_be_served();
    only(&seen.begun_since(reread), "b2");
    assert_eq!(sockets(&proxy, &[PORT]), before);
    drop(sessions);
}

/// A link to `target` among the manifests.
fn link(proxy_host: &Host, target: &std::path::Path) {
    let link = proxy_host.directory("manifests").join("chain.yaml");
    std::os::unix::fs::symlink(target, link).unwrap();
}
