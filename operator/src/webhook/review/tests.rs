//! Whole questions: manifests with their schemas' defaults, a review as the API server sends it, the answer's patch applied.
//! `SWITCHYARD_BLESS=1` writes the files; read the diff.

mod properties;

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use switchyard_crds::{Kind, ProxyChain, ProxyPool, offline};

use super::super::CONTAINER;
use super::*;

fn settings() -> Settings {
    Settings {
        image: "switchyard:test".to_owned(),
        operator: "switchyard-operator.switchyard.svc:17010".to_owned(),
    }
}

/// The pools with their chains, and the pod.
fn read(text: &str) -> (Vec<Sidecar>, Value) {
    let mut pools: Vec<ProxyPool> = Vec::new();
    let mut chains: Vec<Arc<ProxyChain>> = Vec::new();
    let mut pod = Value::Null;
    for text in text.split("\n---\n") {
        let mut value: Value = serde_saphyr::from_str(text).unwrap();
        let kind = match value["kind"].as_str().unwrap() {
            "ProxyPool" => Kind::ProxyPool,
            "ProxyChain" => Kind::ProxyChain,
            _ => {
                pod = value;
                continue;
            }
        };
        let violations = offline::validate(kind, &value);
        assert!(violations.is_empty(), "{violations:?}");
        offline::apply_defaults(kind, &mut value);
        match kind {
            Kind::ProxyPool => pools.push(serde_json::from_value(value).unwrap()),
            Kind::ProxyChain => chains.push(Arc::new(serde_json::from_value(value).unwrap())),
        }
    }
    pools.sort_by(|one, other| made(&one.metadata).cmp(&made(&other.metadata)));
    chains.sort_by(|one, other| made(&one.metadata).cmp(&made(&other.metadata)));
    let sidecar = |pool: ProxyPool| {
        let of_it = |chain: &&Arc<ProxyChain>| {
            chain.spec.pool_ref.as_ref().map(|it| &it.name) == pool.metadata.name.as_ref()
        };
        Sidecar {
            chains: chains.iter().filter(of_it).cloned().collect(),
            pool: Arc::new(pool),
        }
    };
    (pools.into_iter().map(sidecar).collect(), pod)
}

fn made(metadata: &kube::core::ObjectMeta) -> (Option<jiff::Timestamp>, Option<&str>) {
    let time = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (time, metadata.name.as_deref())
}

fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": VERSION, "kind": "AdmissionReview",
        "request": {
            "uid": "42", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop", "operation": "CREATE", "object": pod, "oldObject": null, "dryRun": false,
        },
    })
}

/// The answer, and the pod that the API server would store.
fn ask(pools: &[Sidecar], pod: &Value) -> (Answer, Value) {
    let question = Review::parse(review(pod).to_string().as_bytes()).unwrap();
    let answer = question.answer(pools, &settings(), &BTreeSet::from(["kube-system".to_owned()]));
    let response = &answer.review["response"];
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("42"), &json!(true))
    );
    let mut stored = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut stored, &patch).unwrap();
    }
    let pod: Pod = serde_json::from_value(stored.clone()).unwrap();
    assert!(pod.spec.is_some(), "{stored}");
    (answer, stored)
}

#[test]
fn pods_become_exactly_this() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sidecars");
    for case in ["least", "everything"] {
        let (pools, pod) = read(&std::fs::read_to_string(folder.join(format!("{case}.yaml"))).unwrap());
        let (answer, stored) = ask(&pools, &pod);
        let told = json!({"pod": stored, "warnings": answer.warnings, "audit": answer.review["response"]["auditAnnotations"]});
        let file = folder.join(format!("{case}.json"));
        if std::env::var_os("SWITCHYARD_BLESS").is_some() {
            std::fs::write(&file, serde_json::to_string_pretty(&told).unwrap() + "\n").unwrap();
        }
        let wanted: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(told, wanted, "{case}");
        assert_eq!(answer.outcome, Outcome::Injected, "{case}");
        let (again, same) = ask(&pools, &stored);
        assert_eq!(
            (again.outcome, same),
            (Outcome::Unchanged, stored),
            "{case}: seen again"
        );
    }
}

