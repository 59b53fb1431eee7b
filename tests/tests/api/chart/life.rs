//! The life of a release on a real API server: installed where restricted Pod Security is enforced, upgraded from an older chart
//! with objects in place, uninstalled, installed again, and gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use switchyard_tests::apiserver::{ControlPlane, User};
use switchyard_tests::eventually::eventually;
use switchyard_tests::helm::{self, Helm};
use switchyard_tests::lab::Lab;
use switchyard_tests::pages;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;

use super::NAMESPACE;
use crate::shared::SOON;

pub fn add(suite: &mut Suite) {
    suite.test("chart::install_upgrade_uninstall", life);
}

/// A chart as an older release would have been: another version, and a definition without what came later.
fn older(lab: &Lab) -> String {
    let folder = lab.host("files", 200).directory("older");
    tool::output(Command::new("cp").arg("-r").arg(helm::chart()).arg(&folder));
    let chart = folder.join("switchyard");
    edit(&chart.join("Chart.yaml"), "ersion: 0", "ersion: 0.0.1-0");
    edit(
        &chart.join("files/crds/proxypools.yaml"),
        "    shortNames:\n    - pp\n",
        "",
    );
    chart.display().to_string()
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{}: no {from:?}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}

/// A release, and what it is asked of.
struct Release {
    plane: ControlPlane,
    helm: Helm,
}

