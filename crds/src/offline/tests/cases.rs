//! The table: a valid manifest, what is changed in it, and what must be said about that.

/// A valid manifest to start from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    /// A pool with the listeners `sync` and `web`.
    Pool,
    /// A Sidecar pool.
    Sidecar,
    /// A chain with the backends `a` (host) and `b` (srv).
    Chain,
    /// A chain with every field.
    FullChain,
    /// A chain outside the cluster.
    Remote,
}

/// One change, and what must be said about it.
pub(super) struct Case {
    pub base: Base,
    /// JSON pointers, and the YAML that they get.
    pub changes: &'static [(&'static str, &'static str)],
    /// Pointers, and what the message about each must contain. Empty: the change is fine.
    pub violations: &'static [(&'static str, &'static str)],
}

const fn case(
    base: Base,
    changes: &'static [(&'static str, &'static str)],
    violations: &'static [(&'static str, &'static str)],
) -> Case {
    Case {
        base,
        changes,
        violations,
    }
}

use Base::{Chain, FullChain, Pool, Remote, Sidecar};

pub(super) const CHANGES: &[Case] = &[
    // --- every object
    case(
        Pool,
        &[("/apiVersion", "switchyard.dev/v1")],
        &[("/apiVersion", "write switchyard.dev/v1alpha1")],
    ),
    case(Pool, &[("/kind", "ProxyPol")], &[("/kind", "write ProxyPool")]),
    case(Pool, &[("/metadata", "null")], &[("/metadata", "missing")]),
    case(
        Chain,
        &[("/metadata/name", "null")],
        &[("/metadata/name", "missing")],
    ),
    case(
        Chain,
        &[("/metadata/name", "Upper")],
        &[("/metadata/name", "lowercase")],
    ),
    case(
        Chain,
        &[("/metadata/nmae", "x")],
        &[("/metadata/nmae", "did you mean \"name\"?")],
    ),
    case(
        Chain,
        &[("/metadata/labels", "{a: 1}")],
        &[("/metadata/labels/a", "put it in quotes")],
    ),
    case(
        Chain,
        &[
            ("/metadata/labels", "{a: b}"),
            ("/metadata/annotations", "{a/b: c}"),
        ],
        &[],
    ),
    case(Chain, &[("/spec", "null")], &[("/spec", "missing")]),
    case(
        Chain,
        &[("/spec", "[]")],
        &[("/spec", "a list is not a map of fields")],
    ),
    case(Chain, &[("/spce", "{}")], &[("/spce", "did you mean \"spec\"?")]),
    // --- pool: names
    case(
        Pool,
        &[("/metadata/name", "1st")],
        &[("/metadata/name", "beginning with a letter")],
    ),
    case(
        Pool,
        &[("/metadata/name", "dmz.a")],
        &[("/metadata/name", "rename it")],
    ),
    case(
        Pool,
        &[(
            "/metadata/name",
            "a123456789b123456789c123456789d123456789e123456789f12",
        )],
        &[("/metadata/name", "at most 52")],
    ),
    case(
        Pool,
        &[(
            "/metadata/name",
            "a123456789b123456789c123456789d123456789e123456789f1",
        )],
        &[],
    ),
    case(Pool, &[("/spec/site", "London")], &[("/spec/site", "lowercase")]),
    case(Pool, &[("/spec/site", "\"\"")], &[("/spec/site", "empty")]),
    case(
        Pool,
        &[("/spec/replicas", "-1")],
        &[("/spec/replicas", "at least 0")],
    ),
    case(
        Pool,
        &[("/spec/replicas", "1001")],
        &[("/spec/replicas", "at most 1000")],
    ),
    case(
        Pool,
        &[("/spec/replicas", "\"2\"")],
        &[("/spec/replicas", "without quotes")],
    ),
    case(Pool, &[("/spec/replicas", "0")], &[]),
    // --- pool: workload
    case(
        Pool,
        &[("/spec/workload/kind", "Job")],
        &[(
            "/spec/workload/kind",
            "Deployment, DaemonSet, StatefulSet or Sidecar",
        )],
    ),
    case(
        Pool,
        &[("/spec/workload/hostNetwork", "\"true\"")],
        &[("/spec/workload/hostNetwork", "without quotes")],
    ),
    case(
        Pool,
        &[("/spec/workload/inject", "{podSelector: {}}")],
        &[("/spec/workload/inject", "remove inject")],
    ),
    case(
        Sidecar,
        &[("/spec/workload/inject", "{podSelector: {matchLabels: {app: x}}}")],
        &[],
    ),
    case(
        Sidecar,
        &[("/spec/workload/inject", "{}")],
        &[("/spec/workload/inject/podSelector", "missing")],
    ),
    case(
        Sidecar,
        &[("/spec/workload/inject", "{podSelector: {matchLabel: {}}}")],
        &[("/spec/workload/inject/podSelector/matchLabel", "matchLabels")],
    ),
    case(
        Sidecar,
        &[("/spec/workload/hostNetwork", "true")],
        &[("/spec/workload", "somebody else's pod")],
    ),
    case(
        Sidecar,
        &[("/spec/workload/nodeSelector", "{a: b}")],
        &[("/spec/workload", "somebody else's pod")],
    ),
    case(
        Sidecar,
        &[("/spec/workload/resources", "{requests: {cpu: 1, memory: 64Mi}}")],
        &[],
    ),
    case(
        Pool,
        &[("/spec/workload/resources", "{requests: {cpu: true}}")],
        &[("/spec/workload/resources/requests/cpu", "neither")],
    ),
    case(
        Pool,
        &[("/spec/workload/resources", "{request: {}}")],
        &[("/spec/workload/resources/request", "\"requests\"")],
    ),
    // --- pool: access point
    case(
        Sidecar,
        &[("/spec/accessPoint", "{}")],
        &[("/spec/accessPoint", "remove accessPoint")],
    ),
    case(
        Pool,
        &[("/spec/accessPoint", "{name: 1st}")],
        &[("/spec/accessPoint/name", "beginning with a letter")],
    ),
    case(Pool, &[("/spec/accessPoint", "{host: sync_1.example.com.}")], &[]),
    case(Pool, &[("/spec/accessPoint", "{host: \"2001:db8::1\"}")], &[]),
    case(
        Pool,
        &[("/spec/accessPoint", "{host: \"sync.example.com:443\"}")],
        &[("/spec/accessPoint/host", "DNS name or an IP address")],
    ),
    case(
        Pool,
        &[("/spec/accessPoint", "{host: 192.0.2.256}")],
        &[("/spec/accessPoint/host", "DNS name or an IP address")],
    ),
    case(
        Pool,
        &[("/spec/accessPoint", "{host: a..b}")],
        &[("/spec/accessPoint/host", "DNS name or an IP address")],
    ),
    case(
        Pool,
        &[("/spec/accessPoint", "{service: {type: ExternalName}}")],
        &[(
            "/spec/accessPoint/service/type",
            "ClusterIP, LoadBalancer, NodePort or None",
        )],
    ),
    case(Pool, &[("/spec/accessPoint", "{service: {type: None}}")], &[]),
    case(
        Pool,
        &[("/spec/accessPoint", "{service: {loadBalancerClass: x}}")],
        &[(
            "/spec/accessPoint/service/loadBalancerClass",
            "set type to LoadBalancer",
        )],
    ),
    case(
        Pool,
        &[(
            "/spec/accessPoint",
            "{service: {type: LoadBalancer, loadBalancerClass: x}}",
        )],
        &[],
    ),
    case(
        Pool,
        &[("/spec/accessPoint", "{service: {annotations: {a: 1}}}")],
        &[("/spec/accessPoint/service/annotations/a", "put it in quotes")],
    ),
    // --- pool: direct address
    case(
        Sidecar,
        &[("/spec/directAddress", "[{type: PodIP}]")],
        &[("/spec/directAddress", "remove directAddress")],
    ),
    case(Sidecar, &[("/spec/directAddress", "[]")], &[]),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: PodIP, networks: [10.0.0.0]}]")],
        &[("/spec/directAddress/0/networks/0", "CIDR")],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: PodIP, networks: [10.0.0.0/33]}]")],
        &[("/spec/directAddress/0/networks/0", "CIDR")],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: PodIP}, {type: NodeIP}]")],
        &[],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{networks: []}]")],
        &[("/spec/directAddress/0/type", "missing")],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: NodePort}]")],
        &[("/spec/directAddress", "set workload.kind to StatefulSet")],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: LoadBalancer}]")],
        &[("/spec/directAddress", "set workload.kind to StatefulSet")],
    ),
    case(
        Pool,
        &[
            ("/spec/workload/kind", "StatefulSet"),
            ("/spec/directAddress", "[{type: LoadBalancer}]"),
        ],
        &[],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: Hostname}]")],
        &[("/spec/directAddress/0/template", "add template")],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: PodIP, template: a.example}]")],
        &[("/spec/directAddress/0/template", "remove template")],
    ),
    case(
        Pool,
        &[(
            "/spec/directAddress",
            "[{type: Hostname, template: \"{proxy}.example\"}]",
        )],
        &[("/spec/directAddress", "{proxy} needs")],
    ),
    case(
        Pool,
        &[
            ("/spec/workload/kind", "StatefulSet"),
            (
                "/spec/directAddress",
                "[{type: Hostname, template: \"{proxy}.example\"}]",
            ),
        ],
        &[],
    ),
    case(
        Pool,
        &[(
            "/spec/directAddress",
            "[{type: Hostname, template: \"{node}.example\"}]",
        )],
        &[("/spec/directAddress", "{node} needs")],
    ),
    case(
        Pool,
        &[(
            "/spec/directAddress",
            "[{type: NodeIP}, {type: Hostname, template: \"{node}.example\"}]",
        )],
        &[],
    ),
    case(
        Pool,
        &[
            ("/spec/workload/kind", "DaemonSet"),
            (
                "/spec/directAddress",
                "[{type: Hostname, template: \"{node}-{chain}.example\"}]",
            ),
        ],
        &[],
    ),
    case(
        Pool,
        &[(
            "/spec/directAddress",
            "[{type: Hostname, template: \"{pod}.example\"}]",
        )],
        &[("/spec/directAddress/0/template", "{proxy}, {node} and {chain}")],
    ),
    case(
        Pool,
        &[("/spec/directAddress", "[{type: PodIP, port: 0}]")],
        &[("/spec/directAddress/0/port", "at least 1")],
    ),
    // --- pool: listeners
    case(
        Pool,
        &[("/spec/listeners", "null")],
        &[("/spec/listeners", "missing")],
    ),
    case(
        Pool,
        &[("/spec/listeners", "[]")],
        &[("/spec/listeners", "at least 1")],
    ),
    case(
        Pool,
        &[("/spec/listeners/1/name", "sync")],
        &[("/spec/listeners/1/name", "twice")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/name", "null")],
        &[("/spec/listeners/0/name", "missing")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/name", "a--b")],
        &[("/spec/listeners/0/name", "single '-'")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/name", "\"123\"")],
        &[("/spec/listeners/0/name", "at least one letter")],
    ),
    case(Pool, &[("/spec/listeners/0/name", "0-1a-2")], &[]),
    case(
        Pool,
        &[("/spec/listeners/0/name", "a123456789b12345")],
        &[("/spec/listeners/0/name", "at most 15")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/port", "65536")],
        &[("/spec/listeners/0/port", "at most 65535")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/port", "https")],
        &[("/spec/listeners/0/port", "whole number")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/port", "8443.5")],
        &[("/spec/listeners/0/port", "whole number")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/prot", "1")],
        &[("/spec/listeners/0/prot", "did you mean \"port\"?")],
    ),
    case(
        Pool,
        &[("/spec/listeners/1/port", "8443")],
        &[("/spec/listeners", "same port")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/1/port", "8443"),
            ("/spec/listeners/0/addresses", "[192.0.2.1]"),
            ("/spec/listeners/1/addresses", "[192.0.2.2]"),
        ],
        &[],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/1/port", "8443"),
            ("/spec/listeners/0/addresses", "[192.0.2.1]"),
            ("/spec/listeners/1/addresses", "[192.0.2.2, 192.0.2.1]"),
        ],
        &[("/spec/listeners", "same port")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/addresses", "[localhost]")],
        &[("/spec/listeners/0/addresses/0", "IP address")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/addresses", "[\"fe80::1%eth0\"]")],
        &[("/spec/listeners/0/addresses/0", "IP address")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/bindPort", "9000"),
            ("/spec/listeners/1/bindPort", "9000"),
        ],
        &[("/spec/listeners", "same bindPort")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/directPort", "9000"),
            ("/spec/listeners/1/directPort", "9000"),
        ],
        &[("/spec/listeners", "same directPort")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/directPort", "9000"),
            ("/spec/listeners/1/bindPort", "9000"),
        ],
        &[("/spec/listeners", "also a bindPort")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/directPort", "9000"),
            ("/spec/listeners/0/bindPort", "9000"),
        ],
        &[("/spec/listeners", "also a bindPort")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/directPort", "9001"),
            ("/spec/listeners/0/bindPort", "9000"),
        ],
        &[],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/directPort", "17000")],
        &[("/spec/listeners/0/directPort", "9443, 15353, 17000")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/bindPort", "17946")],
        &[("/spec/listeners/0/bindPort", "choose another port")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/protocol", "tcp")],
        &[(
            "/spec/listeners/0/protocol",
            "TCP, TLS, HTTP, HTTPS, Auto, SOCKS or HTTPProxy",
        )],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/proxyProtocol", "Accept")],
        &[("/spec/listeners/0/trustedSources", "whose headers count")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/proxyProtocol", "Require")],
        &[("/spec/listeners/0/trustedSources", "whose headers count")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/proxyProtocol", "Accept"),
            ("/spec/listeners/0/trustedSources", "[10.0.0.0/8]"),
        ],
        &[],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/proxyProtocol", "V2")],
        &[("/spec/listeners/0/proxyProtocol", "None, Accept or Require")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/allowedSources", "[anywhere]")],
        &[("/spec/listeners/0/allowedSources/0", "CIDR")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/monitorSources", "10.0.0.0/8")],
        &[("/spec/listeners/0/monitorSources", "a list")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/forward", "{}")],
        &[("/spec/listeners/0/forward", "remove forward")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/protocol", "SOCKS"),
            (
                "/spec/listeners/0/forward",
                "{allow: [\"*.corp.example:443\", \"10.1.0.0/16:*\"]}",
            ),
        ],
        &[],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/protocol", "HTTPProxy"),
            (
                "/spec/listeners/0/forward",
                "{allow: [\"corp.example\", \"a*.example:1\", \"x:65536\", \"x:0\", \"[::1]:443\"]}",
            ),
        ],
        &[
            ("/spec/listeners/0/forward/allow/0", "host:port"),
            ("/spec/listeners/0/forward/allow/1", "host:port"),
            ("/spec/listeners/0/forward/allow/2", "host:port"),
            ("/spec/listeners/0/forward/allow/3", "host:port"),
            ("/spec/listeners/0/forward/allow/4", "host:port"),
        ],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/httpsRedirect", "true")],
        &[("/spec/listeners/0/httpsRedirect", "set protocol to HTTP")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/1/httpsRedirect", "true"),
            ("/spec/listeners/1/protocol", "HTTP"),
        ],
        &[],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/protocol", "TCP"),
            ("/spec/listeners/0/tls", "{mode: Passthrough}"),
        ],
        &[("/spec/listeners/0/tls", "remove tls")],
    ),
    case(Pool, &[("/spec/listeners/0/protocol", "TLS")], &[]),
    case(
        Pool,
        &[("/spec/listeners/0/protocol", "HTTPS")],
        &[("/spec/listeners/0/tls", "add tls")],
    ),
    case(
        Pool,
        &[
            ("/spec/listeners/0/protocol", "HTTPS"),
            ("/spec/listeners/0/tls", "{mode: Passthrough}"),
        ],
        &[("/spec/listeners/0/tls/mode", "set tls.mode to Terminate")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/tls", "{}")],
        &[("/spec/listeners/0/tls/certificateRefs", "needs a certificate")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/tls", "{certificateRefs: [{name: c}]}")],
        &[],
    ),
    case(
        Pool,
        &[(
            "/spec/listeners/0/tls",
            "{mode: Passthrough, certificateRefs: [{name: c}]}",
        )],
        &[("/spec/listeners/0/tls/certificateRefs", "remove certificateRefs")],
    ),
    case(
        Pool,
        &[(
            "/spec/listeners/0/tls",
            "{mode: Passthrough, clientCARef: {name: c}}",
        )],
        &[("/spec/listeners/0/tls/clientCARef", "remove clientCARef")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/tls", "{mode: Off}")],
        &[("/spec/listeners/0/tls/mode", "Terminate or Passthrough")],
    ),
    case(
        Pool,
        &[(
            "/spec/listeners/0/tls",
            "{mode: Passthrough, minVersion: \"1.1\"}",
        )],
        &[("/spec/listeners/0/tls/minVersion", "write 1.2 or 1.3")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/idleTimeout", "600")],
        &[("/spec/listeners/0/idleTimeout", "put it in quotes")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/idleTimeout", "\"600\"")],
        &[("/spec/listeners/0/idleTimeout", "each with its unit")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/idleTimeout", "-1s")],
        &[("/spec/listeners/0/idleTimeout", "each with its unit")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/idleTimeout", "0s")],
        &[("/spec/listeners/0/idleTimeout", "longer than 0s")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/handshakeTimeout", "0ms")],
        &[("/spec/listeners/0/handshakeTimeout", "longer than 0s")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/handshakeTimeout", "99999h59m59s999ms")],
        &[],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/handshakeTimeout", "99999h60m")],
        &[("/spec/listeners/0/handshakeTimeout", "at most 99999h")],
    ),
    case(
        Pool,
        &[("/spec/listeners/0/maxConnections", "0")],
        &[("/spec/listeners/0/maxConnections", "at least 1")],
    ),
    // --- pool: the rest
    case(
        Pool,
        &[("/spec/affinity", "{by: Cookie}")],
        &[("/spec/affinity/by", "write SourceIP")],
    ),
    case(
        Pool,
        &[("/spec/affinity", "{prefixV4: 33}")],
        &[("/spec/affinity/prefixV4", "at most 32")],
    ),
    case(
        Pool,
        &[("/spec/affinity", "{prefixV6: 0}")],
        &[("/spec/affinity/prefixV6", "at least 1")],
    ),
    case(
        Pool,
        &[("/spec/affinity", "{ttl: 0s}")],
        &[("/spec/affinity/ttl", "longer than 0s")],
    ),
    case(
        Pool,
        &[("/spec/dns", "{ttl: 500ms}")],
        &[("/spec/dns/ttl", "at least 1s")],
    ),
    case(
        Pool,
        &[("/spec/dns", "{maxAnswers: 65}")],
        &[("/spec/dns/maxAnswers", "at most 64")],
    ),
    case(
        Pool,
        &[("/spec/snat", "{addresses: [10.0.0.0/8]}")],
        &[("/spec/snat/addresses/0", "IP address")],
    ),
    case(
        Pool,
        &[("/spec/guests", "{max: 101%}")],
        &[("/spec/guests/max", "0% to 100%")],
    ),
    case(Pool, &[("/spec/guests", "{max: 100%}")], &[]),
    case(
        Pool,
        &[("/spec/peers", "{seeds: [\"dr.example.com:17946\"]}")],
        &[("/spec/peers/keyRef", "share a key")],
    ),
    case(
        Pool,
        &[(
            "/spec/peers",
            "{seeds: [\"dr.example.com:17946\"], keyRef: {name: k}}",
        )],
        &[],
    ),
    case(
        Pool,
        &[(
            "/spec/peers",
            "{seeds: [dr.example.com, \"::1:17946\", \"[::1]\", \"[x]:1\", \"h:99999\", \"h:100000\", \"h:0x1\", \"1.2.3:4\"], keyRef: {name: k}}",
        )],
        &[
            ("/spec/peers/seeds/0", "host:port"),
            ("/spec/peers/seeds/1", "host:port"),
            ("/spec/peers/seeds/2", "host:port"),
            ("/spec/peers/seeds/3", "host:port"),
            ("/spec/peers/seeds/4", "host:port"),
            ("/spec/peers/seeds/5", "host:port"),
            ("/spec/peers/seeds/6", "host:port"),
            ("/spec/peers/seeds/7", "host:port"),
        ],
    ),
    case(
        Pool,
        &[("/spec/peers", "{bindAddress: pod}")],
        &[("/spec/peers/bindAddress", "IP address")],
    ),
    case(
        Pool,
        &[("/spec/drain", "{timeout: 1d}")],
        &[("/spec/drain/timeout", "h, m, s or ms")],
    ),
    case(
        Pool,
        &[("/spec/accesspoint", "{}")],
        &[("/spec/accesspoint", "did you mean \"accessPoint\"?")],
    ),
    case(
        Pool,
        &[("/spec/whatever", "{}")],
        &[("/spec/whatever", "there is no field")],
    ),
    // --- chain
    case(
        Chain,
        &[("/spec/poolRef", "null")],
        &[("/spec", "exactly one of poolRef and remote")],
    ),
    case(
        Chain,
        &[("/spec/remote", "{addresses: [\"a.example:1\"]}")],
        &[
            ("/spec", "exactly one of poolRef and remote"),
            ("/spec/backends", "remove backends"),
            ("/spec/group", "add group"),
        ],
    ),
    case(
        Chain,
        &[("/spec/poolRef", "{name: p, listener: Sync}")],
        &[("/spec/poolRef/listener", "lowercase")],
    ),
    case(
        Chain,
        &[("/spec/poolRef", "p")],
        &[("/spec/poolRef", "a map of fields")],
    ),
    case(
        Chain,
        &[("/spec/backends", "null")],
        &[("/spec/backends", "add a backend")],
    ),
    case(
        Chain,
        &[("/spec/backends", "[]")],
        &[("/spec/backends", "at least 1")],
    ),
    case(
        Chain,
        &[(
            "/spec/hostnames",
            "[\"*.example.com\", example.com, xn--bcher-kva.example]",
        )],
        &[],
    ),
    case(
        Chain,
        &[(
            "/spec/hostnames",
            "[Example.com, \"a.*.example\", \"*\", \"bücher.example\", \"a.example.\"]",
        )],
        &[
            ("/spec/hostnames/0", "lowercase"),
            ("/spec/hostnames/1", "first label"),
            ("/spec/hostnames/2", "first label"),
            ("/spec/hostnames/3", "xn--"),
            ("/spec/hostnames/4", "DNS name"),
        ],
    ),
    case(
        Chain,
        &[("/spec/hostnames", "[a.example, b.example, a.example]")],
        &[("/spec/hostnames/2", "twice")],
    ),
    case(Chain, &[("/spec/serverFirst", "true")], &[]),
    case(
        Chain,
        &[("/spec/serverFirst", "true"), ("/spec/hostnames", "[a.example]")],
        &[("/spec/serverFirst", "default chain")],
    ),
    case(
        Chain,
        &[("/spec/serverFirst", "yes please")],
        &[("/spec/serverFirst", "true or false")],
    ),
    case(
        Chain,
        &[("/spec/balance", "LeastConnection")],
        &[("/spec/balance", "LeastConnections")],
    ),
    case(
        Chain,
        &[("/spec/slowStart", "1.5s")],
        &[("/spec/slowStart", "whole numbers")],
    ),
    case(
        Chain,
        &[("/spec/slowStart", "99999h99999h")],
        &[("/spec/slowStart", "at most 99999h")],
    ),
    case(
        Chain,
        &[("/spec/group", "M Suite")],
        &[("/spec/group", "lowercase")],
    ),
    case(
        Chain,
        &[("/spec/priority", "1001")],
        &[("/spec/priority", "at most 1000")],
    ),
    case(
        Chain,
        &[("/spec/drainVanished", "{after: soon}")],
        &[("/spec/drainVanished/after", "duration")],
    ),
    // --- chain: backends
    case(
        Chain,
        &[("/spec/backends/1/name", "a")],
        &[("/spec/backends/1/name", "twice")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/name", "A")],
        &[("/spec/backends/0/name", "lowercase")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/port", "null")],
        &[("/spec/backends/0/port", "add port")],
    ),
    case(
        Chain,
        &[("/spec/backends/1/port", "1")],
        &[("/spec/backends/1/port", "belongs to host")],
    ),
    case(
        Chain,
        &[("/spec/backends/1/srv", "null")],
        &[("/spec/backends/1", "exactly one of host, srv, service and dialIn")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/srv", "_x._tcp.example")],
        &[("/spec/backends/0", "exactly one of host, srv, service and dialIn")],
    ),
    case(
        Chain,
        &[("/spec/backends/1/service", "{name: cms, port: 1}")],
        &[("/spec/backends/1", "exactly one of host, srv, service and dialIn")],
    ),
    case(
        Chain,
        &[
            ("/spec/backends/-", "{name: c, service: {name: cms, port: 1}}"),
            ("/spec/backends/-", "{name: d, dialIn: {listener: in}}"),
        ],
        &[],
    ),
    case(
        Chain,
        &[("/spec/backends/-", "{name: c, service: {name: cms}}")],
        &[("/spec/backends/2/service/port", "missing")],
    ),
    case(
        Chain,
        &[("/spec/backends/-", "{name: c, dialIn: {}}")],
        &[("/spec/backends/2/dialIn/listener", "missing")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/host", "-a.example")],
        &[("/spec/backends/0/host", "DNS name or an IP address")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/host", "\"a b\"")],
        &[("/spec/backends/0/host", "DNS name or an IP address")],
    ),
    case(
        Chain,
        &[(
            "/spec/backends/0/host",
            "a123456789b123456789c123456789d123456789e123456789f123456789abcd.example",
        )],
        &[("/spec/backends/0/host", "DNS name")],
    ),
    case(
        Chain,
        &[("/spec/backends/1/srv", "sync.corp.example")],
        &[("/spec/backends/1/srv", "_sync._tcp.corp.example")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/tier", "64")],
        &[("/spec/backends/0/tier", "at most 63")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/weight", "0")],
        &[("/spec/backends/0/weight", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/weight", "1001")],
        &[("/spec/backends/0/weight", "at most 1000")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/protocol", "HTTP/1")],
        &[("/spec/backends/0/protocol", "HTTP1 or HTTP2")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/proxyProtocol", "v2")],
        &[("/spec/backends/0/proxyProtocol", "None, V1 or V2")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/maxConnections", "0")],
        &[("/spec/backends/0/maxConnections", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/tls", "{serverName: \"a/b\"}")],
        &[("/spec/backends/0/tls/serverName", "DNS name")],
    ),
    case(
        Chain,
        &[("/spec/backends/0/tls", "{caRef: {name: A}}")],
        &[("/spec/backends/0/tls/caRef/name", "lowercase")],
    ),
    // --- chain: resolution
    case(
        Chain,
        &[("/spec/resolution", "{minTTL: 31s}")],
        &[("/spec/resolution/minTTL", "longer than maxTTL")],
    ),
    case(
        Chain,
        &[("/spec/resolution", "{minTTL: 90s, maxTTL: 1m30s}")],
        &[],
    ),
    case(
        Chain,
        &[("/spec/resolution", "{minTTL: 0s}")],
        &[("/spec/resolution/minTTL", "longer than 0s")],
    ),
    case(
        Chain,
        &[("/spec/resolution", "{minTtl: 1s}")],
        &[("/spec/resolution/minTtl", "did you mean \"minTTL\"?")],
    ),
    case(
        Chain,
        &[("/spec/resolution", "{onNXDOMAIN: Drop}")],
        &[("/spec/resolution/onNXDOMAIN", "Stale or Remove")],
    ),
    case(
        Chain,
        &[("/spec/resolution", "{onEmpty: yes}")],
        &[("/spec/resolution/onEmpty", "Stale or Remove")],
    ),
    case(
        Chain,
        &[("/spec/resolution", "{families: IPv5}")],
        &[("/spec/resolution/families", "PreferIPv6")],
    ),
    case(
        Chain,
        &[(
            "/spec/resolution",
            "{nameservers: [dns.example, \"192.0.2.1:0\", \"[2001:db8::1]\", \"[192.0.2.1:53\", \"192.0.2.1:domain\"]}",
        )],
        &[
            ("/spec/resolution/nameservers/0", "ip:port"),
            ("/spec/resolution/nameservers/1", "ip:port"),
            ("/spec/resolution/nameservers/2", "ip:port"),
            ("/spec/resolution/nameservers/3", "ip:port"),
            ("/spec/resolution/nameservers/4", "ip:port"),
        ],
    ),
    // --- chain: health
    case(
        Chain,
        &[("/spec/health", "{interval: 0s}")],
        &[("/spec/health/interval", "longer than 0s")],
    ),
    case(
        Chain,
        &[("/spec/health", "{timeout: 0s}")],
        &[("/spec/health/timeout", "longer than 0s")],
    ),
    case(
        Chain,
        &[("/spec/health", "{rise: 0}")],
        &[("/spec/health/rise", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/health", "{fall: 101}")],
        &[("/spec/health/fall", "at most 100")],
    ),
    case(
        Chain,
        &[("/spec/health", "{passive: {consecutiveFailures: 0}}")],
        &[("/spec/health/passive/consecutiveFailures", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/health", "{passive: {ejectFor: 0s}}")],
        &[("/spec/health/passive/ejectFor", "longer than 0s")],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{}]}")],
        &[(
            "/spec/health/monitors/0",
            "exactly one of tcp, http, tls and grpc",
        )],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{tcp: {}, tls: {}}]}")],
        &[(
            "/spec/health/monitors/0",
            "exactly one of tcp, http, tls and grpc",
        )],
    ),
    case(
        Chain,
        &[(
            "/spec/health",
            "{monitors: [{tcp: {}}, {tls: {}}, {http: {}}, {grpc: {}}]}",
        )],
        &[],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{udp: {}}]}")],
        &[
            ("/spec/health/monitors/0", "exactly one"),
            ("/spec/health/monitors/0/udp", "use one of grpc, http, tcp, tls"),
        ],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{http: {expect: [99]}}]}")],
        &[("/spec/health/monitors/0/http/expect/0", "at least 100")],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{http: {expect: [600]}}]}")],
        &[("/spec/health/monitors/0/http/expect/0", "at most 599")],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{http: {expect: []}}]}")],
        &[("/spec/health/monitors/0/http/expect", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{http: {path: healthz}}]}")],
        &[("/spec/health/monitors/0/http/path", "begins with '/'")],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{tcp: {port: 0}}]}")],
        &[("/spec/health/monitors/0/tcp/port", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/health", "{monitors: [{grpc: {service: \"\"}}]}")],
        &[("/spec/health/monitors/0/grpc/service", "empty")],
    ),
    // --- chain: connect, failover
    case(
        Chain,
        &[("/spec/connect", "{timeout: 0s}")],
        &[("/spec/connect/timeout", "longer than 0s")],
    ),
    case(
        Chain,
        &[("/spec/connect", "{attempts: 0}")],
        &[("/spec/connect/attempts", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/connect", "{happyEyeballsDelay: 0s}")],
        &[("/spec/connect/happyEyeballsDelay", "longer than 0s")],
    ),
    case(
        Chain,
        &[("/spec/failover", "{active: c}")],
        &[("/spec/failover/active", "no such backend")],
    ),
    case(Chain, &[("/spec/failover", "{mode: Manual, active: b}")], &[]),
    case(
        Chain,
        &[("/spec/failover", "{mode: Off}")],
        &[("/spec/failover/mode", "Automatic or Manual")],
    ),
    case(Chain, &[("/spec/failover", "{failback: Delayed}")], &[]),
    case(
        Chain,
        &[("/spec/failover", "{failback: Delayed, delay: 0s}")],
        &[("/spec/failover/delay", "set failback to Immediate")],
    ),
    case(Chain, &[("/spec/failover", "{delay: 0s}")], &[]),
    case(
        Chain,
        &[("/spec/failover", "{failback: Scheduled}")],
        &[("/spec/failover/failback", "add schedule")],
    ),
    case(
        Chain,
        &[("/spec/failover", "{minHealthy: 0}")],
        &[("/spec/failover/minHealthy", "at least 1")],
    ),
    case(
        Chain,
        &[("/spec/failover", "{onDown: Drop}")],
        &[("/spec/failover/onDown", "Keep or Close")],
    ),
    case(
        Chain,
        &[("/spec/failover", "{pace: 0}")],
        &[("/spec/failover/pace", "at least 1")],
    ),
    // --- chain: schedule, redirect
    case(
        FullChain,
        &[("/spec/schedule", "null")],
        &[
            ("/spec/failover/failback", "add schedule"),
            ("/spec/redirect/return", "add schedule"),
        ],
    ),
    case(
        FullChain,
        &[("/spec/schedule/starts", "[]")],
        &[("/spec/schedule/starts", "at least 1")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/starts/0/days", "[Mon, Mon]")],
        &[("/spec/schedule/starts/0/days/1", "twice")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/starts/0/days", "[Monday]")],
        &[("/spec/schedule/starts/0/days/0", "Sat or Sun")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/starts/0/days", "null")],
        &[("/spec/schedule/starts/0/days", "missing")],
    ),
    case(FullChain, &[("/spec/schedule/starts/0/at", "07:00")], &[]),
    case(
        FullChain,
        &[("/spec/schedule/starts/0/at", "\"7:00\"")],
        &[("/spec/schedule/starts/0/at", "HH:MM")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/starts/0/at", "\"24:00\"")],
        &[("/spec/schedule/starts/0/at", "HH:MM")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/starts/0/at", "1020")],
        &[("/spec/schedule/starts/0/at", "put it in quotes")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/except", "[\"2027-02-29\"]")],
        &[("/spec/schedule/except/0", "day of the calendar")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/except", "[\"25.12.2026\"]")],
        &[("/spec/schedule/except/0", "YYYY-MM-DD")],
    ),
    case(
        FullChain,
        &[("/spec/schedule/timeZone", "\"London, Europe\"")],
        &[("/spec/schedule/timeZone", "time zone database")],
    ),
    case(
        Chain,
        &[("/spec/redirect", "{return: Scheduled}")],
        &[("/spec/redirect/return", "add schedule")],
    ),
    case(Chain, &[("/spec/redirect", "{return: WhenHealthy}")], &[]),
    case(
        Chain,
        &[("/spec/redirect", "{dialects: [HTTP, SIP]}")],
        &[("/spec/redirect/dialects/1", "XMPP or MQTT")],
    ),
    case(
        Chain,
        &[("/spec/redirect", "{dialects: [HTTP, HTTP]}")],
        &[("/spec/redirect/dialects/1", "twice")],
    ),
    case(
        Chain,
        &[("/spec/redirect", "{fallback: None}")],
        &[("/spec/redirect/fallback", "Relay or Refuse")],
    ),
    case(
        Chain,
        &[("/spec/redirect", "{grace: 1h30}")],
        &[("/spec/redirect/grace", "each with its unit")],
    ),
    // --- chain: remote
    case(
        Remote,
        &[("/spec/group", "null")],
        &[("/spec/group", "add group")],
    ),
    case(
        Remote,
        &[("/spec/remote/addresses", "[]")],
        &[("/spec/remote/addresses", "at least 1")],
    ),
    case(
        Remote,
        &[("/spec/remote/addresses", "null")],
        &[("/spec/remote/addresses", "missing")],
    ),
    case(
        Remote,
        &[("/spec/remote/addresses/0", "dr.example.com")],
        &[("/spec/remote/addresses/0", "host:port")],
    ),
    case(
        Remote,
        &[("/spec/remote/monitors/0", "{}")],
        &[("/spec/remote/monitors/0", "exactly one")],
    ),
    case(
        Remote,
        &[("/spec/failover", "{active: a}")],
        &[("/spec/failover/active", "no such backend")],
    ),
    case(
        Remote,
        &[("/spec/backends", "[{name: a, host: h, port: 1}]")],
        &[("/spec/backends", "remove backends")],
    ),
];
