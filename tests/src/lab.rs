//! A network of a test's own. In: machines by name and number. Out: hosts on
//! one wire, each a network namespace with an IPv4 and an IPv6 address, in
//! which programs run and clients measure.
//!
//! ```text
//!   client 10.77.0.100 ─┐            ┌─ dns 10.77.0.53
//!    proxy 10.77.0.2   ─┴─ (bridge) ─┴─ b1  10.77.0.11 …
//! ```
//!
//! Labs do not see each other, so every test uses the same addresses and
//! ports. What a test says with [`Lab::say`] is printed as one block when the
//! lab is dropped; when the test has failed, with the ends of its programs'
//! outputs.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime;
use tokio::sync::oneshot;

use crate::netns::{self, Namespace};
use crate::tool;

/// Set (to anything) to keep a lab's files; it then says where they are.
pub const KEEP_FILES: &str = "SWITCHYARD_TESTS_KEEP";

const PREFIX: &str = "switchyard-lab-";
const KEPT: &str = "kept";

/// Bytes shown of each program's output when a test has failed.
const TAIL: usize = 4096;

/// One test's network, files and report.
pub struct Lab {
    shared: Arc<Shared>,
}

struct Shared {
    test: String,
    begun: Instant,
    directory: TempDir,
    hub: Namespace,
    said: Mutex<Vec<String>>,
    outputs: Mutex<Vec<PathBuf>>,
}

