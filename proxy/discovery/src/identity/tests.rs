//! Names, bundles, requests, and authorities in every form in which they are given to us.

use std::time::Duration;

use jiff::Timestamp;
use p256::pkcs8::DecodePrivateKey;
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use switchyard_snapshot::PoolId;

use super::*;
use crate::peer::PeerIdentity;

fn identity() -> PeerIdentity {
    PeerIdentity {
        pool: PoolId {
            namespace: "edge".to_owned(),
            name: "dmz-a".to_owned(),
        },
        pod: "dmz-a-0".to_owned(),
        uid: "8b0f2b0e-5a0b-4f0c-9a3e-1f6c2b9d7e11".to_owned(),
    }
}

#[test]
fn an_identity_is_one_uri() {
    let uri = "switchyard://edge/pool/dmz-a/pod/dmz-a-0/8b0f2b0e-5a0b-4f0c-9a3e-1f6c2b9d7e11";
    assert_eq!(uri_of(&identity()).unwrap(), uri);
    assert_eq!(identity_of(uri).unwrap(), identity());
    for other in [
        "",
        "switchyard://",
        "spiffe://edge/pool/dmz-a/pod/dmz-a-0/u1",
        "switchyard://edge/pool/dmz-a/pod/dmz-a-0",
        "switchyard://edge/pool/dmz-a/pod/dmz-a-0/",
        "switchyard:///pool/dmz-a/pod/dmz-a-0/u1",
        "switchyard://edge/pool/dmz-a/pod/dmz-a-0/u1/more",
        "switchyard://edge/agent/dmz-a/pod/dmz-a-0/u1",
        "switchyard://edge/pool/dmz%2Fa/pod/dmz-a-0/u1",
        "switchyard://Edge/pool/dmz-a/pod/dmz-a-0/u1",
        "switchyard://edge/pool/dmz-a/pod/dmz-a-0/u1 ",
        " switchyard://edge/pool/dmz-a/pod/dmz-a-0/u1",
    ] {
        assert!(identity_of(other).is_err(), "{other:?} names somebody");
    }
}

proptest! {
    /// Whatever a part holds, it never becomes another identity.
    #[test]
    fn no_two_identities_have_one_uri(parts in prop::array::uniform4("[a-z0-9./%-]{0,8}|pool|pod")) {
        let [namespace, name, pod, uid] = parts;
        let identity = PeerIdentity { pool: PoolId { namespace, name }, pod, uid };
        if let Ok(uri) = uri_of(&identity) {
            prop_assert_eq!(identity_of(&uri), Ok(identity));
        }
    }
}

#[test]
fn a_bundle_is_a_set() {
    let now = Timestamp::now();
    let [first, second] = [(); 2].map(|()| {
        Authority::create(now, Duration::from_hours(1))
            .unwrap()
            .certificate
    });
    let both = Bundle::from_pem(format!("# comment\n{first}\n{second}{first}").as_bytes()).unwrap();
    assert_eq!(both.iter().count(), 2);
    assert_eq!(
        both,
        Bundle::from_pem(format!("{second}{first}").as_bytes()).unwrap()
    );
    assert_eq!(Bundle::from_pem(both.to_pem().as_bytes()).unwrap(), both);
    let alone = Bundle::from_pem(second.as_bytes()).unwrap();
    assert_eq!(alone.union(&both), both);
    assert_eq!(
        alone.to_pem().replace('\n', ""),
        second.replace(['\n', '\r'], ""),
        "as others write it"
    );

    assert_eq!(Bundle::from_pem(b""), Err(BundleError::Empty));
    assert_eq!(Bundle::from_pem(b"no PEM at all"), Err(BundleError::Empty));
    let torn = &first[..first.len() / 2];
    assert!(matches!(
        Bundle::from_pem(torn.as_bytes()),
        Err(BundleError::Pem(_))
    ));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        Bundle::from_pem(nonsense.as_bytes()),
        Err(BundleError::Certificate(_))
    ));
}

