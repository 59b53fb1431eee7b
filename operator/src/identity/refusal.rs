//! Why somebody gets no certificate. Out: words for the client and the log (never the token), a label for metrics, a gRPC status.

use switchyard_discovery::identity::RequestError;
use switchyard_discovery::peer::PeerIdentity;
use switchyard_snapshot::PoolId;
use thiserror::Error;
use tonic::{Code, Status};

/// Why somebody gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No token, and no certificate on the connection.
    #[error("nothing proves which pod this is: send the pod's token, or connect with a certificate")]
    NoProof,
    /// The certificate of the connection does not prove it.
    #[error("{0}")]
    Certificate(String),
    /// No JWT.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// Not one that its key signs with.
    #[error("the token's algorithm {0} is not one of its key")]
    Algorithm(String),
    /// Not signed by this cluster's API server, or with a key that it no longer has.
    #[error("the token is signed with key {0}, which the API server does not have")]
    UnknownKey(String),
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// From elsewhere.
    #[error("the token's issuer is {is}, expected {expected:?}")]
    Issuer {
        /// Quoted.
        is: String,
        /// Ours.
        expected: String,
    },
    /// For somebody else.
    #[error("the token is not for the audience \"switchyard\": project one with this audience")]
    Audience,
    /// Too old.
    #[error("the token has expired")]
    Expired,
    /// Too new.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Not bound to a pod, so it could come from anywhere.
    #[error("the token is not bound to a pod: use a projected one, not the service account's")]
    Unbound,
    /// The pod is not there (any more).
    #[error("pod {namespace}/{pod} does not exist")]
    UnknownPod {
        /// Of the pod.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The pod was replaced by one of the same name.
    #[error("pod {namespace}/{pod} is another one of that name by now (its UID differs)")]
    OtherUid {
        /// Of the pod.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The pod goes.
    #[error("pod {namespace}/{pod} is terminating")]
    Terminating {
        /// Of the pod.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The pool is not there, or not known yet.
    #[error("pod {pod} is labelled as one of pool {pool}, which is not there; try again")]
    UnknownPool {
        /// Its name.
        pod: String,
        /// What its label names.
        pool: PoolId,
    },
    /// Only a label says that the pod belongs to the pool.
    #[error("pod {pod} is labelled as one of pool {pool}, and is none: {why}")]
    Stranger {
        /// Its name.
        pod: String,
        /// What its label names.
        pool: PoolId,
        /// What is missing.
        why: String,
    },
    /// The pod is another pool's.
    #[error("pod {pod} belongs to pool {is}, not to {asked}")]
    OtherPool {
        /// Its name.
        pod: String,
        /// Where it belongs.
        is: PoolId,
        /// What was asked for.
        asked: PoolId,
    },
    /// It asks to be somebody else.
    #[error("this is {is}; it asked for a certificate of {asked}")]
    OtherIdentity {
        /// Who it is.
        is: Box<PeerIdentity>,
        /// What was asked for.
        asked: Box<PeerIdentity>,
    },
    /// The signing request is refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not known yet who is who.
    #[error("{0}; try again")]
    NotReady(&'static str),
    /// Ours to mend.
    #[error("the operator cannot sign: {0}")]
    CannotSign(String),
}

impl Refusal {
    /// For metrics; one of a few.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoProof => "NoProof",
            Self::Certificate(_) => "Certificate",
            Self::Malformed(_) => "Malformed",
            Self::Algorithm(_) => "Algorithm",
            Self::UnknownKey(_) => "UnknownKey",
            Self::Signature => "Signature",
            Self::Issuer { .. } => "Issuer",
            Self::Audience => "Audience",
            Self::Expired => "Expired",
            Self::NotYetValid => "NotYetValid",
            Self::Unbound => "Unbound",
            Self::UnknownPod { .. } => "UnknownPod",
            Self::OtherUid { .. } => "OtherUid",
            Self::Terminating { .. } => "Terminating",
            Self::UnknownPool { .. } => "UnknownPool",
            Self::Stranger { .. } => "Stranger",
            Self::OtherPool { .. } => "OtherPool",
            Self::OtherIdentity { .. } => "OtherIdentity",
            Self::Request(_) => "Request",
            Self::NotReady(_) => "NotReady",
            Self::CannotSign(_) => "CannotSign",
        }
    }

    /// Whose fault it is, as gRPC says it.
    fn code(&self) -> Code {
        match self {
            Self::NoProof
            | Self::Certificate(_)
            | Self::Malformed(_)
            | Self::Algorithm(_)
            | Self::UnknownKey(_)
            | Self::Signature
            | Self::Issuer { .. }
            | Self::Audience
            | Self::Expired
            | Self::NotYetValid
            | Self::Unbound => Code::Unauthenticated,
            Self::UnknownPod { .. }
            | Self::OtherUid { .. }
            | Self::Terminating { .. }
            | Self::Stranger { .. }
            | Self::OtherPool { .. }
            | Self::OtherIdentity { .. } => Code::PermissionDenied,
            Self::Request(_) => Code::InvalidArgument,
            Self::UnknownPool { .. } | Self::NotReady(_) => Code::Unavailable,
            Self::CannotSign(_) => Code::Internal,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// What a stranger wrote: short, and without characters that could mislead whoever reads the log.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
