//! Proxies follow what users apply: chains added, changed, removed; endpoints
//! of a Service; and nobody else's clients notice.

use std::time::{Duration, Instant};

use serde_json::json;
use switchyard_tests::backend::Backend;
use switchyard_tests::client::{End, Load, LoadPlan, Wire};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared};
use crate::site::{PORT, Site, asked, served_by};

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "stream::a_chain_is_added_changed_and_removed",
            lifecycle as fn(&Lab, &Shared),
        ),
        ("stream::endpoints_of_a_service_come_and_go", endpoints),
        ("stream::a_refused_chain_says_so_and_harms_no_other", refused),
        ("stream::status_says_how_many_run_it", lagging),
        (
            "stream::a_proxy_restarts_with_its_copy_while_the_operator_is_gone",
            copy,
        ),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

fn lifecycle(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let (b1, b2, b3) = (
        site.backend("b1", 21),
        site.backend("b2", 22),
        site.backend("b3", 23),
    );
    site.pool(&["one", "two"]);
    site.chain("one", &[&b1]);
    let members = [site.member(31), site.member(32)];
    for member in &members {
        served_by(&client, member.at(8001), &b1);
    }
    // From here on, clients of the first chain must not notice what becomes of the second.
    let loads = members
        .each_ref()
        .map(|m| Load::start(&client, LoadPlan::new(m.at(8001), 50)));
    site.chain("two", &[&b2]);
    for member in &members {
        lab.say(format!("added: {:.1?}", served_by(&client, member.at(8002), &b2)));
    }
    site.chain("two", &[&b3]);
    for member in &members {
        lab.say(format!(
            "changed: {:.1?}",
            served_by(&client, member.at(8002), &b3)
        ));
    }
    site.delete_chain("two");
    for member in &members {
        eventually("nobody is served by a chain that is gone", SOON, || {
            match asked(&client, member.at(8002)) {
                Err(_) => Ok(()),
                Ok(name) => Err(name),
            }
        });
    }
    for load in loads {
        let seen = load.stop();
        lab.say(seen.to_string());
        seen.must_all_be_served();
    }
}

fn endpoints(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    let slice = |backends: &[&Backend]| {
        let endpoints: Vec<_> = backends
            .iter()
            .map(|b| json!({"addresses": [b.address().ip()], "conditions": {"ready": true}}))
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "cms-1", "labels": {"kubernetes.io/service-name": "cms"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "sync", "port": PORT, "protocol": "TCP"}],
        });
        site.space.apply(&slice.to_string());
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cms"},
        "spec": {"ports": [{"name": "sync", "port": 1, "targetPort": PORT}]}});
    site.space.apply(&service.to_string());
    slice(&[&b1]);
    site.pool(&["one"]);
    let spec = json!({
        "poolRef": {"name": "edge"},
        "backends": [{"name": "primary", "service": {"name": "cms", "port": 1}}],
        "health": {"interval": "300ms", "timeout": "1s"},
    });
    site.apply("ProxyChain", "one", &spec);
    let member = site.member(31);
    served_by(&client, member.at(8001), &b1);
    let load = Load::start(&client, LoadPlan::new(member.at(8001), 50));
    slice(&[&b1, &b2]);
    lab.say(format!(
        "one more: {:.1?}",
        served_by(&client, member.at(8001), &b2)
    ));
    slice(&[&b2]);
    member.await_serving("one", &[b2.address()], SOON);
    let gone = Instant::now();
    let seen = Load::run(
        &client,
        LoadPlan::new(member.at(8001), 50),
        Duration::from_secs(1),
    );
    assert_eq!(seen.by_name().keys().collect::<Vec<_>>(), ["b2"]);
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
    assert!(
        seen.last_begun_to("b1").is_none_or(|last| last <= gone),
        "b1 served after it was gone"
    );
}

/// The port of this listener is taken on the proxy's machine: the proxy cannot
/// do what it is told, and says so.
fn refused(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    let taken = Backend::start(
        &lab.host("proxy-31", 31),
        8002,
        switchyard_tests::backend::Mode::Mute,
    );
    site.pool(&["one", "two"]);
    site.chain("one", &[&b1]);
    site.chain("two", &[&b2]);
    let pod = site.pod("edge", 31);
    let plan = site.plan(&pod, "edge");
    // On the machine where that port is taken already.
    let host = taken.host();
    let member = switchyard_tests::member::Member::start(&host, plan);
    served_by(&client, member.at(8001), &b1);
    let (reason, message) = site.await_chain_saying("two", ("Programmed", "False"), "8002", SOON);
    lab.say(format!("{reason}: {message}"));
    site.await_chain("one", "Programmed", "True", SOON);
    assert_eq!(asked(&client, member.at(8001)).unwrap(), "b1");
}

fn lagging(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    site.pool(&["one"]);
    site.chain("one", &[&b1]);
    let mut members = [site.member(31), site.member(32), site.member(33)];
    let programmed = |wanted: &str| {
        site.space
            .await_object("one", wanted, SOON, |chain: &switchyard_crds::ProxyChain| {
                let told = chain.status.as_ref().and_then(|s| s.programmed.clone());
                if told.as_deref() == Some(wanted) {
                    Ok(())
                } else {
                    Err(format!("{told:?}"))
                }
            });
    };
    programmed("3/3");
    members[2].program().signal(nix::sys::signal::Signal::SIGSTOP);
    site.chain("one", &[&b2]);
    programmed("2/3");
    members[2].program().signal(nix::sys::signal::Signal::SIGCONT);
    programmed("3/3");
    site.await_chain("one", "Programmed", "True", SOON);
}

/// Promise i, as far as there is no agent yet.
fn copy(lab: &Lab, shared: &Shared) {
    let mut site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let b1 = site.backend("b1", 21);
    site.pool(&["one"]);
    site.chain("one", &[&b1]);
    let mut member = site.member(31);
    served_by(&client, member.at(8001), &b1);
    // It is written after that, once all workers have the chain.
    eventually("its copy has the chain", SOON, || {
        let chains = member.copy()?.chains;
        if chains.iter().any(|chain| chain.id.name == "one") {
            Ok(())
        } else {
            Err(format!("{} chains", chains.len()))
        }
    });
    site.operator.kill();
    site.operator.relay().cut();
    assert_eq!(asked(&client, member.at(8001)).unwrap(), "b1");
    member.kill();
    assert_eq!(Wire::connect(&client, member.at(8001)).err(), Some(End::Refused));
    member.start_again();
    served_by(&client, member.at(8001), &b1);
}
