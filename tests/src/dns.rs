//! Real authoritative DNS servers. In: a host and what the zone shall say.
//! Out: BIND, Knot or NSD on port 53 of that host, serving [`ZONE`].
//!
//! A change rewrites the zone file with the next serial and has the server
//! reload it; [`DnsServer::edit`] returns once the server itself answers with
//! that serial, so the time of a change is known from both sides. Nothing
//! here parses or answers DNS: `dig` asks, the servers answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::eventually::eventually;
use crate::lab::{BlackHole, Host};
use crate::process::Program;
use crate::tool;

mod config;

/// The one zone that each server serves; names are given relative to it.
pub const ZONE: &str = "example.test";

/// Time for a server to start or to load a changed zone (they take 0.1 s).
const SOON: Duration = Duration::from_secs(10);

/// Time for an answer that has to come: a busy machine may need it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time for one of many answers that are asked for until the right one comes:
/// a server that starts may lose a question.
const POLL: Duration = Duration::from_secs(1);

/// Which real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIND: logs each query, so it can be asked how often a name was asked for.
    Bind,
    /// Knot DNS.
    Knot,
    /// NSD; cannot be told to answer SERVFAIL while it runs.
    Nsd,
}

/// What a zone says: records by name, each with TTL, type and data.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: BTreeMap<String, Vec<String>>,
}

impl Zone {
    /// Replaces all records of `name` (relative to [`ZONE`]) by `records`,
    /// each `"A 10.77.0.11"`, `"SRV 10 1 1650 b1"`, …, with `ttl` seconds.
    pub fn set<S: AsRef<str>>(&mut self, name: &str, ttl: u32, records: &[S]) -> &mut Self {
        let lines = records
            .iter()
            .map(|record| format!("{name} {ttl} IN {}\n", record.as_ref()))
            .collect();
        self.names.insert(name.to_owned(), lines);
        self
    }

    /// Removes `name`: NXDOMAIN from then on.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.names.remove(name);
        self
    }

    /// The zone file. Negative answers live for 1 s (last number of the SOA).
    fn text(&self, serial: u32) -> String {
        let records: String = self.names.values().flatten().map(String::as_str).collect();
        format!(
            "$ORIGIN {ZONE}.\n@ 1 IN SOA ns admin {serial} 3600 600 86400 1\n\
             @ 1 IN NS ns\nns 1 IN A 127.0.0.1\n{records}"
        )
    }
}

/// When a change was asked for, and when the server was seen to serve it.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// No answer before this instant had it.
    pub asked: Instant,
    /// Every answer after this instant has it.
    pub served: Instant,
}

/// An authoritative server; killed on drop.
pub struct DnsServer {
    kind: Kind,
    host: Host,
    directory: PathBuf,
    zone: Zone,
    serial: u32,
    servfail: bool,
    /// `None` while it is dead.
    program: Option<Program>,
}

impl DnsServer {
    /// Starts a server on `host` whose zone says what `edit` sets.
    ///
    /// # Panics
    /// When it does not answer soon.
    pub fn start(host: &Host, kind: Kind, edit: impl FnOnce(&mut Zone)) -> Self {
        let mut server = Self::dead(host, kind, edit);
        server.revive();
        server
    }

    /// A server that is not started: down from the beginning, until
    /// [`DnsServer::revive`].
    pub fn dead(host: &Host, kind: Kind, edit: impl FnOnce(&mut Zone)) -> Self {
        let mut zone = Zone::default();
        edit(&mut zone);
        let server = Self {
            kind,
            host: host.clone(),
            directory: host.directory(kind.program()),
            zone,
            serial: 1,
            servfail: false,
            program: None,
        };
        server.write("zone", &server.zone.text(server.serial));
        server.write("config", &kind.config(&server.directory, "zone"));
        server
    }

    /// Its address, for `nameservers`.
    pub fn ip(&self) -> std::net::IpAddr {
        self.host.ip()
    }

    /// Its name and version, in its own words.
    pub fn version(&self) -> String {
        self.kind.version()
    }

