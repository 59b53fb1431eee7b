//! The servers of a site, all on one machine whose name they say: Node for HTTP and WebSocket, Prosody for XMPP, Mosquitto for
//! MQTT, nginx for TLS. They die and come back together.

use std::fs;
use std::path::Path;
use std::time::Duration;

use switchyard_tests::backend::{Backend, Mode, Nginx};
use switchyard_tests::lab::Host;
use switchyard_tests::process::Program;
use switchyard_tests::tls::Certificate;
use switchyard_tests::tool;
use switchyard_tests::webservers::{self, PYTHON};

const START: Duration = Duration::from_secs(30);
const MQTT_NAME: &str = include_str!("../../../programs/mqtt-name.py");

/// Names of what clients of TLS ask for.
pub const TLS_NAME: &str = "tls.example.test";

/// What a site's machine runs.
pub struct Servers {
    host: Host,
    certificate: Certificate,
    /// In the order of their start; none: dead.
    programs: Vec<Program>,
    nginx: Option<Nginx>,
    lines: Backend,
}

impl Servers {
    /// Starts them all on `host`, and awaits that they listen.
    pub fn start(host: &Host) -> Self {
        let own = format!("{}.example.test", host.name());
        let certificate = Certificate::make(&host.directory("tls"), &[&own, TLS_NAME]);
        let lines = Backend::start(host, 1650, Mode::ClientFirst);
        let mut servers = Self {
            host: host.clone(),
            certificate,
            programs: Vec::new(),
            nginx: None,
            lines,
        };
        servers.begin();
        servers
    }

    /// Kills them all, as a machine that loses its power would.
    pub fn kill(&mut self) {
        self.lines.kill();
        self.nginx = None;
        for program in &mut self.programs {
            program.kill();
        }
        self.programs.clear();
    }

    /// Starts them again.
    pub fn revive(&mut self) {
        self.lines.revive();
        self.begin();
    }

    /// What clients of its TLS trust.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What they are, in their own words.
    pub fn versions() -> String {
        let mut shell = std::process::Command::new("sh");
        let ask = "node --version; prosodyctl about 2>/dev/null | grep -i '^prosody [0-9]'; mosquitto -h | head -1; nginx -v 2>&1";
        tool::output(shell.args(["-c", ask])).trim().replace('\n', ", ")
    }

    fn begin(&mut self) {
        let (host, name) = (&self.host, self.host.name());
        let certificate = &self.certificate;
        self.nginx = Some(Nginx::serve(host, 8443, |_| {
            format!(
                "server {{ listen 8443 ssl; keepalive_timeout 600s; keepalive_requests 100000;\n\
                 ssl_certificate {}; ssl_certificate_key {};\n\
                 location / {{ return 200 \"{name}\\n\"; }}\n}}\n",
                certificate.file.display(),
                certificate.key.display()
            )
        }));
        self.programs = vec![webservers::node(host, 3000), prosody(host), mosquitto(host)];
    }
}

/// Prosody for `example.test`, where `user` has the password `secret`; it has one item, which is called as its host is.
fn prosody(host: &Host) -> Program {
    let directory = host.directory("prosody");
    let accounts = directory.join("data/example%2etest/accounts");
    fs::create_dir_all(&accounts).unwrap_or_else(|e| panic!("{}: {e}", accounts.display()));
    write(
        &accounts.join("user.dat"),
        "return { [\"password\"] = \"secret\"; };\n",
    );
    let (at, name) = (directory.display(), host.name());
    let config = directory.join("prosody.cfg.lua");
    write(
        &config,
        &format!(
            "run_as_root = true\npidfile = \"{at}/pid\"\ndata_path = \"{at}/data\"\ncertificates = \"{at}\"\n\
             log = {{ info = \"*console\" }}\ninterfaces = {{ \"0.0.0.0\" }}\nc2s_ports = {{ 5222 }}\ns2s_ports = {{}}\n\
             c2s_require_encryption = false\nauthentication = \"internal_plain\"\nstorage = \"internal\"\n\
             modules_enabled = {{ \"disco\", \"ping\", \"saslauth\", \"roster\" }}\n\
             modules_disabled = {{ \"s2s\", \"tls\", \"offline\" }}\n\
             VirtualHost \"example.test\"\n  disco_items = {{ {{ \"item.example.test\", \"{name}\" }} }}\n"
        ),
    );
    let mut command = host.command("prosody");
    command.arg("--config").arg(config).arg("-F");
    let mut program = Program::start(host, "prosody", &directory, command);
    program.await_port(5222, START);
    program
}

/// Mosquitto that keeps its host's name at `whoami`.
fn mosquitto(host: &Host) -> Program {
    let directory = host.directory("mosquitto");
    let config = directory.join("mosquitto.conf");
    write(
        &config,
        "listener 1883 0.0.0.0\nallow_anonymous true\nuser root\npersistence false\n",
    );
    let mut command = host.command("mosquitto");
    command.arg("-c").arg(config);
    let mut program = Program::start(host, "mosquitto", &directory, command);
    program.await_port(1883, START);
    let script = directory.join("name.py");
    write(&script, MQTT_NAME);
    tool::output(host.command(PYTHON).arg(script).args(["1883", host.name()]));
    program
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
