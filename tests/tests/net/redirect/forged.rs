//! A stranger who has overheard what proxies say to each other, and says it again, cut short, changed, or makes something up: it is
//! not taken, it is counted, it costs no memory, and clients notice nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use switchyard_tests::client::{End, Wire};
use switchyard_tests::eventually::{eventually, let_pass};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::process::Program;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::Switchyard;
use switchyard_tests::tool;
use switchyard_tests::webservers::PYTHON;

use super::cuts::GOSSIP;
use super::partitions::{SETTLED, Scene, only_by};
use super::sites::{SOON, TCP};

pub fn add(suite: &mut Suite) {
    suite.test("redirect::forged::datagrams", datagrams);
    suite.test("redirect::forged::relay_headers", relay_headers);
}

/// Datagrams of random bytes.
const RANDOM: usize = 10_000;
/// What a proxy may grow by, whatever strangers send: less than a hundred bytes for each datagram.
const GROWTH: u64 = 2 << 20;
/// Bytes of the signature of a PROXY header, version 2: whoever does not send it is an ordinary guest.
const SIGNATURE: usize = 12;

const SNIFF: &str = include_str!("../../../programs/sniff.py");
const STRANGER: &str = include_str!("../../../programs/stranger.py");

/// Writes down what arrives at a machine; stops when dropped.
struct Sniffer {
    program: Program,
    file: PathBuf,
}

impl Sniffer {
    fn start(host: &Host) -> Self {
        let directory = host.directory("sniffer");
        let script = directory.join("sniff.py");
        fs::write(&script, SNIFF).expect("a file");
        let mut command = host.command(PYTHON);
        command
            .arg(script)
            .args([GOSSIP.to_string(), TCP.direct.to_string()]);
        let mut program = Program::start(host, "sniffer", &directory, command);
        program.await_line("ready", SOON);
        Self {
            program,
            file: directory.join("sniffer.log"),
        }
    }

