//! Whose sessions must leave. In: a member, the rules, where the chain stands. Out: the reason, if they must.

use std::fmt;
use std::time::Instant;

use switchyard_snapshot::{Chain, OnDown};

use super::member::Member;
use crate::verdict::Verdict;

/// Why sessions must leave an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaveReason {
    /// It is marked down, and `failover.onDown` is Close.
    Down,
    /// It left DNS longer ago than `drainVanished.after`.
    Vanished,
    /// The chain went back to a better tier.
    FailedBack,
    /// The user switched the chain to another tier.
    Switched,
    /// The user suspended the chain.
    Suspended,
    /// The user took it out of the chain.
    Unconfigured,
}

impl LeaveReason {
    /// One word for labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Vanished => "vanished",
            Self::FailedBack => "failed_back",
            Self::Switched => "switched",
            Self::Suspended => "suspended",
            Self::Unconfigured => "unconfigured",
        }
    }
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "the endpoint is down",
            Self::Vanished => "the endpoint left DNS",
            Self::FailedBack => "the chain went back to a better tier",
            Self::Switched => "the chain was switched to another tier",
            Self::Suspended => "the chain is suspended",
            Self::Unconfigured => "the endpoint is not configured any more",
        })
    }
}

/// Where a chain stands, as far as leaving goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The active tier.
    pub(super) tier: u32,
    /// Why sessions of other tiers must leave, if they must.
    pub(super) others: Option<LeaveReason>,
}

/// Why sessions of this member must leave; none: they may stay.
pub(super) fn reason(member: &Member, chain: &Chain, place: Place, now: Instant) -> Option<LeaveReason> {
    let Some(tier) = member.tier(chain) else {
        return Some(LeaveReason::Unconfigured);
    };
    if chain.suspend {
        return Some(LeaveReason::Suspended);
    }
    if member.health.0 == Verdict::Eject && chain.failover.on_down == OnDown::Close {
        return Some(LeaveReason::Down);
    }
    let vanished = member.vanished_since(chain);
    if let (Some(since), Some(after)) = (vanished, chain.drain_vanished)
        && now >= since + after
    {
        return Some(LeaveReason::Vanished);
    }
    place.others.filter(|_| tier != place.tier)
}
