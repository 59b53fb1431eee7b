//! Pools to workloads on a real API server, with the controllers that make pods of workloads and collect garbage.

mod controller;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use switchyard_crds::Reason;
use switchyard_operator::apply::ChildKind;
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared, Space, manifest};
use controller::Controller;

/// The steady state is watched for so long here; `make soak` watches longer.
const STEADY: Duration = Duration::from_secs(10);

/// Of everything that the operator makes.
const OURS: &str = "app.kubernetes.io/managed-by=switchyard-operator";

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        ("workloads::each_kind_has_its_children", each_kind as fn(&Space)),
        ("workloads::restricted_pods_are_admitted", restricted),
        ("workloads::a_deleted_child_comes_back", restored),
        ("workloads::a_deleted_pool_leaves_nothing_behind", nothing_left),
        (
            "workloads::what_others_set_stays_and_what_is_ours_is_set_back",
            foreign_fields,
        ),
        (
            "workloads::what_a_pool_no_longer_asks_for_is_taken_back",
            unwanted_fields,
        ),
        (
            "workloads::an_access_point_outlives_one_of_its_pools",
            shared_access_point,
        ),
        (
            "workloads::a_pool_moves_to_another_access_point",
            another_access_point,
        ),
        ("workloads::nothing_is_written_while_nothing_happens", steady),
        ("workloads::what_nobody_wants_any_more_is_deleted", orphans),
        ("workloads::what_is_somebody_elses_is_left_alone", taken),
        ("workloads::another_ca_bundle_reaches_every_pool", other_bundle),
    ] {
        let shared = shared.clone();
        suite.test(name, move |_: &Lab| body(&shared.space()));
    }
}

fn pool(name: &str, spec: &Value) -> String {
    manifest("ProxyPool", name, spec)
}

/// A pool of this kind, bare.
fn bare(name: &str, kind: &str) -> String {
    pool(
        name,
        &json!({"workload": {"kind": kind}, "listeners": [{"name": "sync", "port": 8443}]}),
    )
}

/// Kind and name of everything of ours in the namespace.
fn children(space: &Space) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in ChildKind::ALL {
        let all: Api<DynamicObject> =
            Api::namespaced_with(space.plane.admin(), &space.namespace, &kind.resource());
        let list = space
            .plane
            .block_on(all.list(&ListParams::default().labels(OURS)))
            .unwrap();
        found.extend(list.iter().map(|object| format!("{kind} {}", object.name_any())));
    }
    found
}

#[track_caller]
fn await_children(space: &Space, wanted: &[&str]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|&child| child.to_owned()).collect();
    eventually("exactly these children", SOON, || {
        let found = children(space);
        if found == wanted {
            return Ok(());
        }
        let missing: Vec<_> = wanted.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&wanted).collect();
        Err(format!("missing {missing:?}, surplus {surplus:?}"))
    });
}

#[track_caller]
fn await_gone(space: &Space, kind: &str, name: &str) {
    eventually(&format!("{kind} {name} is gone"), SOON, || {
        let found = children(space);
        if found.contains(&format!("{kind} {name}")) {
            Err(format!("{found:?}"))
        } else {
            Ok(())
        }
    });
}

fn each_kind(space: &Space) {
    let controller = Controller::start(space);
    for kind in ["Deployment", "DaemonSet", "StatefulSet"] {
        space.apply(&bare("edge", kind));
        let workload = format!("{kind} edge");
        let mut wanted = vec![
            "ConfigMap edge-bootstrap",
            "NetworkPolicy edge",
            "Secret edge-ticket-keys",
            "Secret switchyard-gossip-keys",
            "Service edge",
            "Service edge-peers",
            "ServiceAccount edge-proxy",
            &workload,
        ];
        if kind != "DaemonSet" {
            wanted.push("PodDisruptionBudget edge");
        }
        await_children(space, &wanted);
        controller.await_told("edge", "a workload is told", |outcome| {
            outcome.workload.is_some()
                && outcome.service.is_some()
                && outcome.failed.is_none()
                && outcome.refused.is_empty()
                && outcome.pod_security.as_deref() == Some("restricted")
                && outcome.selector.as_deref()
                    == Some("app.kubernetes.io/name=switchyard-proxy,switchyard.dev/pool=edge")
        });
        space.kubectl(&["delete", "proxypool", "edge"]);
        await_children(space, &[]);
    }
    space.apply(&bare("side", "Sidecar"));
    await_children(space, &["ConfigMap side-bootstrap"]);
    controller.await_told("side", "no workload is told", |outcome| {
        outcome.workload.is_none() && outcome.failed.is_none() && outcome.refused.is_empty()
    });
}

