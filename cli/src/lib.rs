//! The command line: run, check, explain, demo.

pub mod check;
pub mod manifest;
