//! Certificates of a CA of the test's own, TLS clients that look closely, and TLS servers.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use switchyard_snapshot::{BackendTls, Certificate, Listener, ListenerTls, Private, Protocol, TlsVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::rig;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

/// For clients that speak one version only.
pub(crate) static ONLY: [&[&SupportedProtocolVersion]; 2] = [&ONLY_1_2, &ONLY_1_3];
pub(crate) static ONLY_1_2: [&SupportedProtocolVersion; 1] = [&TLS12];
static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];

/// Whom a test trusts, or does not.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        // Two of one name would be taken for one that signs wrongly.
        static NTH: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("CA {} of a test", NTH.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A certificate for these names, with an ECDSA key.
    pub(crate) fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_with(&KeyPair::generate().unwrap(), names, |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        key: &KeyPair,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        Certificate {
            name: "test-tls".into(),
            chain: params.signed_by(key, &self.0).unwrap().pem(),
            key: Private::new(key.serialize_pem()),
        }
    }

    /// What a backend needs that is asked for as `name`, and verified by this CA.
    pub(crate) fn backend(&self, name: &str) -> BackendTls {
        BackendTls {
            server_name: name.into(),
            ca: Some(self.pem()),
            certificate: None,
        }
    }
}

/// A key for RSA, of which there is one: making it takes its time.
pub(crate) fn rsa_key() -> KeyPair {
    use rsa::pkcs8::{EncodePrivateKey, LineEnding};
    static KEY: LazyLock<String> = LazyLock::new(|| {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    });
    KeyPair::from_pkcs8_pem_and_sign_algo(&KEY, &rcgen::PKCS_RSA_SHA256).unwrap()
}

pub(crate) fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap()
}

fn key(certificate: &Certificate) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes()).unwrap()
}

/// A listener on which TLS ends.
pub(crate) fn listener(name: &str, protocol: Protocol, certificates: Vec<Certificate>) -> Listener {
    Listener {
        tls: Some(ListenerTls {
            certificates,
            min_version: TlsVersion::V1_2,
            alpn: vec![],
            client_ca: None,
        }),
        ..rig::listener(name, protocol)
    }
}

/// What a client says and whom it believes.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) alpn: Vec<&'static str>,
    /// What it shows when it is asked for a certificate.
    pub(crate) certificate: Option<Certificate>,
    /// Whom it believes, and by which signatures; none: everybody.
    verifier: Arc<dyn ServerCertVerifier>,
}

impl Client {
    /// Believes in certificates of `authority`.
    pub(crate) fn of(authority: &Authority) -> Self {
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(authority.roots()),
            Arc::clone(&PROVIDER),
        );
        Self::by(verifier.build().unwrap())
    }

    /// Believes everything that is signed by one of these schemes.
    pub(crate) fn gullible(schemes: &[SignatureScheme]) -> Self {
        Self::by(Arc::new(Gullible(schemes.to_vec())))
    }

    fn by(verifier: Arc<dyn ServerCertVerifier>) -> Self {
        Self {
            versions: rustls::ALL_VERSIONS,
            alpn: vec![],
            certificate: None,
            verifier,
        }
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier));
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(shown) => builder
                .with_client_auth_cert(vec![der(shown)], key(shown))
                .unwrap(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A handshake of its own.
    pub(crate) async fn open(&self, at: SocketAddr, name: &str) -> io::Result<client::TlsStream<TcpStream>> {
        open(&self.config(), at, name).await
    }
}

/// A handshake of a client that may remember others with the same `config`; within five seconds.
pub(crate) async fn open(
    config: &Arc<ClientConfig>,
    at: SocketAddr,
    name: &str,
) -> io::Result<client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tcp = TcpStream::connect(at).await?;
    rig::within(TlsConnector::from(Arc::clone(config)).connect(name, tcp)).await
}

/// What the server showed.
pub(crate) fn shown(stream: &client::TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[derive(Debug)]
struct Gullible(Vec<SignatureScheme>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// What a TLS server shows, and whether it asks for a certificate of this CA.
pub(crate) fn server_config(shows: &Certificate, asks: Option<&Authority>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(authority.roots());
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![der(shows)], key(shows)).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Completes a handshake as a server.
pub(crate) async fn accept(
    config: &Arc<ServerConfig>,
    tcp: TcpStream,
) -> io::Result<server::TlsStream<TcpStream>> {
    rig::within(TlsAcceptor::from(Arc::clone(config)).accept(tcp)).await
}

/// The protocol agreed on, and the name asked for.
pub(crate) type Heard = (Option<String>, Option<String>);

/// A server behind TLS that says its name, then sends back what it gets until the client ends its stream.
pub(crate) struct TlsEcho {
    pub(crate) address: SocketAddr,
    /// Connection by connection.
    pub(crate) heard: Arc<Mutex<Vec<Heard>>>,
    accepting: AbortHandle,
}

impl TlsEcho {
    pub(crate) async fn start(name: &'static str, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let told = Arc::clone(&heard);
        let accepting = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (config, told) = (Arc::clone(&config), Arc::clone(&told));
                tokio::spawn(async move {
                    let Ok(mut stream) = accept(&config, tcp).await else {
                        return;
                    };
                    let tls = stream.get_ref().1;
                    let alpn = tls
                        .alpn_protocol()
                        .map(|alpn| String::from_utf8(alpn.to_vec()).unwrap());
                    told.lock()
                        .unwrap()
                        .push((alpn, tls.server_name().map(str::to_owned)));
                    if stream.write_all(name.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
                        let (mut from, mut to) = tokio::io::split(stream);
                        let _ = tokio::io::copy(&mut from, &mut to).await;
                        let _ = to.shutdown().await;
                    }
                });
            }
        });
        Self {
            address,
            heard,
            accepting: accepting.abort_handle(),
        }
    }
}

impl Drop for TlsEcho {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
