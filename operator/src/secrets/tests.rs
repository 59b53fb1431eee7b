use rcgen::{CertificateParams, CertifiedKey, KeyPair, generate_simple_self_signed};

use super::*;

fn certified(names: &[&str]) -> CertifiedKey<KeyPair> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    generate_simple_self_signed(names).unwrap()
}

fn secret(data: &[(&str, &str)]) -> Secret {
    let data = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec()));
    Secret::new(data.collect())
}

#[test]
fn a_certificate_and_its_key_are_taken_and_nothing_that_stands_beside_them() {
    let (one, other) = (certified(&["one.example"]), certified(&["other.example"]));
    let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    // some tools write words around PEM, and some people put everything into one file
    let with_more = format!("subject=CN one\n{chain}\nissuer\n{}{key}", other.cert.pem());
    let found = secret(&[("tls.crt", &with_more), ("tls.key", &with_more)])
        .certificate("one-tls")
        .unwrap();
    let lf = |text: &str| text.replace("\r\n", "\n");
    assert_eq!(found.name, "one-tls");
    assert_eq!(found.chain, lf(&chain) + &lf(&other.cert.pem()));
    assert_eq!(found.key.reveal(), lf(&key));
    let again = secret(&[("tls.crt", &found.chain), ("tls.key", found.key.reveal())]);
    assert_eq!(again.certificate("one-tls").unwrap(), found);
}

#[test]
fn what_is_wrong_with_a_certificate_or_key_is_said_in_words() {
    let (one, other) = (certified(&["one.example"]), certified(&["other.example"]));
    let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let broken = chain.replace("-----END CERTIFICATE-----", "");
    let no_certificate = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (data, words) in [
        (vec![], "has no tls.crt: put the certificate"),
        (vec![("tls.key", key.as_str())], "has no tls.crt"),
        (
            vec![("tls.crt", chain.as_str())],
            "has no tls.key: put the certificate's private key",
        ),
        (
            vec![("tls.crt", ""), ("tls.key", &key)],
            "holds no certificate in tls.crt",
        ),
        (
            vec![("tls.crt", "hunter2"), ("tls.key", &key)],
            "holds no certificate in tls.crt",
        ),
        (
            vec![("tls.crt", &key), ("tls.key", &key)],
            "holds no certificate in tls.crt",
        ),
        (
            vec![("tls.crt", &broken), ("tls.key", &key)],
            "holds broken PEM in tls.crt",
        ),
        (
            vec![("tls.crt", no_certificate), ("tls.key", &key)],
            "is no certificate (X.509)",
        ),
        (
            vec![("tls.crt", &chain), ("tls.key", "")],
            "holds no key that can be read in tls.key",
        ),
        (
            vec![("tls.crt", &chain), ("tls.key", &encrypted)],
            "PEM that is not encrypted",
        ),
        (
            vec![("tls.crt", &chain), ("tls.key", no_key)],
            "holds a key in tls.key that cannot be used",
        ),
        (
            vec![
                ("tls.crt", &chain),
                ("tls.key", &other.signing_key.serialize_pem()),
            ],
            "does not belong to the certificate in tls.crt",
        ),
    ] {
        let flaw = secret(&data).certificate("x").unwrap_err();
        assert!(flaw.contains(words), "{words}: {flaw}");
        assert!(!flaw.contains("hunter2") && !flaw.contains("aGVsbG8"), "{flaw}");
    }
}

#[test]
fn a_ca_is_one_certificate_or_several() {
    let (one, other) = (certified(&["one.example"]), certified(&["other.example"]));
    let both = format!("{}{}", one.cert.pem(), other.cert.pem());
    assert_eq!(
        secret(&[("ca.crt", &both)]).ca().unwrap(),
        both.replace("\r\n", "\n")
    );
    for (data, words) in [
        (
            vec![("tls.crt", both.as_str())],
            "has no ca.crt: put the certificate of the CA",
        ),
        (vec![("ca.crt", "")], "holds no certificate in ca.crt"),
    ] {
        let flaw = secret(&data).ca().unwrap_err();
        assert!(flaw.contains(words), "{flaw}");
    }
}

#[test]
fn ticket_keys_come_with_the_one_that_seals_first_and_are_called_by_their_hash() {
    let bytes = |fill: u8| vec![fill; 32];
    let of = |keys: &[(&str, Vec<u8>)]| {
        let data = keys
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
        Secret::new(data.collect()).ticket_keys()
    };
    let all = of(&[("previous", bytes(1)), ("current", bytes(2)), ("next", bytes(3))]).unwrap();
    let revealed: Vec<&str> = all.iter().map(|key| key.key.reveal()).collect();
    assert_eq!(revealed, ["02".repeat(32), "03".repeat(32), "01".repeat(32)]);
    // sha256 of 32 bytes 0x02, as `head -c 32 /dev/zero | tr '\0' '\2' | sha256sum` says
    assert_eq!(all[0].id, "75877bb41d393b5fb8455ce60ecd8dda");
    assert_eq!(of(&[("current", bytes(2))]).unwrap(), all[..1]);
    for (keys, words) in [
        (vec![("next", bytes(3))], "in current"),
        (vec![("current", vec![2; 31])], "in current"),
        (vec![("current", bytes(2)), ("previous", vec![])], "in previous"),
    ] {
        let flaw = of(&keys).unwrap_err();
        assert!(flaw.contains(words), "{flaw}");
    }
}

#[test]
fn nothing_that_stands_in_a_secret_is_printed() {
    let one = certified(&["one.example"]);
    let secret = secret(&[
        ("tls.crt", &one.cert.pem()),
        ("tls.key", &one.signing_key.serialize_pem()),
    ]);
    let certificate = secret.certificate("one-tls").unwrap();
    let key = one.signing_key.serialize_pem();
    let line = key.lines().nth(1).unwrap();
    for printed in [
        format!("{secret:?}"),
        format!("{:?}", Known::There(Arc::new(secret))),
        format!("{certificate:?}"),
    ] {
        assert!(!printed.contains(line), "{printed}");
    }
}

#[test]
fn a_certificate_is_told_by_its_names_and_its_time() {
    let mut params =
        CertificateParams::new(vec!["a.example".into(), "*.a.example".into(), "192.0.2.1".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 2);
    let key = KeyPair::generate().unwrap();
    let found = about(&params.self_signed(&key).unwrap().pem()).unwrap();
    assert_eq!(found.names, ["a.example", "*.a.example", "192.0.2.1"]);
    assert_eq!(found.from.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(found.until.to_string(), "2027-01-02T00:00:00Z");
    let mut nameless = CertificateParams::new(vec![]).unwrap();
    nameless
        .distinguished_name
        .push(rcgen::DnType::CommonName, "old.example");
    assert!(
        about(&nameless.self_signed(&key).unwrap().pem())
            .unwrap()
            .names
            .contains(&"old.example".to_owned())
    );
    assert_eq!(about("nothing"), None);
}
