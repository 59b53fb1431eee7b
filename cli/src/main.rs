//! The `switchyard` program: arguments, log, exit code.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switchyard::{check, demo, explain, orders, run, status, switch, table};
use switchyard_proxy::logging;

/// A connection's task and sockets are allocated on one thread and freed there: faster by 5 % of a connection's whole cost
/// than with the C library's allocator. Built without its huge pages (`no_thp`): with them, the memory of a few slow receivers
/// grows by 2 MiB at a time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps clients connected to redundant backends
#[derive(Parser)]
#[command(
    name = "switchyard",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: logging::LogArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run proxies from files, without Kubernetes
    Run(run::RunArgs),
    /// Say everything that is wrong with files, or what they become
    Check(check::CheckArgs),
    /// Say why an endpoint is served, or not
    Explain(explain::ExplainArgs),
    /// Say how pools and chains do
    Status(status::StatusArgs),
    /// Show where clients go that a chain cannot serve
    Table(table::TableArgs),
    /// Let another backend of a Manual chain serve
    Switch(switch::SwitchArgs),
    /// Take a proxy out of service; its clients leave first
    Drain(orders::DrainArgs),
    /// Send a group's guests back to where they belong, now
    Return(orders::ReturnArgs),
    /// Show the main job on this machine, in under a minute
    Demo,
    /// A backend that says its name, for the demo
    #[command(hide = true)]
    DemoBackend {
        #[arg(long)]
        name: String,
        #[arg(long)]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logging::start(&cli.log) {
        eprintln!("switchyard: {error}");
        return ExitCode::from(2);
    }
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Table(args) => table::run(&args),
        Command::Switch(args) => switch::run(&args),
        Command::Drain(args) => orders::drain(&args),
        Command::Return(args) => orders::give_back(&args),
        Command::Demo => demo::run(),
        Command::DemoBackend { name, listen } => demo::programs::run_backend(&name, listen),
    }
}
