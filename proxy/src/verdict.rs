//! The truth about an endpoint, as one pure function. In: [`Evidence`], which is what DNS, monitors, live traffic and the
//! administrator say. Out: a [`Verdict`] and its [`Ground`]; [`words`] puts both in words for people.
//!
//! The first row that fits decides:
//!
//! | # | administrator | monitors | live traffic | DNS | verdict |
//! | --- | --- | --- | --- | --- | --- |
//! | 1 | took it out of the configuration | | | | drain |
//! | 2 | suspended the chain | | | | drain |
//! | 3 | | one fails | | | eject |
//! | 4 | | | connection failed, confirmed | | eject |
//! | 5 | | | failed too often in a row | | eject |
//! | 6 | | | | missing for `missingFor` or longer | drain |
//! | 7 | | | | missing for less | serve |
//! | 8 | | all pass | | stale | serve stale, for ever |
//! | 9 | | unknown | | stale for less than `staleFor` | serve stale |
//! | 10 | | unknown | | stale for longer | drain |
//! | 11 | | unknown | | listed | serve, ranked last in its tier |
//! | 12 | | all pass | | listed | serve |

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use switchyard_snapshot::{Chain, format_duration};

use crate::ejection::Live;
use crate::monitor::track::{self, Standing, Track};
use crate::presence::{Freshness, Presence};

/// What shall be done with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it out.
    Serve,
    /// Hand it out although DNS is silent about it.
    ServeStale,
    /// No new connections; it may well live.
    Drain,
    /// No new connections; it is dead.
    Eject,
}

impl Verdict {
    /// Whether new connections may go there.
    pub fn serves(self) -> bool {
        matches!(self, Self::Serve | Self::ServeStale)
    }

    /// The state that users see.
    pub fn state(self) -> &'static str {
        match self {
            Self::Serve => "Serving",
            Self::ServeStale => "Stale",
            Self::Drain => "Draining",
            Self::Eject => "Ejected",
        }
    }
}

/// What the administrator wants of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That it serves if it can.
    Yes,
    /// That the whole chain rests.
    Suspended,
    /// Nothing any more: it is not configured.
    Unconfigured,
}

/// All that is known of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the administrator wants.
    pub wanted: Wanted,
    /// What DNS, or its Service, says.
    pub presence: &'a Presence,
    /// What monitors say, one track per monitor of the chain.
    pub tracks: &'a [Track],
    /// What live traffic says.
    pub live: Live<'a>,
    /// Where it ought to be listed, in words.
    pub listed_in: &'static str,
    /// The rules.
    pub chain: &'a Chain,
}

/// Which row of the table decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Row 1.
    Unconfigured,
    /// Row 2.
    Suspended,
    /// Row 3.
    MonitorFails,
    /// Row 4.
    Confirmed,
    /// Row 5.
    FailedInARow,
    /// Row 6: since this moment.
    Vanished(Instant),
    /// Row 7: since this moment.
    Missing(Instant),
    /// Row 8: since this moment.
    StaleWatched(Instant),
    /// Row 9: since this moment.
    StaleUnwatched(Instant),
    /// Row 10: since this moment.
    StaleTooLong(Instant),
    /// Row 11.
    Unproven,
    /// Row 12.
    Lives,
}

/// Decides.
pub fn judge(evidence: &Evidence<'_>, now: Instant) -> (Verdict, Ground) {
    match evidence.wanted {
        Wanted::Unconfigured => return (Verdict::Drain, Ground::Unconfigured),
        Wanted::Suspended => return (Verdict::Drain, Ground::Suspended),
        Wanted::Yes => {}
    }
    let standing = track::together(evidence.tracks);
    if standing == Standing::Failing {
        return (Verdict::Eject, Ground::MonitorFails);
    }
    match evidence.live {
        Live::Confirmed { .. } => return (Verdict::Eject, Ground::Confirmed),
        Live::Ejected { .. } => return (Verdict::Eject, Ground::FailedInARow),
        Live::Fine => {}
    }
    let resolution = &evidence.chain.resolution;
    match evidence.presence {
        Presence::Missing { since } if now >= *since + resolution.missing_for => {
            (Verdict::Drain, Ground::Vanished(*since))
        }
        Presence::Missing { since } => (Verdict::Serve, Ground::Missing(*since)),
        Presence::Listed(Freshness::Stale { since, .. }) => match standing {
            Standing::Passing => (Verdict::ServeStale, Ground::StaleWatched(*since)),
            _ if now < *since + resolution.stale_for => (Verdict::ServeStale, Ground::StaleUnwatched(*since)),
            _ => (Verdict::Drain, Ground::StaleTooLong(*since)),
        },
        Presence::Listed(_) if standing == Standing::Passing => (Verdict::Serve, Ground::Lives),
        Presence::Listed(_) => (Verdict::Serve, Ground::Unproven),
    }
}