/// What every container may not do under Pod Security "restricted", the pod's own security context being silent.
#[test]
fn the_proxy_is_restricted_by_itself_and_comes_first() {
    let (pools, mut pod) = read(include_str!("../../../testdata/sidecars/least.yaml"));
    pod["spec"]["initContainers"] = json!([{"name": "first", "image": "i"}]);
    let (_, stored) = ask(&pools, &pod);
    let proxy = &stored["spec"]["initContainers"][0];
    assert_eq!(
        (&proxy["name"], &proxy["restartPolicy"]),
        (&json!("switchyard-proxy"), &json!("Always"))
    );
    let security = &proxy["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(
        proxy["readinessProbe"],
        Value::Null,
        "the pod's readiness is its own"
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn who_gets_no_proxy_is_told_why_and_starts_all_the_same() {
    let (pools, pod) = read(include_str!("../../../testdata/sidecars/least.yaml"));
    let pools: &[Sidecar] = &pools;
    let none: &[Sidecar] = &[];
    let with = |pointer: &str, value: Value| {
        let mut pod = pod.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
        pod
    };
    let label = "/metadata/labels/switchyard.dev~1inject";
    for (what, pools, pod, outcome, words) in [
        (
            "not asked",
            pools,
            with(label, json!("false")),
            Outcome::Unchanged,
            "",
        ),
        (
            "no labels",
            pools,
            with("/metadata/labels", Value::Null),
            Outcome::Unchanged,
            "",
        ),
        (
            "no pool",
            none,
            pod.clone(),
            Outcome::Unmatched,
            "no Sidecar pool of namespace shop",
        ),
        (
            "the node's network",
            pools,
            with("/spec/hostNetwork", json!(true)),
            Outcome::Hindered,
            "hostNetwork",
        ),
        (
            "Windows",
            pools,
            with("/spec/os", json!({"name": "windows"})),
            Outcome::Hindered,
            "Windows",
        ),
        (
            "a container of our name",
            pools,
            with("/spec/containers", json!([{"name": CONTAINER, "image": "i"}])),
            Outcome::Hindered,
            "rename it",
        ),
        (
            "a volume of our name",
            pools,
            with(
                "/spec/volumes",
                json!([{"name": "switchyard-cache", "emptyDir": {}}]),
            ),
            Outcome::Hindered,
            "rename it",
        ),
        (
            "a container copied from elsewhere",
            pools,
            with("/spec/initContainers", json!([{"name": CONTAINER, "image": "i"}])),
            Outcome::Hindered,
            "leave container, volumes and label",
        ),
    ] {
        let (answer, stored) = ask(pools, &pod);
        assert_eq!((answer.outcome, &stored), (outcome, &pod), "{what}");
        let told = answer.review["response"]["warnings"].to_string();
        assert_eq!(answer.warnings.is_empty(), words.is_empty(), "{what}: {told}");
        assert!(told.contains(words), "{what}: {told}");
    }
}

#[test]
fn excluded_namespaces_and_other_kinds_are_left_alone() {
    let (pools, pod) = read(include_str!("../../../testdata/sidecars/least.yaml"));
    let excluded = BTreeSet::from(["kube-system".to_owned()]);
    for (pointer, value) in [
        ("/request/namespace", json!("kube-system")),
        ("/request/operation", json!("UPDATE")),
        ("/request/kind/kind", json!("Deployment")),
        ("/request/subResource", json!("ephemeralcontainers")),
        ("/request/object", Value::Null),
    ] {
        let mut question = review(&pod);
        if pointer == "/request/subResource" {
            question["request"]["subResource"] = value;
        } else {
            *question.pointer_mut(pointer).unwrap() = value;
        }
        let question = Review::parse(question.to_string().as_bytes()).unwrap();
        let answer = question.answer(&pools, &settings(), &excluded);
        assert_eq!(answer.outcome, Outcome::Unchanged, "{pointer}");
        assert_eq!(
            answer.review["response"],
            json!({"uid": "42", "allowed": true}),
            "{pointer}"
        );
    }
}

#[test]
fn what_is_no_question_is_refused_in_words() {
    let of = |value: &Value| value.to_string();
    for (body, words) in [
        ("{".to_owned(), "no JSON"),
        ("[]".to_owned(), "AdmissionReview"),
        (
            of(&json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"})),
            "admissionReviewVersions",
        ),
        (
            of(&json!({"apiVersion": VERSION, "kind": "AdmissionReview"})),
            "request.uid",
        ),
        (
            of(&json!({"apiVersion": VERSION, "kind": "AdmissionReview", "request": "x"})),
            "request.uid",
        ),
    ] {
        let why = Review::parse(body.as_bytes()).unwrap_err();
        assert!(why.contains(words), "{body}: {why}");
    }
}

#[test]
fn of_pools_that_select_the_same_pod_the_oldest_is_right_and_the_maker_is_told() {
    let (pools, mut pod) = read(include_str!("../../../testdata/sidecars/everything.yaml"));
    pod["metadata"]["labels"]["app"] = json!("web");
    let (answer, stored) = ask(&pools, &pod);
    assert_eq!(stored["metadata"]["labels"]["switchyard.dev/pool"], "older");
    let told = answer.warnings.join("\n");
    assert!(told.contains("the oldest, older, and none of younger"), "{told}");
}

#[test]
fn a_long_warning_is_cut_where_kubernetes_would_cut_it() {
    let long = "ä".repeat(300);
    assert_eq!(shortened(&long).chars().count(), WARNING);
    assert_eq!(shortened("short"), "switchyard: short");
}
