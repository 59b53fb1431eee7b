//! How each real server is configured and started: in the foreground, as
//! root, port 53 on all addresses, all its files in one directory, one thread.

use std::path::Path;
use std::process::Command;

use super::{Kind, ZONE};
use crate::lab::Host;
use crate::tool;

impl Kind {
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Bind => "named",
            Self::Knot => "knotd",
            Self::Nsd => "nsd",
        }
    }

    pub(super) fn version(self) -> String {
        let flag = match self {
            Self::Bind | Self::Nsd => "-v",
            Self::Knot => "--version",
        };
        // NSD tells its version on standard error.
        let mut told = Command::new("sh");
        told.args(["-c", &format!("{} {flag} 2>&1", self.program())]);
        let text = tool::output(&mut told);
        text.lines().next().unwrap_or_default().to_owned()
    }

    pub(super) fn command(self, host: &Host, directory: &Path) -> Command {
        let mut command = host.command(self.program());
        match self {
            Self::Bind => command.args(["-g", "-n", "1", "-c"]),
            Self::Knot => command.arg("-c"),
            Self::Nsd => command.args(["-d", "-c"]),
        };
        command.arg(directory.join("config"));
        command
    }

    /// The configuration, with the zone in `file` of `directory`.
    pub(super) fn config(self, directory: &Path, file: &str) -> String {
        let directory = directory.display();
        match self {
            Self::Bind => format!(
                r#"options {{
    directory "{directory}"; pid-file none; lock-file none; session-keyfile "{directory}/session.key";
    listen-on {{ any; }}; listen-on-v6 {{ any; }};
    recursion no; dnssec-validation no; minimal-responses yes; notify no; querylog yes;
    max-records-per-type 0;
}};
controls {{ }};
zone "{ZONE}" {{ type primary; file "{directory}/{file}"; }};
"#
            ),
            Self::Knot => format!(
                r#"server:
    rundir: "{directory}"
    listen: [ 0.0.0.0@53, ::@53 ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: "{directory}/knot.sock"
database:
    storage: "{directory}"
log:
  - target: stderr
    any: info
zone:
  - domain: {ZONE}
    storage: "{directory}"
    file: "{directory}/{file}"
    journal-content: none
    zonefile-load: whole
    zonefile-sync: -1
"#
            ),
            Self::Nsd => format!(
                r#"server:
    ip-address: 0.0.0.0
    ip-address: ::0
    username: ""
    chroot: ""
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: ""
    zonelistfile: "{directory}/zone.list"
    xfrdir: "{directory}"
    zonesdir: "{directory}"
    logfile: "/dev/stderr"
    server-count: 1
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: {ZONE}
    zonefile: "{directory}/{file}"
"#
            ),
        }
    }
}
