//! CEL rules of a chain: what its fields ask of each other.

use kube::core::Rule;

use crate::common::rules::rule;

pub(super) fn chain() -> Vec<Rule> {
    vec![
        rule(
            "has(self.poolRef) != has(self.remote)",
            "a chain is either here or elsewhere: set exactly one of poolRef and remote",
        ),
        rule("!has(self.poolRef) || has(self.backends)", "the chain leads nowhere: add a backend").field_path(".backends"),
        rule("!has(self.remote) || !has(self.backends)", "a remote chain's backends are elsewhere: remove backends")
            .field_path(".backends"),
        rule("!has(self.remote) || has(self.group)", "a remote chain is only a target of its group: add group")
            .field_path(".group"),
        rule(
            "!self.serverFirst || size(self.hostnames) == 0",
            "a client that waits for the server names no host, so only a default chain can be serverFirst: remove hostnames or serverFirst",
        )
        .field_path(".serverFirst"),
        rule(
            "!has(self.failover.active) || (has(self.backends) && self.backends.exists(b, b.name == self.failover.active))",
            "there is no such backend: set failover.active to the name of one of backends",
        )
        .field_path(".failover.active"),
        rule(
            "self.failover.failback != 'Scheduled' || has(self.schedule)",
            "failback Scheduled needs a calendar: add schedule, or choose Sticky, Immediate or Delayed",
        )
        .field_path(".failover.failback"),
        // "return" is a reserved word of CEL, which escapes it.
        rule(
            "!has(self.redirect.__return__) || self.redirect.__return__ != 'Scheduled' || has(self.schedule)",
            "return Scheduled needs a calendar: add schedule, or choose WhenHealthy or OnDemand",
        )
        .field_path(".redirect.return"),
    ]
}

pub(super) fn backend() -> Vec<Rule> {
    vec![
        rule(
            "[has(self.host), has(self.srv), has(self.service), has(self.dialIn)].filter(x, x).size() == 1",
            "a backend has one source of endpoints: set exactly one of host, srv, service and dialIn",
        ),
        rule("!has(self.host) || has(self.port)", "host needs a port: add port").field_path(".port"),
        rule(
            "has(self.host) || !has(self.port)",
            "port belongs to host (an SRV record brings its own, a service has its own): remove port, or set host",
        )
        .field_path(".port"),
    ]
}

pub(super) fn monitor() -> Vec<Rule> {
    vec![rule(
        "[has(self.tcp), has(self.http), has(self.tls), has(self.grpc)].filter(x, x).size() == 1",
        "a monitor checks one thing: set exactly one of tcp, http, tls and grpc, and add another monitor for each other check",
    )]
}

pub(super) fn header_changes() -> Vec<Rule> {
    vec![
        rule(
            "!has(self.set) || self.set.all(a, self.set.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",
            "a header is set once, and case does not matter in its name: remove one of the two",
        )
        .field_path(".set"),
    ]
}

pub(super) fn resolution() -> Vec<Rule> {
    vec![
        rule(
            "duration(self.minTTL) <= duration(self.maxTTL)",
            "minTTL is longer than maxTTL: lower it, or raise maxTTL",
        )
        .field_path(".minTTL"),
    ]
}

pub(super) fn failover() -> Vec<Rule> {
    vec![
        rule(
            "self.failback != 'Delayed' || duration(self.delay) > duration('0s')",
            "failback Delayed waits for delay: write a delay longer than 0s, or set failback to Immediate",
        )
        .field_path(".delay"),
    ]
}
