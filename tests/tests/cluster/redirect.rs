//! Clients of a chain that nobody serves, in the cluster: they are told the direct address of a proxy of another pool, of each
//! type, and come there; or they are relayed, and go back.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use switchyard_tests::backend::{Backend, Mode};
use switchyard_tests::client::{End, Load, LoadPlan, SessionPlan, Sessions};
use switchyard_tests::cluster::Space;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use crate::world::{SOON, World, beside};

/// What the load balancer of the trial gives to the one Service that asks for it.
const BALANCER: &str = "10.77.0.240";

/// Sessions of guests.
const GUESTS: usize = 20;
/// Within it all are home once it is time.
const HOME: Duration = Duration::from_secs(5);

pub fn add(suite: &mut Suite, world: &Arc<World>) {
    beside(suite, world, "redirect::guests_go_home_at_prime_time", prime_time);
    beside(
        suite,
        world,
        "redirect::direct_addresses_of_each_type_lead_to_the_proxy",
        direct,
    );
    beside(
        suite,
        world,
        "redirect::another_pool_takes_over_and_gives_back",
        relayed,
    );
}

/// Types of direct addresses: name, workload, and the entry.
const TYPES: [(&str, &str, &str); 5] = [
    ("podip", "Deployment", "type: PodIP"),
    ("nodeip", "Deployment", "type: NodeIP"),
    ("nodeport", "StatefulSet", "type: NodePort"),
    ("balancer", "StatefulSet", "type: LoadBalancer"),
    (
        "hostname",
        "StatefulSet",
        "type: Hostname, template: '{proxy}.example.test'",
    ),
];

fn pool(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: switchyard.dev/v1alpha1\nkind: ProxyPool\nmetadata: {{name: {name}}}\nspec:\n  replicas: 1\n\
         \x20 drain: {{timeout: 1s}}\n{more}"
    )
}

fn chain(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: switchyard.dev/v1alpha1\nkind: ProxyChain\nmetadata: {{name: {name}}}\nspec:\n{more}"
    )
}

/// `http://HOST:PORT/`, and how to reach it where its host is a name.
struct Location {
    url: String,
    authority: String,
}

fn direct(lab: &Lab, world: &World) {
    let cluster = world.with_operator();
    let space = Space::admitting(cluster, "direct", "privileged");
    let server = Backend::start(&cluster.outside("d1", 41), 8080, Mode::Http);
    let at = server.address();
    let mut manifests = pool("home", "  listeners: [{name: web, port: 8080, protocol: HTTP}]\n");
    for (name, kind, address) in TYPES {
        manifests.push_str(&pool(
            name,
            &format!(
                "  workload: {{kind: {kind}}}\n  directAddress: [{{{address}}}]\n\
                 \x20 listeners: [{{name: web, port: 8080, protocol: HTTP}}]\n"
            ),
        ));
        // Nobody listens there: the group's other chain stands in.
        manifests.push_str(&chain(
            &format!("home-{name}"),
            &format!(
                "  poolRef: {{name: home}}\n  hostnames: [{name}.example.test]\n  group: {name}\n\
                 \x20 backends: [{{name: gone, host: {}, port: 9}}]\n  redirect: {{dialects: [HTTP]}}\n",
                at.ip()
            ),
        ));
        manifests.push_str(&chain(
            name,
            &format!(
                "  poolRef: {{name: {name}}}\n  group: {name}\n  priority: 1\n\
                 \x20 backends: [{{name: lives, host: {}, port: {}}}]\n  redirect: {{dialects: [HTTP]}}\n",
                at.ip(),
                at.port()
            ),
        ));
    }
    space.apply(&manifests);
    balance(&space);
    for (name, _, _) in TYPES {
        let told = await_redirect(&space, name);
        lab.say(format!("{name}: {}", told.url));
        let wanted = wanted(&space, name);
        assert_eq!(told.authority, wanted, "{name}");
        assert_eq!(follow(&space, name, &told), "d1", "{name}: {}", told.url);
    }
}

