//! Real clients as programs: each is a script around a library, and tells what happens to it, one JSON object a line. In: a
//! host, what to run. Out: events, in the order in which they happened, with the wall clock.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use switchyard_tests::eventually::eventually;
use switchyard_tests::lab::Host;
use switchyard_tests::process::Program;
use switchyard_tests::webservers::PYTHON;

/// Scripts by name: all lie in one folder when one is run.
const SCRIPTS: [(&str, &str); 6] = [
    ("tell.py", include_str!("../../../programs/clients/tell.py")),
    (
        "line_client.py",
        include_str!("../../../programs/clients/line_client.py"),
    ),
    (
        "http_client.py",
        include_str!("../../../programs/clients/http_client.py"),
    ),
    (
        "websocket_client.py",
        include_str!("../../../programs/clients/websocket_client.py"),
    ),
    (
        "xmpp_client.py",
        include_str!("../../../programs/clients/xmpp_client.py"),
    ),
    (
        "mqtt_client.py",
        include_str!("../../../programs/clients/mqtt_client.py"),
    ),
];

/// What happened to a client.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Seconds since the epoch.
    pub at: f64,
    /// Which client of the program.
    pub client: usize,
    /// `served`, `redirected`, `accepted`, `lost` (a session that stood), `ended` (one that did not), `failed` (an attempt).
    #[serde(rename = "event")]
    pub what: String,
    /// Who answered.
    pub by: Option<String>,
    /// How it failed or ended, in words.
    pub how: Option<String>,
    /// Where it was sent, in a protocol that says so.
    pub to: Option<String>,
    /// The address that it was connected to then.
    pub at_address: Option<String>,
    /// MQTT's reason.
    pub code: Option<u32>,
    /// HTTP redirects on the way: status and Location.
    #[serde(default)]
    pub hops: Vec<(u16, Option<String>)>,
    /// HTTP: whether the server has had the whole body.
    pub whole: Option<bool>,
    /// HTTP: the Authorization that the server saw.
    pub authorization: Option<String>,
    /// TLS: the first name of the certificate that was shown.
    pub shown: Option<String>,
}

/// Running clients; killed on drop.
pub struct Clients {
    name: String,
    program: Program,
    count: usize,
}

impl Clients {
    /// Starts `script` on `host`, as `name`, with these arguments and a client for each of these addresses.
    pub fn start(host: &Host, name: &str, script: &str, arguments: &[&str], sources: &[IpAddr]) -> Self {
        let directory = host.directory(name);
        for (file, text) in SCRIPTS {
            let path = directory.join(file);
            fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        let mut command = host.command(PYTHON);
        // Written beside scripts that are thrown away.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(directory.join(script)).args(arguments);
        command.args(sources.iter().map(ToString::to_string));
        Self {
            name: name.to_owned(),
            program: Program::start(host, name, &directory, command),
            count: sources.len(),
        }
    }

    /// What they are.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        let output = self.program.output();
        let written = output.rfind('\n').map_or("", |end| &output[..end]);
        // Libraries say a line of their own now and then.
        let lines = written.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", self.name)))
            .collect()
    }

    /// Waits until each client has been served by `server` at `since` or later; returns how long after `since` each was.
    ///
    /// # Panics
    /// When one was not, `within` the time.
    #[track_caller]
    pub fn await_served_by(&self, server: &str, since: f64, within: Duration) -> Vec<f64> {
        let what = format!("each of {} {} is served by {server}", self.count, self.name);
        eventually(&what, within, || {
            let mut first: BTreeMap<usize, f64> = BTreeMap::new();
            let events = self.events();
            let by = |e: &&Event| e.at >= since && e.by.as_deref() == Some(server);
            for event in events.iter().filter(by) {
                first.entry(event.client).or_insert(event.at - since);
            }
            if first.len() == self.count {
                return Ok(first.into_values().collect());
            }
            let last: Vec<&Event> = events.iter().rev().take(5).collect();
            Err(format!("{} were; the last events: {last:?}", first.len()))
        })
    }

    /// Waits for the end of a program that ends by itself.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn finish(mut self, within: Duration) -> Vec<Event> {
        let status = self.program.await_end(within);
        assert!(
            status.success(),
            "{}: {status}\n{}",
            self.name,
            self.program.output()
        );
        self.events()
    }
}

/// Runs `curl ARGUMENTS` on `host`: what it wrote, or what it complained of.
pub fn curl(host: &Host, arguments: &[&str], body: Option<&Path>) -> Result<String, String> {
    let mut command = host.command("curl");
    command.args(["-sS", "--max-time", "20"]).args(arguments);
    if let Some(body) = body {
        command.arg("--data-binary").arg(format!("@{}", body.display()));
    }
    switchyard_tests::tool::try_output(&mut command)
}

/// The wall clock, in seconds.
pub fn wall() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later than 1970").as_secs_f64()
}
