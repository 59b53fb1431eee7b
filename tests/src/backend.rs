//! Backends: the `test-backend` program as a process on a host, so that it
//! can be killed like a real server, and nginx where HTTP is spoken.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::greeting::Greeting;
use crate::lab::Host;
use crate::process::Program;
use crate::tool;

const EVENTS: &str = "events.jsonl";
const START: Duration = Duration::from_secs(10);

/// How a test backend behaves (see `test-backend --help`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Says its name on connect, and in answer to each line.
    ServerFirst,
    /// Says its name in answer to each line.
    ClientFirst,
    /// Accepts and never says a word.
    Mute,
    /// Resets each connection as soon as it is accepted.
    Reset,
    /// Does what each line tells it to.
    Told,
    /// Answers each HTTP request with 200 and its name, and keeps the connection.
    Http,
}

impl Mode {
    fn flag(self) -> &'static str {
        match self {
            Self::ServerFirst => "server-first",
            Self::ClientFirst => "client-first",
            Self::Mute => "mute",
            Self::Reset => "reset",
            Self::Told => "told",
            Self::Http => "http",
        }
    }
}

/// How a connection ended, as the backend saw it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ended {
    /// Where it came from: the proxy.
    pub peer: SocketAddr,
    /// `fin`, or what the system said.
    pub how: String,
    /// Bytes received; told in [`Mode::Told`] only.
    pub received: u64,
}

/// A running test backend; killed on drop.
pub struct Backend {
    name: String,
    host: Host,
    directory: PathBuf,
    port: u16,
    arguments: Vec<String>,
    program: Program,
}

impl Backend {
    /// Starts one that says its host's name, on `port` of all its addresses,
    /// and awaits that it listens.
    ///
    /// # Panics
    /// When it does not listen soon.
    pub fn start(host: &Host, port: u16, mode: Mode) -> Self {
        Self::start_with(host, port, &["--mode", mode.flag()])
    }

    /// As [`Backend::start`], with flags of `test-backend`.
    ///
    /// # Panics
    /// As [`Backend::start`].
    pub fn start_with(host: &Host, port: u16, flags: &[&str]) -> Self {
        let name = host.name().to_owned();
        let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        let mut arguments = vec!["--name".to_owned(), name.clone()];
        arguments.extend(["--listen".to_owned(), listen.to_string()]);
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let directory = host.directory(&format!("backend-{port}"));
        // Not shown when a test fails: it has a line or two per client.
        let log = directory.join(EVENTS);
        arguments.extend(["--log".to_owned(), log.display().to_string()]);
        let program = launch(host, &directory, &arguments);
        let mut backend = Self {
            name,
            host: host.clone(),
            directory,
            port,
            arguments,
            program,
        };
        backend.program.await_port(port, START);
        backend
    }

    /// Starts it again after [`Backend::kill`].
    ///
    /// # Panics
    /// As [`Backend::start`].
    pub fn revive(&mut self) {
        self.program = launch(&self.host, &self.directory, &self.arguments);
        self.program.await_port(self.port, START);
    }

    /// Kills it: its connections end, its port refuses.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// The name it says.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine it runs on.
    pub fn host(&self) -> Host {
        self.host.clone()
    }

    /// Where it listens, at its host's first address.
    pub fn address(&self) -> SocketAddr {
        self.host.at(self.port)
    }

    /// The process, for signals (SIGSTOP makes a server hang).
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The connections it has accepted, in order: each as it greeted it.
    pub fn accepted(&self) -> Vec<Greeting> {
        self.events("accepted")
            .filter_map(|mut event| serde_json::from_value(event["greeting"].take()).ok())
            .collect()
    }

    /// How the connections that it held have ended, in order.
    pub fn ended(&self) -> Vec<Ended> {
        self.events("ended")
            .filter_map(|event| serde_json::from_value(event).ok())
            .collect()
    }

    /// Connections it holds now.
    pub fn held(&self) -> usize {
        self.events("accepted").count() - self.events("ended").count()
    }

    fn events(&self, kind: &'static str) -> impl Iterator<Item = Value> {
        let log = fs::read_to_string(self.directory.join(EVENTS)).unwrap_or_default();
        let events: Vec<Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|event: &Value| event["event"] == kind)
            .collect();
        events.into_iter()
    }
}

fn launch(host: &Host, directory: &Path, arguments: &[String]) -> Program {
    let mut command = host.command(&binary("test-backend").to_string_lossy());
    command.args(arguments);
    Program::start(host, "test-backend", directory, command)
}

/// A program that cargo built beside the running test program.
///
/// # Panics
/// When it is not there; the message says how to build it.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    // Test programs are in deps/, others one folder up.
    let folders = test.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run `make test-net`, or build it",
            test.display()
        )
    })
}

/// A real nginx that answers every request with 200 and its host's name.
pub struct Nginx {
    directory: PathBuf,
    program: Program,
}

impl Nginx {
    /// Starts nginx on `port` of all addresses of `host`; `/healthz` answers
    /// 200 as long as [`Nginx::answer_healthy`] says so, every other path 200.
    ///
    /// # Panics
    /// When it does not listen soon.
    pub fn start(host: &Host, port: u16) -> Self {
        let name = host.name();
        Self::serve(host, port, |directory| {
            let at = directory.display();
            format!(
                "server {{ listen {port}; listen [::]:{port};\n\
                 location / {{ return 200 \"{name}\\n\"; }}\n\
                 location = /healthz {{ if (-f {at}/unhealthy) {{ return 503; }} return 200 \"{name}\\n\"; }}\n\
                 }}\n"
            )
        })
    }

    /// Starts nginx with `server` blocks of the test's own (they are given the
    /// directory of its files), one of which listens on `port`.
    ///
    /// # Panics
    /// As [`Nginx::start`].
    pub fn serve(host: &Host, port: u16, servers: impl FnOnce(&Path) -> String) -> Self {
        let directory = host.directory(&format!("nginx-{port}"));
        let at = directory.display();
        let servers = servers(&directory);
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
             events {{ }}\n\
             http {{\n\
             access_log {at}/access.log; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
             default_type text/plain;\n\
             {servers}\n\
             }}\n"
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, config).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut command = host.command("nginx");
        command.arg("-c").arg(&file).args(["-e", "stderr"]);
        let mut program = Program::start(host, "nginx", &directory, command);
        program.await_port(port, START);
        Self { directory, program }
    }

    /// A file that it wrote, such as `access.log`.
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    /// Has `/healthz` answer 200, or 503.
    pub fn answer_healthy(&self, healthy: bool) {
        let mark = self.directory.join("unhealthy");
        let done = if healthy {
            fs::remove_file(&mark)
        } else {
            fs::write(&mark, "")
        };
        done.unwrap_or_else(|e| panic!("{}: {e}", mark.display()));
    }

    /// Its name and version, in its own words.
    pub fn version() -> String {
        let mut told = std::process::Command::new("sh");
        let text = tool::output(told.args(["-c", "nginx -v 2>&1"]));
        text.trim().to_owned()
    }

    /// The process.
    pub fn program(&self) -> &Program {
        &self.program
    }
}
