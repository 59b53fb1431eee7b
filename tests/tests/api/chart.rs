//! The chart: what it renders, and what becomes of it on a real API server. Nodes come with the cluster's tests.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_tests::admin;
use switchyard_tests::apiserver::{Entry, User};
use switchyard_tests::eventually::eventually;
use switchyard_tests::helm::{self, Helm};
use switchyard_tests::lab::Lab;
use switchyard_tests::operator::{self, Operator, Plan};
use switchyard_tests::pages;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use crate::shared::{SOON, Shared};
use crate::site::Site;

mod life;
mod rendered;

/// Where it is installed.
const NAMESPACE: &str = "switchyard";

pub fn add(suite: &mut Suite, shared: &Shared) {
    life::add(suite);
    rendered::add(suite);
    let both = shared.clone();
    suite.test("chart::the_operator_takes_every_setting", move |lab| {
        settings(lab, &both);
    });
    let shared = shared.clone();
    suite.test(
        "chart::the_dashboard_of_proxies_asks_for_what_there_is",
        move |lab| dashboard(lab, &shared),
    );
}

/// What the container of the operator is told, as arguments.
fn arguments(objects: &[Value]) -> Vec<String> {
    let deployment = helm::find(objects, "Deployment", "switchyard-operator");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let told = container["args"].as_array().unwrap().iter().skip(1);
    let told = told.map(|argument| argument.as_str().unwrap().to_owned());
    let variables = container["env"].as_array().unwrap().iter();
    let variables = variables.filter_map(|variable| {
        // Those of the pod are the harness's to say.
        let flag = variable["name"].as_str()?.strip_prefix("SWITCHYARD_")?;
        let value = variable["value"].as_str().unwrap();
        Some(format!("--{}={value}", flag.to_lowercase().replace('_', "-")))
    });
    told.chain(variables).collect()
}

/// Everything on, and nothing as it is by default.
fn everything() -> Value {
    json!({
        "watchNamespaces": [NAMESPACE],
        "webhook": {"enabled": true, "failurePolicy": "Fail", "timeoutSeconds": 7},
        "lease": {"duration": "3s", "renewDeadline": "2s", "retryPeriod": "500ms"},
        "certificates": {"tokenIssuer": switchyard_tests::apiserver::ISSUER, "caLifetime": "8000h", "propagation": "25h", "lifetime": "23h"},
        "log": {"filter": "debug", "format": "json"},
        "metrics": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}, "dashboards": {"enabled": true}},
    })
}

/// The rendered settings are the program's: it starts with all of them, becomes ready under the chart's roles, and is asked by
/// what `helm test` runs. What the dashboards show is on its page.
fn settings(lab: &Lab, shared: &Shared) {
    let plane = shared.plane();
    let objects = Helm::offline().render(NAMESPACE, &everything()).unwrap();
    plane.kubectl(&["create", "namespace", NAMESPACE]);
    for kind in [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "MutatingWebhookConfiguration",
    ] {
        for object in objects.iter().filter(|object| object["kind"] == kind) {
            plane.kubectl_feed(&["apply", "--server-side", "-f", "-"], &object.to_string());
        }
    }
    let user = User::service_account(NAMESPACE, "switchyard-operator");
    let mark = plane.audit().mark();
    let plan = arguments(&objects)
        .iter()
        .fold(Plan::everywhere(&user, NAMESPACE), |plan, argument| {
            plan.argument(argument)
        });
    let host = lab.host("operator", 10);
    let client = lab.host("client", 100);
    let way = plane.reach_from(&client);
    let kubeconfig = plane.kubeconfig(&User::Named("anybody".to_owned()));
    let check = |more: &[&str]| {
        let mut command = client.command(&operator::program().to_string_lossy());
        command
            .env("KUBECONFIG", &kubeconfig)
            .args(["check", "--operator=10.77.0.10"])
            .args(more);
        tool::try_output(&mut command)
    };
    let nobody = check(&["--within=1s", "--webhook-port=9443"]).unwrap_err();
    for words in [
        "it is not so that an operator is ready",
        "it is not so that the webhook is served",
        "it is not so that a leader serves proxies",
        "Connection refused",
    ] {
        assert!(nobody.contains(words), "{nobody}");
    }
    assert!(!nobody.contains("ProxyChain"), "{nobody}");
    let mut operator = Operator::start(&host, plane, plan);
    operator.await_ready(SOON);
    let told = check(&["--within=20s", "--webhook-port=9443"]).unwrap();
    assert_eq!(told.lines().count(), 4, "{told}");
    eventually("the API server is told whom to trust", SOON, || {
        let configuration = "mutatingwebhookconfiguration/switchyard-operator-switchyard";
        let bundle = "jsonpath={.webhooks[0].clientConfig.caBundle}";
        let told = plane.kubectl(&["get", configuration, "-o", bundle]);
        // Base64 of a PEM's first line.
        if told.starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS") {
            Ok(())
        } else {
            Err(told)
        }
    });
    let refused: Vec<String> = plane
        .audit()
        .forbidden(&user.name(), mark)
        .iter()
        .map(Entry::line)
        .collect();
    assert_eq!(refused, [] as [String; 0]);
    shown(&objects, "operator", &operator);
    drop(way);
    let end = operator.stop(Duration::from_secs(20));
    assert!(end.success(), "{end}");
}

/// As [`settings`], for the dashboard of proxies.
fn dashboard(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backend = site.backend("b1", 21);
    site.pool(&["one"]);
    site.chain("one", &[&backend]);
    let member = site.member(11);
    site.await_chain("one", "Ready", "True", SOON);
    let objects = Helm::offline().render(NAMESPACE, &everything()).unwrap();
    shown(&objects, "proxies", &member);
}

/// Every metric that a dashboard asks for is announced on this page of metrics. A family without a value is not announced: then it
/// must be in the table of the page for users.
fn shown(objects: &[Value], dashboard: &str, page: &admin::Admin) {
    let name = format!("switchyard-dashboard-{dashboard}");
    let text = &helm::find(objects, "ConfigMap", &name)["data"][format!("switchyard-{dashboard}.json")];
    let board: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    let (status, metrics) = page.get("/metrics").unwrap();
    assert_eq!(status, 200);
    let announced: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let table = pages::text("docs/operator.md");
    let mut asked = 0;
    for target in board["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let expression = target["expr"].as_str().unwrap();
        for name in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !name.starts_with("switchyard_") {
                continue;
            }
            let family = name.trim_end_matches("_total").trim_end_matches("_bucket");
            let told = family.strip_prefix("switchyard_operator_");
            let told = told.is_some_and(|word| table.contains(&format!("`{word}`")));
            assert!(
                announced.contains(&family) || told,
                "{expression}: {family} is not among {announced:?}"
            );
            asked += 1;
        }
    }
    assert!(asked > 5, "{asked} metrics");
}
