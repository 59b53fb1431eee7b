//! Rise and fall. In: the results of one monitor at one endpoint, in order. Out: whether that monitor passes.
//!
//! | before | after a pass | after a failure |
//! | --- | --- | --- |
//! | unknown (nothing but failures, fewer than `fall`) | passing | failing once `fall` in a row |
//! | passing | passing | failing once `fall` in a row |
//! | failing | passing once `rise` in a row | failing |
//!
//! So one pass is enough for an endpoint that never failed, and `rise` are needed for one that did.

use std::net::SocketAddr;

use switchyard_snapshot::Monitor;

/// What one monitor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It never passed, and has not failed often enough to say no.
    Unknown,
    /// The endpoint lives.
    Passing,
    /// The endpoint is dead, or does not do what it is there for.
    Failing,
}

/// One monitor at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    standing: Standing,
    probed: bool,
    passes: u32,
    failures: u32,
    why: String,
}

impl Track {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self {
            standing: Standing::Unknown,
            probed: false,
            passes: 0,
            failures: 0,
            why: String::new(),
        }
    }

    /// Takes the next result in; `rise` and `fall` are 1 or more.
    pub fn record(&mut self, result: Result<(), String>, rise: u32, fall: u32) {
        self.probed = true;
        match result {
            Ok(()) => {
                self.failures = 0;
                self.passes = self.passes.saturating_add(1);
                if self.standing != Standing::Failing || self.passes >= rise {
                    self.standing = Standing::Passing;
                }
            }
            Err(why) => {
                self.passes = 0;
                self.failures = self.failures.saturating_add(1);
                self.why = why;
                if self.failures >= fall {
                    self.standing = Standing::Failing;
                }
            }
        }
    }

    /// What it says now.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether any probe has ended yet.
    pub fn probed(&self) -> bool {
        self.probed
    }

    /// Failures in a row, the newest result included.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Passes in a row, the newest result included.
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Why the newest failure happened, in words; empty: none has.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl Default for Track {
    fn default() -> Self {
        Self::new()
    }
}

/// What all tracks of an endpoint say together: all must pass, one that fails is enough.
pub fn together(tracks: &[Track]) -> Standing {
    if tracks.iter().any(|t| t.standing == Standing::Failing) {
        Standing::Failing
    } else if tracks.iter().all(|t| t.standing == Standing::Passing) {
        Standing::Passing
    } else {
        Standing::Unknown
    }
}

/// How people know a monitor: `tcp:9070`, `http:8080/healthz`, `grpc:9000/mail.Sync`.
pub fn name(monitor: &Monitor, address: SocketAddr) -> String {
    let at = |port: &Option<u16>| port.unwrap_or(address.port());
    match monitor {
        Monitor::Tcp { port, .. } => format!("tcp:{}", at(port)),
        Monitor::Http {
            port,
            path,
            tls: false,
            ..
        } => format!("http:{}{path}", at(port)),
        Monitor::Http {
            port,
            path,
            tls: true,
            ..
        } => format!("https:{}{path}", at(port)),
        Monitor::Tls { port } => format!("tls:{}", at(port)),
        Monitor::Grpc { port, service } if service.is_empty() => format!("grpc:{}", at(port)),
        Monitor::Grpc { port, service } => format!("grpc:{}/{service}", at(port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(results: &str, rise: u32, fall: u32) -> Standing {
        let mut track = Track::new();
        for result in results.chars() {
            let result = if result == '+' {
                Ok(())
            } else {
                Err("status 503".to_owned())
            };
            track.record(result, rise, fall);
        }
        track.standing()
    }

    #[test]
    fn rise_and_fall() {
        use Standing::{Failing, Passing, Unknown};
        let table = [
            ("", 2, 2, Unknown),
            ("+", 2, 2, Passing),
            ("-", 2, 2, Unknown),
            ("-+", 2, 2, Passing),
            ("--", 2, 2, Failing),
            ("+-", 2, 2, Passing),
            ("+-+-", 2, 2, Passing),
            ("+--", 2, 2, Failing),
            ("--+", 2, 2, Failing),
            ("--+-+", 2, 2, Failing),
            ("--++", 2, 2, Passing),
            ("-", 1, 1, Failing),
            ("-+", 1, 1, Passing),
            ("---++", 3, 3, Failing),
            ("---+++", 3, 3, Passing),
        ];
        for (results, rise, fall, standing) in table {
            assert_eq!(
                after(results, rise, fall),
                standing,
                "{results} rise {rise} fall {fall}"
            );
        }
    }

    #[test]
    fn all_must_pass() {
        let (passing, failing) = {
            let mut tracks = (Track::new(), Track::new());
            tracks.0.record(Ok(()), 1, 1);
            tracks.1.record(Err("status 503".into()), 1, 1);
            tracks
        };
        assert_eq!(together(&[passing.clone(), passing.clone()]), Standing::Passing);
        assert_eq!(together(&[passing.clone(), Track::new()]), Standing::Unknown);
        assert_eq!(together(&[passing, failing.clone()]), Standing::Failing);
        assert_eq!(together(&[Track::new(), failing]), Standing::Failing);
    }
}
