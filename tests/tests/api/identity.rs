//! Who is served by the operator, and who is refused: by the words that the
//! proxy hears, and by the operator's count.

use switchyard_tests::lab::Lab;
use switchyard_tests::member::{AUDIENCE, Member, Plan};
use switchyard_tests::suite::Suite;

use crate::shared::{SOON, Shared};
use crate::site::Site;

const REFUSED: &str = "switchyard_operator_identity_certificates_refused_total";

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "identity::a_token_that_is_bound_to_no_pod_is_refused",
            unbound as fn(&Lab, &Shared),
        ),
        ("identity::a_token_for_others_is_refused", audience),
        ("identity::a_pod_of_another_pool_is_refused", other_pool),
        ("identity::a_pod_that_is_gone_is_refused", gone),
        ("identity::no_token_is_refused", nothing),
        (
            "identity::an_operator_that_nobody_vouches_for_is_refused",
            impostor,
        ),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// A proxy that is refused: `words` are in its log, the operator has counted
/// it, the token is in neither's log, and it has no configuration.
fn is_refused(lab: &Lab, site: &Site, plan: Plan, words: &str) {
    let token = plan.token.clone();
    let before = site.operator.metrics().sum(REFUSED, &[]);
    let mut member = Member::begin(&lab.host("proxy-31", 31), plan);
    let line = member.program().await_line(words, SOON);
    lab.say(line);
    assert!(site.operator.metrics().sum(REFUSED, &[]) > before, "not counted");
    if !token.is_empty() {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!member.output().contains(signature), "the proxy logs tokens");
        assert!(
            !site.operator.output().contains(signature),
            "the operator logs tokens"
        );
    }
    if let Ok((status, _)) = member.get("/readyz") {
        assert_ne!(status, 200, "ready without a configuration");
    }
}

fn site<'a>(lab: &'a Lab, shared: &Shared) -> Site<'a> {
    let site = Site::new(lab, shared.space());
    site.pool(&["one"]);
    site
}

fn unbound(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared);
    let pod = site.pod("edge", 31);
    let mut plan = site.plan(&pod, "edge");
    plan.token = site
        .space
        .plane
        .token((&pod.namespace, &pod.account), AUDIENCE, None, 3600);
    is_refused(lab, &site, plan, "not bound to a pod");
}

fn audience(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared);
    let pod = site.pod("edge", 31);
    let mut plan = site.plan(&pod, "edge");
    plan.token = site.space.plane.pod_token(&pod, "somebody-else");
    is_refused(lab, &site, plan, "audience");
}

fn other_pool(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared);
    let pod = site.pod("elsewhere", 31);
    let plan = site.plan(&pod, "edge");
    is_refused(lab, &site, plan, "elsewhere");
}

fn gone(lab: &Lab, shared: &Shared) {
    let mut site = site(lab, shared);
    let pod = site.pod("edge", 31);
    let plan = site.plan(&pod, "edge");
    site.space.plane.delete_pod(&pod);
    // One that runs on may hear of the end after the proxy has asked; this one has listed pods since.
    site.operator.kill();
    site.operator.start_again();
    site.operator.await_ready(SOON);
    is_refused(lab, &site, plan, "does not exist");
}

fn nothing(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared);
    let pod = site.pod("edge", 31);
    let mut plan = site.plan(&pod, "edge");
    plan.token = String::new();
    let mut member = Member::begin(&lab.host("proxy-31", 31), plan);
    lab.say(member.program().await_line("token", SOON));
    if let Ok((status, _)) = member.get("/readyz") {
        assert_ne!(status, 200, "ready without a configuration");
    }
}

fn impostor(lab: &Lab, shared: &Shared) {
    let site = site(lab, shared);
    let pod = site.pod("edge", 31);
    let mut plan = site.plan(&pod, "edge");
    let folder = tempfile::tempdir().unwrap();
    let other = switchyard_tests::tls::Certificate::make(folder.path(), &["other.test"]);
    plan.authorities = std::fs::read_to_string(other.file).unwrap();
    let mut member = Member::begin(&lab.host("proxy-31", 31), plan);
    lab.say(member.program().await_line("certificate", SOON));
    if let Ok((status, _)) = member.get("/readyz") {
        assert_ne!(status, 200, "ready without a configuration");
    }
}
