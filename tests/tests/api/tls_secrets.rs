//! Certificates come from Secrets: they are read where they are named, and nowhere else; they rotate without a word being
//! said to anybody else; and the keys of tickets are one pool's own.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use switchyard_crds::ProxyPool;
use switchyard_tests::apiserver::User;
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::member::Member;
use switchyard_tests::suite::Suite;
use switchyard_tests::tls::Certificate;
use switchyard_tests::tool;

use crate::shared::{SOON, Shared};
use crate::site::Site;

/// Of the listener that ends TLS.
pub const TLS_PORT: u16 = 8443;
/// A new certificate is served so soon after it was written.
const ROTATED_WITHIN: Duration = Duration::from_secs(1);
/// Secrets of other people.
const OTHERS: usize = 300;

pub fn add(suite: &mut Suite, shared: &Shared) {
    for (name, body) in [
        (
            "tls_secrets::what_is_wrong_with_a_secret_is_said",
            words as fn(&Lab, &Shared),
        ),
        (
            "tls_secrets::ticket_keys_are_shared_and_not_written_again",
            tickets,
        ),
        (
            "tls_secrets::an_operator_that_starts_anew_knows_them_before_it_speaks",
            restart,
        ),
        ("tls_secrets::nobody_elses_secrets_are_read", others),
    ] {
        let shared = shared.clone();
        suite.test(name, move |lab| body(lab, &shared));
    }
}

/// What measures, so that nobody else may be busy.
pub fn add_alone(suite: &mut Suite, shared: &Shared) {
    let shared = shared.clone();
    suite.alone(
        "tls_secrets::a_certificate_is_awaited_served_and_rotated",
        move |lab| rotation(lab, &shared),
    );
}

pub fn front(site: &Site<'_>, secrets: &[&str]) {
    let refs: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    let listener =
        json!({"name": "web", "port": TLS_PORT, "protocol": "TLS", "tls": {"certificateRefs": refs}});
    site.apply("ProxyPool", "edge", &json!({"listeners": [listener]}));
}

/// Writes a new certificate for this name into a Secret; hands back its serial number.
pub fn write(site: &Site<'_>, secret: &str, host: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let made = Certificate::make(directory.path(), &[host]);
    let text = |path| std::fs::read_to_string(path).unwrap();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": text(&made.file), "tls.key": text(&made.key)},
    });
    // server-side apply takes `data` alone for its own
    site.space.plane.kubectl_feed(
        &[
            "-n",
            &site.space.namespace,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            "-",
        ],
        &object.to_string(),
    );
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["x509", "-noout", "-serial", "-in"]).arg(&made.file);
    tool::output(&mut openssl).trim().to_owned()
}