    /// Changes the zone and awaits that the server serves it. A server that
    /// is dead or answers SERVFAIL will serve it when it is back.
    ///
    /// # Panics
    /// When the server does not serve the change soon.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Zone)) -> Change {
        edit(&mut self.zone);
        self.serial += 1;
        self.write("zone", &self.zone.text(self.serial));
        let asked = Instant::now();
        if !self.servfail && self.program.is_some() {
            self.reload();
            self.await_serial();
        }
        Change {
            asked,
            served: Instant::now(),
        }
    }

    /// From now on answers SERVFAIL to everything, because its zone is
    /// missing (BIND) or expired (Knot); `false` ends that.
    ///
    /// # Panics
    /// When it does not do so soon, or cannot (NSD).
    pub fn servfail(&mut self, fail: bool) {
        self.servfail = fail;
        match (self.kind, fail) {
            (Kind::Bind, _) => {
                let file = if fail { "missing" } else { "zone" };
                self.write("config", &self.kind.config(&self.directory, file));
                self.reload();
            }
            (Kind::Knot, true) => self.knotc(&["-f", "zone-purge", "+expire", ZONE]),
            (Kind::Knot, false) => self.reload(),
            (Kind::Nsd, _) => panic!("NSD cannot be told to answer SERVFAIL while it runs"),
        }
        if !fail {
            return self.await_serial();
        }
        eventually("the server answers SERVFAIL", SOON, || {
            let answer = self.ask(POLL, &["+noall", "+comments", ZONE, "SOA"])?;
            if answer.contains("status: SERVFAIL") {
                Ok(())
            } else {
                Err(answer)
            }
        });
    }

    /// Drops every packet to port 53: it runs and says nothing, until the
    /// guard is dropped.
    pub fn silence(&self) -> BlackHole {
        self.host.black_hole(Some(53))
    }

    /// Kills it (SIGKILL): its port answers with a refusal.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it again after [`DnsServer::kill`] or [`DnsServer::dead`].
    ///
    /// # Panics
    /// When it does not answer soon.
    pub fn revive(&mut self) {
        let command = self.kind.command(&self.host, &self.directory);
        let name = self.kind.program();
        self.program = Some(Program::start(&self.host, name, &self.directory, command));
        self.await_serial();
    }

    /// How often the server was asked for `name` (relative to [`ZONE`]) and
    /// `record_type` since its first start.
    ///
    /// # Panics
    /// When the server is not BIND: the others log no queries.
    pub fn queries(&self, name: &str, record_type: &str) -> Queries {
        assert_eq!(self.kind, Kind::Bind, "only BIND logs queries");
        let program = self.program.as_ref().expect("the server runs");
        let asked = format!("query: {name}.{ZONE} IN {record_type} ").to_lowercase();
        let log = program.output().to_lowercase();
        let mut queries = Queries::default();
        for (_, flags) in log.lines().filter_map(|line| line.split_once(&asked)) {
            // "+E(0)TK (address)": T is TCP (BIND 9 reference, "Query Log").
            let flags = flags.split(' ').next().unwrap_or_default();
            queries.all += 1;
            queries.tcp += usize::from(flags.contains('t'));
        }
        queries
    }

    /// Asks it with `dig` from its own machine: what a client would be told,
    /// and also while its packets are dropped.
    pub fn dig(&self, question: &[&str]) -> Result<String, String> {
        self.ask(PATIENCE, question)
    }

    /// Asks it once, and waits so long for the answer.
    fn ask(&self, patience: Duration, question: &[&str]) -> Result<String, String> {
        let mut dig = self.host.command("dig");
        dig.arg(format!("+time={}", patience.as_secs())).arg("+tries=1");
        dig.arg(format!("@{}", self.ip()));
        tool::try_output(dig.args(question))
    }

    fn await_serial(&mut self) {
        let wanted = self.serial.to_string();
        let what = format!("{:?} serves serial {wanted}", self.kind);
        eventually(&what, SOON, || {
            let answer = self.ask(POLL, &["+short", ZONE, "SOA"])?;
            if answer.split(' ').nth(2) == Some(&wanted) {
                return Ok(());
            }
            let runs = self.program.as_mut().is_some_and(Program::runs);
            assert!(runs, "{:?} has ended", self.kind);
            Err(answer)
        });
    }

    fn reload(&self) {
        let program = self.program.as_ref().expect("the server runs");
        program.signal(Signal::SIGHUP);
    }

    fn knotc(&self, what: &[&str]) {
        let socket = self.directory.join("knot.sock");
        let mut knotc = self.host.command("knotc");
        tool::output(knotc.arg("-s").arg(socket).arg("-b").args(what));
    }

    /// Replaced, never half written: the server may be reading it.
    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        let next = self.directory.join(format!("{name}.next"));
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, &path))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// Queries a server has seen for one name and type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queries {
    /// Over UDP and TCP.
    pub all: usize,
    /// Of these over TCP.
    pub tcp: usize,
}
