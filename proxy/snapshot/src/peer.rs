//! Who gossips with whom, and how a client reaches one proxy.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::listener::is_default;
use crate::{ChainId, PoolId, Private};

/// The gossip of this pool's proxies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gossip {
    /// UDP.
    pub port: u16,
    /// The local address to bind; none: as the process was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_address: Option<IpAddr>,
    /// What this cluster is called among those that gossip with each other; empty: nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster: String,
    /// The first seals, all open. At least one.
    pub keys: Vec<GossipKey>,
    /// `host:port` of proxies to begin with. They are asked again for as long as they are not heard of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<String>,
}

/// A key that proxies share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GossipKey {
    /// 32 random bytes in hex. Its identity on the wire is derived from it.
    pub key: Private,
}

/// A pool whose proxies ours talk to, or send clients to. Our own is one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerPool {
    /// Which.
    pub id: PoolId,
    /// Where it stands.
    pub site: String,
    /// Its UDP port of gossip.
    pub gossip_port: u16,
    /// Its proxies, sorted by name; none: whoever gossips under the pool's name is one, at the address it gossips from
    /// (where there is no operator to list them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Vec<PeerProxy>>,
    /// Sorted by name.
    pub listeners: Vec<PeerListener>,
    /// How a client reaches one proxy: the first whose networks hold the client's address.
    pub addresses: Vec<DirectAddress>,
}

/// A listener of a peer's pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerListener {
    /// Unique within the pool.
    pub name: String,
    /// Where guests arrive.
    pub direct_port: u16,
    /// What a guest returns to: the access point's name or address; none: nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_host: Option<String>,
    /// The access point's port.
    pub access_port: u16,
}

/// One proxy of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerProxy {
    /// Its name: the pod's.
    pub name: String,
    /// Where its peers reach it.
    pub ip: IpAddr,
    /// Name of its node; empty: not known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: String,
    /// For each of the pool's `addresses` that is [`DirectHost::Listed`], in their order: this proxy's; none: it has none (yet).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed: Vec<Option<ListedAddress>>,
    /// The chains that it serves now, by its own report to the operator; sorted. Only for who does not gossip. None: it has said
    /// nothing (yet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<Vec<ChainId>>,
}

/// An address that only the operator knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListedAddress {
    /// A name or an IP address.
    pub host: String,
    /// Per listener, by name, where its port is not the direct port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<(String, u16)>,
}

/// One way to reach one proxy, for the clients that can use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectAddress {
    /// What it is made of.
    pub host: DirectHost,
    /// Networks of the clients that can reach it; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
    /// The port clients use, where it is not the listener's direct port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What a direct address is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectHost {
    /// The address at which its peers reach it.
    Ip,
    /// [`PeerProxy::listed`].
    Listed,
    /// A DNS name with `{proxy}`, `{node}` and `{chain}` in it.
    Template(String),
}