/// The serial number of the certificate that a proxy shows to who asks for this name.
pub fn shown(client: &Host, member: &Member, host: &str) -> Result<String, String> {
    let at = member.at(TLS_PORT);
    let script = format!(
        "openssl s_client -connect {at} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let mut shell = client.command("timeout");
    shell.args(["5", "sh", "-c", &script]);
    tool::try_output(&mut shell).map(|text| text.trim().to_owned())
}

#[track_caller]
fn await_pool(site: &Site<'_>, condition: &str, status: &str, words: &str) -> (String, String) {
    let what = format!("{condition}={status} {words}");
    site.space.await_object("edge", &what, SOON, |pool: &ProxyPool| {
        let told = pool.status.as_ref().map(|status| status.conditions.clone());
        let told = told.unwrap_or_default();
        let found = told
            .iter()
            .find(|it| it.type_ == condition && it.status == status);
        match found {
            Some(it) if it.message.contains(words) && it.observed_generation == pool.metadata.generation => {
                Ok((it.reason.clone(), it.message.clone()))
            }
            _ => Err(format!("{told:#?}")),
        }
    })
}

#[track_caller]
fn await_shown(client: &Host, member: &Member, host: &str, serial: &str) -> Duration {
    let begun = Instant::now();
    eventually(&format!("{serial} is shown"), SOON, || {
        match shown(client, member, host)? {
            found if found == serial => Ok(()),
            other => Err(other),
        }
    });
    begun.elapsed()
}

fn rotation(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let backend = site.backend("b1", 21);
    front(&site, &["web-tls", "blog-tls"]);
    site.chain("web", &[&backend]);
    let blog = write(&site, "blog-tls", "blog.example");
    let expected = format!(
        "spec.listeners[0].tls.certificateRefs[0].name: there is no Secret web-tls in namespace {}: create it, or name another",
        site.space.namespace
    );
    // The pool may have been looked at before the other Secret was there.
    eventually("web-tls alone is missing", SOON, || {
        match await_pool(&site, "ResolvedRefs", "False", "web-tls") {
            (reason, message) if reason == "InvalidCertificateRef" && message == expected => Ok(()),
            (reason, message) => Err(format!("{reason}: {message}")),
        }
    });
    let members = [site.member(31), site.member(32)];
    for member in &members {
        await_shown(&client, member, "blog.example", &blog);
    }
    let mut serial = write(&site, "web-tls", "web.example");
    await_pool(&site, "ResolvedRefs", "True", "");
    await_pool(&site, "Programmed", "True", "");
    for member in &members {
        await_shown(&client, member, "web.example", &serial);
    }
    let mut took = Vec::new();
    for _ in 0..5 {
        serial = write(&site, "web-tls", "web.example");
        let begun = Instant::now();
        for member in &members {
            await_shown(&client, member, "web.example", &serial);
        }
        took.push(begun.elapsed());
        assert_eq!(
            shown(&client, &members[0], "blog.example").as_deref(),
            Ok(blog.as_str())
        );
    }
    lab.say(format!(
        "from kubectl's end to both proxies showing it: {took:.0?}"
    ));
    took.sort();
    assert!(took[took.len() / 2] <= ROTATED_WITHIN, "{took:?}");
    site.space.kubectl(&["delete", "secret", "web-tls"]);
    await_pool(&site, "ResolvedRefs", "False", "there is no Secret web-tls");
    for member in &members {
        await_shown(&client, member, "web.example", &blog);
    }
}

fn words(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backend = site.backend("b1", 21);
    front(&site, &["web-tls"]);
    site.chain("web", &[&backend]);
    let secret = |data: &Value| {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-tls"}, "stringData": data});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        let path = file.path().to_string_lossy().into_owned();
        site.space
            .kubectl(&["delete", "--ignore-not-found", "secret", "web-tls"]);
        site.space.kubectl(&["create", "-f", &path]);
    };
    let directory = tempfile::tempdir().unwrap();
    let made = ["one.example", "two.example"].map(|name| Certificate::make(directory.path(), &[name]));
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    for (data, words) in [
        (json!({"tls.key": "hunter2"}), "Secret web-tls has no tls.crt"),
        (
            json!({"tls.crt": "hunter2", "tls.key": "hunter2"}),
            "holds no certificate in tls.crt",
        ),
        (
            json!({"tls.crt": text(&made[0].file), "tls.key": text(&made[1].key)}),
            "does not belong to the certificate in tls.crt",
        ),
    ] {
        secret(&data);
        let (reason, message) = await_pool(&site, "ResolvedRefs", "False", words);
        assert_eq!(reason, "InvalidCertificateRef");
        assert!(!message.contains("hunter2"), "{message}");
    }
    // What is refused of the pool leaves its chain alone; a chain's own Secret is the chain's matter.
    site.await_chain("web", "Accepted", "True", SOON);
    let mut spec = crate::site::chain_spec("web", &[&backend]);
    spec["backends"][0]["tls"] = json!({"caRef": {"name": "corp-ca"}});
    site.apply("ProxyChain", "web", &spec);
    let (reason, _) = site.await_chain_saying(
        "web",
        ("ResolvedRefs", "False"),
        "spec.backends[0].tls.caRef.name: there is no Secret corp-ca",
        SOON,
    );
    assert_eq!(reason, "InvalidCertificateRef");
    let log = site.operator.output();
    assert!(
        !log.contains("hunter2") && !log.contains("PRIVATE KEY"),
        "a Secret in the log"
    );
    let page = site.operator.json("/snapshot").to_string();
    assert!(
        !page.contains("hunter2") && !page.contains("PRIVATE KEY"),
        "a Secret on a page"
    );
}

fn tickets(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backend = site.backend("b1", 21);
    front(&site, &["web-tls"]);
    site.chain("web", &[&backend]);
    write(&site, "web-tls", "web.example");
    let keys = |page: &Value| {
        page.pointer("/pools/0/pool/ticketKeys")
            .cloned()
            .unwrap_or_default()
    };
    let ids = |page: &Value| -> Vec<String> {
        let all = keys(page);
        let all = all.as_array().into_iter().flatten();
        all.filter_map(|key| Some(key["id"].as_str()?.to_owned()))
            .collect()
    };
    let first = eventually("keys of tickets are compiled", SOON, || {
        match ids(&site.operator.json("/snapshot")) {
            found if found.len() == 2 => Ok(found),
            other => Err(format!("{other:?}")),
        }
    });
    await_pool(&site, "ResolvedRefs", "True", "");
    // A step that is due: the Secret says that the last one is 13 hours old.
    let user = User::service_account(&site.space.namespace, "operator-1").name();
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(13);
    let annotation = format!("switchyard.dev/rotated-at={long_ago}");
    site.space.kubectl(&[
        "annotate",
        "--overwrite",
        "secret",
        "edge-ticket-keys",
        &annotation,
    ]);
    let second = eventually("they take a step", SOON, || {
        match ids(&site.operator.json("/snapshot")) {
            found if found.len() == 3 => Ok(found),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(
        (&second[0], &second[2]),
        (&first[1], &first[0]),
        "next seals now, current still opens"
    );
    let version = || {
        let secret = site
            .space
            .plane
            .block_on(site.space.all::<Secret>().get("edge-ticket-keys"));
        secret.unwrap().metadata.resource_version
    };
    let before = version();
    let mark = site.space.plane.audit().mark();
    let_pass(Duration::from_secs(10));
    let written: Vec<String> = site
        .space
        .plane
        .audit()
        .writes(&user, mark)
        .iter()
        .map(switchyard_tests::apiserver::Entry::line)
        .filter(|line| line.contains("secrets"))
        .collect();
    assert_eq!(written, [""; 0]);
    assert_eq!(version(), before);
}

fn restart(lab: &Lab, shared: &Shared) {
    let mut site = Site::new(lab, shared.space());
    let client = lab.host("client", 100);
    let backend = site.backend("b1", 21);
    let serial = write(&site, "web-tls", "web.example");
    front(&site, &["web-tls"]);
    site.chain("web", &[&backend]);
    let member = site.member(31);
    await_shown(&client, &member, "web.example", &serial);
    let generation = || member.json("/snapshot")["generation"].clone();
    await_pool(&site, "Programmed", "True", "");
    let before = generation();
    site.operator.kill();
    site.operator.start_again();
    site.operator.await_ready(SOON);
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(5) {
        assert_eq!(
            shown(&client, &member, "web.example").as_deref(),
            Ok(serial.as_str())
        );
    }
    assert_eq!(generation(), before, "nothing was exchanged");
}

fn others(lab: &Lab, shared: &Shared) {
    let site = Site::new(lab, shared.space());
    let backend = site.backend("b1", 21);
    let padding = "x".repeat(1_000);
    let all: Vec<String> = (0..OTHERS)
        .map(|n| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("other-{n}")},
                "stringData": {"password": padding}})
            .to_string()
        })
        .collect();
    site.space.apply(&all.join("\n---\n"));
    front(&site, &["web-tls"]);
    site.chain("web", &[&backend]);
    write(&site, "web-tls", "web.example");
    await_pool(&site, "ResolvedRefs", "True", "");
    // Keys that the operator has made it fetches when it hears of them.
    let metrics = eventually(
        "a certificate, the ticket keys and the gossip keys are held",
        SOON,
        || {
            let metrics = site.operator.metrics();
            let held = metrics.sum("switchyard_operator_secrets_held", &[]);
            if held >= 3.0 {
                Ok(metrics)
            } else {
                Err(format!("{held:?}"))
            }
        },
    );
    let known = metrics.sum("switchyard_operator_secrets", &[]);
    let held = metrics.sum("switchyard_operator_secrets_held", &[]);
    lab.say(format!("{known:?} Secrets known, {held:?} held"));
    let user = User::service_account(&site.space.namespace, "operator-1").name();
    let asked: Vec<String> = site
        .space
        .plane
        .audit()
        .since(site.begun())
        .into_iter()
        .filter(|entry| entry.user.username == user && entry.object_ref.name.starts_with("other-"))
        .map(|entry| entry.line())
        .collect();
    assert_eq!(asked, [""; 0], "what nobody names is not asked for");
    assert!(known >= OTHERS as f64, "{known:?}");
    assert!(
        (held - 3.0).abs() < f64::EPSILON,
        "a certificate, the ticket keys and the gossip keys, not {held:?}"
    );
}
