//! CEL rules of a pool: what its fields ask of each other.

use kube::core::Rule;

use crate::common::rules::rule;

/// The name becomes that of the access point's Service and of the workload; a StatefulSet adds a hash of 11 characters to it in a
/// label, which holds 63.
pub(super) fn name() -> Rule {
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 52",
        "a pool's Service and workload are called like it: rename it to at most 52 lowercase letters, digits and '-', \
         beginning with a letter",
    )
}

pub(super) fn pool() -> Vec<Rule> {
    vec![
        rule(
            "self.workload.kind != 'Sidecar' || !has(self.accessPoint)",
            "a Sidecar pool has no access point: remove accessPoint, or choose another workload.kind",
        )
        .field_path(".accessPoint"),
        rule(
            "self.workload.kind != 'Sidecar' || !has(self.directAddress) || size(self.directAddress) == 0",
            "no client is ever redirected to a sidecar: remove directAddress, or choose another workload.kind",
        )
        .field_path(".directAddress"),
        rule(
            "self.workload.kind == 'StatefulSet' || !has(self.directAddress) || \
             !self.directAddress.exists(d, d.type in ['LoadBalancer', 'NodePort'])",
            "an own LoadBalancer or NodePort needs proxies with stable names: set workload.kind to StatefulSet, or choose another type",
        )
        .field_path(".directAddress"),
        rule(
            "self.workload.kind == 'StatefulSet' || !has(self.directAddress) || \
             !self.directAddress.exists(d, has(d.template) && d.template.contains('{proxy}'))",
            "{proxy} needs proxies with stable names: set workload.kind to StatefulSet, or make the template without {proxy}",
        )
        .field_path(".directAddress"),
        rule(
            "self.workload.kind == 'DaemonSet' || !has(self.directAddress) || \
             !self.directAddress.exists(d, has(d.template) && d.template.contains('{node}')) || \
             self.directAddress.exists(d, d.type == 'NodeIP')",
            "{node} needs one proxy on each node: set workload.kind to DaemonSet, or add a direct address of type NodeIP",
        )
        .field_path(".directAddress"),
    ]
}

pub(super) fn workload() -> Vec<Rule> {
    vec![
        rule(
            "self.kind == 'Sidecar' || !has(self.inject)",
            "only a Sidecar pool is injected into pods: remove inject, or set kind to Sidecar",
        )
        .field_path(".inject"),
        rule(
            "self.kind != 'Sidecar' || !(self.hostNetwork || has(self.nodeSelector) || has(self.tolerations) || has(self.affinity) || \
             has(self.topologySpreadConstraints) || has(self.priorityClassName) || has(self.podLabels) || has(self.podAnnotations))",
            "a sidecar runs in somebody else's pod: remove nodeSelector, tolerations, affinity, topologySpreadConstraints, \
             priorityClassName, podLabels, podAnnotations and hostNetwork, and set them there",
        ),
    ]
}

pub(super) fn workload_kind() -> Vec<Rule> {
    vec![rule(
        "self == oldSelf",
        "the kind cannot be changed: make another pool, move the chains, delete this one",
    )]
}

pub(super) fn service() -> Vec<Rule> {
    vec![
        rule(
            "self.type == 'LoadBalancer' || !has(self.loadBalancerClass)",
            "only a load balancer has a class: remove loadBalancerClass, or set type to LoadBalancer",
        )
        .field_path(".loadBalancerClass"),
    ]
}

pub(super) fn direct_address() -> Vec<Rule> {
    vec![
        rule(
            "self.type != 'Hostname' || has(self.template)",
            "a Hostname is made from a template: add template",
        )
        .field_path(".template"),
        rule(
            "self.type == 'Hostname' || !has(self.template)",
            "only a Hostname is made from a template: remove template, or set type to Hostname",
        )
        .field_path(".template"),
    ]
}

