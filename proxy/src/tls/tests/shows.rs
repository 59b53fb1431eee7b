//! What clients are shown, and what is demanded of them.

use rustls::SignatureScheme::{ECDSA_NISTP256_SHA256, RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use switchyard_snapshot::{Protocol, TlsVersion};

use super::Front;
use crate::counters::Handshake;
use crate::session::end::Refusal;
use crate::testing::eventually;
use crate::testing::rig::{Control, Echo, ask, expect, rest};
use crate::testing::tls::{Authority, Client, ONLY, ONLY_1_2, der, listener, rsa_key, shown};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_chooses_the_certificate() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let first = ca.issue(&["first.example"]);
    let wildcard = ca.issue(&["*.b.example"]);
    let exact = ca.issue(&["X.b.example", "a.example"]);
    let all = vec![first.clone(), wildcard.clone(), exact.clone()];
    let front = Front::new(listener("main", Protocol::Tls, all), &chain).await;
    let careful = Client::of(&ca);
    for (name, expected) in [
        ("first.example", &first),
        ("q.b.example", &wildcard),
        ("x.b.example", &exact),
        ("A.EXAMPLE", &exact),
    ] {
        let mut stream = careful.open(front.at, name).await.unwrap();
        assert_eq!(shown(&stream), der(expected), "{name}");
        expect(&mut stream, "e").await;
        ask(&mut stream, "what is inside is relayed").await;
    }
    let gullible = Client::gullible(&[ECDSA_NISTP256_SHA256]);
    for name in ["unknown.example", "y.q.b.example", "b.example", "127.0.0.1"] {
        let stream = gullible.open(front.at, name).await.unwrap();
        assert_eq!(shown(&stream), der(&first), "{name}");
    }
    front.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_kinds_of_one_name_the_client_gets_what_it_can_verify() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let rsa = ca.issue_with(&rsa_key(), &["a.example"], |_| ());
    let ecdsa = ca.issue(&["a.example"]);
    let front = Front::new(
        listener("main", Protocol::Tls, vec![rsa.clone(), ecdsa.clone()]),
        &chain,
    )
    .await;
    for versions in ONLY {
        for (schemes, expected) in [
            (&[RSA_PSS_SHA256, RSA_PKCS1_SHA256][..], &rsa),
            (&[ECDSA_NISTP256_SHA256], &ecdsa),
            (&[RSA_PSS_SHA256, ECDSA_NISTP256_SHA256], &ecdsa),
        ] {
            let mut client = Client::gullible(schemes);
            client.versions = versions;
            for name in ["a.example", "unknown.example"] {
                let stream = client.open(front.at, name).await.unwrap();
                let expected = if name == "unknown.example" && schemes.len() == 2 {
                    &rsa
                } else {
                    expected
                };
                assert_eq!(shown(&stream), der(expected), "{name} {schemes:?} {versions:?}");
            }
        }
    }
    front.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocols_are_agreed_on_by_the_listeners_wish() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let mut client = Client::of(&ca);
    client.alpn = vec!["b/1", "a/1"];
    let front = Front::new(main.clone(), &chain).await;
    let stream = client.open(front.at, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "not answered");
    front.workers.stop().await;

    main.tls.as_mut().unwrap().alpn = vec!["a/1".into(), "b/1".into()];
    let front = Front::new(main, &chain).await;
    let stream = client.open(front.at, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"a/1"[..]));
    client.alpn = vec!["c/1"];
    let refused = client.open(front.at, "a.example").await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    eventually("counted", std::time::Duration::from_secs(5), || {
        front.counts().refused[Refusal::TlsHandshake.index()] == 1
    })
    .await;
    front.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_versions_than_the_listener_wants_are_refused() {
    let ca = Authority::new();
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    let mut old = Client::of(&ca);
    old.versions = &ONLY_1_2;
    let front = Front::new(main.clone(), &chain).await;
    expect(&mut old.open(front.at, "a.example").await.unwrap(), "e").await;
    expect(
        &mut Client::of(&ca).open(front.at, "a.example").await.unwrap(),
        "e",
    )
    .await;
    let full = |is_1_3| {
        Handshake {
            is_1_3,
            resumed: false,
        }
        .index()
    };
    let counts = front.counts();
    assert_eq!(
        (counts.tls_opened[full(false)], counts.tls_opened[full(true)]),
        (1, 1)
    );
    assert_eq!(counts.tls_failed, 0);
    front.workers.stop().await;

    main.tls.as_mut().unwrap().min_version = TlsVersion::V1_3;
    let front = Front::new(main, &chain).await;
    let refused = old.open(front.at, "a.example").await.unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    expect(
        &mut Client::of(&ca).open(front.at, "a.example").await.unwrap(),
        "e",
    )
    .await;
    let counts = front.counts();
    assert_eq!(
        (counts.tls_opened[full(false)], counts.tls_opened[full(true)]),
        (0, 1)
    );
    assert_eq!(counts.tls_failed, 1);
    front.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_the_right_certificate_is_refused_with_an_alert() {
    let (ca, ours, theirs) = (Authority::new(), Authority::new(), Authority::new());
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    let mut main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
    main.tls.as_mut().unwrap().client_ca = Some(ours.pem());
    let front = Front::new(main, &chain).await;
    let expired = ours.issue_with(&rcgen::KeyPair::generate().unwrap(), &["x"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let mut failed = 0;
    for versions in ONLY {
        for (shows, alert) in [
            (Some(ours.issue(&["somebody"])), None),
            (None, Some("CertificateRequired|HandshakeFailure")),
            (Some(theirs.issue(&["somebody"])), Some("UnknownCA")),
            (Some(expired.clone()), Some("CertificateExpired")),
        ] {
            let mut client = Client::of(&ca);
            client.versions = versions;
            client.certificate = shows;
            let opened = client.open(front.at, "a.example").await;
            let Some(alert) = alert else {
                expect(&mut opened.unwrap(), "e").await;
                continue;
            };
            failed += 1;
            // In TLS 1.3 the client is done before the server has looked at its certificate.
            let refused = match opened {
                Err(error) => error,
                Ok(mut stream) => {
                    use tokio::io::AsyncReadExt;
                    stream.read(&mut [0]).await.unwrap_err()
                }
            };
            let refused = refused.to_string();
            assert!(
                alert.split('|').any(|alert| refused.contains(alert)),
                "{refused}, not {alert}"
            );
            eventually("counted", std::time::Duration::from_secs(5), || {
                front.counts().refused[Refusal::TlsHandshake.index()] == failed
            })
            .await;
        }
    }
    assert_eq!(front.counts().tls_failed, failed);
    front.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_no_handshake_succeeds_and_it_is_our_fault() {
    let echo = Echo::start("e").await;
    let chain = Control::simple("c", &[echo.address]);
    for protocol in [Protocol::Tls, Protocol::Https, Protocol::Auto] {
        let front = Front::new(listener("main", protocol, vec![]), &chain).await;
        let client = Client::gullible(&[ECDSA_NISTP256_SHA256]);
        let refused = client.open(front.at, "a.example").await.unwrap_err();
        assert!(refused.to_string().contains("AccessDenied"), "{refused}");
        eventually("counted", std::time::Duration::from_secs(5), || {
            front.counts().refused[Refusal::NoCertificate.index()] == 1
        })
        .await;
        if protocol == Protocol::Auto {
            use tokio::io::AsyncWriteExt;
            let mut plain = tokio::net::TcpStream::connect(front.at).await.unwrap();
            plain.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            plain.shutdown().await.unwrap();
            assert_eq!(rest(&mut plain).await, (b"eSSH-2.0-x\r\n".to_vec(), Ok(())));
        }
        front.workers.stop().await;
    }
}

#[test]
fn it_is_known_which_hosts_a_client_would_accept() {
    let ca = Authority::new();
    let all = vec![
        ca.issue(&["a.example", "192.0.2.1"]),
        ca.issue(&["*.b.example", "192.0.2.2", "2001:db8::1"]),
    ];
    let main = listener("main", Protocol::Tls, all);
    let server = crate::tls::Keeper::default()
        .server_for(&main, &[])
        .unwrap()
        .unwrap();
    for (host, covered) in [
        ("a.example", true),
        ("A.Example.", true),
        ("x.b.example", true),
        ("b.example", false),
        ("y.x.b.example", false),
        ("stranger.example", false),
        ("192.0.2.1", true),
        // Nobody asks for an address by name, so the first certificate is shown.
        ("192.0.2.2", false),
        ("2001:db8::1", false),
        ("", false),
    ] {
        assert_eq!(server.covers(host), covered, "{host}");
    }
}
