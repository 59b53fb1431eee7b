//! One proxy of a pool fails: its own clients notice, all others do not; and how long the Service still led to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::Signal;
use switchyard_tests::apiserver::User;
use switchyard_tests::client::{End, Load, LoadPlan, Outcomes, SessionPlan, Sessions};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use crate::edge::Edge;
use crate::world::{SOON, World, alone, beside};

/// Sessions to each proxy.
const SESSIONS: usize = 20;
/// Client connections a second.
const RATE: u32 = 50;
/// Of a node that is gone the cluster learns when Kubernetes says so (50 s, and what passes between two looks); from then on this
/// is how long a Service may lead there: kube-proxy's second, and what the kernel remembers of clients who had no answer.
const LED_AFTER_NEWS: Duration = Duration::from_secs(12);

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    beside(suite, world, "faults::a_proxy_is_frozen", frozen);
    beside(suite, world, "faults::a_proxy_is_killed", killed);
    beside(suite, world, "faults::a_proxy_has_no_memory", out_of_memory);
    alone(suite, world, "faults::a_node_is_cut_off", cut_off);
}

/// Clients of two proxies, of which the second is to fail.
struct Scene<'a> {
    edge: Edge<'a>,
    victim: Pod,
    /// Sessions of the other proxy.
    others: Sessions,
    load: Load,
}

impl<'a> Scene<'a> {
    /// Servers outside of the cluster get `number` and the next.
    fn new(world: &'a World, trial: &str, number: u8) -> Self {
        let edge = Edge::apply(world.space(trial), number, "  replicas: 2");
        let control = edge.space.cluster().control();
        let pods = edge.space.pods("switchyard.dev/pool=edge");
        let [other, victim] = <[Pod; 2]>::try_from(pods).expect("two proxies");
        let direct = format!("{}:8443", other.status.as_ref().unwrap().pod_ip.as_ref().unwrap());
        let every = Duration::from_millis(500);
        let others = Sessions::open(
            control,
            &SessionPlan::busy(direct.parse().unwrap(), SESSIONS, every),
        );
        assert_eq!(others.open_now(), SESSIONS);
        let plan = LoadPlan {
            deadline: Duration::from_secs(4),
            ..LoadPlan::new(edge.space.service("edge", 8443), RATE)
        };
        let load = Load::start(control, plan);
        eventually("clients are served", SOON, || match load.so_far().len() {
            0..50 => Err("few connections yet".to_owned()),
            _ => Ok(()),
        });
        Self {
            edge,
            victim,
            others,
            load,
        }
    }

    fn name(&self) -> &str {
        self.victim.metadata.name.as_deref().unwrap()
    }

    /// Awaits that the container was started again, and is ready.
    fn await_restart(&self, within: Duration) -> Duration {
        let begun = Instant::now();
        self.edge
            .space
            .await_object(self.name(), "is restarted and ready", within, |pod: &Pod| {
                let status = pod
                    .status
                    .as_ref()
                    .and_then(|it| it.container_statuses.as_ref()?.first());
                let status = status.ok_or("no status")?;
                if status.restart_count > 0 && status.ready {
                    Ok(())
                } else {
                    Err(format!(
                        "{} restarts, ready: {}",
                        status.restart_count, status.ready
                    ))
                }
            });
        begun.elapsed()
    }

    /// Ends it: sessions elsewhere have noticed nothing; new connections failed for at most `window` after `begun`.
    fn judge(self, lab: &Lab, begun: Instant, window: Duration) -> Outcomes {
        let seen = self.load.stop();
        let sessions = self.others.close();
        let last = seen.failed().map(|it| it.begun).max();
        let led = last.map_or(Duration::ZERO, |at| at.saturating_duration_since(begun));
        lab.say(seen.to_string());
        lab.say(format!(
            "the Service led to it for {led:.1?}: {} new connections failed",
            seen.failed().count()
        ));
        let noticed: Vec<_> = sessions
            .iter()
            .filter(|it| !matches!(it.ended, Some((_, End::Finished))))
            .collect();
        assert!(noticed.is_empty(), "sessions of the other proxy: {noticed:#?}");
        let slow = sessions
            .iter()
            .map(|it| it.longest_answer)
            .max()
            .unwrap_or_default();
        lab.say(format!(
            "sessions of the other proxy: longest wait for an answer {slow:.1?}"
        ));
        assert!(led <= window, "{led:?}");
        let before = seen.failed().filter(|it| it.begun + it.lasted < begun).count();
        assert_eq!(before, 0, "failed before anything was done");
        seen
    }
}