pub(super) fn listeners() -> Vec<Rule> {
    vec![
        rule(
            "self.all(a, self.all(b, a.name == b.name || a.port != b.port || (size(a.addresses) > 0 && size(b.addresses) > 0 && \
             !a.addresses.exists(x, x in b.addresses))))",
            "two listeners have the same port: choose another for one of them, or give them different addresses",
        ),
        rule(
            "self.all(a, !has(a.bindPort) || self.all(b, a.name == b.name || !has(b.bindPort) || a.bindPort != b.bindPort))",
            "two listeners have the same bindPort: choose another for one of them",
        ),
        rule(
            "self.all(a, !has(a.directPort) || self.all(b, a.name == b.name || !has(b.directPort) || a.directPort != b.directPort))",
            "two listeners have the same directPort: choose another for one of them",
        ),
        rule(
            "self.all(a, !has(a.directPort) || self.all(b, !has(b.bindPort) || a.directPort != b.bindPort))",
            "a directPort is also a bindPort: choose another, so that guests can be told from clients",
        ),
    ]
}

pub(super) fn listener() -> Vec<Rule> {
    vec![
        rule(
            "!(self.proxyProtocol in ['Accept', 'Require']) || size(self.trustedSources) > 0",
            "a PROXY protocol header claims an address: say in trustedSources whose headers count",
        )
        .field_path(".trustedSources"),
        rule(
            "self.protocol in ['SOCKS', 'HTTPProxy'] || !has(self.forward)",
            "only a SOCKS or HTTPProxy listener forwards: remove forward, or set protocol to one of them",
        )
        .field_path(".forward"),
        rule(
            "self.protocol == 'HTTP' || !self.httpsRedirect",
            "only an HTTP listener can redirect to https: remove httpsRedirect, or set protocol to HTTP",
        )
        .field_path(".httpsRedirect"),
        rule(
            "self.protocol in ['TLS', 'HTTPS', 'Auto', 'HTTPProxy'] || !has(self.tls)",
            "only TLS, HTTPS, Auto and HTTPProxy listeners take TLS: remove tls, or set protocol to one of them",
        )
        .field_path(".tls"),
        rule(
            "self.protocol in ['HTTP', 'HTTPS', 'Auto', 'HTTPProxy'] || !has(self.http)",
            "only HTTP, HTTPS, Auto and HTTPProxy listeners read requests: remove http, or set protocol to one of them",
        )
        .field_path(".http"),
        rule("self.protocol != 'HTTPS' || has(self.tls)", "an HTTPS listener needs a certificate: add tls with certificateRefs")
            .field_path(".tls"),
        rule(
            "!(self.protocol in ['HTTPS', 'HTTPProxy']) || !has(self.tls) || self.tls.mode == 'Terminate'",
            "an HTTPS or HTTPProxy listener reads requests: set tls.mode to Terminate, or protocol to TLS",
        )
        .field_path(".tls.mode"),
    ]
}

pub(super) fn listener_tls() -> Vec<Rule> {
    vec![
        rule(
            "self.mode != 'Terminate' || (has(self.certificateRefs) && size(self.certificateRefs) > 0)",
            "terminating TLS needs a certificate: name a Secret in certificateRefs, or set mode to Passthrough",
        )
        .field_path(".certificateRefs"),
        rule(
            "self.mode != 'Passthrough' || !has(self.certificateRefs) || size(self.certificateRefs) == 0",
            "what passes through shows the backend's certificate: remove certificateRefs, or set mode to Terminate",
        )
        .field_path(".certificateRefs"),
        rule(
            "self.mode != 'Passthrough' || !has(self.clientCARef)",
            "what passes through is not opened, so clients cannot be asked for certificates: remove clientCARef, or set mode to Terminate",
        )
        .field_path(".clientCARef"),
        rule(
            "self.mode != 'Passthrough' || !has(self.alpn)",
            "what passes through is offered by the backend: remove alpn, or set mode to Terminate",
        )
        .field_path(".alpn"),
    ]
}

pub(super) fn peers() -> Vec<Rule> {
    vec![
        rule(
            "size(self.seeds) == 0 || has(self.keyRef)",
            "seeds are proxies of other clusters, which must share a key: name its Secret in keyRef",
        )
        .field_path(".keyRef"),
    ]
}
