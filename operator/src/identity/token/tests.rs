//! Tokens as the API server makes them, signed with keys that are made here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde_json::{Value, json};

use super::*;

/// What the API server calls itself.
pub(in crate::identity) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A signing key of the API server.
pub(in crate::identity) struct Signer {
    id: String,
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Signer {
    pub(in crate::identity) fn es256(id: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            id: id.to_owned(),
            key: EncodingKey::from_ec_der(&key.serialize_der()),
            algorithm: Algorithm::ES256,
        }
    }

    pub(in crate::identity) fn rs256(id: &str) -> Self {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        Self {
            id: id.to_owned(),
            key: EncodingKey::from_rsa_der(key.to_pkcs1_der().unwrap().as_bytes()),
            algorithm: Algorithm::RS256,
        }
    }

    pub(in crate::identity) fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(jwk).unwrap()
    }

    pub(in crate::identity) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        encode(&header, claims, &self.key).unwrap()
    }
}

/// The claims of a projected token of pod `name`.
pub(in crate::identity) fn claims(now: Timestamp, name: &str, uid: &str) -> Value {
    let now = now.as_second();
    json!({
        "aud": [AUDIENCE],
        "exp": now + 3600,
        "iat": now,
        "iss": ISSUER,
        "jti": "6b1b4a9e-8d5c-4a55-9f42-4c9f4a3f1c11",
        "kubernetes.io": {
            "namespace": "edge",
            "node": {"name": "node-1", "uid": "7d1c"},
            "pod": {"name": name, "uid": uid},
            "serviceaccount": {"name": "dmz", "uid": "0b7c"},
        },
        "nbf": now,
        "sub": "system:serviceaccount:edge:dmz",
    })
}

/// The answer to `/openid/v1/jwks`.
pub(in crate::identity) fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn keys(signers: &[&Signer]) -> KeySet {
    KeySet::parse(ISSUER.to_owned(), &jwks(signers)).unwrap()
}

fn with(pointer: &str, value: Value) -> Value {
    let mut claims = claims(now(), "dmz-0", "u1");
    *claims.pointer_mut(pointer).unwrap() = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims(now(), "dmz-0", "u1");
    claims.as_object_mut().unwrap().remove(key).unwrap();
    claims
}

#[test]
fn a_good_token_says_which_pod_it_is_bound_to() {
    let signers = [Signer::rs256("rsa"), Signer::es256("ec")];
    let keys = keys(&[&signers[0], &signers[1]]);
    let bound = BoundPod {
        namespace: "edge".to_owned(),
        name: "dmz-0".to_owned(),
        uid: "u1".to_owned(),
    };
    for signer in &signers {
        let token = signer.sign(&claims(now(), "dmz-0", "u1"));
        assert_eq!(keys.verify(&token, now()), Ok(bound.clone()), "{}", signer.id);
        let single = signer.sign(&with("/aud", json!(AUDIENCE)));
        assert_eq!(
            keys.verify(&single, now()),
            Ok(bound.clone()),
            "an audience that is no list"
        );
    }
}

#[test]
fn claims_that_do_not_fit_are_refused_each_for_its_reason() {
    let signer = Signer::es256("ec");
    let keys = keys(&[&signer]);
    let second = now().as_second();
    let cases = [
        ("for somebody else", with("/aud", json!(["vault"])), "Audience"),
        ("for the API server", with("/aud", json!([ISSUER])), "Audience"),
        ("for nobody", with("/aud", json!([])), "Audience"),
        ("no audience", without("aud"), "Malformed"),
        (
            "from elsewhere",
            with("/iss", json!("https://other.example.com")),
            "Issuer",
        ),
        ("from nowhere", without("iss"), "Malformed"),
        ("expired this second", with("/exp", json!(second)), "Expired"),
        (
            "expired long ago",
            with("/exp", json!(second - 86_400)),
            "Expired",
        ),
        ("without an end", without("exp"), "Malformed"),
        ("from the future", with("/nbf", json!(second + 61)), "NotYetValid"),
        ("of a service account only", without("kubernetes.io"), "Unbound"),
        ("of a node", with("/kubernetes.io/pod", Value::Null), "Unbound"),
    ];
    for (name, claims, reason) in cases {
        let token = signer.sign(&claims);
        let refusal = keys.verify(&token, now()).expect_err(name);
        assert_eq!(refusal.reason(), reason, "{name}: {refusal}");
        assert_tells_nothing(&refusal, &token);
    }
    let young = signer.sign(&with("/nbf", json!(second + 60)));
    assert!(
        keys.verify(&young, now()).is_ok(),
        "the API server's clock may be a little ahead"
    );
    let last = signer.sign(&with("/exp", json!(second + 1)));
    assert!(keys.verify(&last, now()).is_ok(), "valid to the last second");
}