#[test]
fn a_request_proves_its_key_and_names_one_proxy() {
    let (_, der) = KeyRequest::generate(&identity()).unwrap();
    assert_eq!(KeyRequest::from_der(&der).unwrap().wanted, identity());

    let refused = |der: &[u8]| KeyRequest::from_der(der).err().expect("refused");
    let mut forged = der.clone();
    // The last byte belongs to the signature.
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&forged), RequestError::Broken(_)));
    assert!(matches!(refused(b""), RequestError::Broken(_)));
    assert!(matches!(refused(&[0x30].repeat(20_000)), RequestError::Broken(_)));

    let key = KeyPair::generate().unwrap();
    let request = |names: Vec<rcgen::SanType>| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.serialize_request(&key).unwrap().der().to_vec()
    };
    let uri = |text: &str| rcgen::SanType::URI(text.try_into().unwrap());
    let ours = || uri(&uri_of(&identity()).unwrap());
    let dns = rcgen::SanType::DnsName("switchyard-operator.switchyard.svc".try_into().unwrap());
    for names in [
        vec![],
        vec![dns.clone()],
        vec![ours(), dns],
        vec![ours(), ours()],
        vec![uri("https://x")],
    ] {
        assert!(
            matches!(refused(&request(names.clone())), RequestError::Name(_)),
            "{names:?}"
        );
    }

    let rsa = rsa_key();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![ours()];
    assert_eq!(
        refused(params.serialize_request(&rsa).unwrap().der()),
        RequestError::Key
    );

    let nobody = PeerIdentity {
        pod: "a/b".to_owned(),
        ..identity()
    };
    assert!(matches!(
        KeyRequest::generate(&nobody),
        Err(RequestError::Name(_))
    ));
}

/// The self-signed CA of a key, as cert-manager makes one.
fn ca_of(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Example Root");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example, Inc.");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.self_signed(key).unwrap().pem()
}

fn rsa_key() -> KeyPair {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    KeyPair::from_pem(&key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap()).unwrap()
}

