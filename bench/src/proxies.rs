//! The proxies: how each is started, when it is ready, what version it is, and how it ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cases::Front;
use crate::load::exchange::{Exchange, Plan, Speech, Then};
use crate::load::wire::Tls;
use crate::load::{Driver, LoadError};
use crate::measure::Processes;
use crate::options::Options;
use crate::stop::{Stop, Stopped};
use crate::tls::Trust;

/// Where the backend listens; the proxies' configurations name it.
pub const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2600);

/// How long a proxy may take until it relays.
const START: Duration = Duration::from_secs(10);

/// A proxy that can be measured.
#[derive(Debug)]
pub struct Proxy {
    /// Its name on the command line and in the results; the peers' program has the same.
    pub name: &'static str,
    /// The port that it relays from.
    port: u16,
    /// Its configurations for each [`Front`], below the folder of this crate.
    configs: [&'static str; 3],
    /// Arguments that start it in the foreground. `CONFIG` and `FOLDER` stand for paths.
    arguments: &'static [&'static str],
    /// Further arguments where it serves TLS. `SECRET` stands for a path.
    tls_arguments: &'static [&'static str],
    /// Arguments that make it say its version.
    version: &'static [&'static str],
}

/// All proxies; ours is the first.
pub const ALL: [Proxy; 4] = [
    Proxy {
        name: OURS,
        port: 2601,
        configs: ["switchyard.yaml", "switchyard-http.yaml", "switchyard-tls.yaml"],
        arguments: &[
            "run",
            "-f",
            "CONFIG",
            "--pool",
            "bench",
            "--workers",
            "1",
            "--bind",
            "127.0.0.1",
        ],
        tls_arguments: &["-f", "SECRET"],
        version: &["--version"],
    },
    Proxy {
        name: "haproxy",
        port: 2611,
        configs: [
            "peers/haproxy.cfg",
            "peers/haproxy-http.cfg",
            "peers/haproxy-tls.cfg",
        ],
        arguments: &["-db", "-f", "CONFIG"],
        tls_arguments: &[],
        version: &["-v"],
    },
    Proxy {
        name: "nginx",
        port: 2621,
        configs: [
            "peers/nginx.conf",
            "peers/nginx-http.conf",
            "peers/nginx-tls.conf",
        ],
        arguments: &["-e", "stderr", "-p", "FOLDER", "-c", "CONFIG"],
        tls_arguments: &[],
        version: &["-v"],
    },
    Proxy {
        name: "envoy",
        port: 2631,
        configs: [
            "peers/envoy.yaml",
            "peers/envoy-http.yaml",
            "peers/envoy-tls.yaml",
        ],
        arguments: &[
            "-c",
            "CONFIG",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ],
        tls_arguments: &[],
        version: &["--version"],
    },
];

/// The name of the proxy that the others are compared with.
pub const OURS: &str = "switchyard";

/// What all proxies meet.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// How and how long.
    pub options: &'a Options,
    /// The backend's listener.
    pub backend: &'a TcpListener,
    /// The certificate that they serve.
    pub trust: &'a Trust,
    /// When to give up.
    pub stop: &'a Stop,
}

/// Why a proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not there, or nothing that can be started.
    #[error("{name}: cannot start {}: {source} (leave it out with --only)", program.display())]
    Program {
        /// The proxy.
        name: &'static str,
        /// Its program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ended instead of relaying.
    #[error("{name} ended while starting ({status}); its last words:\n{log}")]
    Ended {
        /// The proxy.
        name: &'static str,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        log: String,
    },
    /// It runs but does not relay.
    #[error("{name} does not relay {} s after its start: {last}; its last words:\n{log}", START.as_secs())]
    NotReady {
        /// The proxy.
        name: &'static str,
        /// The last attempt's error.
        last: LoadError,
        /// The end of what it printed.
        log: String,
    },
    /// The run is to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The folder for its files and output cannot be used.
    #[error("{}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A proxy that runs. It is ended, with all its processes, when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Which proxy this is.
    pub proxy: &'static Proxy,
    front: Front,
    child: Child,
    log: PathBuf,
}

/// The proxy of this name.
pub fn find(name: &str) -> Result<&'static Proxy, String> {
    let names: Vec<&str> = ALL.iter().map(|proxy| proxy.name).collect();
    ALL.iter()
        .find(|proxy| proxy.name == name)
        .ok_or_else(|| format!("one of {}", names.join(", ")))
}

