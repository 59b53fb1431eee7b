//! The two definitions on a real API server: they install, refuse what they
//! should, keep every field, and explain themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use switchyard_crds::Kind;
use switchyard_crds::fixtures::{self, CASES};
use switchyard_tests::apiserver::{ControlPlane, User, definitions, http_get};
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use crate::shared::{SOON, Shared};

/// All annotations of an object together; client-side apply keeps the whole object in one.
const ANNOTATIONS: usize = 262_144;

pub fn add(suite: &mut Suite, shared: &Shared) {
    suite.test("definitions::kubectl_installs_them_without_a_warning", install);
    for (name, body) in [
        (
            "definitions::the_server_judges_as_the_table_says",
            refusals as fn(&Lab, &Shared),
        ),
        ("definitions::every_field_comes_back", round_trip),
        ("definitions::defaults_are_filled_in", defaults),
        ("definitions::every_field_is_explained", explain),
        ("definitions::columns_and_short_names", columns),
        ("definitions::a_pool_can_be_scaled", scale),
        ("definitions::the_examples_are_accepted", examples),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// Standard output and error of what must succeed.
#[track_caller]
fn told(command: &mut Command) -> (String, String) {
    let done = command.output().unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {}: {err}{out}", done.status);
    (out, err)
}

fn install(lab: &Lab) {
    let folder = definitions();
    for file in ["proxypools.yaml", "proxychains.yaml"] {
        let size = fs::metadata(folder.join(file)).unwrap().len() as usize;
        lab.say(format!("{file}: {size} bytes"));
        assert!(size < ANNOTATIONS, "{file} has {size} bytes");
    }
    let plane = ControlPlane::start();
    let apply = |more: &[&str]| {
        let mut kubectl = plane.kubectl_as(&User::Admin);
        told(kubectl.args(["apply", "-f"]).arg(&folder).args(more))
    };
    for (arguments, word) in [
        (&[][..], "created"),
        (&[][..], "unchanged"),
        (&["--server-side", "--force-conflicts"][..], "serverside-applied"),
        (&["--server-side"][..], "serverside-applied"),
    ] {
        let (out, err) = apply(arguments);
        assert_eq!(err, "", "{arguments:?}");
        assert_eq!(out.lines().count(), 2, "{out}");
        assert!(
            out.lines().all(|line| line.ends_with(word)),
            "{arguments:?}: {out}"
        );
        plane.await_definitions();
    }
    plane.kubectl(&["delete", "-f", &folder.to_string_lossy()]);
    let (out, err) = apply(&["--server-side"]);
    assert_eq!((err.as_str(), out.lines().count()), ("", 2), "{out}");
    plane.await_definitions();
}

fn resource(kind: Kind) -> ApiResource {
    let plural = match kind {
        Kind::ProxyPool => "proxypools",
        Kind::ProxyChain => "proxychains",
    };
    let kind = GroupVersionKind::gvk(switchyard_crds::GROUP, switchyard_crds::VERSION, kind.as_str());
    ApiResource::from_gvk_with_plural(&kind, plural)
}

/// What the server says to creating this, without keeping it, in strict validation.
async fn verdict(client: &Client, namespace: &str, kind: Kind, manifest: &Value) -> Result<Value, String> {
    let resource = resource(kind);
    let path = format!(
        "/apis/{}/namespaces/{namespace}/{}?dryRun=All&fieldValidation=Strict",
        resource.api_version, resource.plural
    );
    let body = serde_json::to_vec(manifest).unwrap();
    let asked = http::Request::post(path).header("content-type", "application/json");
    match client.request::<Value>(asked.body(body).unwrap()).await {
        Ok(made) => Ok(made),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("{other}"),
    }
}

fn refusals(lab: &Lab, shared: &Shared) {
    let space = shared.space();
    let client = space.plane.admin();
    let mut wrong = Vec::new();
    let mut said = BTreeSet::new();
    let rules = rule_messages();
    for case in CASES {
        let (kind, manifest) = case.manifest();
        let verdict = space
            .plane
            .block_on(verdict(&client, &space.namespace, kind, &manifest));
        match (&verdict, case.violations.is_empty()) {
            (Ok(_), true) => {}
            (Err(message), false) => {
                let normal = message.replace("\\\"", "\"");
                said.extend(rules.iter().filter(|rule| normal.contains(*rule)).cloned());
            }
            (verdict, _) => wrong.push(format!("{case:?}\n   the server: {verdict:?}")),
        }
    }
    // What may not change has an old value to be compared with.
    let spec = json!({"listeners": [{"name": "sync", "port": 8443}]});
    space.apply(&crate::shared::manifest("ProxyPool", "edge", &spec));
    let patch = json!({"spec": {"workload": {"kind": "StatefulSet"}}}).to_string();
    let mut kubectl = space.plane.kubectl_as(&User::Admin);
    kubectl.args([
        "-n",
        &space.namespace,
        "patch",
        "pp",
        "edge",
        "--type=merge",
        "-p",
        &patch,
    ]);
    let refused = tool::try_output(&mut kubectl).unwrap_err();
    said.extend(rules.iter().filter(|rule| refused.contains(*rule)).cloned());

    lab.say(format!("{} cases, {} rules", CASES.len(), rules.len()));
    assert!(
        wrong.is_empty(),
        "{} judged otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let silent: Vec<_> = rules.difference(&said).collect();
    assert!(
        silent.is_empty(),
        "rules that the server never named: {silent:#?}"
    );
}

/// The messages of all rules of both definitions.
fn rule_messages() -> BTreeSet<String> {
    let mut messages = BTreeSet::new();
    for crd in switchyard_crds::all_crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        collect_messages(&schema, &mut messages);
    }
    messages
}

fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "x-kubernetes-validations" {
                    let rules = value.as_array().into_iter().flatten();
                    messages.extend(rules.filter_map(|rule| rule["message"].as_str().map(str::to_owned)));
                } else {
                    collect_messages(value, messages);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}

/// Where `found` lacks something of `wanted`.
fn lost(wanted: &Value, found: &Value, at: &str, all: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, value) in wanted {
                lost(
                    value,
                    found.get(name).unwrap_or(&Value::Null),
                    &format!("{at}/{name}"),
                    all,
                );
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (number, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                lost(wanted, found, &format!("{at}/{number}"), all);
            }
        }
        _ if wanted == found => {}
        _ => all.push(format!("{at}: {wanted} came back as {found}")),
    }
}