#[test]
fn authorities_are_read_in_every_form_that_cert_manager_writes() {
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let rsa = rsa_key();
    let sec1 = p256::SecretKey::from_pkcs8_der(p256.serialized_der())
        .unwrap()
        .to_sec1_pem(rsa::pkcs8::LineEnding::LF)
        .unwrap();
    let pkcs1 = rsa::RsaPrivateKey::from_pkcs8_der(rsa.serialized_der())
        .unwrap()
        .to_pkcs1_pem(rsa::pkcs8::LineEnding::LF)
        .unwrap();
    assert!(sec1.contains("BEGIN EC PRIVATE KEY") && pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    let now = Timestamp::now();
    for (name, key, pem) in [
        ("PKCS #8, P-256", &p256, p256.serialize_pem()),
        ("PKCS #8, P-384", &p384, p384.serialize_pem()),
        ("PKCS #8, Ed25519", &ed25519, ed25519.serialize_pem()),
        ("PKCS #8, RSA", &rsa, rsa.serialize_pem()),
        ("SEC 1", &p256, sec1.to_string()),
        ("PKCS #1", &rsa, pkcs1.to_string()),
    ] {
        let authority = Authority::from_pem(&AuthorityPem {
            certificate: ca_of(key),
            key: pem,
        });
        let authority = authority.unwrap_or_else(|error| panic!("{name}: {error}"));
        let leaf = authority
            .issue_server(&["localhost".to_owned()], now, Duration::from_hours(1))
            .unwrap();
        assert_eq!(leaf.validity.until.as_second(), now.as_second() + 3600, "{name}");
    }
}

#[test]
fn an_intermediate_is_an_authority_of_its_own() {
    let root = KeyPair::generate().unwrap();
    let root_issuer = rcgen::Issuer::from_ca_cert_pem(&ca_of(&root), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Example Issuing CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let intermediate = params.signed_by(&key, &root_issuer).unwrap();
    let authority = Authority::from_pem(&AuthorityPem {
        // As cert-manager writes a chain: the issued one first.
        certificate: format!("{}{}", intermediate.pem(), ca_of(&root)),
        key: key.serialize_pem(),
    });
    assert_eq!(authority.unwrap().certificate(), intermediate.der());
}

#[test]
fn what_is_no_authority_is_refused_in_words() {
    let [key, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(vec!["example.com".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let ca = ca_of(&key);
    let try_pem = |certificate: &str, key: &str| {
        let pem = AuthorityPem {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        Authority::from_pem(&pem).err().expect("refused")
    };
    assert_eq!(
        try_pem(&leaf.pem(), &key.serialize_pem()),
        AuthorityError::NotAnAuthority
    );
    assert_eq!(try_pem(&ca, &other.serialize_pem()), AuthorityError::OtherKey);
    assert!(matches!(
        try_pem("", &key.serialize_pem()),
        AuthorityError::Unreadable(_)
    ));
    assert!(matches!(try_pem(&ca, ""), AuthorityError::Unreadable(_)));
    assert!(matches!(try_pem(&ca, &ca), AuthorityError::Unreadable(_)));

    // It may sign for one domain only, which is not ours.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.com".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let constrained = params.self_signed(&key).unwrap().pem();
    assert!(matches!(
        try_pem(&constrained, &key.serialize_pem()),
        AuthorityError::Useless(_)
    ));
}

#[test]
fn no_leaf_outlives_its_authority_or_a_week() {
    let now = Timestamp::now();
    let (_, csr) = KeyRequest::generate(&identity()).unwrap();
    let request = KeyRequest::from_der(&csr).unwrap();
    let hour = Duration::from_hours(1);
    let until = |ca: Duration, leaf: Duration| {
        let authority = Authority::from_pem(&Authority::create(now, ca).unwrap()).unwrap();
        let leaf = authority.issue_client(&request, &identity(), now, leaf).unwrap();
        Validity::of(&leaf).unwrap().until.as_second() - now.as_second()
    };
    assert_eq!(until(hour, hour / 2), 1800);
    assert_eq!(until(hour, hour * 2), 3600);
    assert_eq!(until(hour * 24 * 365, hour * 24 * 365), 7 * 24 * 3600);

    let authority = Authority::from_pem(&Authority::create(now, hour).unwrap()).unwrap();
    let late = authority.issue_client(&request, &identity(), now + hour * 2, hour);
    assert!(matches!(late, Err(AuthorityError::NotValid(_))));
}

#[test]
fn a_certificate_says_whom_it_names_or_why_nobody() {
    let now = Timestamp::now();
    let authority = Authority::from_pem(&Authority::create(now, Duration::from_hours(1)).unwrap()).unwrap();
    let (key, csr) = KeyRequest::generate(&identity()).unwrap();
    let request = KeyRequest::from_der(&csr).unwrap();
    let leaf = authority
        .issue_client(&request, &identity(), now, Duration::from_mins(30))
        .unwrap();
    let claim = Claim::of(Some(&leaf));
    assert!(
        matches!(&claim, Claim::Proxy { identity: named, .. } if *named == identity()),
        "{claim:?}"
    );
    assert_eq!(Claim::of(None), Claim::Nobody);
    let server = authority
        .issue_server(&["localhost".to_owned()], now, Duration::from_mins(30))
        .unwrap();
    assert!(matches!(Claim::of(server.key.cert.first()), Claim::Stranger(_)));
    assert!(matches!(
        Claim::of(Some(authority.certificate())),
        Claim::Stranger(_)
    ));
    assert!(matches!(
        Claim::of(Some(&CertificateDer::from(vec![1, 2, 3]))),
        Claim::Stranger(_)
    ));

    Credential::new(vec![leaf.clone()], &key).unwrap();
    let (other, _) = KeyRequest::generate(&identity()).unwrap();
    assert!(Credential::new(vec![leaf], &other).is_err(), "another's key");
    assert!(Credential::new(Vec::new(), &key).is_err());
    let pem = Authority::create(now, Duration::from_hours(1)).unwrap();
    PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("the key is in its PEM");
}
