//! What others ask of a chain about its place among others. In: the state. Out: plain values for people, for the operator, and for
//! whoever moves guests.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use switchyard_snapshot::{ChainId, RedirectReport, StandingReport};

use super::ChainState;
use crate::clock::Now;
use crate::redirect::table::Table;

/// Where a chain stands among others.
#[derive(Clone, Debug)]
pub struct Bearings {
    /// Who stands in for whom.
    pub table: Table,
    /// How it stands here.
    pub standing: StandingReport,
    /// Where its clients are sent; none: they are served here, or nowhere.
    pub redirect: Option<RedirectReport>,
    /// When guests go back next; in the past: since then they go.
    pub returns_at: Option<Timestamp>,
}

/// Guests that go back now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// Homes that live, each with how long a guest of it must have been here.
    pub homes: Vec<(ChainId, Duration)>,
}

impl ChainState {
    /// None: it talks to nobody.
    pub fn bearings(&self, now: Now) -> Option<Bearings> {
        Some(Bearings {
            table: self.table(now.mono)?,
            standing: self.standing().clone(),
            redirect: self.outward.redirect(),
            returns_at: self.outward.returns_at(),
        })
    }

    /// Whether guests could go anywhere now.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn may_return(&self, now: Instant) -> Result<(), String> {
        let Some(table) = self.table(now) else {
            return Err("this proxy talks to no other: its pool does not gossip".to_owned());
        };
        if table.group.is_none() {
            return Err("the chain is in no group, so it has no guests".to_owned());
        }
        if table.living().any(|row| row.pool.is_some()) {
            return Ok(());
        }
        Err("no other chain of the group lives: its guests stay".to_owned())
    }

    /// Whose guests go back now; none: all may stay.
    pub fn giving_back(&self, now: Instant) -> Option<GiveBack> {
        let returning = self.view.returning.as_ref()?;
        let stay = |home: &ChainId| {
            if self.grace_is_over(home, now) {
                Duration::ZERO
            } else {
                self.chain.redirect.min_stay
            }
        };
        let homes = returning
            .homes
            .iter()
            .map(|(home, ..)| (home.clone(), stay(home)));
        Some(GiveBack {
            homes: homes.collect(),
        })
    }
}
