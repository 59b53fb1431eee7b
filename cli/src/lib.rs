//! The command line: run, check, explain, demo.