/// The namespace enforces Pod Security "restricted": controllers make pods of the workloads, and what no node would get here (a
/// `DaemonSet`'s pod) is judged by `--dry-run=server`.
fn restricted(space: &Space) {
    let _controller = Controller::start(space);
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    for kind in kinds {
        // A low port, which the pod may bind by a safe sysctl.
        let spec = json!({
            "workload": {"kind": kind},
            "listeners": [{"name": "sync", "port": 443, "bindPort": 443}, {"name": "web", "port": 8080}],
        });
        space.apply(&pool(&kind.to_lowercase(), &spec));
    }
    let pods = space.all::<Pod>();
    for kind in ["deployment", "statefulset"] {
        eventually(&format!("two pods of the {kind}"), SOON, || {
            let of_pool = ListParams::default().labels(&format!("switchyard.dev/pool={kind}"));
            let found = space.plane.block_on(pods.list(&of_pool)).unwrap().items.len();
            if found == 2 {
                Ok(())
            } else {
                Err(format!("{found} pods"))
            }
        });
    }
    for kind in kinds {
        let name = kind.to_lowercase();
        let template = "{.spec.template}";
        eventually(&format!("{kind} {name}"), SOON, || {
            if children(space).contains(&format!("{kind} {name}")) {
                Ok(())
            } else {
                Err("not there".to_owned())
            }
        });
        let pod = space.kubectl(&["get", kind, &name, "-o", &format!("jsonpath={template}")]);
        let mut pod: Value = serde_json::from_str(&pod).unwrap();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("judged");
        let arguments = ["-n", &space.namespace, "apply", "--dry-run=server", "-f", "-"];
        let said = space.plane.kubectl_feed(&arguments, &pod.to_string());
        assert!(said.contains("pod/judged created (server dry run)"), "{said}");
        // The whole child, too, with fields that the server does not know refused.
        let child = space.kubectl(&["get", kind, &name, "-o", "json"]);
        space.plane.kubectl_feed(
            &[
                "-n",
                &space.namespace,
                "apply",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ],
            &child,
        );
    }
}

fn restored(space: &Space) {
    let _controller = Controller::start(space);
    let spec = json!({
        "workload": {"kind": "StatefulSet"}, "directAddress": [{"type": "NodePort"}], "listeners": [{"name": "sync", "port": 8443}],
    });
    space.apply(&pool("edge", &spec));
    let all = [
        "ConfigMap edge-bootstrap",
        "NetworkPolicy edge",
        "PodDisruptionBudget edge",
        "Secret edge-ticket-keys",
        "Secret switchyard-gossip-keys",
        "Service edge",
        "Service edge-0",
        "Service edge-1",
        "Service edge-peers",
        "ServiceAccount edge-proxy",
        "StatefulSet edge",
    ];
    await_children(space, &all);
    for child in all {
        let (kind, name) = child.split_once(' ').unwrap();
        let uid = || {
            space.kubectl(&[
                "get",
                kind,
                name,
                "--ignore-not-found",
                "-o",
                "jsonpath={.metadata.uid}",
            ])
        };
        let before = uid();
        assert!(!before.is_empty(), "{child}");
        space.kubectl(&["delete", kind, name, "--wait=false"]);
        eventually(&format!("{child} is back"), SOON, || {
            let now = uid();
            if now.is_empty() || now == before {
                Err(format!("{now:?}"))
            } else {
                Ok(())
            }
        });
    }
    await_children(space, &all);
}

