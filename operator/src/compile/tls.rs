//! TLS towards clients and towards backends: the Secrets that are named become certificates and CAs.
//!
//! A Secret that is missing or useless takes out what needs it and nothing else: a listener keeps its other certificates. But
//! what must be verified is never taken unverified: without its CA a listener takes no handshake, and a backend has no
//! endpoints.

use switchyard_crds::proxychain::BackendTls as BackendSpec;
use switchyard_crds::proxypool::{ListenerTls as ListenerSpec, TlsVersion as VersionSpec};
use switchyard_crds::{Reason, SecretRef};
use switchyard_snapshot::{BackendTls, Certificate, GossipKey, ListenerTls, Protocol, TicketKey, TlsVersion};

use super::FieldPath;
use super::faults::Faults;
use crate::secrets::{Flaw, GOSSIP_KEYS, Known, Secret, SecretId, Secrets, ticket_keys_of};

/// What is offered where requests are read, unless the user says otherwise.
const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];

/// Where an object's Secrets are looked up.
#[derive(Clone, Copy)]
pub struct Vault<'a> {
    /// Of the object.
    pub namespace: &'a str,
    /// Those of the cluster, or of the files.
    pub secrets: &'a Secrets,
}

impl<'a> Vault<'a> {
    /// What of a Secret is needed; `path` is where the reference stands.
    fn read<T>(
        self,
        reference: &SecretRef,
        path: &FieldPath,
        what: impl FnOnce(&Secret) -> Result<T, Flaw>,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let SecretRef { name } = reference;
        let (reason, message) = match self.find(name) {
            Some(Known::There(secret)) => match what(secret) {
                Ok(found) => return Some(found),
                Err(flaw) => (Reason::InvalidCertificateRef, format!("Secret {name} {flaw}")),
            },
            Some(Known::Unreadable) => (Reason::Pending, format!("Secret {name} cannot be read")),
            Some(Known::Unread(why)) => (
                Reason::InvalidCertificateRef,
                format!(
                    "Secret {name} cannot be read ({why}): see that the operator may get Secrets in namespace {}",
                    self.namespace
                ),
            ),
            None => (
                Reason::InvalidCertificateRef,
                format!(
                    "there is no Secret {name} in namespace {}: create it, or name another",
                    self.namespace
                ),
            ),
        };
        faults.unresolved(path.key("name"), reason, message);
        None
    }

    fn find(self, name: &str) -> Option<&'a Known> {
        self.secrets.get(&SecretId {
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    fn certificate(
        self,
        reference: &SecretRef,
        path: &FieldPath,
        faults: &mut Faults<'_>,
    ) -> Option<Certificate> {
        self.read(
            reference,
            path,
            |secret| secret.certificate(&reference.name),
            faults,
        )
    }

    fn ca(self, reference: &SecretRef, path: &FieldPath, faults: &mut Faults<'_>) -> Option<String> {
        self.read(reference, path, Secret::ca, faults)
    }

    /// The keys of gossip: those that the pool names, else the namespace's; none where there is no such Secret (yet).
    pub fn gossip_keys(
        self,
        reference: Option<&SecretRef>,
        path: &FieldPath,
        faults: &mut Faults<'_>,
    ) -> Vec<GossipKey> {
        if let Some(reference) = reference {
            let keys = self.read(reference, path, Secret::gossip_keys, faults);
            return keys.unwrap_or_default();
        }
        let Some(Known::There(secret)) = self.find(GOSSIP_KEYS) else {
            return Vec::new();
        };
        secret.gossip_keys().unwrap_or_else(|flaw| {
            let path = FieldPath::spec().key("peers");
            let words = format!("Secret {GOSSIP_KEYS} {flaw}");
            faults.unresolved(path, Reason::InvalidSecretRef, words);
            Vec::new()
        })
    }

    /// The keys of the pool's tickets; none where there is no such Secret (yet): each process makes its own.
    pub fn ticket_keys(self, pool: &str, faults: &mut Faults<'_>) -> Vec<TicketKey> {
        let name = ticket_keys_of(pool);
        let Some(Known::There(secret)) = self.find(&name) else {
            return Vec::new();
        };
        secret.ticket_keys().unwrap_or_else(|flaw| {
            let path = FieldPath::spec().key("listeners");
            faults.unresolved(path, Reason::InvalidSecretRef, format!("Secret {name} {flaw}"));
            Vec::new()
        })
    }
}

/// TLS that ends at a listener; `path` is where its section stands.
pub fn compile_listener(
    spec: &ListenerSpec,
    protocol: Protocol,
    path: &FieldPath,
    vault: Vault<'_>,
    faults: &mut Faults<'_>,
) -> ListenerTls {
    let ListenerSpec {
        mode: _, // the caller's
        certificate_refs,
        min_version,
        alpn,
        client_ca_ref,
    } = spec;
    let refs = path.key("certificateRefs");
    if certificate_refs.is_empty() {
        faults.invalid(
            refs.clone(),
            "terminating TLS needs a certificate: name a Secret in certificateRefs, or set mode to Passthrough",
        );
    }
    let each = |(i, reference)| vault.certificate(reference, &refs.index(i), faults);
    let mut certificates: Vec<Certificate> = certificate_refs.iter().enumerate().filter_map(each).collect();
    let client_ca = client_ca_ref.as_ref().map(|reference| {
        let path = path.key("clientCARef");
        vault.ca(reference, &path, faults)
    });
    if client_ca == Some(None) {
        // Nobody could be verified, and nobody comes in unverified: no handshake succeeds.
        certificates.clear();
    }
    ListenerTls {
        certificates,
        min_version: match min_version {
            VersionSpec::V1_2 => TlsVersion::V1_2,
            VersionSpec::V1_3 => TlsVersion::V1_3,
        },
        alpn: match alpn {
            Some(alpn) => alpn.clone(),
            // What is inside is not looked at, so nothing can be promised about it.
            None if protocol == Protocol::Tls => Vec::new(),
            None => HTTP_ALPN.map(str::to_owned).to_vec(),
        },
        client_ca: client_ca.flatten(),
    }
}

/// TLS towards a backend, whose host is the default for the name; none: it cannot be used as things are. `path` is where its
/// section stands.
pub fn compile_backend(
    spec: &BackendSpec,
    host: Option<&str>,
    path: &FieldPath,
    vault: Vault<'_>,
    faults: &mut Faults<'_>,
) -> Option<BackendTls> {
    let BackendSpec {
        server_name,
        ca_ref,
        client_certificate_ref,
    } = spec;
    let server_name = server_name.as_deref().or(host);
    if server_name.is_none() {
        faults.invalid(
            path.key("serverName"),
            "must be given, since srv, service and dialIn name no host that could be verified: write the name in the backend's \
             certificate",
        );
    }
    let ca = ca_ref
        .as_ref()
        .map(|reference| vault.ca(reference, &path.key("caRef"), faults));
    let certificate = client_certificate_ref.as_ref().map(|reference| {
        let path = path.key("clientCertificateRef");
        vault.certificate(reference, &path, faults)
    });
    if ca == Some(None) || certificate == Some(None) {
        return None;
    }
    Some(BackendTls {
        server_name: server_name?.trim_end_matches('.').to_owned(),
        ca: ca.flatten(),
        certificate: certificate.flatten(),
    })
}