fn killed(lab: &Lab, world: &World) {
    let scene = Scene::new(world, "killed", 23);
    let begun = Instant::now();
    scene.edge.space.signal(&scene.victim, Signal::SIGKILL);
    let took = scene.await_restart(SOON);
    lab.say(format!("serves again after {took:.1?}"));
    scene.judge(lab, begun, Duration::from_secs(10));
}

fn out_of_memory(lab: &Lab, world: &World) {
    let scene = Scene::new(world, "memory", 25);
    let node = scene.victim.spec.as_ref().unwrap().node_name.clone().unwrap();
    let id = scene
        .victim
        .status
        .as_ref()
        .unwrap()
        .container_statuses
        .as_ref()
        .unwrap()[0]
        .container_id
        .clone()
        .unwrap();
    let node = scene.edge.space.cluster().node(&node);
    let group = node.memory_group(&id);
    // It serves until it is ended, however long the kernel takes for that. The kernel counts before it ends it: at the last look
    // that found nothing counted it lived for sure. (Its processes are listed for a while after they let go of their clients.)
    let mut lived = Instant::now();
    eventually("the kernel ends it", SOON, || {
        let looked = Instant::now();
        if kernel_has_ended_one(&group) {
            return Ok(());
        }
        lived = looked;
        // The kernel takes no limit below what is in use, but puts away first what it can; with what is left as the limit, the
        // next thing that is asked for is too much.
        let limit = group.join("memory.limit_in_bytes");
        let refused = fs::write(&limit, "4096");
        let used = fs::read_to_string(group.join("memory.usage_in_bytes")).unwrap_or_default();
        let set = fs::write(&limit, used.trim());
        Err(format!("{used} bytes in use; {refused:?}, {set:?}"))
    });
    let took = scene.await_restart(SOON);
    lab.say(format!("serves again after {took:.1?}"));
    let pod = scene.edge.space.kubectl(&[
        "get",
        "pod",
        scene.name(),
        "-o",
        "jsonpath={.status.containerStatuses[0].lastState.terminated.reason}",
    ]);
    assert_eq!(pod, "OOMKilled");
    scene.judge(lab, lived, Duration::from_secs(10));
}

/// Whether the kernel has ended a process of a memory group for want of memory; a group that is gone had none but that one.
fn kernel_has_ended_one(group: &Path) -> bool {
    let Ok(told) = fs::read_to_string(group.join("memory.oom_control")) else {
        return true;
    };
    let ended = told.lines().find_map(|it| it.strip_prefix("oom_kill "));
    ended.expect("the kernel counts whom it ends") != "0"
}

fn frozen(lab: &Lab, world: &World) {
    let scene = Scene::new(world, "frozen", 27);
    let begun = Instant::now();
    scene.edge.space.signal(&scene.victim, Signal::SIGSTOP);
    // Three probes of life, 10 s apart, and the time it is given to end.
    let took = scene.await_restart(Duration::from_secs(70));
    lab.say(format!(
        "its liveness probe had it restarted; it serves again after {took:.1?}"
    ));
    scene.judge(lab, begun, Duration::from_secs(12));
}

fn cut_off(lab: &Lab, world: &World) {
    let scene = Scene::new(world, "cut-off", 21);
    let cluster = scene.edge.space.cluster();
    let node = scene.victim.spec.as_ref().unwrap().node_name.clone().unwrap();
    let begun = Instant::now();
    let cut = cluster.node(&node).cut_off();
    let ready = format!("node/{node}");
    cluster
        .plane()
        .kubectl(&["wait", "--for=condition=Ready=Unknown", &ready, "--timeout=90s"]);
    let known = begun.elapsed();
    lab.say(format!("the cluster knows it after {known:.1?}"));
    // kube-proxy is told right after; what fails still is seen from the clients' side.
    let_pass(Duration::from_secs(10));
    drop(cut);
    cluster.await_nodes();
    lab.say(format!("the node is back after {:.1?}", begun.elapsed()));
    // Its kubelet saw it all the while; this is why it did not call the proxy ready when it was back.
    eventually("the proxy says that it was cut off", SOON, || {
        let mut kubectl = cluster.plane().kubectl_as(&User::Admin);
        kubectl.args(["-n", &scene.edge.space.name, "logs", scene.name()]);
        let said = tool::try_output(&mut kubectl)?;
        if said.contains("cut off, and not ready") && said.contains("cut off no more") {
            Ok(())
        } else {
            Err(said)
        }
    });
    // When it is back, too: nobody is led to its proxy before that has servers again.
    scene.judge(lab, begun, known + LED_AFTER_NEWS);
}
