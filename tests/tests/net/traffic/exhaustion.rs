//! Descriptors run out, and as many idle sessions as the machine allows.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use switchyard_tests::backend::Backend;
use switchyard_tests::client::End;
use switchyard_tests::client::{Load, LoadPlan, Session, SessionPlan, Sessions, Wire};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};
use switchyard_tests::tool;

use crate::scene::{PORT, SOON, backend, entry, one_chain};

pub fn add(suite: &mut Suite) {
    suite.workers("traffic::descriptors_run_out", run_out);
    suite.workers("traffic::descriptors_are_taken_away", taken_away);
    suite.workers_alone("traffic::idle_sessions", idle_sessions);
}

fn start(lab: &Lab, workers: usize, limits: (u64, u64)) -> (Host, Host, Backend, Switchyard) {
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let b1 = backend(lab, "b1", 11);
    let plan = Plan::new(workers, &one_chain(&[entry(&b1, 0)], "")).descriptor_limits(limits.0, limits.1);
    let proxy = Switchyard::start_ready(&proxy_host, plan);
    proxy.await_serving("app", &[b1.address()], SOON);
    (client, proxy_host, b1, proxy)
}

/// That these sessions live: each answered once more, then ended as the client wanted.
#[track_caller]
fn must_live(sessions: &[Session]) {
    let dead: Vec<_> = sessions
        .iter()
        .filter(|s| !matches!(s.ended, Some((_, End::Finished))))
        .collect();
    assert!(
        dead.is_empty(),
        "{} of {} did not live, such as {:?}",
        dead.len(),
        sessions.len(),
        dead[0]
    );
}

/// More clients than descriptors: those inside are served, the others wait, administrators get in, and all is well once
/// there is room again.
fn run_out(lab: &Lab, workers: usize) {
    let (client, proxy_host, _b1, mut proxy) = start(lab, workers, (256, 256));
    let mut plan = SessionPlan::idle(proxy_host.at(PORT), 64);
    let inside = Sessions::open(&client, &plan);
    plan.count = 200;
    plan.deadline = Duration::from_secs(2); // most of them wait until then
    let rush = Sessions::open(&client, &plan);
    let (served, waiting): (Vec<_>, Vec<_>) = rush.so_far().into_iter().partition(|s| s.served_by.is_some());
    lab.say(format!(
        "256 descriptors: 64 sessions, then 200 more at once: {} served, {} waited; {} descriptors used",
        served.len(),
        waiting.len(),
        proxy.program().descriptors()
    ));
    assert!(!waiting.is_empty(), "256 descriptors cannot hold 264 sessions");
    let impatient = waiting.iter().all(|s| matches!(s.ended, Some((_, End::Timeout))));
    assert!(impatient, "they wait, and are not refused: {:?}", waiting[0]);
    for path in ["/livez", "/readyz", "/metrics", "/endpoints", "/sessions"] {
        let answer = proxy.get(path);
        assert!(matches!(answer, Ok((200, _))), "{path}: {answer:?}");
    }
    must_live(&inside.close());
    drop(rush);
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 50));
    let_pass(Duration::from_secs(2));
    let seen = load.stop();
    lab.say(format!("afterwards: {seen}"));
    seen.must_all_be_served();
}

/// The system takes descriptors away while the proxy runs, so that accept fails: no loop spins, and it recovers.
fn taken_away(lab: &Lab, workers: usize) {
    let (client, proxy_host, _b1, mut proxy) = start(lab, workers, (4096, 4096));
    let busy = SessionPlan::busy(proxy_host.at(PORT), 20, Duration::from_millis(200));
    let busy = Sessions::open(&client, &busy);
    let pid = proxy.program().pid().to_string();
    let limit = |soft: usize| {
        let mut prlimit = proxy_host.command("prlimit");
        tool::output(prlimit.args(["--pid", &pid, &format!("--nofile={soft}:4096")]));
    };
    // Descriptors are numbered from 0 and these three are taken: no new one can be had.
    limit(3);
    let before = proxy.program().cpu();
    let mut plan = LoadPlan::new(proxy_host.at(PORT), 50);
    plan.deadline = Duration::from_secs(1);
    let load = Load::start(&client, plan);
    let period = Duration::from_secs(3);
    let_pass(period);
    let seen = load.stop();
    let cpu = proxy.program().cpu() - before;
    lab.say(format!("no descriptor left: {seen}"));
    lab.say(format!(
        "processor time in {period:?} without descriptors: {cpu:?}"
    ));
    assert!(seen.failed().count() > 100, "the limit was not felt: {seen}");
    assert!(cpu < period / 4, "it spins: {cpu:?}");
    limit(4096);
    eventually("it accepts again", SOON, || {
        let mut wire = Wire::connect(&client, proxy_host.at(PORT)).map_err(|end| end.to_string())?;
        wire.ask().map(|_| ()).map_err(|end| end.to_string())
    });
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 100));
    let_pass(Duration::from_secs(2));
    load.stop().must_all_be_served();
    let busy = busy.close();
    must_live(&busy);
    assert!(
        busy.iter().all(|s| s.longest_answer < Duration::from_secs(1)),
        "sessions did not notice"
    );
}

/// As many idle sessions as descriptors allow, from several addresses; each still answers, and new ones are served.
fn idle_sessions(lab: &Lab, workers: usize) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of descriptors");
    // Each takes two descriptors of the proxy; one is left for the new client below.
    let count = 10_000.min((usize::try_from(hard).unwrap() - 500) / 2);
    let (client, proxy_host, b1, mut proxy) = start(lab, workers, (1024, hard));
    let hosts: Vec<Host> = (0..4).map(|n| lab.host(&format!("crowd{n}"), 110 + n)).collect();
    let empty = proxy.program().resident();
    let mut plan = SessionPlan::idle(proxy_host.at(PORT), count / hosts.len());
    plan.deadline = Duration::from_secs(30);
    let mut crowd: Vec<Sessions> = hosts.iter().map(|host| Sessions::open(host, &plan)).collect();
    let missing = count - plan.count * hosts.len();
    plan.count = missing;
    crowd.push(Sessions::open(&hosts[0], &plan));
    let open: usize = crowd.iter().map(Sessions::open_now).sum();
    let each = (proxy.program().resident().saturating_sub(empty)) as usize / count;
    lab.say(format!(
        "{open} of {count} idle sessions open (hard limit {hard}); {each} bytes of memory each, {} descriptors",
        proxy.program().descriptors()
    ));
    assert_eq!(open, count);
    // What it wrote down last may be read before the line is complete.
    eventually("the backend holds them all", SOON, || match b1.held() {
        held if held == count => Ok(()),
        held => Err(format!("{held} of {count}")),
    });
    assert!(each < 10_000, "{each} bytes for an idle session");
    let load = Load::start(&client, LoadPlan::new(proxy_host.at(PORT), 20));
    let_pass(Duration::from_secs(1));
    let seen = load.stop();
    lab.say(format!("beside them: {seen}"));
    seen.must_all_be_served();
    for sessions in crowd {
        must_live(&sessions.close());
    }
    assert!(matches!(proxy.get("/readyz"), Ok((200, _))));
}