fn nothing_left(space: &Space) {
    let controller = Controller::start(space);
    let spec = json!({
        "workload": {"kind": "StatefulSet"}, "directAddress": [{"type": "LoadBalancer"}], "listeners": [{"name": "sync", "port": 8443}],
    });
    space.apply(&pool("one", &spec));
    space.apply(&bare("two", "Deployment"));
    eventually("both pools have pods", SOON, || {
        let pods = space
            .plane
            .block_on(space.all::<Pod>().list(&ListParams::default()))
            .unwrap();
        if pods.items.len() == 4 {
            Ok(())
        } else {
            Err(format!("{} pods", pods.items.len()))
        }
    });
    controller.await_applied(&["one", "two"]);
    controller.await_rest();
    // In the background, and waiting for the children.
    space.kubectl(&["delete", "proxypool", "one", "--cascade=background"]);
    space.kubectl(&["delete", "proxypool", "two", "--cascade=foreground"]);
    await_children(space, &[]);
    eventually("the pods are gone", SOON, || {
        let pods = space
            .plane
            .block_on(space.all::<Pod>().list(&ListParams::default()))
            .unwrap();
        if pods.items.is_empty() {
            Ok(())
        } else {
            Err(format!("{} pods", pods.items.len()))
        }
    });
    eventually("the pools are told to be gone", SOON, || {
        let told = controller.told();
        if told.get("one") == Some(&None) && told.get("two") == Some(&None) {
            Ok(())
        } else {
            Err(format!("{:?}", told.keys()))
        }
    });
}

/// What others do to the children of pool `edge`: additions of their own, and changes of what is ours.
fn edit_edge(space: &Space) {
    space.kubectl(&["label", "deployment", "edge", "example.com/theirs=1"]);
    space.kubectl(&["annotate", "service", "edge", "example.com/theirs=1"]);
    // What `kubectl rollout restart` does: an annotation of the template.
    space.kubectl(&["rollout", "restart", "deployment", "edge"]);
    let injected = json!({"spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": "none.example/mesh"}]}}}});
    space.kubectl(&["patch", "deployment", "edge", "-p", &injected.to_string()]);
    // Ours: a number, a label, a port.
    space.kubectl(&["scale", "deployment", "edge", "--replicas=7"]);
    space.kubectl(&[
        "label",
        "deployment",
        "edge",
        "app.kubernetes.io/part-of=another",
        "--overwrite",
    ]);
    space.kubectl(&[
        "patch",
        "service",
        "edge",
        "--type=json",
        "-p",
        r#"[{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 1}]"#,
    ]);
}