impl Proxy {
    /// The first line of what the program says when asked for its version.
    pub fn version(&'static self, options: &Options) -> Result<String, StartError> {
        let program = self.program(options);
        let failed = |source| StartError::Program {
            name: self.name,
            program: program.clone(),
            source,
        };
        // Envoy puts the path that it was called by into its answer.
        let output = Command::new(&program)
            .arg0(self.name)
            .args(self.version)
            .output()
            .map_err(failed)?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.map(str::to_owned)
            .ok_or_else(|| failed(io::Error::other("it does not say its version")))
    }

    /// Starts the program on its core, with its configuration for `front`, and waits until it relays.
    pub fn start(&'static self, front: Front, ground: &Ground<'_>) -> Result<Running, StartError> {
        let options = ground.options;
        let folder = options.here.join(".cache/run").join(self.name);
        let log = folder.join("log");
        let in_folder = |source| StartError::Folder {
            folder: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(in_folder)?;
        let output = File::create(&log).map_err(in_folder)?;
        let errors = output.try_clone().map_err(in_folder)?;

        let program = self.program(options);
        let child = Command::new("taskset")
            .arg("-c")
            .arg(options.proxy_core.to_string())
            .arg(&program)
            .args(self.arguments(front, options, &folder))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| StartError::Program {
                name: self.name,
                program,
                source,
            })?;
        let mut running = Running {
            proxy: self,
            front,
            child,
            log,
        };
        running.wait_until_ready(ground)?;
        Ok(running)
    }

    fn program(&self, options: &Options) -> PathBuf {
        absolute(&if self.name == OURS {
            options.switchyard.clone()
        } else {
            options.peers.join(self.name)
        })
    }

    fn arguments(&self, front: Front, options: &Options, folder: &Path) -> Vec<OsString> {
        let config = self.configs[front as usize];
        let fill = |argument: &&str| match *argument {
            "CONFIG" => absolute(&options.here.join(config)).into(),
            "FOLDER" => absolute(folder).into(),
            "SECRET" => absolute(&options.tls().join("secret.yaml")).into(),
            other => other.into(),
        };
        let further = if front == Front::Tls {
            self.tls_arguments
        } else {
            &[]
        };
        self.arguments.iter().chain(further).map(fill).collect()
    }
}

impl Running {
    /// Where clients connect to.
    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.proxy.port)
    }

    /// Its processes as they are now.
    pub fn processes(&self) -> io::Result<Processes> {
        Processes::of_group(self.group())
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Ready is who has relayed a request and its response.
    fn wait_until_ready(&mut self, ground: &Ground<'_>) -> Result<(), StartError> {
        let deadline = Instant::now() + START;
        loop {
            let last = match self.try_once(ground) {
                Ok(()) => return Ok(()),
                Err(LoadError::Stopped(stopped)) => return Err(stopped.into()),
                Err(error) => error,
            };
            let name = self.proxy.name;
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(StartError::Ended {
                    name,
                    status,
                    log: self.last_words(),
                });
            }
            if Instant::now() >= deadline {
                return Err(StartError::NotReady {
                    name,
                    last,
                    log: self.last_words(),
                });
            }
            ground.stop.wait(Duration::from_millis(10))?;
        }
    }

    fn try_once(&self, ground: &Ground<'_>) -> Result<(), LoadError> {
        let &Ground {
            backend, stop, trust, ..
        } = ground;
        let speech = match self.front {
            Front::Http => Speech::Http(1),
            Front::Tcp | Front::Tls => Speech::Opaque(1, 1),
        };
        let plan = Plan {
            target: self.address(),
            clients: 1,
            speech,
            then: Then::Hold,
        };
        let at_most = Duration::from_secs(1);
        if self.front == Front::Tls {
            let wire = Tls::new(trust.clone(), false);
            Driver::start(Exchange::over(wire, plan, backend), stop)?.run_until(1, at_most)
        } else {
            Driver::start(Exchange::new(plan, backend), stop)?.run_until(1, at_most)
        }
    }

    /// The end of what it printed.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(2000)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing that it would still do is of interest. An error means that it has ended by itself.
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_name_the_ports_that_are_used() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for proxy in &ALL {
            for name in proxy.configs {
                let config = fs::read_to_string(here.join(name)).unwrap();
                for port in [proxy.port, BACKEND.port()] {
                    assert!(
                        config.contains(&port.to_string()),
                        "{name} does not name port {port}"
                    );
                }
            }
        }
    }
}
