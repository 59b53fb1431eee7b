use super::*;
use crate::testing::rig::{self, Control};
use switchyard_snapshot::Protocol;

fn route(chains: &[(&str, &[&str])]) -> (ListenerRoute, Vec<String>) {
    let mut route = ListenerRoute::new(Arc::new(rig::listener("main", Protocol::Auto)));
    let mut names = Vec::new();
    for (name, hostnames) in chains {
        let hostnames: Vec<String> = hostnames.iter().map(|name| (*name).to_owned()).collect();
        route.add(Control::simple(name, &[]).handle, &hostnames);
        names.push((*name).to_owned());
    }
    (route, names)
}

#[test]
fn exact_before_longest_wildcard_before_default() {
    let (route, names) = route(&[
        ("exact", &["a.example.com"]),
        ("short", &["*.com", "*.example.com"]),
        ("long", &["*.b.example.com"]),
        ("default", &[]),
    ]);
    for (host, chain) in [
        ("a.example.com", "exact"),
        ("b.example.com", "short"),
        ("x.b.example.com", "long"),
        ("y.x.b.example.com", "long"),
        ("x.a.example.com", "short"),
        ("example.com", "short"),
        ("com", "default"),
        ("example.org", "default"),
        ("", "default"),
        (".", "default"),
        ("møller.example.com", "short"),
    ] {
        assert_eq!(names[route.chain_for(host).unwrap()], chain, "{host}");
    }
    assert_eq!(names[route.default_chain().unwrap()], "default");
}

#[test]
fn without_a_default_an_unknown_name_leads_nowhere() {
    let (with_names, _) = route(&[("exact", &["a.example.com"])]);
    assert_eq!(with_names.chain_for("b.example.com"), None);
    assert_eq!(with_names.default_chain(), None);
    assert!(with_names.has_names());
    let (bare, _) = route(&[("default", &[])]);
    assert!(!bare.has_names());
}
