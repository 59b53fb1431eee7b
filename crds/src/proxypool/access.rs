//! How clients reach a pool (access point) and one proxy of it (direct address).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::common::schema;

/// The load-balanced address that clients are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessPoint {
    /// Name of the access point and of its Service. Absent: the pool's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_name")]
    pub name: Option<String>,

    /// What a guest returns to: a DNS name or an IP address. Absent: the Service's DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host")]
    pub host: Option<String>,

    /// The Service in front of the pool.
    pub service: AccessPointService,
}

/// The Service in front of a pool. Pools that share it must agree on it; the oldest pool wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::service()))]
pub struct AccessPointService {
    /// The Service's type.
    #[serde(rename = "type")]
    pub type_: AccessPointServiceType,

    /// Annotations of the Service, which cloud load balancers read.
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// Which load balancer implementation takes the Service. Only with type LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 316))]
    pub load_balancer_class: Option<String>,

    /// Whether traffic from outside may be handed to a proxy on another node. Only Local lets the proxy see the client's address.
    pub external_traffic_policy: ExternalTrafficPolicy,
}

/// Types of the access point's Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessPointServiceType {
    /// Reached from inside the cluster.
    #[default]
    ClusterIP,
    /// An external load balancer.
    LoadBalancer,
    /// A port on every node.
    NodePort,
    /// No Service.
    None,
}

/// Who gets traffic from outside the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// Only proxies of the node it reached.
    #[default]
    Local,
    /// Any proxy; the client's address is hidden.
    Cluster,
}

/// One way to reach one proxy, for the clients that can use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::direct_address()))]
pub struct DirectAddress {
    /// What the address is made of.
    #[serde(rename = "type")]
    pub type_: DirectAddressType,

    /// Networks (CIDR) of the clients that can reach it. Empty: all.
    #[serde(default)]
    #[schemars(schema_with = "schema::cidrs")]
    pub networks: Vec<String>,

    /// The port clients use, where it is not the listener's direct port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::port")]
    pub port: Option<u16>,

    /// Hostname only: the name, made with {proxy}, {node} and {chain}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::template")]
    pub template: Option<String>,
}

/// What a direct address is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DirectAddressType {
    /// The pod's own address.
    PodIP,
    /// The node's address.
    NodeIP,
    /// A load balancer for each proxy; needs a StatefulSet.
    LoadBalancer,
    /// A node port for each proxy; needs a StatefulSet.
    NodePort,
    /// A DNS name, made from the template.
    Hostname,
}
