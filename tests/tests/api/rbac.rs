//! What operators ask for: what the one role allows, and nothing more. Every
//! [`Site`](crate::site::Site) judges its operator's requests at its end; here
//! is what needs a look of its own.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;
use switchyard_tests::apiserver::{Entry, User};
use switchyard_tests::lab::Lab;
use switchyard_tests::operator::{Operator, Plan};
use switchyard_tests::suite::Suite;

use crate::rights;
use crate::shared::{SOON, Shared};
use crate::site::Site;

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "rbac::who_watches_one_namespace_asks_for_no_other",
            one_namespace as fn(&Lab, &Shared),
        ),
        ("rbac::who_watches_all_asks_for_nothing_it_may_not", everywhere),
        ("rbac::the_role_names_no_wildcard", no_wildcard),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

fn one_namespace(lab: &Lab, shared: &Shared) {
    let elsewhere = shared.space();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": {"a": "b"}});
    elsewhere.apply(&secret.to_string());
    let site = Site::new(lab, shared.space());
    let plane = &site.space.plane;
    let user = User::service_account(&site.space.namespace, "operator-1");
    let b1 = site.backend("b1", 21);
    site.pool(&["one"]);
    site.chain("one", &[&b1]);
    site.await_chain("one", "Accepted", "True", SOON);
    let asked = plane.audit().since(site.begun());
    let places: BTreeSet<String> = asked
        .iter()
        .filter(|entry| entry.user.username == user.name())
        .filter(|entry| !entry.object_ref.resource.is_empty())
        .map(|entry| entry.object_ref.namespace.clone())
        .collect();
    assert_eq!(places, BTreeSet::from([site.space.namespace.clone()]));
    // It could not have; asked as another with the same rights, so that the operator's own record stays its own.
    let other = rights::operator(&site.space, "operator-2");
    let theirs: Api<Secret> = Api::namespaced(plane.client(&other), &elsewhere.namespace);
    let refused = plane.block_on(theirs.get("theirs")).unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(s) if s.is_forbidden()),
        "{refused}"
    );
}

/// With a control plane of its own: it writes the status of every pool and chain there is, so it would write those of the
/// other trials too.
fn everywhere(lab: &Lab, _: &Shared) {
    let space = Shared::new().space();
    let plane = space.plane.clone();
    let user = rights::operator_everywhere(&space, "operator-1");
    let mark = plane.audit().mark();
    let plan = Plan::everywhere(&user, &space.namespace).short_lease();
    let operator = Operator::start(&lab.host("operator-1", 10), &plane, plan);
    operator.await_ready(SOON);
    let refused: Vec<String> = plane
        .audit()
        .forbidden(&user.name(), mark)
        .iter()
        .map(Entry::line)
        .collect();
    assert_eq!(refused, [] as [String; 0]);
}

fn no_wildcard(_: &Lab, _: &Shared) {
    for rule in rights::all_rules()
        .iter()
        .flat_map(|rules| rules.as_array().unwrap())
    {
        for list in ["apiGroups", "resources", "verbs"] {
            let all = rule[list].as_array().unwrap();
            assert!(!all.is_empty() && all.iter().all(|one| one != "*"), "{rule}");
        }
    }
}