#[test]
fn what_is_not_signed_by_the_api_server_is_refused() {
    let signer = Signer::es256("ec");
    let keys = keys(&[&signer]);
    let good = signer.sign(&claims(now(), "dmz-0", "u1"));

    let stranger = Signer::es256("stranger").sign(&claims(now(), "dmz-0", "u1"));
    assert_eq!(
        keys.verify(&stranger, now()),
        Err(Refusal::UnknownKey("\"stranger\"".to_owned()))
    );
    let impostor = Signer::es256("ec").sign(&claims(now(), "dmz-0", "u1"));
    assert_eq!(keys.verify(&impostor, now()), Err(Refusal::Signature));

    let other = signer.sign(&claims(now(), "dmz-1", "u2"));
    let parts: Vec<&str> = good.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    let swapped = [parts[0], others[1], parts[2]].join(".");
    assert_eq!(keys.verify(&swapped, now()), Err(Refusal::Signature));

    for (name, token) in [
        ("empty", String::new()),
        ("one part", "abc".to_owned()),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("no base64", format!("{}.{}.%%%", parts[0], parts[1])),
        ("too long", "a".repeat(MAX_TOKEN + 1)),
    ] {
        let refusal = keys.verify(&token, now()).expect_err(name);
        assert!(
            matches!(refusal.reason(), "Malformed" | "Signature"),
            "{name}: {refusal}"
        );
    }
}

#[test]
fn the_key_chooses_the_algorithm_and_never_the_token() {
    let rsa = Signer::rs256("rsa");
    let ec = Signer::es256("ec");
    let keys = keys(&[&rsa, &ec]);
    let payload = claims(now(), "dmz-0", "u1");
    let body = URL_SAFE_NO_PAD.encode(payload.to_string());

    for alg in ["none", "None", "nOnE", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "rsa", "typ": "JWT"}).to_string());
        for token in [format!("{header}.{body}."), format!("{header}.{body}.AAAA")] {
            let refusal = keys.verify(&token, now()).expect_err(alg);
            assert_eq!(refusal.reason(), "Malformed", "{alg:?}: {refusal}");
        }
    }

    // What everybody knows of the key (its modulus, its PEM, nothing at all) as the secret of an HMAC.
    let modulus = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    for secret in [
        modulus.as_slice(),
        rsa.jwk()["n"].as_str().unwrap().as_bytes(),
        b"",
    ] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some("rsa".to_owned());
            let token = encode(&header, &payload, &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(
                keys.verify(&token, now()),
                Err(Refusal::Algorithm(format!("{algorithm:?}")))
            );
        }
    }

    // The signature is right, but of another kind of key than the one that is named.
    let crossed = Signer {
        id: "rsa".to_owned(),
        ..ec
    };
    assert_eq!(
        keys.verify(&crossed.sign(&payload), now()),
        Err(Refusal::Algorithm("ES256".to_owned()))
    );
}

#[test]
fn a_secret_among_the_keys_is_passed_over_and_a_set_without_any_use_is_refused() {
    let signer = Signer::es256("ec");
    let symmetric = json!({"kty": "oct", "kid": "shared", "alg": "HS256", "use": "sig", "k": "c2VjcmV0"});
    let mixed = json!({"keys": [signer.jwk(), symmetric, {"kty": "EC", "crv": "P-521", "kid": "p521", "x": "AA", "y": "AA"}]});
    let keys = KeySet::parse(ISSUER.to_owned(), &mixed.to_string()).unwrap();
    assert_eq!(keys.len(), 1);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("shared".to_owned());
    let token = encode(
        &header,
        &claims(now(), "dmz-0", "u1"),
        &EncodingKey::from_secret(b"secret"),
    )
    .unwrap();
    assert_eq!(
        keys.verify(&token, now()),
        Err(Refusal::UnknownKey("\"shared\"".to_owned()))
    );

    for text in [
        "",
        "{}",
        r#"{"keys": []}"#,
        &json!({"keys": [symmetric]}).to_string(),
    ] {
        assert!(KeySet::parse(ISSUER.to_owned(), text).is_err(), "{text}");
    }
}

/// Neither the token nor a part of it.
pub(in crate::identity) fn assert_tells_nothing(refusal: &Refusal, token: &str) {
    let words = format!("{refusal} {refusal:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!words.contains(part), "{words}");
    }
}
