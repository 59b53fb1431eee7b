//! The `switchyard` program.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switchyard::check;

/// Keeps clients connected to redundant backends
#[derive(Parser)]
#[command(name = "switchyard", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say everything that is wrong with files, or what they become
    Check(check::CheckArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
    }
}
