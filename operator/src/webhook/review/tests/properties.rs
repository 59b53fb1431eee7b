//! Whatever the pod looks like: it is given a proxy once, and nothing of what its maker wrote is changed.

use proptest::prelude::*;

use super::*;

fn container() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["app", "log", "migrate", "web", CONTAINER]);
    let variable = prop::sample::select(vec![
        "URL",
        "SWITCHYARD_ORDERS_DB_HOST",
        "SWITCHYARD_ORDERS_DB_PORT",
    ]);
    let env = prop::collection::vec(variable, 0..4);
    (name, prop::option::of(env), any::<bool>()).prop_map(|(name, env, always)| {
        let mut container = json!({"name": name, "image": "i"});
        if let Some(env) = env {
            container["env"] = env
                .iter()
                .map(|name| json!({"name": name, "value": "own"}))
                .collect();
        }
        if always {
            container["restartPolicy"] = json!("Always");
        }
        container
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let containers = || prop::collection::vec(container(), 0..4);
    let label = prop::sample::select(vec!["true", "false", "yes"]);
    let volume = prop::sample::select(vec!["data", "switchyard-cache", "switchyard"]);
    let volumes = prop::collection::vec(volume, 0..3);
    let spec = (
        prop::option::of(containers()),
        containers(),
        prop::option::of(volumes),
        any::<bool>(),
    );
    (spec, prop::option::of(label), any::<bool>()).prop_map(
        |((init, containers, volumes, host), label, pool)| {
            let mut pod = json!({"metadata": {}, "spec": {"containers": containers, "hostNetwork": host}});
            if let Some(init) = init {
                pod["spec"]["initContainers"] = json!(init);
            }
            if let Some(volumes) = volumes {
                pod["spec"]["volumes"] = volumes
                    .iter()
                    .map(|name| json!({"name": name, "emptyDir": {}}))
                    .collect();
            }
            if let Some(label) = label {
                pod["metadata"]["labels"] = json!({"switchyard.dev/inject": label});
            }
            if pool {
                pod["metadata"]["labels"]["switchyard.dev/pool"] = json!("side");
            }
            pod
        },
    )
}

/// The pod without what a proxy adds.
fn without(stored: &Value, before: &Value) -> Value {
    let mut pod = stored.clone();
    for (list, names) in [
        ("initContainers", &[CONTAINER][..]),
        ("volumes", &["switchyard-identity", "switchyard-cache"]),
    ] {
        if let Some(items) = pod
            .pointer_mut(&format!("/spec/{list}"))
            .and_then(Value::as_array_mut)
        {
            items.retain(|item| !names.iter().any(|name| item["name"] == *name));
        }
        if before["spec"][list].is_null() {
            pod["spec"].as_object_mut().unwrap().remove(list);
        }
    }
    for list in ["initContainers", "containers"] {
        let old = before["spec"][list].as_array().cloned().unwrap_or_default();
        let new = pod.pointer_mut(&format!("/spec/{list}"));
        let new = new.and_then(Value::as_array_mut).into_iter().flatten();
        for (old, new) in old.iter().zip(new) {
            match old["env"].as_array() {
                // ours come first
                Some(own) => {
                    let env = new["env"].as_array_mut().unwrap();
                    env.drain(..env.len() - own.len());
                }
                None => drop(new.as_object_mut().unwrap().remove("env")),
            }
        }
    }
    let labels = &before["metadata"]["labels"];
    pod["metadata"]["labels"] = labels.clone();
    if labels.is_null() {
        pod["metadata"].as_object_mut().unwrap().remove("labels");
    }
    pod
}

proptest! {
    #[test]
    fn a_pod_is_changed_once_and_what_its_maker_wrote_stays(pod in pod()) {
        let (pools, _) = read(include_str!("../../../../testdata/sidecars/least.yaml"));
        let (answer, stored) = ask(&pools, &pod);
        let (again, same) = ask(&pools, &stored);
        prop_assert_eq!(&same, &stored, "asked again");
        prop_assert_ne!(again.outcome, Outcome::Injected);
        let there = |pod: &Value| choose::items(pod, "initContainers").filter(|it| it["name"] == CONTAINER).count();
        match answer.outcome {
            Outcome::Injected if there(&pod) == 0 => {
                prop_assert_eq!(there(&stored), 1);
                prop_assert_eq!(&stored["spec"]["initContainers"][0]["name"], CONTAINER);
                prop_assert_eq!(&stored["metadata"]["labels"]["switchyard.dev/pool"], "side");
                prop_assert_eq!(without(&stored, &pod), pod);
            }
            // It had a proxy: only variables may be missing.
            Outcome::Injected => prop_assert_eq!(there(&stored), there(&pod)),
            _ => prop_assert_eq!(&stored, &pod),
        }
    }
}
