//! Certificates, HTTP, and what is said about Secrets that cannot be used.

use rcgen::generate_simple_self_signed;

use super::*;
use crate::secrets::{Known, Secret, SecretId};

/// The text of a certificate and its key, made once for each name.
fn made(name: &str) -> (String, String) {
    use std::sync::Mutex;
    static MADE: Mutex<BTreeMap<String, (String, String)>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    let make = || {
        let it = generate_simple_self_signed(vec![format!("{name}.example")]).unwrap();
        let lf = |text: String| text.replace("\r\n", "\n");
        (lf(it.cert.pem()), lf(it.signing_key.serialize_pem()))
    };
    made.entry(name.to_owned()).or_insert_with(make).clone()
}

fn id(name: &str) -> SecretId {
    SecretId {
        namespace: "edge".into(),
        name: name.into(),
    }
}

fn there(data: &[(&str, &[u8])]) -> Known {
    let data = data
        .iter()
        .map(|(key, bytes)| ((*key).to_owned(), bytes.to_vec()));
    Known::There(Arc::new(Secret::new(data.collect())))
}

/// A Secret with a certificate, its key, and itself as CA.
pub fn usable(name: &str) -> (SecretId, Known) {
    let (chain, key) = made(name);
    let data: [(&str, &[u8]); 3] = [
        ("tls.crt", chain.as_bytes()),
        ("tls.key", key.as_bytes()),
        ("ca.crt", chain.as_bytes()),
    ];
    (id(name), there(&data))
}

fn compiled_with(secrets: Vec<(SecretId, Known)>, documents: &[Value]) -> Compiled {
    let mut resources = Resources {
        secrets: secrets.into_iter().collect(),
        ..Resources::default()
    };
    for document in documents {
        add(&mut resources, document);
    }
    compile(&resources, Profile::Standalone)
}

fn only(compiled: Compiled) -> Snapshot {
    let (_, snapshot) = compiled.snapshots.into_iter().next().unwrap();
    assert_eq!(snapshot.clone().validate().1, []);
    snapshot
}

