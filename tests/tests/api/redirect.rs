//! Two pools whose chains stand in for each other: whom their proxies are told of, by which keys they gossip, where the clients of
//! a chain go that is dead or suspended, and what its status says of that.

mod known;
mod served;

use serde_json::{Value, json};
use switchyard_tests::backend::Backend;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Lab;
use switchyard_tests::member::Member;
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared};
use crate::site::{Site, chain_spec};

/// What both pools listen on.
const LISTENER: u16 = 8001;

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "redirect::proxies_are_told_those_of_the_other_pool",
            known::told as fn(&Lab, &Shared),
        ),
        (
            "redirect::gossip_keys_are_made_and_renewed_without_a_gap",
            known::keys,
        ),
        ("redirect::a_dead_chain_says_where_its_clients_are", served::dead),
        (
            "redirect::a_suspended_chain_is_served_by_another",
            served::suspended,
        ),
        (
            "redirect::what_does_not_fit_its_group_is_refused_in_words",
            served::misfits,
        ),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

fn pool(site: &Site<'_>, name: &str, fields: &Value) {
    let mut spec = json!({"site": name, "listeners": [{"name": "one", "port": LISTENER, "protocol": "TCP"}]});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    site.apply("ProxyPool", name, &spec);
}

/// A chain of the group `g` on a pool; it goes by the pool's name.
fn chain(site: &Site<'_>, pool: &str, backend: &Backend, fields: &Value) {
    let mut spec = chain_spec("one", &[backend]);
    spec["poolRef"]["name"] = json!(pool);
    spec["group"] = json!("g");
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    site.apply("ProxyChain", pool, &spec);
}

/// Peers that a proxy holds to be alive.
fn alive(member: &Member) -> f64 {
    member.metrics().sum("switchyard_peers", &[("state", "alive")])
}

#[track_caller]
fn await_alive(members: &[&Member]) {
    let others = members.len() - 1;
    for member in members {
        eventually(
            &format!("{} hears {others} others", member.pod().name),
            SOON,
            || match alive(member) {
                found if (found - others as f64).abs() < f64::EPSILON => Ok(()),
                other => Err(format!("{other}: {}", member.json("/table"))),
            },
        );
    }
}
