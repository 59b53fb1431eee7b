//! How a certificate names a proxy. In: an identity. Out: a URI, and back.
//!
//! The form is SPIFFE's, a URI as the only subject alternative name, under a scheme of our own so that no certificate of a
//! mesh is mistaken for one of ours: `switchyard://NAMESPACE/pool/POOL/pod/POD/UID`.

use std::fmt;

use switchyard_snapshot::PoolId;
use thiserror::Error;

use crate::peer::PeerIdentity;

const SCHEME: &str = "switchyard://";

/// Kubernetes allows names of 253 bytes (RFC 1123 subdomain); a UID has 36.
const MAX_PART: usize = 253;

/// A URI that does not name a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not of the form switchyard://NAMESPACE/pool/POOL/pod/POD/UID")]
pub struct NotAnIdentity(pub String);

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {} ({}) of pool {}", self.pod, self.uid, self.pool)
    }
}

/// The URI that names `identity`.
///
/// # Errors
/// A part that cannot be the name or the UID of a Kubernetes object; it could change the meaning of the URI.
pub fn uri_of(identity: &PeerIdentity) -> Result<String, NotAnIdentity> {
    let PeerIdentity {
        pool: PoolId { namespace, name },
        pod,
        uid,
    } = identity;
    let uri = format!("{SCHEME}{namespace}/pool/{name}/pod/{pod}/{uid}");
    if [namespace, name, pod, uid].into_iter().all(|part| is_name(part)) {
        Ok(uri)
    } else {
        Err(NotAnIdentity(uri))
    }
}

/// The identity that `uri` names.
///
/// # Errors
/// Any other form.
pub fn identity_of(uri: &str) -> Result<PeerIdentity, NotAnIdentity> {
    let refuse = || NotAnIdentity(uri.chars().take(4 * MAX_PART).collect());
    let parts: Vec<&str> = uri.strip_prefix(SCHEME).ok_or_else(refuse)?.split('/').collect();
    let [namespace, "pool", name, "pod", pod, uid] = parts[..] else {
        return Err(refuse());
    };
    if ![namespace, name, pod, uid].into_iter().all(is_name) {
        return Err(refuse());
    }
    Ok(PeerIdentity {
        pool: PoolId {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        pod: pod.to_owned(),
        uid: uid.to_owned(),
    })
}

/// The characters of an RFC 1123 subdomain, which UIDs keep to as well: none of them needs an escape in a URI.
fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= MAX_PART
        && part
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.')
}
