//! Who gets a certificate, who does not, and what it is good for.

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use switchyard_discovery::identity::proto::ExchangeRequest;
use switchyard_discovery::identity::proto::identity_client::IdentityClient;
use switchyard_discovery::identity::{Authority, Credential, KeyRequest};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::super::token::tests::{Signer, claims};
use super::rig::{PATIENCE, Rig, calm, dial, in_words, own_ring, pod, who_am_i};
use crate::identity::Lifetimes;
use crate::lease::Leadership;

#[tokio::test]
async fn a_token_becomes_a_certificate_and_the_connection_says_who_it_is() {
    let rig = Rig::start(calm()).await;
    let proxy = rig.proxy("dmz-0", "u1");
    proxy.ready().await;
    let channel = proxy.connect(rig.guarded).await.unwrap();
    assert_eq!(
        who_am_i(&channel).await.unwrap(),
        "switchyard://edge/pool/dmz/pod/dmz-0/u1"
    );
    let freshness = proxy.client.freshness().borrow().clone();
    let life = freshness
        .until
        .unwrap()
        .duration_since(Timestamp::now())
        .as_secs();
    assert!((3590..=3600).contains(&life), "{life} s");
    assert_eq!(
        (freshness.renewed, freshness.failures, freshness.error),
        (1, 0, None)
    );
    proxy.stop().await;
}

