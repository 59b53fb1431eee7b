//! Medians, ratios, and remarks.

use super::*;
use clap::Parser;

fn report(costs: &[(&'static str, f64)]) -> Report {
    let options = Options::parse_from(["bench"]);
    let machine = Machine::read().unwrap();
    let versions = ["switchyard", "haproxy", "nginx"]
        .map(|name| (name, "1".to_owned()))
        .to_vec();
    let mut report = Report::new(&options, machine, versions);
    for (round, &(proxy, cost)) in (1..).zip(costs) {
        let sample = Sample {
            cost,
            busy: Some(0.9),
            details: BTreeMap::from([("core_idle", 0.0)]),
        };
        report.add(Measured {
            round,
            case: "tcp-request",
            proxy,
            sample,
        });
    }
    report
}

#[test]
fn medians_are_compared_case_by_case_and_peer_by_peer() {
    let report = report(&[
        ("switchyard", 9.0),
        ("switchyard", 100.0),
        ("switchyard", 8.0),
        ("haproxy", 12.0),
        ("haproxy", 1.0),
        ("haproxy", 10.0),
        ("haproxy", 6.0),
    ]);
    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    let latest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("latest.json")).unwrap()).unwrap();
    let expected = serde_json::json!([{
        "case": "tcp-request", "ours": 9.0, "peer": 8.0, "peer_name": "haproxy", "unit": "µs/request", "ratio": 1.125
    }]);
    assert_eq!(latest, expected);
    let rounds: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("rounds.json")).unwrap()).unwrap();
    assert_eq!(rounds["rounds"].as_array().unwrap().len(), 7);
    assert_eq!(rounds["versions"]["nginx"], "1");
}

#[test]
fn who_was_not_alone_or_not_loaded_is_told_apart() {
    assert_eq!(remark(0.98, 0.0), "");
    assert!(remark(0.60, 0.38).contains("not saturated"));
    assert!(remark(0.60, 0.02).contains("others"));
}