/// Writes `<name's certificate>` and the like for texts that differ from run to run.
fn masked(value: &mut Value, names: &[&str]) {
    match value {
        Value::String(text) => {
            for name in names {
                let (chain, key) = made(name);
                if *text == chain {
                    *text = format!("<{name}'s certificate>");
                } else if *text == key {
                    *text = format!("<{name}'s key>");
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| masked(item, names)),
        Value::Object(fields) => fields.values_mut().for_each(|field| masked(field, names)),
        _ => {}
    }
}

#[test]
fn a_whole_front_becomes_a_whole_snapshot() {
    let mut resources = resources(include_str!("../../../testdata/tls.yaml"));
    let names = ["shop-tls", "blog-tls", "staff-ca"];
    let ticket_keys = there(&[("current", &[1; 32]), ("next", &[2; 32])]);
    resources.secrets = names
        .map(usable)
        .into_iter()
        .chain([(id("front-ticket-keys"), ticket_keys)])
        .collect();
    let compiled = compile(&resources, Profile::Standalone);
    assert_eq!(compiled.refused, []);
    let mut found = serde_json::to_value(only(compiled)).unwrap();
    masked(&mut found, &names);
    let golden: Value = serde_json::from_str(include_str!("../../../testdata/tls.json")).unwrap();
    assert_eq!(found, golden, "{found:#}");
}

#[test]
fn a_secret_that_cannot_be_used_takes_out_one_certificate_and_leaves_the_others() {
    let (chain, _) = made("one");
    let (_, foreign) = made("two");
    let mixed = there(&[("tls.crt", chain.as_bytes()), ("tls.key", foreign.as_bytes())]);
    for (known, words) in [
        (
            None,
            "there is no Secret bad in namespace edge: create it, or name another",
        ),
        (Some(there(&[])), "Secret bad has no tls.crt: put the certificate"),
        (
            Some(mixed),
            "Secret bad holds a key in tls.key that does not belong",
        ),
        (
            Some(Known::Unread("no right".into())),
            "Secret bad cannot be read (no right): see that the operator may get Secrets in namespace edge",
        ),
    ] {
        let secrets = known
            .map(|known| (id("bad"), known))
            .into_iter()
            .chain([usable("good")]);
        let listener = json!({"name": "web", "port": 443, "protocol": "HTTPS",
            "tls": {"certificateRefs": [{"name": "bad"}, {"name": "good"}]}});
        let compiled = compiled_with(
            secrets.collect(),
            &[dmz(json!([listener])), to_dmz("c", json!({}))],
        );
        let [refusal] = compiled.refused.as_slice() else {
            panic!("{:?}", compiled.refused)
        };
        assert_eq!(refusal.object.kind, Kind::ProxyPool);
        assert_eq!(refusal.reason, Reason::InvalidCertificateRef);
        assert_eq!(
            refusal.field.to_string(),
            "spec.listeners[0].tls.certificateRefs[0].name"
        );
        assert!(refusal.message.contains(words), "{}", refusal.message);
        let snapshot = only(compiled);
        let certificates = &snapshot.listeners[0].tls.as_ref().unwrap().certificates;
        assert_eq!(certificates.len(), 1);
        assert_eq!(certificates[0].name, "good");
        assert_eq!(snapshot.chains.len(), 1, "the chain is served");
    }
}

#[test]
fn what_must_be_verified_is_never_taken_unverified() {
    let listener = json!({"name": "web", "port": 443, "protocol": "HTTPS",
        "tls": {"certificateRefs": [{"name": "good"}], "clientCARef": {"name": "gone"}}});
    let backends = json!({"backends": [
        {"name": "ca", "host": "one.example", "port": 443, "tls": {"caRef": {"name": "gone"}}},
        {"name": "own", "host": "two.example", "port": 443, "tls": {"clientCertificateRef": {"name": "gone"}}},
        {"name": "srv", "srv": "_a._tcp.example", "tls": {"serverName": "a.example", "caRef": {"name": "gone"}}},
        {"name": "fine", "host": "three.example", "port": 443, "tls": {"caRef": {"name": "good"}}},
    ]});
    let compiled = compiled_with(
        vec![usable("good")],
        &[dmz(json!([listener])), to_dmz("c", backends)],
    );
    assert_eq!(
        refused(&compiled)
            .iter()
            .map(|words| words.split(": ").next().unwrap())
            .collect::<Vec<_>>(),
        [
            "dmz spec.listeners[0].tls.clientCARef.name InvalidCertificateRef",
            "c spec.backends[0].tls.caRef.name InvalidCertificateRef",
            "c spec.backends[1].tls.clientCertificateRef.name InvalidCertificateRef",
            "c spec.backends[2].tls.caRef.name InvalidCertificateRef",
        ]
    );
    let snapshot = only(compiled);
    let tls = snapshot.listeners[0].tls.as_ref().unwrap();
    assert_eq!((tls.certificates.len(), &tls.client_ca), (0, &None));
    let leads = |backend: &switchyard_snapshot::Backend| match &backend.target {
        switchyard_snapshot::Target::Endpoints { endpoints, .. } => {
            assert_eq!((endpoints.len(), &backend.tls), (0, &None));
            format!("{} nowhere", backend.name)
        }
        _ => format!(
            "{} somewhere with {}",
            backend.name,
            backend.tls.as_ref().unwrap().server_name
        ),
    };
    let backends: Vec<String> = snapshot.chains[0].backends.iter().map(leads).collect();
    assert_eq!(
        backends,
        [
            "ca nowhere",
            "own nowhere",
            "srv nowhere",
            "fine somewhere with three.example"
        ]
    );
}

#[test]
fn what_a_listener_and_its_protocol_cannot_do_together_is_refused() {
    let tls = json!({"certificateRefs": [{"name": "good"}]});
    for (fields, field, words) in [
        (
            json!({"protocol": "HTTPS"}),
            "tls",
            "needs a certificate: add tls",
        ),
        (
            json!({"protocol": "HTTPS", "tls": {"mode": "Passthrough"}}),
            "tls.mode",
            "set tls.mode to Terminate",
        ),
        (
            json!({"protocol": "HTTPS", "tls": {}}),
            "tls.certificateRefs",
            "needs a certificate: name a Secret",
        ),
        (json!({"protocol": "HTTP", "tls": tls}), "tls", "remove tls"),
        (json!({"protocol": "TCP", "tls": tls}), "tls", "remove tls"),
        (json!({"protocol": "TCP", "http": {}}), "http", "remove http"),
        (
            json!({"protocol": "TLS", "tls": tls, "http": {}}),
            "http",
            "remove http",
        ),
        (
            json!({"protocol": "Auto", "httpsRedirect": true}),
            "httpsRedirect",
            "set protocol to HTTP",
        ),
        (
            json!({"tls": {"mode": "Passthrough", "alpn": ["h2"]}}),
            "tls.alpn",
            "has no meaning with mode Passthrough",
        ),
    ] {
        let mut listener = fields.clone();
        listener["name"] = json!("a");
        listener["port"] = json!(443);
        let compiled = compiled_with(vec![usable("good")], &[dmz(json!([listener]))]);
        let [refusal] = compiled.refused.as_slice() else {
            panic!("{fields}: {:?}", compiled.refused)
        };
        assert_eq!(
            refusal.field.to_string(),
            format!("spec.listeners[0].{field}"),
            "{fields}"
        );
        assert_eq!(refusal.reason, Reason::Invalid);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
}

#[test]
fn what_needs_requests_is_refused_where_none_are_read() {
    let listeners = json!([
        {"name": "tcp", "port": 81, "protocol": "TCP"},
        {"name": "tls", "port": 82, "protocol": "TLS", "tls": {"certificateRefs": [{"name": "good"}]}},
        {"name": "http", "port": 83, "protocol": "HTTP"},
        {"name": "https", "port": 84, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "good"}]}},
        {"name": "auto", "port": 85},
    ]);
    let on = |listener: &str, name: &str, mut fields: Value| {
        fields["poolRef"] = json!({"name": "dmz", "listener": listener});
        to_dmz(name, fields)
    };
    let http2 = json!({"backends": [
        {"name": "one", "host": "one.example", "port": 80},
        {"name": "two", "host": "two.example", "port": 80, "protocol": "HTTP2"},
    ]});
    let headers = json!({"headers": {"request": {"remove": ["X-A"]}}});
    let mut documents = vec![dmz(listeners)];
    for listener in ["tcp", "tls", "http", "https", "auto"] {
        documents.push(on(listener, &format!("{listener}-http2"), http2.clone()));
        let mut headers = headers.clone();
        if listener != "tcp" {
            headers["hostnames"] = json!(["a.example"]);
        }
        documents.push(on(listener, &format!("{listener}-headers"), headers));
    }
    documents.push(on(
        "http",
        "speaks",
        json!({"serverFirst": true, "hostnames": []}),
    ));
    documents.push(on(
        "https",
        "talks",
        json!({"serverFirst": true, "hostnames": []}),
    ));
    let compiled = compiled_with(vec![usable("good")], &documents);
    let told: Vec<String> = refused(&compiled)
        .into_iter()
        .filter(|words| !words.contains("Conflicted"))
        .collect();
    assert_eq!(
        told,
        [
            "speaks spec.serverFirst Invalid: listener http is HTTP, where the client speaks first",
            "talks spec.serverFirst Invalid: listener https is HTTPS, where the client speaks first",
            "tcp-headers spec.headers Invalid: listener tcp is TCP and reads no requests: leave headers out, or make its protocol HTTP, HTTPS or Auto",
            "tcp-http2 spec.backends[1].protocol Invalid: listener tcp is TCP and reads no requests: leave HTTP2 out, or make its protocol HTTP, HTTPS or Auto",
            "tls-headers spec.headers Invalid: listener tls is TLS and reads no requests: leave headers out, or make its protocol HTTP, HTTPS or Auto",
            "tls-http2 spec.backends[1].protocol Invalid: listener tls is TLS and reads no requests: leave HTTP2 out, or make its protocol HTTP, HTTPS or Auto",
        ]
    );
}

