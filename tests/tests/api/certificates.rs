//! Certificates that live for seconds: proxies renew them and follow the CA
//! from one to the next, also while the API server is gone; whoever has none
//! that is valid is refused in words.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use switchyard_discovery::client::{Session, SessionError, connect};
use switchyard_discovery::release::Release;
use switchyard_tests::client::{Load, LoadPlan};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::Lab;
use switchyard_tests::member::Member;
use switchyard_tests::operator::DISCOVERY_PORT;
use switchyard_tests::suite::Suite;
use switchyard_tests::tool;
use tokio_util::sync::CancellationToken;

use crate::release::subscriber;
use crate::shared::{SOON, Shared};
use crate::site::Site;

const REFUSED: &str = "switchyard_operator_identity_certificates_refused_total";
/// What a proxy logs when it has a new certificate.
const RENEWED: &str = "the client certificate is renewed";
/// A certificate lives for so long here. It is renewed at two thirds of it, and ends at a whole second: what is left is for a
/// machine that does not let somebody run meanwhile.
const LIFETIME: Duration = Duration::from_secs(6);
/// The API server is gone for more than ten times that.
const OUTAGE: Duration = Duration::from_secs(65);
/// After an outage, clients that back off may wait this long before they look again.
const BACK: Duration = Duration::from_secs(45);

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "certificates::they_outlive_ten_lifetimes_without_an_api_server",
            outage as fn(&Lab, &Shared),
        ),
        (
            "certificates::they_and_their_ca_change_and_no_client_notices",
            rotation,
        ),
        ("certificates::an_expired_one_is_refused_in_words", expired),
        ("certificates::none_is_refused_in_words", none),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

fn renewals(member: &Member) -> usize {
    member.output().matches(RENEWED).count()
}

/// What the proxy has written since it had written so many bytes.
fn written_since(member: &Member, before: usize) -> String {
    member.output().split_off(before)
}

/// Since when the proxy has what the operator says, without a break.
fn in_sync(member: &Member) -> Result<String, String> {
    let (_, body) = member.get("/snapshot")?;
    let told: serde_json::Value = serde_json::from_str(&body).map_err(|e| e.to_string())?;
    let source = &told["source"];
    match (source["inSync"].as_bool(), source["since"].as_str()) {
        (Some(true), Some(since)) => Ok(since.to_owned()),
        _ => Err(source.to_string()),
    }
}

#[track_caller]
fn await_in_sync(member: &Member, within: Duration) -> String {
    eventually("it hears the operator", within, || in_sync(member))
}