/// When time alone may change the verdict; monitors and live traffic are events of their own.
pub fn changes_at(evidence: &Evidence<'_>, now: Instant) -> Option<Instant> {
    let at = match evidence.presence {
        Presence::Missing { since } => *since + evidence.chain.resolution.missing_for,
        Presence::Listed(Freshness::Stale { since, .. }) => *since + evidence.chain.resolution.stale_for,
        Presence::Listed(_) => return None,
    };
    (at > now).then_some(at)
}

/// The verdict's reason for people: `served: stale 43 s of at most 1h, monitor tcp:9070 passes`.
pub fn words(evidence: &Evidence<'_>, verdict: (Verdict, Ground), now: Instant) -> String {
    let verb = match verdict.0 {
        Verdict::Serve | Verdict::ServeStale => "served",
        Verdict::Drain => "draining",
        Verdict::Eject => "ejected",
    };
    let age = |since: Instant| format!("{} s", now.saturating_duration_since(since).as_secs());
    let resolution = &evidence.chain.resolution;
    let mut text = match verdict.1 {
        Ground::Unconfigured => format!("{verb}: no longer configured"),
        Ground::Suspended => format!("{verb}: the chain is suspended"),
        Ground::MonitorFails => format!("{verb}: {}", failing(evidence, true)),
        Ground::Confirmed | Ground::FailedInARow => format!("{verb}: {}", cause(evidence, verdict.1)),
        Ground::Vanished(since) => format!("{verb}: missing from {} for {}", evidence.listed_in, age(since)),
        Ground::Missing(since) => format!(
            "{verb}: missing from {} for {} of at most {}, {}",
            evidence.listed_in,
            age(since),
            format_duration(resolution.missing_for),
            monitors(evidence)
        ),
        Ground::StaleWatched(since) => format!("{verb}: stale {}, {}", age(since), monitors(evidence)),
        Ground::StaleUnwatched(since) | Ground::StaleTooLong(since) => format!(
            "{verb}: stale {} of at most {}, {}",
            age(since),
            format_duration(resolution.stale_for),
            monitors(evidence)
        ),
        Ground::Unproven | Ground::Lives => format!("{verb}: {}", monitors(evidence)),
    };
    if let (true, Presence::Listed(Freshness::Stale { why, .. })) = (stale(verdict.1), evidence.presence) {
        let _ = write!(text, " (DNS: {why})");
    }
    if let (Ground::FailedInARow, Live::Ejected { until, .. }) = (verdict.1, evidence.live) {
        let left = until.saturating_duration_since(now);
        let _ = write!(
            text,
            ", {} s left",
            left.as_secs().max(u64::from(left > Duration::ZERO))
        );
    }
    text
}

fn stale(ground: Ground) -> bool {
    matches!(
        ground,
        Ground::StaleWatched(_) | Ground::StaleUnwatched(_) | Ground::StaleTooLong(_)
    )
}

/// Why an endpoint does not serve, in words that stay the same while nothing changes (no ages, no counts that grow).
pub fn cause(evidence: &Evidence<'_>, ground: Ground) -> String {
    match (ground, evidence.live) {
        (Ground::MonitorFails, _) => failing(evidence, false),
        (Ground::Confirmed, Live::Confirmed { why }) => format!("{why}, confirmed"),
        (Ground::FailedInARow, Live::Ejected { failures, why, .. }) => {
            format!("{failures} connections in a row failed: {why}")
        }
        (Ground::Vanished(_), _) => format!("no longer in {}", evidence.listed_in),
        (Ground::StaleTooLong(_), _) => "stale for too long, no monitor passes".to_owned(),
        (Ground::Suspended, _) => "the chain is suspended".to_owned(),
        (Ground::Unconfigured, _) => "no longer configured".to_owned(),
        _ => "serves".to_owned(),
    }
}

fn failing(evidence: &Evidence<'_>, counted: bool) -> String {
    let monitors = evidence.chain.health.monitors.iter();
    let Some((monitor, track)) = monitors
        .zip(evidence.tracks)
        .find(|(_, track)| track.standing() == Standing::Failing)
    else {
        return "a monitor failed".to_owned();
    };
    let name = track::name(monitor, evidence.address);
    let why = track.why();
    match (counted, track.failures()) {
        (false, _) => format!("monitor {name} fails: {why}"),
        (true, 0) => format!(
            "monitor {name} passed {} of {} times since it failed: {why}",
            track.passes(),
            evidence.chain.health.rise
        ),
        (true, failures) => format!("monitor {name} failed {failures} in a row: {why}"),
    }
}

fn monitors(evidence: &Evidence<'_>) -> String {
    let pairs = || evidence.chain.health.monitors.iter().zip(evidence.tracks);
    if let Some((monitor, track)) = pairs().find(|(_, track)| track.standing() != Standing::Passing) {
        let name = track::name(monitor, evidence.address);
        return if track.probed() {
            format!("monitor {name} has not passed yet: {}", track.why())
        } else {
            format!("monitor {name} has not answered yet")
        };
    }
    let names: Vec<String> = pairs()
        .map(|(monitor, _)| track::name(monitor, evidence.address))
        .collect();
    match names.as_slice() {
        [one] => format!("monitor {one} passes"),
        all => format!("monitors {} pass", all.join(", ")),
    }
}

#[cfg(test)]
mod tests;
