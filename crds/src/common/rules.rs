//! CEL rules of single values.
//!
//! A rule's message says what to do. Regular expressions use `[.]` where a backslash would need escaping twice.

use kube::core::Rule;

use super::OWN_PORTS;

/// One rule: an expression that must be true, and what to do where it is not.
pub(crate) fn rule(expression: impl Into<String>, message: &str) -> Rule {
    Rule::new(expression).message(message)
}

/// The labels of a DNS name as resolvers take it: up to 63 characters each, underscores allowed, possibly a dot at the end.
const LABELS: &str =
    "([A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?[.])*[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?[.]?";

/// What stands before, and after, the last colon of `self`.
const BEFORE_COLON: &str = "self.substring(0, self.lastIndexOf(':'))";
const AFTER_COLON: &str = "self.substring(self.lastIndexOf(':') + 1)";
/// What stands between the brackets that an IPv6 address is written in.
const IN_BRACKETS: &str = "self.substring(1, self.lastIndexOf(']'))";

/// Whether an expression is a DNS name, after what `prefix` matches, or an IP address. Digits and dots alone are a mistyped address,
/// not a name.
fn is_host(text: &str, prefix: &str) -> String {
    format!("(isIP({text}) || ({text}.matches('^{prefix}{LABELS}$') && !{text}.matches('^[0-9.]+$')))")
}

/// Whether an expression is a port. The form is checked first: `int` of something else is an error, not a "no".
fn is_port(text: &str) -> String {
    format!("({text}.matches('^[0-9]{{1,5}}$') && int({text}) >= 1 && int({text}) <= 65535)")
}

/// Whether `self` is, before its last colon, what `plain` says, or an IPv6 address in brackets; and after it a port.
fn has_port(plain: &str) -> String {
    format!(
        "self.contains(':') && (self.startsWith('[') ? self.contains(']:') && isIP({IN_BRACKETS}) : \
         !{BEFORE_COLON}.contains(':') && {plain}) && {}",
        is_port(AFTER_COLON)
    )
}

pub(crate) fn host() -> Vec<Rule> {
    vec![rule(is_host("self", ""), "write a DNS name or an IP address")]
}

pub(crate) fn ip() -> Vec<Rule> {
    vec![rule(
        "isIP(self)",
        "write an IP address, as in 192.0.2.1 or 2001:db8::1",
    )]
}

pub(crate) fn cidr() -> Vec<Rule> {
    vec![rule(
        "isCIDR(self)",
        "write a network in CIDR notation, as in 10.0.0.0/8 or 2001:db8::/32",
    )]
}

pub(crate) fn host_port() -> Vec<Rule> {
    let expression = has_port(&is_host(BEFORE_COLON, ""));
    vec![rule(
        expression,
        "write host:port, as in dr.example.com:18443 or [2001:db8::1]:18443",
    )]
}

pub(crate) fn name_server() -> Vec<Rule> {
    let expression = format!("isIP(self) || ({})", has_port(&format!("isIP({BEFORE_COLON})")));
    vec![rule(
        expression,
        "write the IP address of a name server, or ip:port, as in 192.0.2.53:5353 or [2001:db8::53]:5353",
    )]
}

pub(crate) fn destination() -> Vec<Rule> {
    let expression = format!(
        "self.contains(':') && (isCIDR({BEFORE_COLON}) || {}) && ({AFTER_COLON} == '*' || {})",
        is_host(BEFORE_COLON, "([*][.])?"),
        is_port(AFTER_COLON)
    );
    vec![rule(
        expression,
        "write host:port, as in *.corp.example:443, 10.1.0.0/16:* or 2001:db8::/32:443",
    )]
}

pub(crate) fn date() -> Vec<Rule> {
    vec![rule(
        "!format.date().validate(self).hasValue()",
        "write a day of the calendar, as in 2026-12-25",
    )]
}

/// Headers that say where one message ends and the next begins, or that are about one connection (RFC 9110 §7.6.1), or for
/// whom it is: whoever could change them could make proxy and backend disagree about that.
pub(crate) fn header_name() -> Vec<Rule> {
    vec![rule(
        "!(self.lowerAscii() in ['host', 'content-length', 'transfer-encoding', 'connection', 'proxy-connection', 'keep-alive', \
         'te', 'trailer', 'upgrade', 'http2-settings'])",
        "the proxy itself writes Host, Content-Length, Transfer-Encoding and what is about one connection (Connection, Keep-Alive, \
         Proxy-Connection, TE, Trailer, Upgrade, HTTP2-Settings): name another header",
    )]
}

fn duration_bound() -> Rule {
    rule(
        "duration(self) < duration('100000h')",
        "a duration is at most 99999h: write a shorter one",
    )
}

pub(crate) fn duration() -> Vec<Rule> {
    vec![duration_bound()]
}

pub(crate) fn positive_duration() -> Vec<Rule> {
    vec![
        duration_bound(),
        rule(
            "duration(self) > duration('0s')",
            "write a duration longer than 0s",
        ),
    ]
}

pub(crate) fn dns_ttl() -> Vec<Rule> {
    vec![
        duration_bound(),
        rule(
            "duration(self) >= duration('1s')",
            "DNS counts in whole seconds: write at least 1s",
        ),
    ]
}

pub(crate) fn not_our_port() -> Vec<Rule> {
    let own = OWN_PORTS.map(|port| port.to_string()).join(", ");
    vec![rule(
        format!("!(self in [{own}])"),
        &format!("choose another port: Switchyard itself uses {own}"),
    )]
}