impl Release {
    /// On a control plane of its own, whose controllers have made what they make.
    fn new() -> Self {
        let plane = ControlPlane::start();
        plane.start_controllers();
        let helm = Helm::of(&plane.kubeconfig(&User::Admin));
        eventually("the controllers have made what they make", SOON, || {
            let there = plane.inventory();
            let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"];
            let made = namespaces.into_iter().flat_map(|namespace| {
                [
                    format!("ConfigMap {namespace} kube-root-ca.crt"),
                    format!("ServiceAccount {namespace} default"),
                ]
            });
            let missing: Vec<String> = made.filter(|one| !there.contains(one)).collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{missing:?} of {there:?}"))
            }
        });
        Self { plane, helm }
    }

    #[track_caller]
    fn helm(&self, verb: &str, more: &[&str]) -> String {
        let arguments = [&[verb, "switchyard", "--namespace", NAMESPACE], more].concat();
        self.helm.run(&arguments)
    }

    /// Pools and chains, as users wrote them.
    fn objects(&self) -> String {
        let each =
            "{range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.generation}{\"\\n\"}{end}";
        let format = format!("jsonpath={each}");
        self.plane
            .kubectl(&["-n", "edge", "get", "proxypools,proxychains", "-o", &format])
    }

    /// The pods that the Deployment became: Pod Security "restricted" has let them in.
    fn await_pods(&self, wanted: usize) {
        eventually(&format!("{wanted} pods"), SOON, || {
            let selector = "app.kubernetes.io/name=switchyard-operator";
            let pods = self
                .plane
                .kubectl(&["-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "name"]);
            if pods.lines().count() == wanted {
                return Ok(());
            }
            Err(format!(
                "{pods}{}",
                self.plane.kubectl(&["-n", NAMESPACE, "get", "events"])
            ))
        });
    }
}

fn life(lab: &Lab) {
    let release = Release::new();
    let plane = &release.plane;
    let untouched = plane.inventory();
    let chart = helm::chart().display().to_string();
    let older = older(lab);
    plane.kubectl(&["create", "namespace", NAMESPACE]);
    plane.kubectl(&[
        "label",
        "namespace",
        NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    release.helm("install", &[&older, "--dry-run=server"]);
    // What `helm test` would run is let in, too.
    let objects = release.helm.render(NAMESPACE, &json!({})).unwrap();
    let pod = helm::find(&objects, "Pod", "switchyard-operator-check").to_string();
    plane.kubectl_feed(
        &["apply", "--dry-run=server", "--validate=strict", "-f", "-"],
        &pod,
    );
    assert!(
        !plane
            .inventory()
            .iter()
            .any(|object| object.contains("switchyard-operator"))
    );

    release.helm("install", &[&older, "--set", "image.tag=0.0.1"]);
    plane.await_definitions();
    release.await_pods(2);
    let by_short_name = ["get", "pp", "--all-namespaces"];
    tool::try_output(plane.kubectl_as(&User::Admin).args(by_short_name)).unwrap_err();
    plane.kubectl(&["create", "namespace", "edge"]);
    let examples = helm::chart().with_file_name("../examples");
    plane.kubectl(&["-n", "edge", "apply", "-f", &examples.to_string_lossy()]);
    let before = release.objects();
    assert!(before.lines().count() > 10, "{before}");

    upgrade(&release, &chart);
    eventually("the new definition is served", SOON, || {
        tool::try_output(plane.kubectl_as(&User::Admin).args(by_short_name))
    });
    assert_eq!(release.objects(), before, "objects in place are as they were");

    release.helm("uninstall", &["--wait"]);
    eventually("nothing runs", SOON, || {
        let left = plane.kubectl(&[
            "get",
            "all,pdb,networkpolicies,roles,rolebindings,secrets",
            "-n",
            NAMESPACE,
            "-o",
            "name",
        ]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert_eq!(release.objects(), before, "kept");
    release.helm("install", &[&chart]);
    release.await_pods(2);
    assert_eq!(release.objects(), before, "taken over");

    vanish(&release, &untouched);
    ownership(&release, &chart);
}

/// By the page for users, nothing is left.
fn vanish(release: &Release, untouched: &BTreeSet<String>) {
    let plane = &release.plane;
    for command in pages::commands("docs/install.md", "Uninstall") {
        pages::run(&command, &plane.kubeconfig(&User::Admin));
    }
    plane.kubectl(&["delete", "namespace", "edge"]);
    eventually("nothing is left", SOON, || {
        let there = plane.inventory();
        if there == *untouched {
            return Ok(());
        }
        Err(format!(
            "{:?}",
            there.symmetric_difference(untouched).collect::<Vec<_>>()
        ))
    });
}

/// To this version, with other values. What the operator has written into an object of the chart stays.
fn upgrade(release: &Release, chart: &str) {
    let plane = &release.plane;
    let bundle =
        json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "b3Vycw=="}]).to_string();
    let configuration = "mutatingwebhookconfiguration/switchyard-operator-switchyard";
    let manager = "--field-manager=switchyard-operator";
    plane.kubectl(&["patch", configuration, "--type=json", manager, "-p", &bundle]);
    release.helm("upgrade", &[chart, "--set", "replicas=3"]);
    let kept = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    assert_eq!(
        plane.kubectl(&["get", configuration, "-o", kept]),
        "b3Vycw==",
        "the operator's field"
    );
    let image = "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image}";
    let rolled = plane.kubectl(&[
        "-n",
        NAMESPACE,
        "get",
        "deployment",
        "switchyard-operator",
        "-o",
        image,
    ]);
    assert_eq!(
        rolled,
        format!("3 switchyard/operator:{}", env!("CARGO_PKG_VERSION"))
    );
}

/// Definitions that somebody else has made.
fn ownership(release: &Release, chart: &str) {
    release.plane.install_definitions();
    let helm = &release.helm;
    let install = [
        "install",
        "switchyard",
        chart,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ];
    let refused = helm.attempt(&install).unwrap_err();
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    helm.run(&[&install[..], &["--take-ownership"]].concat());
    release.helm("uninstall", &[]);
    let without = ["--set", "crds.install=false"];
    helm.run(&[&install[..], &without].concat());
    // A second one beside it, in a namespace of its own.
    let second = [
        "install",
        "second",
        chart,
        "--namespace",
        "second",
        "--create-namespace",
        "--set",
        "watchNamespaces={second}",
    ];
    helm.run(&[&second[..], &without].concat());
}
