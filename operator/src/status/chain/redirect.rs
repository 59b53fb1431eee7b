//! Where clients of a chain are sent that its own proxies do not serve, and how many are elsewhere. In: views, what the other
//! chains of its group say of guests, the status as it stands. Out: what most of the proxies do, and the status of it.

use jiff::{SignedDuration, Timestamp};
use switchyard_crds::proxychain::RedirectStatus;
use switchyard_snapshot::{ChainId, ChainReport};

use super::view::{View, dissent, most};
use crate::status::conditions::seconds;

/// Proxies tell one moment so far apart, each by its own clock: no reason to write a status.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// What most of the proxies do with clients that they do not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The chain that gets most of them.
    pub to: ChainId,
    /// Since when clients are sent away, by the first who did.
    since: Timestamp,
    /// In words: why.
    why: String,
    /// How many proxies do otherwise.
    differ: usize,
    /// How many see the chain.
    of: usize,
}

impl Sent {
    /// None: most of them send nobody away. Of those who do, and of equally many of them whom the status names already, the
    /// most count. `serves`: most of the proxies serve the chain themselves.
    pub fn of(views: &[View<'_>], serves: bool, old: Option<&RedirectStatus>) -> Option<Self> {
        let sent = || views.iter().filter_map(|view| view.report.redirect.as_ref());
        let enough = if serves {
            sent().count() * 2 > views.len()
        } else {
            sent().count() * 2 >= views.len()
        };
        let before = old.filter(|old| old.active).and_then(|old| old.to.as_deref());
        let (_, count) = most(sent().map(|sent| &sent.to)).filter(|_| enough)?;
        let votes = |to: &ChainId| sent().filter(|sent| sent.to == *to).count();
        let to = sent()
            .map(|sent| &sent.to)
            .filter(|to| votes(to) == count)
            .min_by_key(|to| (before != Some(to.name.as_str()), *to))?;
        let agree = || sent().filter(|sent| sent.to == *to);
        let (why, _) = most(agree().map(|sent| sent.why.as_str()))?;
        Some(Self {
            to: to.clone(),
            since: sent().map(|sent| sent.since).min()?,
            why: why.to_owned(),
            differ: views.len() - count,
            of: views.len(),
        })
    }

    /// That clients are sent away, whereto, and why.
    pub fn words(&self, own: &ChainId) -> String {
        let Self {
            to, why, differ, of, ..
        } = self;
        let dissent = dissent(*differ, *of);
        if to == own {
            format!("other proxies of its pool serve its clients: {why}{dissent}")
        } else {
            format!("its clients are sent to {}: {why}{dissent}", to.name)
        }
    }
}

/// The status. None: the chain has never sent anybody away, and has no group to send anybody to. `mates`: what proxies report of
/// the other chains of its group.
pub fn fold(
    own: &ChainId,
    sent: Option<&Sent>,
    (views, mates): (&[View<'_>], &[&ChainReport]),
    grouped: bool,
    old: Option<&RedirectStatus>,
) -> Option<RedirectStatus> {
    let before = old.and_then(|old| old.to.as_deref());
    let to = sent.map(|sent| sent.to.name.as_str()).or(before);
    let views = views.iter().map(|view| view.report);
    let hosts = mates.iter().copied().chain(views.clone());
    let guests: u64 = hosts.clone().map(|host| guests(own, to, host)).sum();
    if sent.is_none() && guests == 0 {
        return (grouped || old.is_some()).then(RedirectStatus::default);
    }
    let returns =
        views.chain(hosts.filter(|host| guests_of(own, host) > 0 || to == Some(host.id.name.as_str())));
    let returns_at = returns.filter_map(|report| report.returns_at).min();
    let old_since = old.and_then(|old| old.since.as_ref()).map(|since| since.0);
    let old_returns = old.and_then(|old| old.returns_at.as_ref()).map(|at| at.0);
    let since = match sent {
        Some(sent) if old.is_some_and(|old| old.active) => old_since.or(Some(sent.since)),
        Some(sent) => Some(sent.since),
        None => old_since,
    };
    Some(RedirectStatus {
        active: sent.is_some(),
        to: to.map(str::to_owned),
        since: since.map(seconds),
        guests: u32::try_from(guests).unwrap_or(u32::MAX),
        returns_at: returns_at.map(|at| seconds(steady(at, old_returns))),
    })
}

/// Clients of the chain that are guests of this one, on one proxy. Those of which nobody knows where they belong count where the
/// chain's clients are sent: a client that followed a redirect does not say who told it.
fn guests(own: &ChainId, to: Option<&str>, host: &ChainReport) -> u64 {
    if host.id == *own {
        return guests_of(own, host);
    }
    let known: u64 = host.guests_of.iter().map(|of| of.guests).sum();
    let unknown = if to == Some(host.id.name.as_str()) {
        host.guests.saturating_sub(known)
    } else {
        0
    };
    guests_of(own, host) + unknown
}

fn guests_of(own: &ChainId, host: &ChainReport) -> u64 {
    let of = host.guests_of.iter().find(|of| of.home == *own);
    of.map_or(0, |of| of.guests)
}

fn steady(time: Timestamp, before: Option<Timestamp>) -> Timestamp {
    match before {
        Some(before) if time.duration_since(before).abs() <= APART => before,
        _ => time,
    }
}