fn foreign_fields(space: &Space) {
    let controller = Controller::start(space);
    space.apply(&bare("edge", "Deployment"));
    controller.await_applied(&["edge"]);
    controller.await_rest();
    edit_edge(space);
    controller.await_rest();
    space.await_object::<Deployment, ()>("edge", "ours is set back, theirs is there", SOON, |deployment| {
        let spec = deployment.spec.clone();
        let template = spec.template.metadata.clone().unwrap_or_default();
        let pod = spec.template.spec.clone().unwrap_or_default();
        let names: Vec<_> = pod
            .containers
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        let seen = (
            spec.replicas,
            deployment.labels().get("app.kubernetes.io/part-of").cloned(),
            deployment.labels().get("example.com/theirs").cloned(),
            template
                .annotations
                .is_some_and(|all| all.contains_key("kubectl.kubernetes.io/restartedAt")),
            names.contains(&"mesh") && names.contains(&"proxy"),
        );
        let wanted = (
            Some(2),
            Some("switchyard".to_owned()),
            Some("1".to_owned()),
            true,
            true,
        );
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    space.await_object::<Service, ()>(
        "edge",
        "the port is set back, the annotation is there",
        SOON,
        |service| {
            let ports = serde_json::to_value(service.spec.clone().unwrap_or_default().ports).unwrap();
            let theirs = service.annotations().get("example.com/theirs").cloned();
            if ports[0]["targetPort"] == "sync" && theirs.is_some() {
                Ok(())
            } else {
                Err(format!("{ports} {theirs:?}"))
            }
        },
    );
}

/// A field that the pool no longer asks for goes.
fn unwanted_fields(space: &Space) {
    let _controller = Controller::start(space);
    space.apply(&pool("edge", &json!({"workload": {"priorityClassName": "system-x"}, "listeners": [{"name": "sync", "port": 8443}]})));
    let class = |deployment: &Deployment| deployment.spec.template.spec.clone()?.priority_class_name;
    space.await_object::<Deployment, ()>("edge", "has a class", SOON, |it| {
        class(it).map(drop).ok_or_else(String::new)
    });
    space.apply(&bare("edge", "Deployment"));
    space.await_object::<Deployment, ()>("edge", "has none", SOON, |it| class(it).map_or(Ok(()), Err));
}

fn owners(service: &Service) -> BTreeSet<String> {
    service
        .owner_references()
        .iter()
        .map(|owner| owner.name.clone())
        .collect()
}

fn ports(service: &Service) -> Vec<i32> {
    let ports = service.spec.clone().unwrap_or_default().ports.unwrap_or_default();
    ports.iter().map(|port| port.port).collect()
}

#[track_caller]
fn await_service(space: &Space, name: &str, wanted_owners: &[&str], wanted_ports: &[i32]) -> String {
    let wanted: BTreeSet<_> = wanted_owners.iter().map(|&owner| owner.to_owned()).collect();
    space.await_object::<Service, String>(name, "owners and ports", SOON, |service| {
        if owners(service) == wanted && ports(service) == wanted_ports {
            return Ok(service.uid().unwrap_or_default());
        }
        Err(format!("{:?} {:?}", owners(service), ports(service)))
    })
}

fn shared_access_point(space: &Space) {
    let controller = Controller::start(space);
    let sharing = |listener: &str, port: u32| json!({"accessPoint": {"name": "sync"}, "listeners": [{"name": "sync", "port": 8443}, {"name": listener, "port": port}]});
    space.apply(&pool("older", &sharing("web", 8080)));
    let uid = await_service(space, "sync", &["older"], &[8443, 8080]);
    // Creation times are whole seconds.
    let_pass(Duration::from_millis(1100));
    space.apply(&pool("younger", &sharing("mqtt", 1883)));
    assert_eq!(
        await_service(space, "sync", &["older", "younger"], &[8443, 8080, 1883]),
        uid
    );
    // A third contradicts: it is refused, and changes nothing.
    let_pass(Duration::from_millis(1100));
    let other = json!({"accessPoint": {"name": "sync", "host": "other.example"}, "listeners": [{"name": "sync", "port": 8443}]});
    space.apply(&pool("other", &other));
    controller.await_told("other", "it is refused", |outcome| {
        matches!(&outcome.refused[..], [refusal] if refusal.reason == Reason::Conflicted && refusal.field.to_string() == "spec.accessPoint.host")
    });
    assert!(
        children(space).iter().all(|child| !child.contains("other")),
        "{:?}",
        children(space)
    );
    assert_eq!(
        await_service(space, "sync", &["older", "younger"], &[8443, 8080, 1883]),
        uid
    );
    space.kubectl(&["delete", "proxypool", "older"]);
    assert_eq!(
        await_service(space, "sync", &["younger"], &[8443, 1883]),
        uid,
        "the Service stays"
    );
    await_gone(space, "Deployment", "older");
    // The younger still contradicts the third; without the younger, the third is right.
    space.kubectl(&["delete", "proxypool", "younger"]);
    await_service(space, "sync", &["other"], &[8443]);
    space.kubectl(&["delete", "proxypool", "other"]);
    await_children(space, &[]);
}

fn another_access_point(space: &Space) {
    let _controller = Controller::start(space);
    let at =
        |name: &str| json!({"accessPoint": {"name": name}, "listeners": [{"name": "sync", "port": 8443}]});
    space.apply(&pool("one", &at("sync")));
    space.apply(&pool("two", &at("sync")));
    let uid = await_service(space, "sync", &["one", "two"], &[8443]);
    space.apply(&pool("one", &at("mail")));
    await_service(space, "mail", &["one"], &[8443]);
    assert_eq!(await_service(space, "sync", &["two"], &[8443]), uid);
    space.apply(&pool("two", &at("mail")));
    await_service(space, "mail", &["one", "two"], &[8443]);
    await_gone(space, "Service", "sync");
    let none = json!({"accessPoint": {"name": "mail", "service": {"type": "None"}}, "listeners": [{"name": "sync", "port": 8443}]});
    space.apply(&[pool("one", &none), pool("two", &none)].join("\n---\n"));
    await_gone(space, "Service", "mail");
}

fn steady(space: &Space) {
    let mut controller = Controller::start(space);
    // Values that the API server writes its own way, and lists that it fills in.
    let full = json!({
        "workload": {
            "kind": "StatefulSet", "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "1.5Gi"}},
            "tolerations": [{"key": "dmz", "operator": "Exists"}], "podLabels": {"team": "edge"}, "podAnnotations": {"a.example/b": ""},
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}, "podAntiAffinity": {}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}],
        },
        "accessPoint": {"name": "sync", "service": {"type": "LoadBalancer", "annotations": {"a.example/b": "c"}}},
        "directAddress": [{"type": "LoadBalancer", "port": 443}, {"type": "NodePort"}],
        "listeners": [{"name": "sync", "port": 443}],
    });
    space.apply(&pool("full", &full));
    for (name, kind) in [
        ("deployed", "Deployment"),
        ("daemon", "DaemonSet"),
        ("stateful", "StatefulSet"),
        ("side", "Sidecar"),
    ] {
        space.apply(&bare(name, kind));
    }
    let ports = json!({"workload": {"kind": "DaemonSet"}, "directAddress": [{"type": "NodeIP"}], "listeners": [{"name": "sync", "port": 443, "bindPort": 443}]});
    space.apply(&pool("ports", &ports));
    let all = ["full", "deployed", "daemon", "stateful", "side", "ports"];
    controller.await_applied(&all);
    controller.await_rest();
    let mark = controller.mark();
    let_pass(STEADY);
    assert_eq!(controller.writes(mark), Vec::<String>::new());
    // Whoever takes over compares before it writes.
    let mark = controller.mark();
    controller.restart();
    for name in all {
        controller.await_told(name, "it is looked at again", |outcome| outcome.failed.is_none());
    }
    let_pass(STEADY);
    assert_eq!(controller.writes(mark), Vec::<String>::new());
    // A status, or somebody's label, is none of its business.
    space.kubectl(&["label", "proxypool", "full", "example.com/theirs=1"]);
    space.kubectl(&["label", "statefulset", "full", "example.com/theirs=1"]);
    let_pass(Duration::from_secs(2));
    assert_eq!(controller.writes(mark), Vec::<String>::new());
}