#[test]
fn a_backend_without_a_host_says_whom_it_verifies() {
    let backend = |fields: Value| {
        let mut backend = json!({"name": "one", "tls": {}});
        for (field, value) in fields.as_object().unwrap() {
            backend[field] = value.clone();
        }
        to_dmz("c", json!({"backends": [backend]}))
    };
    let pool = dmz(json!([{"name": "a", "port": 81, "protocol": "TCP"}]));
    let told = refused(&compiled(&[
        pool.clone(),
        backend(json!({"srv": "_a._tcp.example"})),
    ]));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("c spec.backends[0].tls.serverName Invalid: must be given, since srv, service"),
        "{told:?}"
    );
    let named = json!({"srv": "_a._tcp.example", "tls": {"serverName": "a.example"}});
    assert_eq!(refused(&compiled(&[pool, backend(named)])), [""; 0]);
}

#[test]
fn http_is_sent_to_the_first_listener_that_reads_it_in_tls() {
    let plain = json!({"name": "plain", "port": 80, "protocol": "HTTP", "httpsRedirect": true});
    let tls = json!({"certificateRefs": [{"name": "good"}]});
    let https = |port: u16| json!({"name": "https", "port": port, "protocol": "HTTPS", "tls": tls});
    let auto = json!({"name": "auto", "port": 9443, "tls": tls});
    let pass = json!({"name": "pass", "port": 9000});
    let opaque = json!({"name": "opaque", "port": 993, "protocol": "TLS", "tls": tls});
    for (others, port) in [
        (vec![], 443),
        (vec![https(8443)], 8443),
        (
            vec![pass.clone(), opaque.clone(), auto.clone(), https(8443)],
            9443,
        ),
        (vec![pass, opaque], 443),
    ] {
        let listeners: Vec<Value> = others.into_iter().chain([plain.clone()]).collect();
        let compiled = compiled_with(vec![usable("good")], &[dmz(json!(listeners))]);
        assert_eq!(compiled.refused, []);
        let snapshot = only(compiled);
        let plain = snapshot
            .listeners
            .iter()
            .find(|listener| listener.name == "plain");
        assert_eq!(plain.unwrap().https_redirect, Some(port));
    }
}

