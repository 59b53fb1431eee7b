//! Real servers and clients of the web that are scripts: a Node server, a gRPC server and client, WebSocket clients. In: a
//! host. Out: a running program, or what a client said at its end.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::Host;
use crate::process::Program;
use crate::tool;

/// Debian's Python, which has Debian's packages.
pub const PYTHON: &str = "/usr/bin/python3";

const START: Duration = Duration::from_secs(20);
const NODE_SERVER: &str = include_str!("../programs/node-server.js");
const GRPC_SERVER: &str = include_str!("../programs/grpc-server.py");
const GRPC_CLIENT: &str = include_str!("../programs/grpc-client.py");
const WEBSOCKET_CLIENT: &str = include_str!("../programs/websocket-client.py");

/// A Node server on `port` of `host`: HTTP/1.1 with WebSocket there, HTTP/2 in the clear on the port after it. It says its
/// host's name, and what it was asked, as JSON.
///
/// # Panics
/// When it does not listen soon.
pub fn node(host: &Host, port: u16) -> Program {
    let directory = host.directory("node");
    let mut command = host.command("node");
    command.arg(script(&directory, "server.js", NODE_SERVER));
    command.args([host.name(), &port.to_string()]);
    let mut program = Program::start(host, "node", &directory, command);
    program.await_port(port, START);
    program.await_port(port + 1, START);
    program
}

/// A gRPC server on `port` of `host`, without TLS; it says its host's name.
///
/// # Panics
/// As [`node`].
pub fn grpc(host: &Host, port: u16) -> Program {
    let directory = host.directory("grpc");
    let mut command = host.command(PYTHON);
    command.arg(script(&directory, "server.py", GRPC_SERVER));
    command.args([host.name(), &port.to_string()]);
    let mut program = Program::start(host, "grpc", &directory, command);
    program.await_port(port, START);
    program
}

/// A gRPC client on `host` asks all that it has to ask of `authority` at `to`, with TLS by this CA. Returns the name of the
/// server that answered, or what went wrong.
pub fn grpc_client(
    host: &Host,
    to: SocketAddr,
    authority: &str,
    ca: Option<&Path>,
) -> Result<String, String> {
    let directory = host.directory("grpc-client");
    let mut command = host.command(PYTHON);
    command.arg(script(&directory, "client.py", GRPC_CLIENT));
    command.args([&to.to_string(), authority]).arg(or_dash(ca));
    tool::try_output(&mut command).map(|name| name.trim().to_owned())
}

/// A program that opens so many web sockets to `url` at `to`, each of which sends so many messages and gets them back. It
/// says `open`, and closes them at a line on its standard input.
pub fn websockets(
    host: &Host,
    url: &str,
    to: SocketAddr,
    ca: Option<&Path>,
    (clients, messages): (usize, usize),
) -> Command {
    let directory = host.directory("websockets");
    let mut command = host.command(PYTHON);
    command.arg(script(&directory, "client.py", WEBSOCKET_CLIENT));
    command.args([url, &to.to_string()]).arg(or_dash(ca));
    command.args([clients.to_string(), messages.to_string()]);
    command
}

/// What the machine lacks of Python's packages.
pub fn lacking() -> Option<String> {
    let mut python = Command::new(PYTHON);
    let imported =
        tool::try_output(python.args(["-c", "import grpc, websockets, requests, slixmpp, paho.mqtt"]));
    imported.err().map(|why| {
        format!("`make tools` installs Python's grpc, websockets, requests, slixmpp and paho: {why}")
    })
}

fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}

fn or_dash(ca: Option<&Path>) -> PathBuf {
    ca.map_or(PathBuf::from("-"), Path::to_owned)
}
