//! The programs of the demo as real processes: backends that say their name, and `switchyard run` itself.
//! In: what to start. Out: a running [`Program`], killed when dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A child process of the demo.
pub struct Program {
    child: Child,
    what: String,
}

impl Program {
    fn spawn(what: String, command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        Ok(Self { child, what })
    }

    /// Ends it the hard way, as a crash would.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> io::Result<()> {
        if let Some(pid) = self.child.id() {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        }
        match timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(io::Error::other(format!("{} ended with {status}", self.what))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other(format!(
                "{} did not stop within {STOP_TIMEOUT:?}",
                self.what
            ))),
        }
    }

    /// Whether it has ended by itself, which no program of the demo should.
    pub fn ended(&mut self) -> io::Result<Option<String>> {
        Ok(self
            .child
            .try_wait()?
            .map(|status| format!("{} ended by itself with {status}", self.what)))
    }
}

/// A backend as a process of its own, accepting connections when this returns.
pub async fn backend(name: &str, address: Ipv4Addr, port: u16) -> io::Result<Program> {
    let listen = SocketAddr::from((address, port));
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["demo-backend", "--name", name, "--listen", &listen.to_string()])
        .stdout(Stdio::piped());
    let mut program = Program::spawn(format!("backend {name}"), &mut command)?;
    let out = program
        .child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("a backend without stdout"))?;
    let mut line = String::new();
    match timeout(START_TIMEOUT, BufReader::new(out).read_line(&mut line)).await {
        Ok(Ok(read)) if read > 0 => Ok(program),
        Ok(Ok(_)) => Err(io::Error::other(format!(
            "backend {name} could not listen on {listen}"
        ))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other(format!(
            "backend {name} is not listening after {START_TIMEOUT:?}"
        ))),
    }
}

/// `switchyard run --all` on the manifests of `folder`; its log goes to `switchyard.log` there.
pub fn switchyard(folder: &Path) -> io::Result<Program> {
    let log = std::fs::File::create(folder.join("switchyard.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--all", "-f"]).arg(folder.join("manifests"));
    command.arg("--state-dir").arg(folder.join("state"));
    command.stdout(log.try_clone()?).stderr(log);
    Program::spawn("switchyard run".to_owned(), &mut command)
}

/// The life of a backend process: answers each line with its name, until it is ended from outside.
pub fn run_backend(name: &str, listen: SocketAddr) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve_backend(name, listen))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backend {name} on {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_backend(name: &str, listen: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("{name} listens on {listen}");
    let answer = format!("{name}\n");
    let mut sessions = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                sessions.spawn(answer_lines(stream, answer.clone()));
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn answer_lines(stream: TcpStream, answer: String) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while lines.next_line().await?.is_some() {
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
