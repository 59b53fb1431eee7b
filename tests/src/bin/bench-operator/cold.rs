//! Cold start. In: a control plane full of pools and chains, and one proxy of each pool that has a certificate and nothing
//! else. Out: the time from the start of the operator's process until each of them has its whole snapshot, and the memory
//! that the operator took.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use switchyard_discovery::client::{Me, Mirror, NotRunning, Session, connect};
use switchyard_discovery::identity::client::{Client, Settings};
use switchyard_discovery::release::Release;
use switchyard_tests::eventually::let_pass;
use switchyard_tests::process::Program;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ground::{Ground, SOON, Sizes};
use crate::report::Report;
use crate::statuses::{Statuses, programmed};

/// Until all snapshots are served.
const BOUND: Duration = Duration::from_secs(10);
/// Resident memory of the operator: 300 MB.
const MEMORY: u64 = 300_000_000;
/// How long an operator is left alone after it has served everybody, so that what it does besides is in its memory too.
const AFTERWARDS: Duration = Duration::from_secs(15);
/// Between two attempts to connect. A proxy waits longer: what is measured is the operator.
const AGAIN: Duration = Duration::from_millis(20);

/// Starts the operator so many times.
pub fn measure(sizes: Sizes, rounds: usize, report: &mut Report) {
    let ground = Ground::new();
    // nobody probes it: no proxy runs
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    ground.populate(sizes, nowhere);
    let (mut operator, _) = ground.operator();
    ground.pods_run(sizes);
    let proxies: Vec<(Client, Settings)> = (0..sizes.pools).map(|n| certified(&ground, n)).collect();
    let statuses = Statuses::watch(&ground);
    // once connected, so that what is measured is a start and not the first look at 10,000 chains
    let sessions = ground.plane.block_on(all_served(&proxies, sizes));
    statuses.await_all("every chain is programmed", sizes.chains, SOON, |status| {
        programmed(status, 1)
    });
    memory(
        "first start of all, statuses written",
        &operator,
        report,
        Some(MEMORY),
    );
    Ground::stop(&mut operator);
    drop(sessions);
    for round in 1..=rounds {
        let case = format!("cold start {round}");
        let (mut operator, began) = ground.operator();
        let sessions = ground.plane.block_on(all_served(&proxies, sizes));
        let last = sessions.iter().map(|served| served.at).max();
        let last = last.expect("there are pools") - began;
        report.time(&case, "every snapshot served", last, Some(BOUND));
        report.time(&case, "the operator's processor time", operator.cpu(), None);
        let_pass(AFTERWARDS);
        memory(&case, &operator, report, Some(MEMORY));
        Ground::stop(&mut operator);
        drop(sessions);
    }
}

fn memory(case: &str, operator: &Program, report: &mut Report, bound: Option<u64>) {
    let status = fs::read_to_string(format!("/proc/{}/status", operator.pid())).expect("it runs");
    for (what, name) in [("resident memory", "VmRSS:"), ("resident memory, most", "VmHWM:")] {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        report.memory(case, what, kib.expect("proc(5)") * 1024, bound);
    }
}

/// A proxy's certificate, by its token.
fn certified(ground: &Ground, number: usize) -> (Client, Settings) {
    let settings = ground.pod(number, number);
    let client = Client::new(settings.clone());
    let keeping = client.clone();
    ground
        .plane
        .spawn(async move { keeping.run(CancellationToken::new()).await });
    ground.plane.block_on(client.ready());
    (client, settings)
}

/// A subscription that has everything, from when.
struct Served {
    at: Instant,
    _session: Session,
}

async fn all_served(proxies: &[(Client, Settings)], sizes: Sizes) -> Vec<Served> {
    let mut all = JoinSet::new();
    for (number, (client, settings)) in proxies.iter().enumerate() {
        let chains = (0..sizes.chains).filter(|chain| chain % sizes.pools == number);
        all.spawn(served(client.clone(), settings.clone(), chains.count()));
    }
    all.join_all().await
}

/// Connects until it is let in, and reads until everything is there.
async fn served(client: Client, settings: Settings, chains: usize) -> Served {
    let me = Me {
        identity: settings.identity,
        release: Release::ours(),
    };
    loop {
        tokio::time::sleep(AGAIN).await;
        let Ok(channel) = connect(&settings.operator, client.connector()).await else {
            continue; // it does not serve yet
        };
        let Ok(mut session) = Session::open(channel, &me, HashMap::new()).await else {
            continue; // it does not know this pod yet
        };
        let mut mirror = Mirror::new();
        while session.next(&mut mirror).await.is_ok() {
            let whole = mirror
                .snapshot()
                .is_some_and(|snapshot| snapshot.chains.len() == chains);
            let at = Instant::now();
            let answered = session.answer(&mirror, &NotRunning::new()).await;
            if whole && answered.is_ok() {
                return Served {
                    at,
                    _session: session,
                };
            }
        }
    }
}
