//! The program's own log. In: how it shall look. Out: events on standard error, from the first moment on, before any
//! configuration is there.

use std::io::IsTerminal;

use clap::Args;
use tracing_subscriber::EnvFilter;

/// Resolver and server libraries tell of every query at `info`; what matters of it is in our own words.
const QUIET_LIBRARIES: &str =
    "info,hickory_net=error,hickory_proto=error,hickory_resolver=error,hickory_server=error";

/// How the log looks.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace), or directives such as `switchyard_proxy=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = QUIET_LIBRARIES,
        env = "SWITCHYARD_LOG"
    )]
    log: String,
    /// One line of text, or one JSON object, per event
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: Format,
}

/// Of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Starts the log.
pub fn start(args: &LogArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| format!("--log {:?}: {error}", args.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        Format::Text => log.with_target(false).init(),
        Format::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