impl Lab {
    /// An empty network for the test of this name.
    ///
    /// # Panics
    /// When the machine refuses namespaces or bridges.
    pub fn new(test: &str) -> Self {
        let hub = Namespace::new("hub");
        // Snooping would hold back neighbour discovery until a querier shows up.
        hub.ip("link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up\n");
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", netns::owner()))
            .tempdir()
            .expect("a temporary directory");
        let shared = Shared {
            test: test.to_owned(),
            begun: Instant::now(),
            directory,
            hub,
            said: Mutex::default(),
            outputs: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A machine at `10.77.0.number` and `fd77::number` (the same digits).
    pub fn host(&self, name: &str, number: u8) -> Host {
        let v4 = Ipv4Addr::new(10, 77, 0, number);
        Host::new(&self.shared, name, number, Some(v4))
    }

    /// A machine with an IPv6 address and no other.
    pub fn host_v6_only(&self, name: &str, number: u8) -> Host {
        Host::new(&self.shared, name, number, None)
    }

    /// Adds a line to the test's report.
    pub fn say(&self, line: impl Into<String>) {
        lock(&self.shared.said).push(line.into());
    }

    /// Time since the lab was made.
    pub fn age(&self) -> Duration {
        self.shared.begun.elapsed()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut report = format!("\n── {} ({:.1} s)\n", self.shared.test, self.age().as_secs_f64());
        for line in lock(&self.shared.said).iter() {
            for line in line.lines() {
                report.push_str(&format!("   {line}\n"));
            }
        }
        if thread::panicking() {
            for path in lock(&self.shared.outputs).iter() {
                report.push_str(&tail(path));
            }
        }
        if std::env::var_os(KEEP_FILES).is_some() {
            let kept = self.shared.directory.path().with_extension(KEPT);
            match std::fs::rename(self.shared.directory.path(), &kept) {
                Ok(()) => report.push_str(&format!("   files: {}\n", kept.display())),
                Err(error) => report.push_str(&format!("   files not kept: {error}\n")),
            }
        }
        println!("{report}");
    }
}

/// A machine of a lab: a namespace, addresses, a thread that lives inside.
/// Clones are the same machine.
#[derive(Clone)]
pub struct Host {
    machine: Arc<Machine>,
}

struct Machine {
    name: String,
    number: u8,
    v4: Option<Ipv4Addr>,
    v6: Ipv6Addr,
    inside: OnceLock<Inside>,
    namespace: Namespace,
    lab: Arc<Shared>,
}

impl Drop for Machine {
    /// Its cable goes at once, after its clients have said FIN: the kernel takes its time to end a namespace, and the next machine
    /// of this number needs the name.
    fn drop(&mut self) {
        drop(self.inside.take());
        let mut ip = self.lab.hub.command("ip");
        let _ = tool::try_output(ip.args(["link", "delete", &format!("p{}", self.number)])); // an error: it is gone
    }
}

/// The thread that lives in the namespace and runs its clients' tasks.
struct Inside {
    handle: runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Host {
    fn new(lab: &Arc<Shared>, name: &str, number: u8, v4: Option<Ipv4Addr>) -> Self {
        let namespace = Namespace::new(name);
        let v6: Ipv6Addr = format!("fd77::{number}")
            .parse()
            .expect("decimal digits are hexadecimal digits");
        let inside = namespace.name();
        lab.hub.ip(&format!(
            "link add p{number} type veth peer name eth0 netns {inside}\n\
             link set p{number} master br0 up\n"
        ));
        let mut lines = format!("addr add {v6}/64 dev eth0 nodad\nlink set eth0 up\n");
        if let Some(v4) = v4 {
            lines.push_str(&format!("addr add {v4}/16 dev eth0\n"));
        }
        namespace.ip(&lines);
        Self {
            machine: Arc::new(Machine {
                name: name.to_owned(),
                number,
                v4,
                v6,
                inside: OnceLock::new(),
                namespace,
                lab: Arc::clone(lab),
            }),
        }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.machine.name
    }

    /// Its first address: IPv4, or IPv6 where it has no other.
    pub fn ip(&self) -> IpAddr {
        self.machine.v4.map_or(IpAddr::V6(self.machine.v6), IpAddr::V4)
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.machine.v6
    }

    /// `port` at its first address.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.machine.namespace
    }

    /// Gives it more addresses of the lab's network (`10.77.0.0/16`, `fd77::/64`).
    pub fn add_addresses(&self, addresses: &[IpAddr]) {
        let lines = addresses.iter().map(|address| match address {
            IpAddr::V4(v4) => format!("addr add {v4}/16 dev eth0\n"),
            IpAddr::V6(v6) => format!("addr add {v6}/64 dev eth0 nodad\n"),
        });
        self.namespace().ip(&lines.collect::<String>());
    }

    /// A command that runs on this machine.
    pub fn command(&self, program: &str) -> Command {
        self.namespace().command(program)
    }

    /// A fresh directory for the files of one of its programs.
    pub fn directory(&self, program: &str) -> PathBuf {
        let path = self
            .machine
            .lab
            .directory
            .path()
            .join(format!("{}-{program}", self.name()));
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// From now on drops what arrives from other machines: for `Some(port)`
    /// what is sent to that TCP or UDP port, else everything. Nothing is
    /// answered, not even with a refusal. Ends when the guard is dropped.
    pub fn black_hole(&self, port: Option<u16>) -> BlackHole {
        let table = format!("hole{}", port.unwrap_or_default());
        let what = port.map_or(String::new(), |port| {
            format!("meta l4proto {{ tcp, udp }} th dport {port} ")
        });
        let rules = format!(
            "table inet {table} {{\n chain input {{\n  type filter hook input priority 0;\n  \
             iifname != \"lo\" {what}drop\n }}\n}}\n"
        );
        tool::feed(self.command("nft").args(["-f", "-"]), &rules);
        BlackHole {
            host: self.clone(),
            table,
        }
    }

    /// Pulls its cable: nothing comes or goes, and it sees that. Ends when the guard is dropped.
    pub fn cut_off(&self) -> Cut {
        let number = self.machine.number;
        self.machine.lab.hub.ip(&format!("link set p{number} down\n"));
        Cut { host: self.clone() }
    }

    /// Starts a task on the thread that lives inside this machine's namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.inside().handle.spawn(task)
    }

    /// Runs a task on that thread and waits for it: the task brings its own
    /// deadlines.
    ///
    /// # Panics
    /// When the task does, with its message.
    pub fn block_on<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let running = self.spawn(task);
        let (done, result) = mpsc::channel();
        self.spawn(async move { done.send(running.await) });
        match result.recv() {
            Ok(Ok(value)) => value,
            Ok(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            other => panic!("{}: the task did not end: {:?}", self.name(), other.err()),
        }
    }

    /// Registers a file whose end is shown when the test fails.
    pub(crate) fn show_on_failure(&self, path: &Path) {
        let mut outputs = lock(&self.machine.lab.outputs);
        if !outputs.iter().any(|known| known == path) {
            outputs.push(path.to_owned());
        }
    }

    fn inside(&self) -> &Inside {
        self.machine
            .inside
            .get_or_init(|| Inside::start(&self.machine.namespace))
    }
}

impl Inside {
    fn start(namespace: &Namespace) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = mpsc::channel();
        let path = namespace.path();
        let thread = thread::Builder::new()
            .name(namespace.name().to_owned())
            .spawn(move || {
                Namespace::enter_path(&path);
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                ready.send(runtime.handle().clone()).expect("awaited below");
                let _ = runtime.block_on(stopped); // an error is the sender's end: the same
            })
            .expect("a thread");
        let handle = started.recv().expect("the thread entered its namespace");
        Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic has been told by its own message
        }
    }
}

/// While it lives, packets to its host are dropped.
pub struct BlackHole {
    host: Host,
    table: String,
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        let mut nft = self.host.command("nft");
        nft.args(["delete", "table", "inet", &self.table]);
        if let Err(why) = tool::try_output(&mut nft) {
            eprintln!("{}: black hole stays: {why}", self.host.name());
        }
    }
}

/// While it lives, its host has no cable.
pub struct Cut {
    host: Host,
}

impl Drop for Cut {
    fn drop(&mut self) {
        let number = self.host.machine.number;
        self.host.machine.lab.hub.ip(&format!("link set p{number} up\n"));
    }
}

/// Deletes the files of test programs that live no more; kept ones stay.
pub(crate) fn delete_stale() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return; // then nothing can have been made in it
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stale = name.strip_prefix(PREFIX).is_some_and(netns::owner_is_gone);
        if stale && !name.ends_with(KEPT) {
            let _ = std::fs::remove_dir_all(entry.path()); // it only takes room
        }
    }
}

/// The end of a program's output, for a person to read.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    if text.is_empty() {
        return String::new();
    }
    let end = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned();
    let lines: String = end.lines().map(|line| format!("   | {line}\n")).collect();
    format!("   ┌ end of {}\n{lines}", path.display())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