fn orphans(space: &Space) {
    let controller = Controller::start(space);
    let stateful = |replicas: u32, direct: &Value| {
        json!({
            "replicas": replicas, "workload": {"kind": "StatefulSet"}, "directAddress": direct, "listeners": [{"name": "sync", "port": 8443}],
        })
    };
    let node_ports = json!([{"type": "NodePort"}]);
    space.apply(&pool("edge", &stateful(3, &node_ports)));
    let service = |ordinal: u32| format!("Service edge-{ordinal}");
    let await_services = |wanted: u32| {
        eventually(&format!("{wanted} Services of single proxies"), SOON, || {
            let found = children(space);
            let there: Vec<_> = (0..4)
                .filter(|ordinal| found.contains(&service(*ordinal)))
                .collect();
            if there == (0..wanted).collect::<Vec<_>>() {
                Ok(())
            } else {
                Err(format!("{there:?}"))
            }
        });
    };
    await_services(3);
    space.apply(&pool("edge", &stateful(1, &node_ports)));
    await_services(1);
    space.apply(&pool("edge", &stateful(1, &json!([]))));
    await_services(0);
    // Somebody's object that only looks like one of ours, and one that is owned by an earlier pool of the name, stay.
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "theirs", "labels": {"app.kubernetes.io/managed-by": "switchyard-operator", "switchyard.dev/pool": "edge"},
    }});
    space.apply(&theirs.to_string());
    // One that a former release made, say, is ours by label and owner: it goes.
    let uid = space.kubectl(&["get", "proxypool", "edge", "-o", "jsonpath={.metadata.uid}"]);
    let mut former = theirs.clone();
    former["metadata"]["name"] = json!("former");
    former["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool", "name": "edge", "uid": uid, "controller": true,
    }]);
    space.apply(&former.to_string());
    await_gone(space, "ConfigMap", "former");
    controller.await_rest();
    assert!(children(space).contains("ConfigMap theirs"));
    // On the node's network a policy has no effect: it goes, and comes back.
    space.kubectl(&[
        "label",
        "namespace",
        &space.namespace,
        "pod-security.kubernetes.io/enforce=privileged",
        "--overwrite",
    ]);
    let mut on_node = stateful(1, &json!([]));
    on_node["workload"]["hostNetwork"] = json!(true);
    space.apply(&pool("edge", &on_node));
    await_gone(space, "NetworkPolicy", "edge");
    space.apply(&pool("edge", &stateful(1, &json!([]))));
    eventually("the policy is back", SOON, || {
        if children(space).contains("NetworkPolicy edge") {
            Ok(())
        } else {
            Err(String::new())
        }
    });
}

