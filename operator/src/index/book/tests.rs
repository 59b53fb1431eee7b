//! Who is concerned by what, and what must be fetched, step by step.

use std::sync::Arc;

use switchyard_snapshot::PoolId;

use super::*;
use crate::secrets::Secret;

fn id(name: &str) -> SecretId {
    SecretId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn pool(name: &str) -> ObjectKey {
    ObjectKey::pool(&PoolId {
        namespace: "edge".into(),
        name: name.into(),
    })
}

fn found(version: &str, text: &str) -> Fetched {
    let data = BTreeMap::from([("ca.crt".to_owned(), text.as_bytes().to_vec())]);
    Fetched::Found {
        version: version.into(),
        secret: Arc::new(Secret::new(data)),
    }
}

enum Step {
    Names(&'static str, &'static str),
    Unnames(&'static str, &'static str),
    Seen(&'static str, Option<&'static str>),
    Fetched(&'static str, Fetched),
}

use Step::{Names, Seen, Unnames};

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_step_concerns_whom_it_should_and_fetches_what_it_must() {
    let told = |name: &'static str, fetched| Step::Fetched(name, fetched);
    let failed = || Fetched::Failed("no".into());
    let wants = Wants::default();
    let mut book = Book::new(wants.clone());
    // what happens; whether those who name it are concerned; what must be fetched; whether anybody waits
    let steps: Vec<(&str, Step, bool, &[&str], bool)> = vec![
        ("nobody names it", Seen("a", Some("1")), false, &[], false),
        ("somebody does", Names("p", "a"), false, &["a"], true),
        ("it is fetched", told("a", found("1", "x")), true, &[], false),
        ("somebody else names it", Names("q", "a"), false, &[], false),
        ("told again", Seen("a", Some("1")), false, &[], false),
        (
            "it changes: who names it goes on with what it has",
            Seen("a", Some("2")),
            false,
            &["a"],
            false,
        ),
        (
            "only its labels did",
            told("a", found("2", "x")),
            false,
            &[],
            false,
        ),
        ("it changes", Seen("a", Some("3")), false, &["a"], false),
        ("another one now", told("a", found("3", "y")), true, &[], false),
        (
            "it changes and cannot be read: what was read stays",
            Seen("a", Some("4")),
            false,
            &["a"],
            false,
        ),
        ("still not", told("a", failed()), false, &[], false),
        (
            "fetched before the watch told it",
            told("a", found("5", "z")),
            true,
            &[],
            false,
        ),
        ("which then tells it", Seen("a", Some("5")), false, &[], false),
        ("one names it no more", Unnames("p", "a"), false, &[], false),
        ("it is gone", Seen("a", None), true, &[], false),
        ("gone already", Seen("a", None), false, &[], false),
        (
            "an answer that comes too late",
            told("a", found("5", "z")),
            false,
            &[],
            false,
        ),
        ("it is back", Seen("a", Some("6")), false, &["a"], true),
        (
            "and gone when it is asked for",
            told("a", Fetched::Gone),
            true,
            &[],
            false,
        ),
        ("one that cannot be read", Seen("b", Some("1")), false, &[], false),
        ("is named", Names("q", "b"), false, &["b"], true),
        ("is told so", told("b", failed()), true, &[], false),
        ("once", told("b", failed()), false, &[], false),
        ("can be read", told("b", found("1", "x")), true, &[], false),
        ("is let go", Unnames("q", "b"), false, &[], false),
        (
            "is nobody's any more",
            told("b", found("2", "y")),
            false,
            &[],
            false,
        ),
    ];
    for (what, step, concerned, fetch, waits) in steps {
        let was = match step {
            Names(by, name) => {
                book.name(&pool(by), [id(name)].into_iter());
                false
            }
            Unnames(by, name) => {
                book.unname(&pool(by), [id(name)].into_iter());
                false
            }
            Seen(name, version) => book.seen(&id(name), version.map(str::to_owned)),
            Step::Fetched(name, fetched) => book.fetched(id(name), fetched),
        };
        let wanted: Vec<String> = wants.take(9, |_| true).into_iter().map(|id| id.name).collect();
        assert_eq!(
            (was, wanted.as_slice(), book.waits()),
            (
                concerned,
                fetch
                    .iter()
                    .map(|it| (*it).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice(),
                waits
            ),
            "{what}"
        );
    }
    assert_eq!(book.sizes(), (1, 0), "b is there, and nothing of it is kept");
}

#[test]
fn what_nobody_names_is_never_held() {
    let wants = Wants::default();
    let mut book = Book::new(wants.clone());
    for n in 0..10_000 {
        assert!(!book.seen(&id(&format!("s{n}")), Some("1".into())));
    }
    assert_eq!(wants.take(usize::MAX, |_| true), []);
    assert_eq!(book.sizes(), (10_000, 0));
    assert!(!book.fetched(id("s7"), found("1", "x")), "nobody asked");
    assert_eq!(book.sizes(), (10_000, 0));
}

#[test]
fn pools_name_the_keys_of_their_tickets_and_of_their_gossip_too() {
    let names = |spec: &str| -> Vec<String> {
        let spec: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
        let pool = serde_json::json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool",
            "metadata": {"name": "p", "namespace": "edge"}, "spec": spec});
        let pool: ProxyPool = serde_json::from_value(pool).unwrap();
        secrets_of_pool(&pool).map(|id| id.name).collect()
    };
    let gossip = "switchyard-gossip-keys";
    let table: [(&str, &[&str]); 5] = [
        (
            "listeners: [{name: a, port: 1, tls: {certificateRefs: [{name: b}, {name: a}, {name: b}], clientCARef: {name: c}}}]",
            &["a", "b", "c", "p-ticket-keys", gossip],
        ),
        (
            "listeners: [{name: a, port: 1, tls: {mode: Passthrough}}]",
            &[gossip],
        ),
        ("listeners: [{name: a, port: 1}]", &[gossip]),
        (
            "{listeners: [{name: a, port: 1}], peers: {keyRef: {name: shared}}}",
            &["shared"],
        ),
        (
            "{listeners: [{name: a, port: 1}], workload: {kind: Sidecar}}",
            &[gossip],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(names(spec), expected, "{spec}");
    }
}
