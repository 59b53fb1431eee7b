//! What a watch that breaks and lists anew tells.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::relist::Relist;
use super::*;

fn slice(name: &str, service: &str, address: &str) -> EndpointSlice {
    let object = json!({
        "metadata": {"name": name, "namespace": "edge", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}],
    });
    serde_json::from_value(object).unwrap()
}

/// What the changes are, in words.
fn words(changes: Vec<Change>) -> Vec<String> {
    let mut words: Vec<String> = changes
        .into_iter()
        .map(|change| match change {
            Change::Slice { service, name, slice } => {
                format!(
                    "{}{name} of {}",
                    if slice.is_some() { '+' } else { '-' },
                    service.name
                )
            }
            Change::PoolUnreadable(id) => format!("?{}", id.name),
            Change::Pool(pool) => format!("+{}", pool.metadata.name.clone().unwrap()),
            Change::PoolGone(id) => format!("-{}", id.name),
            other => panic!("{other:?}"),
        })
        .collect();
    words.sort();
    words
}

#[test]
fn only_a_complete_list_shows_what_is_missing() {
    let mut relist = Relist::default();
    let counters = Counters::default();
    let mut take = |event| words(relist.take(event, &counters));
    let nothing = Vec::<String>::new();
    assert_eq!(take(Event::Init), nothing);
    assert_eq!(
        take(Event::InitApply(slice("a", "cms", "10.0.0.1"))),
        ["+a of cms"]
    );
    assert_eq!(
        take(Event::InitApply(slice("b", "cms", "10.0.0.2"))),
        ["+b of cms"]
    );
    assert_eq!(take(Event::InitDone), nothing);
    assert_eq!(take(Event::Apply(slice("c", "cms", "10.0.0.3"))), ["+c of cms"]);
    // the watch breaks, and the list after it too
    assert_eq!(take(Event::Init), nothing);
    assert_eq!(
        take(Event::InitApply(slice("a", "cms", "10.0.0.1"))),
        ["+a of cms"]
    );
    assert_eq!(take(Event::Init), nothing);
    assert_eq!(
        take(Event::InitApply(slice("b", "cms", "10.0.0.2"))),
        ["+b of cms"]
    );
    assert_eq!(take(Event::InitDone), ["-a of cms", "-c of cms"]);
    assert_eq!(take(Event::Delete(slice("b", "cms", "10.0.0.2"))), ["-b of cms"]);
    assert_eq!(take(Event::Delete(slice("b", "cms", "10.0.0.2"))), nothing);
}

#[test]
fn a_slice_that_changes_hands_leaves_its_first_service() {
    let mut relist = Relist::default();
    let counters = Counters::default();
    let mut take = |event| words(relist.take(event, &counters));
    take(Event::Apply(slice("a", "cms", "10.0.0.1")));
    assert_eq!(
        take(Event::Apply(slice("a", "other", "10.0.0.1"))),
        ["+a of other", "-a of cms"]
    );
    let mut nobodys = slice("a", "", "10.0.0.1");
    nobodys.metadata.labels = None;
    assert_eq!(take(Event::Apply(nobodys)), ["-a of other"]);
}

#[test]
fn an_object_that_does_not_fit_its_type_stops_nobody() {
    let pool = |name: &str, port: serde_json::Value| -> DeserializeGuard<ProxyPool> {
        let object = json!({
            "apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyPool",
            "metadata": {"name": name, "namespace": "edge"},
            "spec": {"listeners": [{"name": "a", "port": port}]},
        });
        serde_json::from_value(object).unwrap()
    };
    let mut relist = Relist::default();
    let counters = Counters::default();
    let mut take = |event| words(relist.take(event, &counters));
    take(Event::Init);
    assert_eq!(take(Event::InitApply(pool("good", json!(80)))), ["+good"]);
    assert_eq!(take(Event::InitApply(pool("bad", json!("eighty")))), ["?bad"]);
    assert_eq!(take(Event::InitDone), Vec::<String>::new());
    assert_eq!(take(Event::Apply(pool("bad", json!(81)))), ["+bad"]);
    assert_eq!(take(Event::Delete(pool("bad", json!("eighty")))), ["-bad"]);
    assert_eq!(counters.unreadable.get(), 1);
}