/// The load balancer: it gives the Service its address.
fn balance(space: &Space<'_>) {
    let service = "service/balancer-0";
    eventually("the proxy's own Service is there", SOON, || {
        let found = space.kubectl(&["get", service, "--ignore-not-found", "-o", "name"]);
        if found.is_empty() {
            Err("not yet".to_owned())
        } else {
            Ok(())
        }
    });
    let patch = format!(r#"{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{BALANCER}"}}]}}}}}}"#);
    space.kubectl(&[
        "patch",
        service,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ]);
}

/// `HOST:PORT` by which the proxy of this pool is reached, as Kubernetes says.
fn wanted(space: &Space<'_>, name: &str) -> String {
    let pods = space.pods(&format!("switchyard.dev/pool={name}"));
    let [pod] = <[Pod; 1]>::try_from(pods).expect("one proxy");
    let status = pod.status.unwrap();
    match name {
        "podip" => format!("{}:18080", status.pod_ip.unwrap()),
        "nodeip" => format!("{}:18080", status.host_ip.unwrap()),
        "nodeport" => {
            let port = space.await_object("nodeport-0", "has a port", SOON, |it: &Service| {
                let port = it
                    .spec
                    .as_ref()
                    .and_then(|it| it.ports.as_ref()?.first()?.node_port);
                port.ok_or_else(|| "none".to_owned())
            });
            format!("{}:{port}", status.host_ip.unwrap())
        }
        "balancer" => format!("{BALANCER}:18080"),
        _ => "hostname-0.example.test:18080".to_owned(),
    }
}

fn curl(space: &Space<'_>, arguments: &[&str]) -> String {
    let mut curl: Command = space.cluster().control().command("curl");
    curl.args(["-s", "--max-time", "10"]).args(arguments);
    tool::try_output(&mut curl).unwrap_or_else(|why| why)
}

/// Asks at the access point until it is told where to go: proxies have to hear of each other first.
fn await_redirect(space: &Space<'_>, name: &str) -> Location {
    let access = eventually("the access point is there", SOON, || {
        let found = space.kubectl(&[
            "get",
            "service",
            "home",
            "--ignore-not-found",
            "-o",
            "jsonpath={.spec.clusterIP}",
        ]);
        if found.is_empty() {
            Err("not yet".to_owned())
        } else {
            Ok(format!("http://{found}:8080/"))
        }
    });
    let host = format!("Host: {name}.example.test");
    eventually(&format!("a client is told where {name} is"), SOON, || {
        let told = curl(
            space,
            &[
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{redirect_url}",
                "-H",
                &host,
                &access,
            ],
        );
        let url = told.strip_prefix("307 ").ok_or_else(|| told.clone())?;
        let rest = url.strip_prefix("http://").ok_or_else(|| told.clone())?;
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        Ok(Location {
            url: url.to_owned(),
            authority,
        })
    })
}

/// Who answers there.
fn follow(space: &Space<'_>, name: &str, to: &Location) -> String {
    if name != "hostname" {
        return curl(space, &[&to.url]);
    }
    let pods = space.pods("switchyard.dev/pool=hostname");
    let ip = pods[0].status.as_ref().unwrap().pod_ip.clone().unwrap();
    let (host, port) = to.authority.rsplit_once(':').unwrap();
    curl(space, &["--resolve", &format!("{host}:{port}:{ip}"), &to.url])
}

/// Two pools of one chain each, which stand in for each other; awaits that both serve. `more`: of the chains' spec.
pub fn apply_sites(space: &Space<'_>, servers: [(&str, &Backend); 2], more: &str) {
    let mut manifests = String::new();
    for (name, server) in servers {
        let at = server.address();
        manifests.push_str(&pool(
            name,
            &format!("  site: {name}\n  listeners: [{{name: line, port: 8443, protocol: TCP}}]\n"),
        ));
        manifests.push_str(&chain(
            name,
            &format!(
                "  poolRef: {{name: {name}}}\n  group: line\n  failover: {{delay: 1s}}\n{more}\n\
                 \x20 backends: [{{name: {name}, host: {}, port: {}}}]\n",
                at.ip(),
                at.port()
            ),
        ));
    }
    space.apply(&manifests);
    for chain in ["proxychain/here", "proxychain/there"] {
        space.wait(chain, "Ready", SOON);
    }
    for pool in ["deployment/here", "deployment/there"] {
        space.await_rollout(pool, SOON);
    }
    space.await_ways("here", &[("line", 8443)], SOON);
}

/// Awaits that the status says whether the clients of chain `here` are elsewhere.
pub fn await_redirect_of_here(space: &Space<'_>, active: bool) {
    let wanted = format!("--for=jsonpath={{.status.redirect.active}}={active}");
    let within = if active { "--timeout=30s" } else { "--timeout=60s" };
    space.kubectl(&["wait", &wanted, "proxychain/here", within]);
}

fn relayed(lab: &Lab, world: &World) {
    let space = world.space("sites");
    let cluster = space.cluster();
    let mut here = Backend::start(&cluster.outside("here", 43), 1650, Mode::ClientFirst);
    let there = Backend::start(&cluster.outside("there", 44), 1650, Mode::ClientFirst);
    let more = "  redirect: {return: WhenHealthy, minStay: 1s}";
    apply_sites(&space, [("here", &here), ("there", &there)], more);
    let load = Load::start(cluster.control(), LoadPlan::new(space.service("here", 8443), 50));
    eventually("clients are served here", SOON, || {
        match load.so_far().by_name().get("here") {
            Some(50..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let before = Instant::now();
    here.kill();
    let after = Instant::now();
    await_redirect_of_here(&space, true);
    lab.say(space.kubectl(&["get", "pch"]));
    here.revive();
    await_redirect_of_here(&space, false);
    let back = load.so_far().len();
    eventually("clients are served here again", SOON, || {
        let all = load.so_far();
        let last = all.iter().skip(back).filter_map(|it| it.served.as_ref());
        if last.into_iter().any(|(_, by)| by.name == "here") {
            Ok(())
        } else {
            Err("not one".to_owned())
        }
    });
    // The operator writes the status first.
    eventually("events tell of both", SOON, || {
        let events = space.kubectl(&["get", "events"]);
        if events.contains("RedirectStarted") && events.contains("RedirectEnded") {
            Ok(())
        } else {
            Err(events)
        }
    });
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served_but_who_was_there(before, after);
    assert!(seen.by_name().contains_key("there"), "{seen}");
    assert!(seen.longest_wait() < Duration::from_secs(8), "{seen}");
}

/// The next start of a minute that leaves time for the site to be gone and well again before: when it is, and as a schedule has
/// it.
fn next_minute() -> (Instant, String) {
    let now = Timestamp::now();
    // 50 s at least.
    let begun = (now.as_second() + 49).div_euclid(60);
    let start = Timestamp::from_second((begun + 1) * 60).unwrap();
    let away = Duration::try_from(start.duration_since(now)).unwrap();
    (Instant::now() + away, start.strftime("%H:%M").to_string())
}

/// The site is well again long before, and new clients are served there; the guests stay where they are until it is time, then
/// all go, and nobody is told no.
fn prime_time(lab: &Lab, world: &World) {
    let space = world.space("calendar");
    let cluster = space.cluster();
    let mut here = Backend::start(&cluster.outside("p1", 45), 1650, Mode::ClientFirst);
    let there = Backend::start(&cluster.outside("p2", 46), 1650, Mode::ClientFirst);
    let (start, at) = next_minute();
    let more = format!(
        "  redirect: {{return: Scheduled, minStay: 1s}}\n  schedule: {{timeZone: Etc/UTC, starts: [{{days: [Mon, Tue, Wed, \
         Thu, Fri, Sat, Sun], at: '{at}'}}]}}"
    );
    apply_sites(&space, [("here", &here), ("there", &there)], &more);
    let to = space.service("here", 8443);
    let load = Load::start(cluster.control(), LoadPlan::new(to, 50));
    let before = Instant::now();
    here.kill();
    let after = Instant::now();
    await_redirect_of_here(&space, true);
    let plan = SessionPlan::busy(to, GUESTS, Duration::from_secs(1));
    let guests = Sessions::open(cluster.control(), &plan);
    here.revive();
    lab.say(space.kubectl(&["get", "pch"]));
    lab.say(space.kubectl(&["get", "pch/here", "-o", "jsonpath={.status.redirect}"]));
    await_redirect_of_here(&space, false);
    assert!(Instant::now() < start, "it took too long to get here");
    eventually("guests have gone home", 2 * SOON, || match guests.open_now() {
        0 => Ok(()),
        open => Err(format!("{open} are there")),
    });
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served_but_who_was_there(before, after);
    let ends = guests.close().into_iter().map(|guest| {
        assert_eq!(guest.served_by.map(|by| by.name), Some("p2".to_owned()));
        let (ended, how) = guest.ended.unwrap();
        assert_eq!(how, End::Fin);
        let early = start.saturating_duration_since(ended);
        assert_eq!(early, Duration::ZERO, "before it was time");
        ended.saturating_duration_since(start)
    });
    let last = ends.max().unwrap();
    lab.say(format!("the last guest has gone {last:.1?} after the start"));
    assert!(last < HOME, "{last:?}");
}
