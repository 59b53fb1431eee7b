//! Certificates and keys of one control plane, made when it starts.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};

use crate::tool;

/// What the API server is called; 10.96.0.1 is the address of its Service.
const NAMES: [&str; 7] = [
    "127.0.0.1",
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// What the API server is given.
pub(super) struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Whom everybody trusts, clients and server.
    pub(super) authority: PathBuf,
    /// The server's own.
    pub(super) server: Pair,
    /// By which the server is known to kubelets.
    pub(super) kubelet_client: Pair,
    /// What signs service-account tokens.
    pub(super) tokens: TokenKey,
}

/// A certificate and its key, as PEM files.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// RSA, as nearly every cluster has it.
pub(super) struct TokenKey {
    pub(super) key: PathBuf,
    pub(super) public: PathBuf,
}

impl Pki {
    /// `address`: where nodes reach the server, if there are nodes.
    pub(super) fn make(folder: &Path, address: Option<IpAddr>) -> Self {
        let mut authority = CertificateParams::default();
        authority.distinguished_name = named("test authority", &[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority, key).expect("a certificate");
        let file = folder.join("ca.crt");
        fs::write(&file, issuer.pem()).expect("the authority's certificate");

        let names = NAMES.into_iter().map(str::to_owned);
        let names: Vec<String> = names.chain(address.map(|it| it.to_string())).collect();
        let mut server = CertificateParams::new(names).expect("names");
        server.distinguished_name = named("kube-apiserver", &[]);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = server.signed_by(&key, &issuer).expect("a certificate");
        let server = Pair::write(folder, "server", &certificate.pem(), &key.serialize_pem());
        let (certificate, key) = client(
            &issuer,
            "kube-apiserver-kubelet-client",
            &["system:masters".to_owned()],
        );
        let kubelet_client = Pair::write(folder, "kubelet-client", &certificate, &key);

        let tokens = TokenKey {
            key: folder.join("sa.key"),
            public: folder.join("sa.pub"),
        };
        let mut openssl = Command::new("openssl");
        tool::output(openssl.args(["genrsa", "-out"]).arg(&tokens.key).arg("2048"));
        let mut openssl = Command::new("openssl");
        openssl.args(["rsa", "-pubout", "-in"]).arg(&tokens.key);
        tool::output(openssl.arg("-out").arg(&tokens.public));
        Self {
            issuer,
            authority: file,
            server,
            kubelet_client,
            tokens,
        }
    }

    /// A client's certificate and key as PEM: `name` is the user, `groups` its groups.
    pub(super) fn client(&self, name: &str, groups: &[String]) -> (String, String) {
        client(&self.issuer, name, groups)
    }
}

impl Pair {
    fn write(folder: &Path, name: &str, certificate: &str, key: &str) -> Self {
        let pair = Self {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&pair.certificate, certificate).expect("a certificate");
        fs::write(&pair.key, key).expect("a key");
        pair
    }
}

fn client(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, groups: &[String]) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name, groups);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn named(name: &str, groups: &[String]) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    for group in groups {
        all.push(DnType::OrganizationName, group);
    }
    all.push(DnType::CommonName, name);
    all
}