#[test]
fn ticket_keys_are_for_pools_that_end_tls() {
    let keys = || (id("dmz-ticket-keys"), there(&[("current", &[7; 32])]));
    let tls = json!([{"name": "a", "port": 443, "protocol": "TLS", "tls": {"certificateRefs": [{"name": "good"}]}}]);
    let count = |secrets: Vec<(SecretId, Known)>, listeners: &Value| {
        let compiled = compiled_with(secrets, &[dmz(listeners.clone())]);
        (refused(&compiled), only(compiled).pool.ticket_keys.len())
    };
    assert_eq!(count(vec![usable("good"), keys()], &tls), (vec![], 1));
    assert_eq!(count(vec![usable("good")], &tls), (vec![], 0));
    let plain = json!([{"name": "a", "port": 443, "protocol": "TCP"}]);
    assert_eq!(count(vec![keys()], &plain), (vec![], 0));
    let damaged = (id("dmz-ticket-keys"), there(&[("current", b"short")]));
    let words = "dmz spec.listeners InvalidSecretRef: Secret dmz-ticket-keys holds no ticket key of 32 bytes in current: put 32 \
                 random bytes there";
    assert_eq!(
        count(vec![usable("good"), damaged], &tls),
        (vec![words.to_owned()], 0)
    );
}
