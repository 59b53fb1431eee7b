//! What a network does to proxies: packets that do not arrive. In: machines, and what is lost between them. Out: a guard; when it
//! is dropped the network is well again. Packets are dropped where they would arrive: a sender is told nothing, as in a network.

use std::sync::atomic::{AtomicU32, Ordering};

use switchyard_tests::lab::Host;
use switchyard_tests::tool;

/// UDP port of gossip.
pub const GOSSIP: u16 = 17946;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// While it lives, a machine does not get some packets.
pub struct Cut {
    host: Host,
    table: String,
}

impl Cut {
    /// `host` does not get what these rules of nft drop, one a line.
    pub fn at(host: &Host, rules: &str) -> Self {
        let table = format!("cut{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let text = format!(
            "table inet {table} {{\n chain input {{\n  type filter hook input priority 0;\n{rules}\n }}\n}}\n"
        );
        tool::feed(host.command("nft").args(["-f", "-"]), &text);
        Self {
            host: host.clone(),
            table,
        }
    }

    /// `host` gets nothing from these machines.
    pub fn from<'a>(host: &Host, others: impl IntoIterator<Item = &'a Host>) -> Self {
        Self::at(host, &rules("", others))
    }

    /// `host` gets no gossip from these machines.
    pub fn gossip_from<'a>(host: &Host, others: impl IntoIterator<Item = &'a Host>) -> Self {
        Self::at(host, &rules(&format!("udp dport {GOSSIP} "), others))
    }

    /// So many of a hundred datagrams of gossip to `host` are lost.
    pub fn loses(host: &Host, percent: u32) -> Self {
        Self::at(
            host,
            &format!("udp dport {GOSSIP} numgen random mod 100 < {percent} drop"),
        )
    }

    /// Nothing passes between these and those, in either direction.
    pub fn between<'a>(these: &[&'a Host], those: &[&'a Host]) -> Vec<Self> {
        let one = |host: &&Host, others: &[&'a Host]| Self::from(host, others.iter().copied());
        let mut cuts: Vec<Self> = these.iter().map(|host| one(host, those)).collect();
        cuts.extend(those.iter().map(|host| one(host, these)));
        cuts
    }
}

fn rules<'a>(what: &str, others: impl IntoIterator<Item = &'a Host>) -> String {
    let rule = |host: &Host| format!("  ip saddr {} {what}drop\n", host.ip());
    others.into_iter().map(rule).collect()
}

impl Drop for Cut {
    fn drop(&mut self) {
        let mut nft = self.host.command("nft");
        nft.args(["delete", "table", "inet", &self.table]);
        if let Err(why) = tool::try_output(&mut nft) {
            eprintln!("{}: a cut stays: {why}", self.host.name());
        }
    }
}
