//! Everything that needs more than one part, on real servers: the harness.
//! `README.md` beside this crate has the ladder and a first test.
//!
//! A [`suite::Suite`] runs tests side by side; each gets a [`lab::Lab`], a
//! network of its own, puts hosts into it, starts real DNS servers
//! ([`dns`]), backends ([`backend`]) and the `switchyard` program
//! ([`switchyard`]) on them, and measures with clients ([`client`]). Where
//! Kubernetes is wanted, [`apiserver`] is a real control plane, and
//! [`cluster`] one with nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a test harness fails a test by panicking, and puts text together where speed is nothing"
)]

pub mod admin;
pub mod apiserver;
pub mod backend;
pub mod client;
pub mod cluster;
pub mod dns;
pub mod eventually;
pub mod greeting;
pub mod helm;
pub mod lab;
pub mod manifest;
pub mod member;
pub mod netns;
pub mod operator;
pub mod pages;
pub mod process;
pub mod recorder;
pub mod service;
mod sockets;
pub mod suite;
pub mod switchyard;
pub mod tls;
pub mod tool;
pub mod webservers;
