//! `switchyard demo`: the main job on one machine, in under a minute. In: nothing. Out: a table of what clients saw
//! while backends, DNS and primaries came and went.
//!
//! Everything in it is real: backends are processes that get killed, the DNS server answers over UDP and TCP, the proxies
//! are `switchyard run` on manifests, and the figures are taken by the clients.

mod clients;
mod dns;
mod manifests;
pub mod programs;
mod sites;
mod story;
mod table;

use std::io;
use std::process::ExitCode;

/// Runs the story; exit code 1 when a client was refused although another server lived.
pub fn run() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(story::tell()) {
        Ok(rows) => {
            println!("\n{}", table::draw(&rows));
            let refused: usize = rows.iter().map(|row| row.seen.failed).sum();
            if refused == 0 {
                println!("No client was refused.");
                ExitCode::SUCCESS
            } else {
                eprintln!(
                    "{refused} requests failed although another server lived: this is a fault of Switchyard."
                );
                ExitCode::FAILURE
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("switchyard demo: {error}");
    ExitCode::FAILURE
}
