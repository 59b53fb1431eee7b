//! How parts of a table read.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::chain::view::Direct;

/// An age, shown in tenths of a second: `1.2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub Duration);

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:.1}s", self.0.as_secs_f64()))
    }
}

/// As it is displayed.
pub(super) fn text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// `host:port`, and for which networks.
pub(super) fn ways<S: Serializer>(ways: &[Direct], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ways.iter().map(|way| {
        let Direct { host, port, networks } = way;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        match networks.as_slice() {
            [] => format!("{host}:{port}"),
            some => format!("{host}:{port} for {}", some.join(", ")),
        }
    }))
}
