//! From the API server's answer to in effect. In: proxies that are connected. Out: the time from the moment in which the
//! answer to a changed chain was read to the moment in which each proxy of its pool had it in effect; of that, how long the
//! API server took until a watch saw the change; and who had the processors meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use switchyard_crds::ProxyChain;
use switchyard_tests::apiserver::{Entry, Mark};
use switchyard_tests::eventually::{eventually, let_pass};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::fleet::GIVE_UP;
use crate::ground::{Ground, Sizes, chain_name};
use crate::processors::Processors;
use crate::report::Report;
use crate::rollup::Scene;

/// Of all pairs of change and proxy 99 % are at most this late.
const BOUND: Duration = Duration::from_millis(50);

/// Between two changes that are timed.
const EVERY: Duration = Duration::from_millis(100);

/// Changes of others that have no answer yet, at most.
const UNDER_WAY: usize = 8;

/// How long chains change where nobody heeds it.
const ALONE: Duration = Duration::from_secs(20);

/// What the API server takes for so many changes each second while nobody else is there: what is left is for everybody else.
pub fn measure_alone(sizes: Sizes, each_second: u32, report: &mut Report) {
    let ground = Ground::new();
    // nobody probes it: no proxy runs
    ground.populate(sizes, "127.0.0.1:9".parse().expect("an address"));
    let before = Processors::of_plane(&ground.plane);
    let done = CancellationToken::new();
    let changing = ground.plane.spawn(change_others(
        ground.all::<ProxyChain>(),
        0..sizes.chains,
        each_second,
        done.clone(),
    ));
    let_pass(ALONE);
    done.cancel();
    let changes = ground.plane.block_on(changing).expect("they are changed");
    let used = Processors::of_plane(&ground.plane).since(&before);
    let case = format!("{each_second} changes each second, alone");
    report.count(&case, "changed", changes.done.len());
    report.count(&case, "left out: too many unanswered", changes.left_out);
    used.tell(&case, report);
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Changes that are timed.
    pub changes: usize,
    /// Other chains that change each second besides.
    pub others: u32,
}

/// A change, and when the API server had answered.
#[derive(Clone, Copy, Debug)]
struct Changed {
    chain: usize,
    generation: i64,
    answered: Instant,
}

/// Changes chains one by one while others change.
pub fn measure(scene: &Scene, sizes: Sizes, load: Load, report: &mut Report) {
    let case = match load.others {
        0 => "change".to_owned(),
        others => format!("change, {others} others each second"),
    };
    let (plane, fleet) = (&scene.ground.plane, &scene.fleet);
    fleet.forget();
    let api = scene.ground.all::<ProxyChain>();
    let mark = plane.audit().mark();
    let began = Instant::now();
    let processors = Processors::now(scene);
    // The timed ones are of the first half of all chains, the others of the second: every pool has of both.
    let half = sizes.chains / 2;
    let done = CancellationToken::new();
    let others = plane.spawn(change_others(
        api.clone(),
        half..sizes.chains,
        load.others,
        done.clone(),
    ));
    let changed = plane.block_on(change_each(&api, half, load.changes));
    done.cancel();
    let others = plane.block_on(others).expect("the others are changed");
    let used = Processors::now(scene).since(&processors);
    let late = lateness(scene, &changed.done, sizes.members());
    report.spread(&case, all_pairs(&late), Some(BOUND));
    let watched = late.iter().map(|late| late.watch).collect();
    report.spread(&format!("{case}: seen by a watch"), watched, None);
    print_latest(&late, began);
    if !others.done.is_empty() {
        report.count(&case, "others changed", others.done.len());
        report.count(&case, "others left out: too many unanswered", others.left_out);
        let late = lateness(scene, &others.done, sizes.members());
        report.spread(&format!("{case}: those"), all_pairs(&late), None);
    }
    used.tell(&case, report);
    tell_writes(scene, mark, &case, report);
    for (whose, failures) in [("timed", changed.failed), ("others", others.failed)] {
        if let Some(last) = failures.last() {
            report.count(&case, &format!("changes that failed, {whose}"), failures.len());
            println!("the last of them: {last}");
        }
    }
}

/// What the operator has written since then.
pub fn tell_writes(scene: &Scene, since: Mark, case: &str, report: &mut Report) {
    let user = scene.ground.operator_user();
    let entries = scene.ground.plane.audit().writes(&user, since);
    let status = |entry: &&Entry| entry.object_ref.subresource == "status";
    let status = entries.iter().filter(status).count();
    report.count(case, "status writes of the operator", status);
    report.count(case, "other writes of the operator", entries.len() - status);
}

/// Changes that were made, and why others were not.
#[derive(Debug, Default)]
struct Changes {
    done: Vec<Changed>,
    failed: Vec<String>,
    /// Not even tried: the API server had too many to answer.
    left_out: usize,
}