    /// What was overheard of this kind, at least so much.
    #[track_caller]
    fn heard(&self, what: &str, least: usize) -> Vec<Vec<u8>> {
        eventually(&format!("{least} of {what} are overheard"), SOON, || {
            let lines = self.program.output();
            let all: Vec<Vec<u8>> = lines
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|line| line["what"] == what)
                .filter_map(|line| line["bytes"].as_str().and_then(unhex))
                .collect();
            if all.len() < least {
                return Err(format!("{}", all.len()));
            }
            Ok(all)
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Datagrams that a proxy did not take, by reason.
fn refused(proxy: &Switchyard) -> BTreeMap<String, u64> {
    let metrics = proxy.metrics();
    let mut refused = BTreeMap::new();
    for (series, count) in metrics.series() {
        let reason = series
            .split("reason=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        if let (true, Some(reason)) = (series.contains("gossip") && series.contains("refused"), reason) {
            refused.insert(reason.to_owned(), *count as u64);
        }
    }
    refused
}

fn datagrams(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], false, "");
    let load = scene.load(1);
    let target = scene.proxy(1, 1).clone();
    let sniffer = Sniffer::start(&target);
    sniffer.heard("udp", 100);
    let stranger = lab.host("stranger", 250);
    // Warm: what a flood makes grow once.
    attack(lab, &stranger, &target, &sniffer, 1);
    let resident = scene.sites.site_mut(1).proxies[0].program().resident();
    let before = refused(&scene.sites.site(1).proxies[0]);
    let sent = attack(lab, &stranger, &target, &sniffer, 2);
    let after = refused(&scene.sites.site(1).proxies[0]);
    let grown = scene.sites.site_mut(1).proxies[0]
        .program()
        .resident()
        .saturating_sub(resident);
    let by: BTreeMap<&str, u64> = after
        .iter()
        .map(|(reason, count)| {
            (
                reason.as_str(),
                count - before.get(reason).copied().unwrap_or_default(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    lab.say(format!(
        "sent {sent:?}; not taken {by:?}; memory grew by {grown} bytes"
    ));
    // The kernel's buffer is the one place where some may be lost uncounted.
    let (all, counted): (u64, u64) = (sent.values().sum(), by.values().sum());
    assert!(counted * 100 >= all * 95, "{counted} of {all} were counted");
    assert!(by.len() >= 3, "told apart by too few reasons: {by:?}");
    assert!(grown <= GROWTH, "{grown} bytes");

    // What was said to a process means nothing to the next one at its address.
    let proxy = &mut scene.sites.site_mut(1).proxies[0];
    proxy.program().kill();
    proxy.start_again();
    proxy.await_ready(SOON);
    let restarted = Instant::now();
    let before: u64 = refused(&scene.sites.site(1).proxies[0]).values().sum();
    let sent: u64 = attack(lab, &stranger, &target, &sniffer, 3).values().sum();
    let after: u64 = refused(&scene.sites.site(1).proxies[0]).values().sum();
    lab.say(format!(
        "after its restart: sent {sent}, not taken {}",
        after - before
    ));
    assert!((after - before) * 100 >= sent * 95);
    scene.sites.await_meeting(SOON);
    let_pass(SETTLED);
    let seen = load.stop();
    lab.say(seen.to_string());
    only_by(&seen, restarted, Instant::now(), "site-1");
    let others: Vec<String> = seen
        .by_name()
        .into_keys()
        .filter(|name| name != "site-1")
        .collect();
    assert!(others.is_empty(), "somebody was sent away: {others:?}");
    // The access point sends half of all to the proxy that was killed, and knows nothing of that.
    let odd = seen
        .failed()
        .filter(|o| !matches!(o.end, End::Refused | End::Reset | End::Fin))
        .count();
    assert_eq!(odd, 0);
    scene.must_not_bounce(lab);
}

/// The stranger sends all that it has; how many of each.
fn attack(lab: &Lab, stranger: &Host, target: &Host, sniffer: &Sniffer, seed: u32) -> BTreeMap<String, u64> {
    let script = stranger.directory("stranger").join("stranger.py");
    fs::write(&script, STRANGER).expect("a file");
    let mut command = stranger.command(PYTHON);
    command
        .arg(script)
        .args([target.ip().to_string(), GOSSIP.to_string()]);
    command
        .arg(&sniffer.file)
        .args([RANDOM.to_string(), seed.to_string()]);
    let begun = Instant::now();
    let said = tool::output(&mut command);
    let sent: BTreeMap<String, u64> = serde_json::from_str(said.trim()).expect("how many it sent");
    let all: u64 = sent.values().sum();
    lab.say(format!(
        "{:.0} datagrams a second",
        all as f64 / begun.elapsed().as_secs_f64()
    ));
    // The last are read after they were sent.
    let_pass(Duration::from_millis(500));
    sent
}

/// A header that was overheard, and what a stranger makes of it: none opens a way to a server.
fn relay_headers(lab: &Lab) {
    let mut scene = Scene::start(lab, &[2, 2], false, "");
    let load = scene.load(1);
    let other = scene.load(2);
    let sniffers = [1, 2].map(|replica| Sniffer::start(scene.proxy(2, replica)));
    let_pass(Duration::from_secs(1));
    let killed = Instant::now();
    scene.kill(1);
    // Which of the two takes a client depends on the client.
    let heard = eventually("relay headers are overheard", SOON, || {
        let of = |n: usize| sniffers[n].program.output().contains("\"tcp\"");
        (0..2).find(|n| of(*n)).ok_or_else(|| "none".to_owned())
    });
    let header = head(&sniffers[heard].heard("tcp", 1)[0]);
    let direct = |n: usize| scene.proxy(2, n + 1).at(TCP.direct);
    let (this, that) = (direct(heard), direct(1 - heard));
    let stranger = lab.host("stranger", 250);
    let before = relays_refused(&scene);

    let mut tried: BTreeMap<&str, usize> = BTreeMap::new();
    let mut answered: Vec<String> = Vec::new();
    for (what, elsewhere, bytes) in attempts(&header) {
        *tried.entry(what).or_default() += 1;
        let to = if elsewhere { that } else { this };
        if let Some(end) = is_answered(&stranger, to, &bytes) {
            answered.push(format!("{what}: {end}"));
        }
    }

    let after = relays_refused(&scene);
    let by: BTreeMap<&str, u64> = after
        .iter()
        .map(|(reason, count)| {
            (
                reason.as_str(),
                count - before.get(reason).copied().unwrap_or_default(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect();
    let settled = killed + SETTLED + Duration::from_secs(2);
    let_pass(settled.saturating_duration_since(Instant::now()));
    let (load, other) = (load.stop(), other.stop());
    lab.say(format!(
        "a header of {} bytes; tried {tried:?}; refused {by:?}",
        header.len()
    ));
    lab.say(format!(
        "relayed clients meanwhile\n{load}clients of site 2\n{other}"
    ));
    assert!(
        answered.is_empty(),
        "{} were answered by a server: {answered:?}",
        answered.len()
    );
    let (tried, counted): (usize, u64) = (tried.values().sum(), by.values().sum());
    assert!(counted >= tried as u64, "{counted} of {tried} were counted");
    only_by(&load, killed + SETTLED, Instant::now(), "site-2");
    other.must_all_be_served();
    scene.must_not_bounce(lab);
}

/// What a stranger makes of a header: what it is, whether it is said to another proxy than the header was for, the bytes.
fn attempts(header: &[u8]) -> Vec<(&'static str, bool, Vec<u8>)> {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(("said again", false, header.to_vec()));
        all.push(("said again elsewhere", true, header.to_vec()));
    }
    for length in (SIGNATURE + 1..header.len()).step_by(3) {
        all.push(("cut short", false, header[..length].to_vec()));
    }
    for at in SIGNATURE..header.len() {
        let mut changed = header.to_vec();
        changed[at] ^= 1 << (at % 8);
        all.push(("changed", false, changed));
    }
    let mut plain = header[..28].to_vec();
    plain[14..16].copy_from_slice(&12_u16.to_be_bytes());
    all.push(("a header without a proof", false, plain));
    let first = b"PROXY TCP4 10.77.0.9 10.77.0.21 4000 1650\r\n";
    all.push(("a header of version 1", false, first.to_vec()));
    let mut endless = header[..SIGNATURE + 4].to_vec();
    endless[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    endless.resize(8192, b'x');
    all.push(("a header without an end", false, endless));
    all
}

/// The PROXY header that these bytes begin with (PROXY protocol, section 2.2: its length stands at 14, after 16 bytes).
fn head(bytes: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    bytes[..16 + length].to_vec()
}

/// Says this, then asks who is there: what was answered, if anything was.
fn is_answered(stranger: &Host, to: SocketAddr, bytes: &[u8]) -> Option<String> {
    let mut wire = Wire::connect(stranger, to).expect("a direct port takes connections");
    // It may be closed before all is said.
    let _ = wire
        .say(bytes)
        .and_then(|()| wire.say("who are you?\n"))
        .and_then(|()| wire.fin());
    match wire.line() {
        Ok(line) => Some(line),
        Err(End::Fin | End::Reset) => None,
        Err(end) => Some(format!("no end, but {end}")),
    }
}

/// Connections to direct ports of site 2 that were refused, by reason.
fn relays_refused(scene: &Scene) -> BTreeMap<String, u64> {
    let mut refused = BTreeMap::new();
    for proxy in &scene.sites.site(2).proxies {
        for (series, count) in proxy.metrics().series() {
            let reason = series
                .split("reason=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            if let (true, Some(reason)) = (series.starts_with("switchyard_connections_refused_total"), reason)
            {
                *refused.entry(reason.to_owned()).or_default() += *count as u64;
            }
        }
    }
    refused
}