/// The authorities that the pool's proxies are told to trust: PEM, one each.
fn authorities(map: &ConfigMap) -> Vec<String> {
    let text = map.data.as_ref().and_then(|data| data.get("ca.crt"));
    let parts = text.map_or("", String::as_str).split("-----END CERTIFICATE-----");
    let parts = parts.map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

fn rotation(lab: &Lab, shared: &Shared) {
    let site = Site::with(lab, shared.space(), |plan| {
        plan.argument("--certificate-lifetime=6s")
            .argument("--ca-propagation=6s")
            .argument("--ca-lifetime=36s")
    });
    let client = lab.host("client", 100);
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    site.pool(&["one", "two"]);
    site.chain("one", &[&b1]);
    let mut members = [site.member(31), site.member(32)];
    let trusted_at = |what: &str, within: Duration, check: &dyn Fn(&[String]) -> bool| {
        let name = "edge-bootstrap";
        site.space.await_object(name, what, within, |map: &ConfigMap| {
            let all = authorities(map);
            if check(&all) {
                Ok(all)
            } else {
                Err(format!("{} of them", all.len()))
            }
        })
    };
    let first = trusted_at("has its authority", SOON, &|all| all.len() == 1).remove(0);
    for member in &members {
        member.await_serving("one", &[b1.address()], SOON);
    }
    let since = members.each_ref().map(|member| await_in_sync(member, SOON));
    // Until now the operator may have known nothing of a pod that had just been made.
    let said = members.each_ref().map(|member| member.output().len());
    let refused = site.operator.metrics().sum(REFUSED, &[]);
    let loads = members
        .each_ref()
        .map(|m| Load::start(&client, LoadPlan::new(m.at(8001), 25)));
    let begun = Instant::now();
    trusted_at("has the next one beside it", SOON + SOON, &|all| {
        all.len() > 1 && all.contains(&first)
    });
    lab.say(format!("the next CA is published after {:.1?}", begun.elapsed()));
    // The one before it goes when it has expired.
    let without_first = |all: &[String]| !all.is_empty() && !all.contains(&first);
    trusted_at("has the next one alone", SOON + SOON, &without_first);
    lab.say(format!("the first CA is gone after {:.1?}", begun.elapsed()));
    let before = members.each_ref().map(renewals);
    for (member, before) in members.iter().zip(before) {
        eventually("they renew under the next CA", SOON, || match renewals(member) {
            now if now >= before + 2 => Ok(()),
            now => Err(format!("{now} after {before}")),
        });
    }
    site.chain("two", &[&b2]);
    for ((member, since), said) in members.iter().zip(since).zip(said) {
        member.await_serving("two", &[b2.address()], SOON);
        lab.say(format!("{}: {} renewals", member.pod().name, renewals(member)));
        assert_eq!(
            in_sync(member),
            Ok(since),
            "the stream was lost\n{}",
            member.output()
        );
        let since = written_since(member, said);
        assert!(!since.contains("refuses"), "{since}");
    }
    assert!(
        site.operator.metrics().sum(REFUSED, &[]) - refused < 0.5,
        "somebody was refused"
    );
    for load in loads {
        let seen = load.stop();
        lab.say(seen.to_string());
        seen.must_all_be_served();
    }
    // What a kubelet would give it now: authorities go on changing.
    let known = trusted_at("trusts somebody", SOON, &without_first);
    starts_again(&mut members[0], &known);
}

/// It has nothing but its pod's files then; a kubelet has renewed one of them.
fn starts_again(member: &mut Member, known: &[String]) {
    member.kill();
    member.trust(&format!(
        "{}\n-----END CERTIFICATE-----\n",
        known.join("\n-----END CERTIFICATE-----\n")
    ));
    member.start_again();
    await_in_sync(member, SOON);
}

fn outage(lab: &Lab, shared: &Shared) {
    let mut site = Site::with(lab, shared.space(), |plan| {
        plan.argument("--certificate-lifetime=6s")
            .argument("--ca-propagation=6s")
            .argument("--ca-lifetime=1h")
    });
    let client = lab.host("client", 100);
    let (b1, b2) = (site.backend("b1", 21), site.backend("b2", 22));
    site.pool(&["one", "two"]);
    site.chain("one", &[&b1]);
    let mut members = [site.member(31), site.member(32)];
    for member in &members {
        member.await_serving("one", &[b1.address()], SOON);
        await_in_sync(member, SOON);
    }
    // Until now the operator may have known nothing of a pod that had just been made.
    let said = members.each_ref().map(|member| member.output().len());
    let load = Load::start(&client, LoadPlan::new(members[0].at(8001), 25));
    let before = renewals(&members[0]);
    site.operator.relay().cut();
    let cut = Instant::now();
    let_pass(OUTAGE / 2);
    // Its certificate was in its memory: it has its pod's token, and the operator what it knew of the cluster.
    let [stays, killed] = &mut members;
    killed.kill();
    let at = Instant::now();
    killed.start_again();
    await_in_sync(killed, SOON);
    lab.say(format!(
        "started again, it hears the operator after {:.1?}",
        at.elapsed()
    ));
    let_pass(OUTAGE.saturating_sub(cut.elapsed()));
    let renewed = renewals(stays) - before;
    lab.say(format!(
        "{renewed} renewals in {:.0?} without an API server",
        cut.elapsed()
    ));
    assert!(renewed >= 10, "{renewed} renewals\n{}", stays.output());
    for (member, said) in [&*stays, &*killed].into_iter().zip(said) {
        await_in_sync(member, SOON);
        let since = written_since(member, said);
        assert!(!since.contains("refuses"), "{since}");
    }
    assert!(cut.elapsed() > 10 * LIFETIME);
    site.operator.relay().restore();
    let back = Instant::now();
    site.chain("two", &[&b2]);
    for member in &members {
        member.await_serving("two", &[b2.address()], BACK);
    }
    lab.say(format!(
        "a change is followed {:.1?} after it is back",
        back.elapsed()
    ));
    site.await_chain("two", "Programmed", "True", BACK);
    let seen = load.stop();
    lab.say(seen.to_string());
    seen.must_all_be_served();
}

fn expired(lab: &Lab, shared: &Shared) {
    // It has to be valid still when the first stream is opened, on a machine that may stand still for a moment before that.
    let site = Site::with(lab, shared.space(), |plan| {
        plan.argument("--certificate-lifetime=6s")
            .argument("--ca-propagation=6s")
    });
    site.pool(&["one"]);
    let pod = site.pod("edge", 31);
    let plan = site.plan(&pod, "edge");
    let host = lab.host("proxy-31", 31);
    let (client, me) = subscriber(&host, &plan, Release::ours());
    let operator = plan.operator.clone();
    let (held, as_whom, at) = (client.clone(), me.clone(), operator.clone());
    let channel = host.block_on(async move {
        let stop = CancellationToken::new();
        let renewing = tokio::spawn({
            let (held, stop) = (held.clone(), stop.clone());
            async move { held.run(stop).await }
        });
        tokio::time::timeout(SOON, held.ready())
            .await
            .expect("a certificate");
        let channel = connect(&at, held.connector()).await.expect("a connection");
        let served = Session::open(channel.clone(), &as_whom, [].into()).await;
        assert!(served.is_ok(), "as long as it is valid: {:?}", served.err());
        stop.cancel();
        renewing.await.unwrap();
        channel
    });
    let until = client.freshness().borrow().until.expect("a certificate");
    let left = Duration::try_from(until.duration_since(jiff::Timestamp::now()));
    let_pass(left.unwrap_or_default() + Duration::from_secs(1)); // certificates count in whole seconds
    let (on_old_connection, on_new_connection) = host.block_on(async move {
        let old = Session::open(channel, &me, [].into()).await.err();
        let new = match connect(&operator, client.connector()).await {
            Err(error) => format!("refused: {error}"),
            Ok(channel) => match Session::open(channel, &me, [].into()).await {
                Err(error) => format!("refused: {error}"),
                Ok(_) => "served".to_owned(),
            },
        };
        (old, new)
    });
    lab.say(format!("on the connection that stands: {on_old_connection:?}"));
    lab.say(format!("on a new connection: {on_new_connection}"));
    match on_old_connection {
        Some(SessionError::Refused(words)) => {
            assert!(words.contains("expired") && words.contains("renew it"), "{words}");
        }
        other => panic!("{other:?}"),
    }
    // There TLS says it, in its own way.
    let words = on_new_connection
        .to_lowercase()
        .replace("certificateexpired", "expired");
    assert!(
        words.starts_with("refused: ") && words.contains("expired"),
        "{on_new_connection}"
    );
}

/// A stranger's program on a stranger's machine: it can reach the port, and has nothing to show.
fn none(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    site.pool(&["one"]);
    let host = lab.host("stranger", 99);
    let authorities = host.directory("curl").join("ca.crt");
    std::fs::write(&authorities, site.authorities("edge")).unwrap();
    let ask = |scheme: &str, service: &str| {
        let mut curl = host.command("curl");
        curl.args([
            "-sS",
            "--http2",
            "--max-time",
            "10",
            "-D",
            "-",
            "--data-binary",
            "@/dev/null",
        ]);
        curl.args([
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--cacert",
        ]);
        curl.arg(&authorities);
        curl.arg(format!("{scheme}://10.77.0.10:{DISCOVERY_PORT}/{service}"));
        tool::try_output(&mut curl)
    };
    // gRPC's UNAUTHENTICATED is 16.
    for service in [
        "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        "switchyard.report.v1.Reports/Send",
    ] {
        let answer = eventually("the port is open", SOON, || ask("https", service));
        lab.say(answer.trim());
        assert!(answer.contains("grpc-status: 16"), "{service}: {answer}");
        let words = answer.replace("%20", " ");
        assert!(words.contains("no client certificate"), "{service}: {answer}");
    }
    let plain = ask("http", "switchyard.report.v1.Reports/Send");
    assert!(plain.is_err(), "served without TLS: {plain:?}");
}
