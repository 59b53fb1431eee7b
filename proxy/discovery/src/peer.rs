//! Who is at the other end of a connection. In: what the transport has verified. Out: a value in the extensions of each
//! request; where there is none, nobody has been verified.

use switchyard_snapshot::PoolId;

/// The verified identity of a proxy: the pod, not its service account, binds it to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The pool whose resources it gets.
    pub pool: PoolId,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
}