#[tokio::test]
async fn renewal_needs_neither_token_nor_api_server_nor_pods() {
    let seconds = |seconds| Duration::from_secs(seconds);
    let mut rig = Rig::start(Lifetimes {
        ca: seconds(3600),
        propagation: seconds(60),
        // It is renewed at two thirds: what is left is for machines that are slow.
        certificate: seconds(12),
    })
    .await;
    let proxy = rig.proxy("dmz-0", "u1");
    proxy.ready().await;
    let first = proxy.client.freshness().borrow().until.unwrap();
    std::fs::remove_file(&proxy.token_file).unwrap();
    rig.api.stop().await;
    rig.pods.forget_everything();

    // The operator keeps its own certificate fresh meanwhile.
    let keeping = rig.identity.run(Leadership::alone(), CancellationToken::new());
    let renewed = proxy.until_within(seconds(60), |freshness| {
        freshness.until.is_some_and(|until| until > first + seconds(12))
    });
    let later = tokio::select! {
        () = keeping => panic!("nobody has told it to stop"),
        later = renewed => later,
    };
    assert!(later.renewed >= 3, "{later:?}");
    assert_eq!(later.error, None);
    let channel = proxy.connect(rig.guarded).await.unwrap();
    assert_eq!(
        who_am_i(&channel).await.unwrap(),
        "switchyard://edge/pool/dmz/pod/dmz-0/u1"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_pod_that_was_replaced_is_not_renewed_and_its_successor_gets_its_own() {
    let seconds = |seconds| Duration::from_secs(seconds);
    let rig = Rig::start(Lifetimes {
        ca: seconds(3600),
        propagation: seconds(60),
        certificate: seconds(9),
    })
    .await;
    let replaced = async {
        let old = rig.proxy("dmz-0", "u1");
        old.ready().await;
        rig.pods.set("dmz-0", "u2", Some("dmz"), false);
        let refused = old.until(|freshness| freshness.failures > 0).await;
        let words = refused.error.unwrap();
        assert!(words.contains("another one of that name"), "{words}");

        let new = rig.proxy("dmz-0", "u2");
        new.ready().await;
        let channel = new.connect(rig.guarded).await.unwrap();
        assert_eq!(
            who_am_i(&channel).await.unwrap(),
            "switchyard://edge/pool/dmz/pod/dmz-0/u2"
        );
        old.stop().await;
        new.stop().await;
    };
    tokio::select! {
        never = rig.identity.renew() => match never {},
        () = replaced => {}
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one table")]
async fn every_refusal_reaches_the_proxy_in_words() {
    let rig = Rig::start(calm()).await;
    let now = Timestamp::now();
    rig.pods.set("gone-soon", "u4", Some("dmz"), true);
    rig.pods.set("others", "u5", Some("lan"), false);
    rig.pods.set("nobodys", "u6", None, false);
    let good = claims(now, "dmz-0", "u1");
    let with = |pointer: &str, value| {
        let mut claims = good.clone();
        *claims.pointer_mut(pointer).unwrap() = value;
        claims
    };
    let of = |name: &str, uid: &str| rig.signer.sign(&claims(now, name, uid));
    let me = pod("dmz-0", "u1");
    let cases = [
        (
            "audience",
            me.clone(),
            rig.signer.sign(&with("/aud", json!(["other"]))),
            "not for the audience",
        ),
        (
            "issuer",
            me.clone(),
            rig.signer.sign(&with("/iss", json!("https://elsewhere"))),
            "issuer is \"https://elsewhere\"",
        ),
        (
            "expired",
            me.clone(),
            rig.signer.sign(&with("/exp", json!(now.as_second() - 1))),
            "has expired",
        ),
        (
            "unbound",
            me.clone(),
            rig.signer.sign(&with("/kubernetes.io/pod", json!(null))),
            "not bound to a pod",
        ),
        (
            "stranger",
            me.clone(),
            Signer::es256("stranger").sign(&good),
            "the API server does not have",
        ),
        (
            "impostor",
            me.clone(),
            Signer::es256("first").sign(&good),
            "signature is wrong",
        ),
        ("no token at all", me.clone(), "abc".to_owned(), "malformed"),
        (
            "unknown pod",
            pod("dmz-9", "u9"),
            of("dmz-9", "u9"),
            "pod edge/dmz-9 does not exist",
        ),
        (
            "other UID",
            pod("dmz-0", "u0"),
            of("dmz-0", "u0"),
            "its UID differs",
        ),
        (
            "terminating",
            pod("gone-soon", "u4"),
            of("gone-soon", "u4"),
            "is terminating",
        ),
        (
            "other pool",
            pod("others", "u5"),
            of("others", "u5"),
            "belongs to pool edge/lan, not to edge/dmz",
        ),
        (
            "no pool",
            pod("nobodys", "u6"),
            of("nobodys", "u6"),
            "which is not there",
        ),
        (
            "another's identity",
            me.clone(),
            of("others", "u5"),
            "asked for a certificate of pod dmz-0",
        ),
    ];
    for (name, asked, token, words) in cases {
        let proxy = rig.proxy_with_token(&asked, &token);
        let freshness = proxy
            .until(|freshness| freshness.failures > 0 || freshness.until.is_some())
            .await;
        let error = freshness
            .error
            .unwrap_or_else(|| panic!("{name}: it got a certificate"));
        assert!(error.contains(words), "{name}: {error}");
        assert!(
            token
                .split('.')
                .all(|part| part.len() < 8 || !error.contains(part)),
            "{name}: {error}"
        );
        let connected = proxy.connect(rig.guarded).await.expect_err(name);
        assert!(
            connected.contains("no client certificate yet"),
            "{name}: {connected}"
        );
        proxy.stop().await;
    }
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let rig = Rig::start(calm()).await;
    let mut registry = prometheus_client::registry::Registry::default();
    rig.identity.register(&mut registry);
    let stranger = rig.proxy_with_token(
        &pod("dmz-9", "u9"),
        &rig.signer.sign(&claims(Timestamp::now(), "dmz-9", "u9")),
    );
    stranger.until(|freshness| freshness.failures > 0).await;
    stranger.stop().await;
    let proxy = rig.proxy("dmz-0", "u1");
    proxy.ready().await;
    proxy.stop().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("identity_certificates_issued_total{proof=\"token\"} 1\n"),
        "{text}"
    );
    let refused = text
        .lines()
        .find_map(|line| line.strip_prefix("identity_certificates_refused_total{reason=\"UnknownPod\"} "));
    assert!(
        refused.is_some_and(|count| count.parse::<u64>().unwrap() >= 1),
        "{text}"
    );
}

#[tokio::test]
async fn without_a_certificate_only_the_exchange_is_served() {
    let rig = Rig::start(calm()).await;
    let bundle = rig.identity.bundle().borrow().clone();
    let channel = dial(rig.guarded, &bundle, None).await.unwrap();
    let refused = who_am_i(&channel).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("exchange the pod's token"),
        "{refused}"
    );

    let (_, csr) = KeyRequest::generate(&pod("dmz-0", "u1")).unwrap();
    let request = ExchangeRequest {
        token: String::new(),
        csr,
    };
    let channel = dial(rig.door, &bundle, None).await.unwrap();
    let refused = IdentityClient::new(channel).exchange(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("nothing proves which pod this is"),
        "{refused}"
    );
}

#[tokio::test]
async fn certificates_that_are_expired_or_not_ours_end_the_handshake() {
    let rig = Rig::start(calm()).await;
    let bundle = rig.identity.bundle().borrow().clone();
    let ours = rig.identity.shared.live.borrow().authority.clone();
    let now = Timestamp::now();
    let hour = Duration::from_hours(1);

    let good = certified(&ours, now, hour);
    let channel = dial(rig.guarded, &bundle, Some(&good)).await.unwrap();
    assert_eq!(
        who_am_i(&channel).await.unwrap(),
        "switchyard://edge/pool/dmz/pod/dmz-0/u1"
    );

    // Of the same authority, but from long ago (before it was made: only the leaf's own time is looked at here).
    let last_second = certified(&ours, now - Duration::from_secs(2), Duration::from_secs(1));
    let foreign = own_ring(&calm()).signer(now).unwrap();
    let foreign = certified(&foreign, now, hour);
    for (name, credential, words) in [("expired", last_second, "expired"), ("foreign", foreign, "")] {
        // With TLS 1.3 the client is done before the server has seen its certificate: the refusal comes with the first answer.
        let error = match dial(rig.guarded, &bundle, Some(&credential)).await {
            Err(error) => error,
            Ok(channel) => in_words(&who_am_i(&channel).await.expect_err(name)),
        };
        assert!(error.to_lowercase().contains(words), "{name}: {error}");
    }
    let counters = rig.identity.server_tls().counters();
    assert_eq!(counters.failed(), 2);
    assert_eq!(counters.accepted(), 1);
}

#[tokio::test]
async fn a_proxys_certificate_makes_no_server_and_a_servers_no_proxy() {
    let rig = Rig::start(calm()).await;
    let bundle = rig.identity.bundle().borrow().clone();
    let live = rig.identity.shared.live.borrow().clone();
    // The operator's own certificate, shown by a client.
    let error = match dial(rig.guarded, &bundle, Some(&live.credential)).await {
        Err(error) => error,
        Ok(channel) => in_words(
            &who_am_i(&channel)
                .await
                .expect_err("a server's certificate is not a proxy's"),
        ),
    };
    assert!(!error.is_empty());
    assert_eq!(rig.identity.server_tls().counters().failed(), 1);

    // A proxy's certificate, shown by a server.
    let proxy = certified(&live.authority, Timestamp::now(), Duration::from_hours(1));
    let (_writer, tls) = switchyard_discovery::identity::server::ServerTls::new(&proxy, &bundle).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = tls.incoming(listener);
    let accept = tokio::spawn(async move { futures::StreamExt::next(&mut incoming).await.is_some() });
    let error = tokio::time::timeout(PATIENCE, dial(address, &bundle, None))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    accept.abort();
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate_for_long() {
    let rig = Rig::start(calm()).await;
    let bundle = rig.identity.bundle().borrow().clone();
    let ours = rig.identity.shared.live.borrow().authority.clone();
    let brief = certified(&ours, Timestamp::now(), Duration::from_secs(3));
    let channel = dial(rig.guarded, &bundle, Some(&brief)).await.unwrap();
    who_am_i(&channel).await.unwrap();
    let refused = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(status) = who_am_i(&channel).await {
                return status;
            }
            tokio::task::yield_now().await;
        }
    });
    let refused = refused.await.unwrap();
    assert!(Timestamp::now() > brief.validity.until, "not before its time");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("expired at"), "{refused}");
}