fn round_trip(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let client = space.plane.admin();
    for (kind, text) in [
        (Kind::ProxyPool, fixtures::POOL),
        (Kind::ProxyChain, fixtures::CHAIN),
        (Kind::ProxyChain, fixtures::REMOTE),
    ] {
        let mut manifest = fixtures::yaml(text);
        manifest["metadata"]["namespace"] = json!(space.namespace);
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), &space.namespace, &resource(kind));
        let object: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        let asked = PostParams::default();
        let made = space.plane.block_on(all.create(&asked, &object)).unwrap();
        // A status is written by itself.
        let mut with_status: DynamicObject = serde_json::from_value(manifest.clone()).unwrap();
        with_status.metadata.resource_version = made.metadata.resource_version;
        space
            .plane
            .block_on(all.replace_status(&name, &asked, &with_status))
            .unwrap();
        let back = space.plane.block_on(all.get(&name)).unwrap();
        let back = serde_json::to_value(back).unwrap();
        let mut all = Vec::new();
        lost(&manifest, &back, "", &mut all);
        assert_eq!(all, [] as [String; 0], "{kind} {name}");
    }
}

fn defaults(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let client = space.plane.admin();
    for (kind, manifest) in fixtures::bare() {
        let made = space
            .plane
            .block_on(verdict(&client, &space.namespace, kind, &manifest));
        let made = made.unwrap_or_else(|why| panic!("{kind}: {why}"));
        let through = |value: &Value| match kind {
            Kind::ProxyPool => {
                let typed: switchyard_crds::ProxyPool = serde_json::from_value(value.clone()).unwrap();
                serde_json::to_value(typed.spec).unwrap()
            }
            Kind::ProxyChain => {
                let typed: switchyard_crds::ProxyChain = serde_json::from_value(value.clone()).unwrap();
                serde_json::to_value(typed.spec).unwrap()
            }
        };
        // What the server fills in is what our types fill in.
        assert_eq!(through(&manifest), through(&made), "{kind}");
        let mut all = Vec::new();
        lost(&manifest["spec"], &made["spec"], "", &mut all);
        assert_eq!(all, [] as [String; 0], "{kind}");
    }
}

