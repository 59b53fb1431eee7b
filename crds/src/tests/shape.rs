//! What API servers and kubectl ask of a definition.

use serde_json::Value;

use super::{nodes, schema};
use crate::{ConditionType, EventReason, Kind, Reason, all_crds, manifest};

#[test]
fn every_list_map_and_text_is_bounded() {
    for kind in Kind::ALL {
        for (path, _, node) in nodes(&schema(kind)) {
            let bounded = match node["type"].as_str() {
                Some("array") => node["maxItems"].is_u64(),
                Some("object") => !node["additionalProperties"].is_object() || node["maxProperties"].is_u64(),
                Some("string") => {
                    node["maxLength"].is_u64() || node["enum"].is_array() || node["format"] == "date-time"
                }
                Some("integer" | "boolean") => true,
                None => node["x-kubernetes-int-or-string"] == true && node["maxLength"].is_u64(),
                Some(other) => panic!("{kind}{path} has the type {other}"),
            };
            // API server's own fields at the root.
            let own = matches!(path.as_str(), ".apiVersion" | ".kind" | ".metadata");
            assert!(bounded || own, "{kind}{path} has no bound: {node}");
        }
    }
}

#[test]
fn integers_of_the_spec_are_bounded() {
    for kind in Kind::ALL {
        for (path, _, node) in nodes(&schema(kind)) {
            if node["type"] == "integer" && path.starts_with(".spec") && !path.starts_with(".spec.workload") {
                assert!(
                    node["minimum"].is_number() && node["maximum"].is_number(),
                    "{kind}{path} has no bounds: {node}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_nullable_and_no_format_is_unknown_to_api_servers() {
    for kind in Kind::ALL {
        for (path, _, node) in nodes(&schema(kind)) {
            assert!(node.get("nullable").is_none(), "{kind}{path} is nullable");
            assert!(
                matches!(
                    node["format"].as_str(),
                    None | Some("int32" | "int64" | "date-time" | "double")
                ),
                "{kind}{path} has the format {}",
                node["format"]
            );
            for keyword in ["oneOf", "anyOf", "allOf", "not", "$ref", "const"] {
                assert!(node.get(keyword).is_none(), "{kind}{path} has {keyword}");
            }
        }
    }
}

#[test]
fn every_field_is_described() {
    for kind in Kind::ALL {
        for (path, _, node) in nodes(&schema(kind)) {
            // The parts of a list or map have no name of their own to explain.
            let part = path.ends_with("[]") || path.ends_with("{}");
            let own = matches!(path.as_str(), ".apiVersion" | ".kind" | ".metadata");
            assert!(
                part || own || node["description"].as_str().is_some_and(|d| !d.is_empty()),
                "{kind}{path} has no description"
            );
        }
    }
}

#[test]
fn no_enum_value_is_something_else_in_yaml_1_1() {
    // https://yaml.org/type/bool.html, https://yaml.org/type/null.html
    let words = ["y", "n", "yes", "no", "true", "false", "on", "off", "null", "~"];
    for kind in Kind::ALL {
        for (path, _, node) in nodes(&schema(kind)) {
            for value in node["enum"].as_array().into_iter().flatten() {
                let value = value
                    .as_str()
                    .unwrap_or_else(|| panic!("{kind}{path} has the value {value}"));
                assert!(
                    !words.contains(&value.to_lowercase().as_str()),
                    "{kind}{path} has the value {value}"
                );
            }
        }
    }
}

#[test]
fn lists_that_are_maps_say_so() {
    let maps: Vec<String> = Kind::ALL
        .into_iter()
        .flat_map(|kind| {
            let schema = schema(kind);
            let of_kind = nodes(&schema)
                .into_iter()
                .filter(|(_, _, node)| node["x-kubernetes-list-type"] == "map");
            of_kind
                .map(|(path, _, node)| format!("{kind}{path} by {}", node["x-kubernetes-list-map-keys"]))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        maps,
        [
            r#"ProxyPool.spec.listeners by ["name"]"#,
            r#"ProxyPool.status.conditions by ["type"]"#,
            r#"ProxyChain.spec.backends by ["name"]"#,
            r#"ProxyChain.status.conditions by ["type"]"#,
        ]
    );
}

#[test]
fn names_columns_and_subresources_are_those_of_the_interface() {
    let seen: Vec<_> = all_crds()
        .into_iter()
        .map(|crd| {
            let version = &crd.spec.versions[0];
            let columns: Vec<String> = version
                .additional_printer_columns
                .iter()
                .flatten()
                .map(|column| column.name.to_uppercase())
                .collect();
            let subresources = serde_json::to_value(&version.subresources).unwrap();
            (
                crd.metadata.name.unwrap(),
                version.name.clone(),
                crd.spec.names,
                columns.join(" "),
                subresources,
            )
        })
        .collect();
    let [pool, chain] = seen.as_slice() else {
        panic!("{} definitions", seen.len())
    };
    assert_eq!(
        (pool.0.as_str(), pool.1.as_str()),
        ("proxypools.switchyard.dev", "v1alpha1")
    );
    assert_eq!(
        (chain.0.as_str(), chain.1.as_str()),
        ("proxychains.switchyard.dev", "v1alpha1")
    );
    assert_eq!(pool.2.short_names.as_deref(), Some(["pp".to_owned()].as_slice()));
    assert_eq!(
        chain.2.short_names.as_deref(),
        Some(["pch".to_owned()].as_slice())
    );
    for names in [&pool.2, &chain.2] {
        assert_eq!(
            names.categories.as_deref(),
            Some(["switchyard".to_owned()].as_slice())
        );
    }
    assert_eq!(pool.3, "SITE KIND READY PROGRAMMED ADDRESS AGE");
    assert_eq!(chain.3, "POOL GROUP ACTIVE HEALTHY READY REDIRECT AGE");
    assert_eq!(pool.4["scale"]["specReplicasPath"], ".spec.replicas");
    assert_eq!(pool.4["scale"]["statusReplicasPath"], ".status.replicas");
    assert_eq!(pool.4["scale"]["labelSelectorPath"], ".status.selector");
    assert!(pool.4["status"].is_object() && chain.4["status"].is_object());
    assert_eq!(chain.4["scale"], Value::Null);
}

#[test]
fn columns_and_scale_point_at_fields_that_exist() {
    for crd in all_crds() {
        let version = &crd.spec.versions[0];
        let kind: Kind = crd.spec.names.kind.parse().unwrap();
        let schema = schema(kind);
        let known: Vec<String> = nodes(&schema).into_iter().map(|(path, _, _)| path).collect();
        let columns = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| column.json_path.clone());
        let scale = version
            .subresources
            .as_ref()
            .and_then(|subresources| subresources.scale.clone());
        let scaled = scale.into_iter().flat_map(|scale| {
            [
                Some(scale.spec_replicas_path),
                Some(scale.status_replicas_path),
                scale.label_selector_path,
            ]
            .into_iter()
            .flatten()
        });
        for path in columns
            .chain(scaled)
            .filter(|path| !path.starts_with(".metadata"))
        {
            let plain = path.replace("[0]", "[]").replace(r#"[?(@.type=="Ready")]"#, "[]");
            assert!(known.contains(&plain), "{kind} has no {path}");
        }
    }
}

#[test]
fn the_files_are_what_the_types_say() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(
        manifest::drifted(dir).unwrap(),
        [] as [std::path::PathBuf; 0],
        "run `make gen` and commit the result"
    );
}

#[test]
fn the_folder_holds_nothing_else_that_kubectl_would_apply() {
    let mut applied: Vec<String> = std::fs::read_dir(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            [".yaml", ".yml", ".json"]
                .iter()
                .any(|extension| name.ends_with(extension))
        })
        .collect();
    applied.sort();
    assert_eq!(applied, ["proxychains.yaml", "proxypools.yaml"]);
}

#[test]
fn client_side_apply_can_store_the_files() {
    for manifest in manifest::all().unwrap() {
        // It stores the whole object in an annotation; all annotations together hold 262,144 bytes.
        let size = manifest.yaml.len();
        assert!(size < 200_000, "{} has {size} bytes", manifest.file);
    }
}

#[test]
fn the_files_hold_what_the_types_say_when_read_as_yaml() {
    for (manifest, crd) in manifest::all().unwrap().into_iter().zip(all_crds()) {
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_saphyr::from_str(&manifest.yaml).unwrap();
        assert_eq!(read, crd, "{}", manifest.file);
    }
}

#[test]
fn reasons_are_what_a_condition_can_hold() {
    // The pattern and bound of metav1.Condition.
    for reason in Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .chain(EventReason::ALL.iter().map(|reason| reason.as_str()))
    {
        assert!(reason.starts_with(|first: char| first.is_ascii_uppercase()) && reason.len() <= 128);
        assert!(reason.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    let types: Vec<_> = ConditionType::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(
        types,
        ["Accepted", "ResolvedRefs", "Programmed", "PrimaryActive", "Ready"]
    );
}
