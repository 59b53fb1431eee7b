//! Whole objects: a manifest through the schema's rules and defaults, the real validate step and the real build step, compared
//! with a file, field by field. `SWITCHYARD_BLESS=1` writes the files; read the diff.

mod refusals;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use switchyard_crds::{Kind, ProxyPool, offline};

use super::build::{Planned, Surroundings, build};
use super::keys::{Found, GOSSIP_PERIOD, Key, Ring, TICKETS_PERIOD, plan};
use super::owner::Owner;
use super::validate::{Valid, validate};
use crate::FIELD_MANAGER;
use crate::apply::{Child, ChildKind, difference};

/// Every manifest with its objects.
const CASES: [&str; 10] = [
    "deployment-least",
    "deployment-everything",
    "daemonset-least",
    "daemonset-everything",
    "statefulset-least",
    "statefulset-everything",
    "statefulset-node-ports",
    "sidecar-least",
    "sidecar-everything",
    "shared-access-point",
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/workloads")
        .join(name)
}

/// Pools as the API server would tell them: judged by their own schema, with its defaults, and an identity.
fn pools(text: &str) -> Vec<ProxyPool> {
    let documents = text.split("\n---\n");
    documents
        .map(|text| {
            let mut value: Value = serde_saphyr::from_str(text).unwrap();
            let violations = offline::validate(Kind::ProxyPool, &value);
            assert!(violations.is_empty(), "{violations:?}");
            offline::apply_defaults(Kind::ProxyPool, &mut value);
            let uid = format!("uid-of-{}", value["metadata"]["name"].as_str().unwrap());
            value["metadata"]["uid"] = uid.into();
            serde_json::from_value(value).unwrap()
        })
        .collect()
}

fn surroundings() -> Surroundings {
    Surroundings {
        image: "switchyard:test".to_owned(),
        operator: "switchyard-operator.switchyard-system.svc:17010".to_owned(),
        ca_bundle: "-----BEGIN CERTIFICATE-----\n".to_owned(),
    }
}

fn ring(period: std::time::Duration, first: u8) -> Ring {
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    plan(
        at,
        period,
        Found::default(),
        [Key::new([first; 32]), Key::new([first + 1; 32])],
    )
    .ring
}

fn planned(neighbours: &[&ProxyPool], proxies_there: u32) -> Planned {
    Planned {
        tickets: ring(TICKETS_PERIOD, 1),
        gossip: (
            ring(GOSSIP_PERIOD, 3),
            neighbours.iter().filter_map(|pool| Owner::of(pool)).collect(),
        ),
        proxies_there,
    }
}

fn valid<'a>(pool: &'a ProxyPool, neighbours: &[&ProxyPool]) -> Valid<'a> {
    validate(pool, Owner::of(pool).unwrap(), neighbours).unwrap()
}

/// The objects of the first pool of a manifest.
fn children(case: &str) -> Vec<Child> {
    let pools = pools(&std::fs::read_to_string(file(&format!("{case}.yaml"))).unwrap());
    let neighbours: Vec<_> = pools.iter().collect();
    let there = if case == "statefulset-node-ports" { 4 } else { 0 };
    build(
        &valid(&pools[0], &neighbours),
        &planned(&neighbours, there),
        &surroundings(),
    )
}

