//! Who somebody is. Pure. In: what proves the pod, what the watch knows of it, what is asked for. Out: an identity to certify, or
//! why not.

use switchyard_discovery::peer::PeerIdentity;
use switchyard_snapshot::PoolId;

use super::pods::{Membership, PodAnswer};
use super::refusal::Refusal;
use super::token::BoundPod;

/// What proves the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A token.
    Token(BoundPod),
    /// A certificate that we issued before.
    Certificate(PeerIdentity),
}

impl Proof {
    /// Namespace and name of the pod.
    pub(super) fn pod(&self) -> (&str, &str) {
        match self {
            Self::Token(pod) => (&pod.namespace, &pod.name),
            Self::Certificate(identity) => (&identity.pool.namespace, &identity.pod),
        }
    }
}

/// Who it is. A certificate proves more than a token does: as long as nothing is known against the pod it is renewed, also
/// for one that is terminating, which may have sessions to bring to an end, and also while the watch knows nothing yet,
/// because an API server that is gone must lock nobody out.
pub(super) fn admit(proof: &Proof, answer: PodAnswer, asked: &PeerIdentity) -> Result<PeerIdentity, Refusal> {
    let (namespace, pod) = proof.pod();
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    let identity = match (proof, answer) {
        (Proof::Certificate(identity), PodAnswer::NotSynced) => identity.clone(),
        (Proof::Token(_), PodAnswer::NotSynced) => {
            return Err(Refusal::NotReady("the operator does not know the pods yet"));
        }
        (_, PodAnswer::Absent) => return Err(Refusal::UnknownPod { namespace, pod }),
        (proof, PodAnswer::Present(facts)) => {
            let uid = match proof {
                Proof::Token(bound) => &bound.uid,
                Proof::Certificate(identity) => &identity.uid,
            };
            if *uid != facts.uid {
                return Err(Refusal::OtherUid { namespace, pod });
            }
            if facts.terminating && matches!(proof, Proof::Token(_)) {
                return Err(Refusal::Terminating { namespace, pod });
            }
            let name = match facts.membership {
                Membership::Member(name) => name,
                // whoever had it before may have lost its pool to an operator that cannot read it
                Membership::NotThere(name) if matches!(proof, Proof::Certificate(_)) => name,
                Membership::NotThere(name) => {
                    let pool = PoolId { namespace, name };
                    return Err(Refusal::UnknownPool { pod, pool });
                }
                Membership::Stranger { pool: name, why } => {
                    let pool = PoolId { namespace, name };
                    return Err(Refusal::Stranger { pod, pool, why });
                }
            };
            PeerIdentity {
                pool: PoolId { namespace, name },
                pod,
                uid: facts.uid,
            }
        }
    };
    if identity == *asked {
        return Ok(identity);
    }
    if (&identity.pod, &identity.uid) == (&asked.pod, &asked.uid) {
        return Err(Refusal::OtherPool {
            pod: identity.pod,
            is: identity.pool,
            asked: asked.pool.clone(),
        });
    }
    Err(Refusal::OtherIdentity {
        is: Box::new(identity),
        asked: Box::new(asked.clone()),
    })
}

#[cfg(test)]
mod tests;