/// The description of every field, by its path as `kubectl explain` takes it.
fn descriptions(schema: &Value, at: &str, all: &mut BTreeMap<String, String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}.{name}");
        // Kubernetes' own types are referenced by an `allOf` of one.
        let words = field["description"].as_str().unwrap_or_default();
        all.insert(path.clone(), words.to_owned());
        descriptions(field, &path, all);
        descriptions(&field["items"], &path, all);
        descriptions(&field["additionalProperties"], &path, all);
    }
}

fn explain(lab: &Lab, shared: &Shared) {
    let plane = shared.plane();
    let client = plane.admin();
    // It is put together a moment after the kinds are served.
    let document = eventually("the API is described", SOON, || {
        let ask = http_get("/openapi/v3/apis/switchyard.dev/v1alpha1");
        let told = plane
            .block_on(client.request_text(ask))
            .map_err(|e| e.to_string())?;
        if told.contains("v1alpha1.ProxyPool\"") && told.contains("v1alpha1.ProxyChain\"") {
            Ok(told)
        } else {
            Err(told)
        }
    });
    let document: Value = serde_json::from_str(&document).unwrap();
    for (kind, name) in [("ProxyPool", "proxypools"), ("ProxyChain", "proxychains")] {
        let schema = &document["components"]["schemas"][format!("dev.switchyard.v1alpha1.{kind}")];
        let mut all = BTreeMap::new();
        descriptions(schema, name, &mut all);
        lab.say(format!("{kind}: {} fields", all.len()));
        assert!(all.len() > 100, "{}", all.len());
        let bare: Vec<_> = all
            .iter()
            .filter(|(_, words)| words.is_empty())
            .map(|(path, _)| path)
            .collect();
        assert!(bare.is_empty(), "without a description: {bare:#?}");
    }
    // kubectl shows what the document says, ours and Kubernetes' own.
    for (path, words) in [
        ("proxypools", "FIELDS:"),
        ("pp.spec.listeners.directPort", "guests"),
        ("pp.spec.workload.tolerations.effect", "NoSchedule"),
        ("pch.spec.failover.failback", "Sticky"),
        ("pch.status.conditions.reason", "reason"),
    ] {
        let said = plane.kubectl(&["explain", path]);
        assert!(said.contains(words), "{path}: {said}");
        assert!(
            !said.contains("<no description>") && !said.contains("<empty>"),
            "{path}: {said}"
        );
    }
}