#[test]
fn each_manifest_makes_exactly_these_objects() {
    let bless = std::env::var_os("SWITCHYARD_BLESS").is_some();
    for case in CASES {
        let made: Vec<_> = children(case).into_iter().map(|child| child.object).collect();
        let path = file(&format!("{case}.json"));
        if bless {
            std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let wanted: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let names = |objects: &[Value]| -> Vec<String> {
            let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
            objects.iter().map(name).collect()
        };
        assert_eq!(names(&made), names(&wanted), "{case}");
        for (made, wanted) in made.iter().zip(&wanted) {
            assert_eq!(
                made, wanted,
                "{case}: {} {}",
                made["kind"], made["metadata"]["name"]
            );
        }
    }
}

/// No file is left over from a case that is no more.
#[test]
fn every_file_has_a_case() {
    for entry in std::fs::read_dir(file("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.split('.').next().unwrap();
        assert!(CASES.contains(&stem), "{name}");
    }
}

/// What the types of Kubernetes do not know would be refused by the API server.
fn every_field_is_known<T: Serialize + DeserializeOwned + Debug>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(&serde_json::to_value(typed).unwrap(), object);
}

#[test]
fn every_field_is_one_of_kubernetes() {
    for case in CASES {
        for child in children(case) {
            let object = &child.object;
            match child.kind {
                ChildKind::ServiceAccount => every_field_is_known::<ServiceAccount>(object),
                ChildKind::ConfigMap => every_field_is_known::<ConfigMap>(object),
                ChildKind::Secret => every_field_is_known::<Secret>(object),
                ChildKind::Service => every_field_is_known::<Service>(object),
                ChildKind::NetworkPolicy => every_field_is_known::<NetworkPolicy>(object),
                ChildKind::Deployment => every_field_is_known::<Deployment>(object),
                ChildKind::DaemonSet => every_field_is_known::<DaemonSet>(object),
                ChildKind::StatefulSet => every_field_is_known::<StatefulSet>(object),
                ChildKind::PodDisruptionBudget => every_field_is_known::<PodDisruptionBudget>(object),
            }
        }
    }
}

#[test]
fn names_fit_and_no_two_objects_of_a_kind_share_one() {
    let longest = "x".repeat(52);
    for case in CASES {
        let text = std::fs::read_to_string(file(&format!("{case}.yaml"))).unwrap();
        let pools = pools(&text.replace("dmz-a,", &format!("{longest},")));
        let neighbours: Vec<_> = pools.iter().collect();
        let mut seen = BTreeSet::new();
        for child in build(
            &valid(&pools[0], &neighbours),
            &planned(&neighbours, 1000),
            &surroundings(),
        ) {
            let name = child.name().to_owned();
            // RFC 1035 label names where a name becomes part of a DNS name or of a label's value; else a subdomain
            let longest = match child.kind {
                ChildKind::Secret | ChildKind::ConfigMap | ChildKind::ServiceAccount => 253,
                _ => 63,
            };
            assert!(name.len() <= longest, "{child:?}");
            assert!(seen.insert((child.kind, name)), "{child:?}");
        }
    }
}

/// A pod is found by what selects it, and by nothing that may change.
#[test]
fn selectors_find_the_pods_of_their_pool() {
    for case in CASES {
        let children = children(case);
        let Some(workload) = children
            .iter()
            .find(|child| !child.object["spec"]["template"].is_null())
        else {
            continue;
        };
        let labels = &workload.object["spec"]["template"]["metadata"]["labels"];
        for child in &children {
            let spec = &child.object["spec"];
            let selectors = [
                &spec["selector"]["matchLabels"],
                &spec["podSelector"]["matchLabels"],
            ];
            let service = (child.kind == ChildKind::Service).then_some(&spec["selector"]);
            for selector in selectors.into_iter().chain(service).filter_map(Value::as_object) {
                assert!(!selector.is_empty(), "{child:?} would select everything");
                for (key, value) in selector {
                    // A label that the StatefulSet controller sets.
                    if key != "statefulset.kubernetes.io/pod-name" {
                        assert_eq!(&labels[key], value, "{case}: {child:?} {key}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_was_applied_as_it_is_needs_no_write() {
    for case in CASES {
        for child in children(case) {
            assert_eq!(
                difference(&child.object, &child.object, FIELD_MANAGER),
                None,
                "{child:?}"
            );
        }
    }
}

#[test]
fn keys_are_not_told_by_a_child_that_is_printed() {
    let child = children("deployment-least")
        .into_iter()
        .find(|child| child.kind == ChildKind::Secret);
    assert_eq!(format!("{:?}", child.unwrap()), "Secret edge/dmz-a-ticket-keys");
}