#[tokio::test]
async fn new_token_keys_are_fetched_when_they_are_met_but_not_for_every_stranger() {
    let mut rig = Rig::start(calm()).await;
    let keys = &rig.identity.shared.keys;
    let token = |signer: &Signer| signer.sign(&claims(Timestamp::now(), "dmz-0", "u1"));
    let asked = rig.api.asked();

    let second = Signer::es256("second");
    rig.api.publish(&[&rig.signer, &second]);
    assert_eq!(
        keys.verify(&token(&second)).await.unwrap_err().reason(),
        "UnknownKey",
        "it has just asked"
    );
    assert_eq!(rig.api.asked(), asked);
    *keys.asked.lock().await = None;
    keys.verify(&token(&second)).await.unwrap();
    for _ in 0..50 {
        keys.verify(&token(&Signer::es256("stranger"))).await.unwrap_err();
    }
    assert_eq!(rig.api.asked(), asked + 1);

    // A key that was taken away is no longer good once that is known.
    rig.api.publish(&[&second]);
    keys.refresh(Duration::ZERO).await;
    assert_eq!(
        keys.verify(&token(&rig.signer)).await.unwrap_err().reason(),
        "UnknownKey"
    );

    rig.api.stop().await;
    let keys = &rig.identity.shared.keys;
    keys.refresh(Duration::ZERO).await;
    keys.verify(&token(&second))
        .await
        .expect("the keys outlive the API server");
}

/// A certificate of `authority` for dmz-0, from `now` on.
fn certified(authority: &Authority, now: Timestamp, lifetime: Duration) -> Credential {
    let (key, csr) = KeyRequest::generate(&pod("dmz-0", "u1")).unwrap();
    let request = KeyRequest::from_der(&csr).unwrap();
    let certificate: CertificateDer<'static> = authority
        .issue_client(&request, &pod("dmz-0", "u1"), now, lifetime)
        .unwrap();
    Credential::new(vec![certificate], &key).unwrap()
}