fn columns(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let heading = |arguments: &[&str]| {
        let out = space.kubectl(arguments);
        let line = out.lines().next().unwrap_or_default().to_owned();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (kind, text) in [("pp", fixtures::POOL), ("pch", fixtures::CHAIN)] {
        let mut manifest = fixtures::yaml(text);
        manifest["metadata"]["namespace"] = json!(space.namespace);
        let arguments = ["apply", "-f", "-"];
        space.plane.kubectl_feed(&arguments, &manifest.to_string());
        // A status as it will be written, for the columns.
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let patch = json!({"status": manifest["status"]}).to_string();
        space.kubectl(&[
            "patch",
            kind,
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
    }
    assert_eq!(
        heading(&["get", "pp"]),
        "NAME SITE KIND READY PROGRAMMED ADDRESS AGE"
    );
    assert_eq!(
        heading(&["get", "proxypools"]),
        "NAME SITE KIND READY PROGRAMMED ADDRESS AGE"
    );
    assert_eq!(
        heading(&["get", "pch"]),
        "NAME POOL GROUP ACTIVE HEALTHY READY REDIRECT AGE"
    );
    let both = space.kubectl(&["get", "switchyard", "-o", "name"]);
    assert_eq!(both.lines().count(), 2, "{both}");
    let row = |kind: &str, text: &str, wanted: &[&str]| {
        let out = space.kubectl(&["get", kind, "--no-headers"]);
        let cells: Vec<&str> = out.split_whitespace().collect();
        for word in wanted {
            assert!(cells.contains(word), "{word} of {text} is not in {out}");
        }
    };
    let pool = fixtures::yaml(fixtures::POOL);
    row(
        "pp",
        "the pool",
        &[
            pool["spec"]["site"].as_str().unwrap(),
            pool["status"]["ready"].as_str().unwrap(),
            pool["status"]["programmed"].as_str().unwrap(),
        ],
    );
    let chain = fixtures::yaml(fixtures::CHAIN);
    row(
        "pch",
        "the chain",
        &[
            chain["spec"]["poolRef"]["name"].as_str().unwrap(),
            chain["status"]["healthy"].as_str().unwrap(),
        ],
    );
}

fn scale(_: &Lab, shared: &Shared) {
    let space = shared.space();
    let spec = json!({"listeners": [{"name": "sync", "port": 8443}]});
    space.apply(&crate::shared::manifest("ProxyPool", "edge", &spec));
    let replicas = || space.kubectl(&["get", "pp", "edge", "-o", "jsonpath={.spec.replicas}"]);
    assert_eq!(replicas(), "2", "the default, without which there is no scale");
    let out = space.kubectl(&["scale", "pp", "edge", "--replicas=3"]);
    assert!(out.contains("scaled"), "{out}");
    assert_eq!(replicas(), "3");
    let patch =
        json!({"status": {"replicas": 3, "readyReplicas": 1, "selector": "switchyard.dev/pool=edge"}});
    let patch = patch.to_string();
    space.kubectl(&[
        "patch",
        "pp",
        "edge",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ]);
    let path = "/apis/switchyard.dev/v1alpha1/namespaces/{}/proxypools/edge/scale";
    let seen = space.kubectl(&["get", "--raw", &path.replace("{}", &space.namespace)]);
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["spec"]["replicas"], 3);
    assert_eq!(
        seen["status"],
        json!({"replicas": 3, "selector": "switchyard.dev/pool=edge"})
    );
}

fn examples(lab: &Lab, shared: &Shared) {
    let space = shared.space();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("examples");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        count += 1;
        // They may name a namespace of their own, which need not be there to see that all is well but the place.
        let text = fs::read_to_string(&file).unwrap();
        for namespace in text
            .lines()
            .filter_map(|l| l.split_once("namespace: "))
            .map(|(_, rest)| rest)
        {
            let name = namespace.split(['}', ',', ' ']).next().unwrap();
            let mut kubectl = space.plane.kubectl_as(&User::Admin);
            let _ = kubectl.args(["create", "namespace", name]).output().unwrap(); // it may be there
        }
        let mut kubectl = space.plane.kubectl_as(&User::Admin);
        kubectl
            .args(["-n", "default", "apply", "--dry-run=server", "-f"])
            .arg(&file);
        if text.contains("namespace:") {
            kubectl = space.plane.kubectl_as(&User::Admin);
            kubectl.args(["apply", "--dry-run=server", "-f"]).arg(&file);
        }
        let (out, err) = told(&mut kubectl);
        assert_eq!(err, "", "{}", file.display());
        assert!(out.contains("(server dry run)"), "{out}");
    }
    lab.say(format!("{count} files"));
    assert!(count >= 5);
}