fn taken(space: &Space) {
    let controller = Controller::start(space);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "edge"}, "spec": {"ports": [{"port": 1}]}});
    space.apply(&service.to_string());
    let version = || {
        space.kubectl(&[
            "get",
            "service",
            "edge",
            "-o",
            "jsonpath={.metadata.resourceVersion}",
        ])
    };
    let before = version();
    space.apply(&bare("edge", "Deployment"));
    controller.await_told("edge", "it says whose it is not", |outcome| {
        outcome.failed.as_ref().is_some_and(|failure| {
            failure.refused
                && failure
                    .message
                    .contains(&format!("Service {}/edge is there already", space.namespace))
        })
    });
    assert_eq!(version(), before);
    space.kubectl(&["delete", "service", "edge"]);
    await_service(space, "edge", &["edge"], &[8443]);
    controller.await_told("edge", "all is well", |outcome| {
        outcome.failed.is_none() && outcome.service.is_some()
    });
}

fn other_bundle(space: &Space) {
    let controller = Controller::start(space);
    space.apply(&bare("one", "Deployment"));
    space.apply(&bare("two", "Sidecar"));
    let trusted = |bundle: &str| {
        for name in ["one-bootstrap", "two-bootstrap"] {
            space.await_object::<ConfigMap, ()>(name, "the bundle", SOON, |config| {
                let found = config.data.clone().unwrap_or_default().remove("ca.crt");
                if found.as_deref() == Some(bundle) {
                    Ok(())
                } else {
                    Err(format!("{found:?}"))
                }
            });
        }
    };
    trusted("a bundle\n");
    controller.await_applied(&["one", "two"]);
    controller.await_rest();
    let keys = |name: &str| {
        let secret = space.plane.block_on(space.all::<Secret>().get(name)).unwrap();
        let keys = secret.data.unwrap_or_default();
        assert_eq!(
            keys.keys().map(String::as_str).collect::<Vec<_>>(),
            ["current", "next"],
            "{name}"
        );
        assert!(keys.values().all(|key| key.0.len() == 32), "{name}");
        assert_ne!(keys["current"], keys["next"], "{name}");
        keys
    };
    let before = (keys("one-ticket-keys"), keys("switchyard-gossip-keys"));
    let mark = controller.mark();
    controller.trust("another bundle\n");
    trusted("another bundle\n");
    controller.await_rest();
    assert_eq!(
        controller.writes(mark).len(),
        2,
        "one for each pool: {:#?}",
        controller.writes(mark)
    );
    assert!(
        before == (keys("one-ticket-keys"), keys("switchyard-gossip-keys")),
        "keys stay until they are due"
    );
}