impl Changes {
    fn add(&mut self, changed: Result<Changed, kube::Error>) {
        match changed {
            Ok(changed) => self.done.push(changed),
            Err(error) => self.failed.push(error.to_string()),
        }
    }
}

async fn change_each(api: &Api<ProxyChain>, chains: usize, changes: usize) -> Changes {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed = Changes::default();
    for number in 0..changes {
        tick.tick().await;
        // far apart, so that no pool has two in a row
        changed.add(change(api, number * 7 % chains).await);
    }
    changed
}

/// Open loop, within reason: a slow answer delays nothing until [`UNDER_WAY`] are waited for. An API server that is asked for
/// more than it can do falls behind with its own watches, decides by what it has seen there, finds that it is not so, and
/// begins anew: it would never recover, and nothing but that would be measured.
async fn change_others(
    api: Api<ProxyChain>,
    chains: std::ops::Range<usize>,
    each_second: u32,
    done: CancellationToken,
) -> Changes {
    let mut all = Changes::default();
    if each_second == 0 {
        return all;
    }
    let mut tick = interval(Duration::from_secs(1) / each_second);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let mut number = 0;
    while done.run_until_cancelled(tick.tick()).await.is_some() {
        while let Some(changed) = under_way.try_join_next() {
            all.add(changed.expect("it does not panic"));
        }
        if under_way.len() >= UNDER_WAY {
            all.left_out += 1;
            continue;
        }
        let api = api.clone();
        let chain = chains.start + number * 11 % chains.len();
        under_way.spawn(async move { change(&api, chain).await });
        number += 1;
    }
    for changed in under_way.join_all().await {
        all.add(changed);
    }
    all
}

/// Gives the chain a time to connect that it has not had yet, which is something that each proxy must take over.
async fn change(api: &Api<ProxyChain>, chain: usize) -> Result<Changed, kube::Error> {
    static TIME: AtomicUsize = AtomicUsize::new(5001);
    let time = format!("{}ms", TIME.fetch_add(1, Ordering::Relaxed));
    let patch = Patch::Merge(json!({"spec": {"connect": {"timeout": time}}}));
    let answer = api
        .patch(&chain_name(chain), &PatchParams::default(), &patch)
        .await;
    let answered = Instant::now();
    Ok(Changed {
        chain,
        generation: answer?.metadata.generation.expect("one"),
        answered,
    })
}

/// How late a change was.
struct Late {
    changed: Changed,
    /// On each proxy of its pool, the latest last.
    proxies: Vec<Duration>,
    /// Seen by a watch that this process has.
    watch: Duration,
}

/// What was there before the answer had been read was there at once.
fn lateness(scene: &Scene, changed: &[Changed], members: usize) -> Vec<Late> {
    let mut all = Vec::with_capacity(changed.len());
    for changed in changed {
        let Changed {
            chain,
            generation,
            answered,
        } = *changed;
        let since = |at: Instant| at.saturating_duration_since(answered);
        let what = format!("generation {generation} of {} runs everywhere", chain_name(chain));
        let (mut proxies, watch) = eventually(&what, GIVE_UP, || {
            let ran = scene.fleet.in_effect(chain, generation, members);
            let ran = ran.ok_or_else(|| "not on all proxies".to_owned())?;
            let seen = scene.statuses.seen(chain, generation);
            let seen = seen.ok_or_else(|| "not in a watch".to_owned())?;
            let proxies: Vec<Duration> = ran.into_iter().map(since).collect();
            Ok((proxies, since(seen)))
        });
        proxies.sort_unstable();
        all.push(Late {
            changed: *changed,
            proxies,
            watch,
        });
    }
    all
}

fn all_pairs(late: &[Late]) -> Vec<Duration> {
    late.iter()
        .flat_map(|late| late.proxies.iter().copied())
        .collect()
}

/// So many of the latest are told one by one.
const LATEST: usize = 10;

/// What was beyond the bound: whether it was one proxy or all of them, and whether the API server was late already.
fn print_latest(late: &[Late], began: Instant) {
    let last = |late: &Late| late.proxies.last().copied().unwrap_or_default();
    let mut beyond: Vec<&Late> = late.iter().filter(|late| last(late) > BOUND).collect();
    println!(
        "{} of {} changes were beyond {BOUND:?} somewhere",
        beyond.len(),
        late.len()
    );
    beyond.sort_unstable_by_key(|late| std::cmp::Reverse(last(late)));
    for late in beyond.iter().take(LATEST) {
        let proxies = late.proxies.iter().filter(|time| **time > BOUND).count();
        let first = late.proxies.first().copied().unwrap_or_default();
        println!(
            "  {:10} answered at {:8.3?}: {first:.1?} to {:.1?}, {proxies} of {} proxies beyond; a watch saw it after {:.1?}",
            chain_name(late.changed.chain),
            late.changed.answered - began,
            last(late),
            late.proxies.len(),
            late.watch,
        );
    }
}
