//! `bench`: measures Switchyard side by side with other proxies. See `bench/README.md`.

use std::process::ExitCode;

use clap::Parser;
use switchyard_bench::options::Options;

fn main() -> ExitCode {
    match switchyard_bench::rounds::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
