use std::time::Duration;

use super::*;
use crate::chain::fixture::{answer, answered, backend, chain, failing, question};

const STALE: &str = "stale";
const FRESH: &str = "fresh";

/// Addresses with their freshness, as listed.
fn listed(listing: &Listing) -> Vec<(String, &'static str)> {
    let freshness = |listed: &Listed| match listed.freshness {
        Freshness::Given => "given",
        Freshness::Fresh => FRESH,
        Freshness::Stale { .. } => STALE,
    };
    let addresses = listing.addresses.iter();
    addresses
        .map(|(address, l)| (address.to_string(), freshness(l)))
        .collect()
}

/// What one name says after `lookup`, `age` seconds after its last answer.
fn one_name(lookup: Arc<Lookup>, policy: OnMissing, now: Instant) -> Vec<(String, &'static str)> {
    let backend = backend("primary", "a", 0);
    let mut resolution = chain(vec![]).resolution;
    (resolution.on_nxdomain, resolution.on_empty) = (policy, policy);
    let lookups = Lookups::from([(question("a", RecordKind::A), lookup)]);
    listed(&Listing::read(&backend, &resolution, &lookups, now))
}

#[test]
fn failures_and_denials_by_policy() {
    use FailureKind::{Empty, NxDomain, Server, Unreachable};
    use OnMissing::{Remove, Stale};
    // the answer's TTL is 10 s
    let table = [
        (Server, 9, 1, Remove, Some(FRESH)),
        (Server, 10, 1, Remove, Some(STALE)),
        (Server, 9_999, 99, Remove, Some(STALE)),
        (Unreachable, 9_999, 99, Remove, Some(STALE)),
        (NxDomain, 9, 2, Remove, Some(FRESH)),
        (NxDomain, 11, 2, Remove, Some(STALE)),
        (NxDomain, 3, 3, Remove, None),
        (NxDomain, 9_999, 99, Stale, Some(STALE)),
        (Empty, 11, 2, Remove, Some(STALE)),
        (Empty, 3, 3, Remove, None),
        (Empty, 9_999, 99, Stale, Some(STALE)),
    ];
    for (kind, age, in_a_row, policy, expected) in table {
        let start = Instant::now();
        let last = answer(&["10.0.0.1"], start);
        let lookup = failing(Some(&last), kind, in_a_row, start);
        let said = one_name(lookup, policy, start + Duration::from_secs(age));
        let expected: Vec<_> = expected
            .map(|how| ("10.0.0.1:80".to_owned(), how))
            .into_iter()
            .collect();
        assert_eq!(
            said, expected,
            "{kind:?} {in_a_row} in a row, {age} s old, {policy:?}"
        );
    }
}

#[test]
fn ttls_are_clamped() {
    let start = Instant::now();
    for (ttl, stale_after) in [(0, 1), (10, 10), (3_600, 30)] {
        let mut last = (*answer(&["10.0.0.1"], start)).clone();
        last.answer.as_mut().unwrap().ttl = Duration::from_secs(ttl);
        let lookup = failing(Some(&last), FailureKind::Server, 1, start);
        let at = |millis| {
            one_name(
                Arc::clone(&lookup),
                OnMissing::Stale,
                start + Duration::from_millis(millis),
            )[0]
            .1
        };
        let moments = (at(stale_after * 1_000 - 1), at(stale_after * 1_000));
        assert_eq!(moments, (FRESH, STALE), "a TTL of {ttl} s");
    }
}

/// A name with both families, `v4` and `v6` known of it.
fn both(v4: Option<Arc<Lookup>>, v6: Option<Arc<Lookup>>, now: Instant) -> Listing {
    let mut resolution = chain(vec![]).resolution;
    resolution.families = Families::Any;
    let known = [(RecordKind::A, v4), (RecordKind::Aaaa, v6)];
    let lookups = known
        .into_iter()
        .filter_map(|(kind, lookup)| Some((question("a", kind), lookup?)));
    Listing::read(&backend("primary", "a", 0), &resolution, &lookups.collect(), now)
}

#[test]
fn a_name_with_one_family_is_no_fault() {
    let start = Instant::now();
    let v4 = || Some(answer(&["10.0.0.1"], start));
    let v6 = || Some(answer(&["2001:db8::1"], start));
    let none =
        |last: Option<Arc<Lookup>>, since| Some(failing(last.as_deref(), FailureKind::Empty, 1, since));
    let now = start + Duration::from_mins(1);
    let (only_v4, only_v6) = (
        ("10.0.0.1:80".to_owned(), FRESH),
        ("[2001:db8::1]:80".to_owned(), FRESH),
    );

    let listing = both(v4(), none(None, start), now);
    assert_eq!(
        (listed(&listing), listing.failures.len()),
        (vec![only_v4.clone()], 0)
    );
    let listing = both(none(None, start), v6(), now);
    assert_eq!(listed(&listing), std::slice::from_ref(&only_v6));
    assert_eq!(listed(&both(v4(), v6(), now)), [only_v4.clone(), only_v6]);
    // the AAAA records were taken away, and the A records asked for since
    let listing = both(v4(), none(v6(), start), now);
    assert_eq!(listed(&listing), std::slice::from_ref(&only_v4));
    // they went before the A records were asked for again: the whole name may be empty
    let listing = both(v4(), none(v6(), start + Duration::from_millis(1)), now);
    assert_eq!(
        listed(&listing),
        [only_v4, ("[2001:db8::1]:80".to_owned(), STALE)]
    );
    // both are empty: policy
    let listing = both(none(v4(), start), none(v6(), start), now);
    assert!(listed(&listing).iter().all(|(_, how)| *how == STALE));
    assert_eq!((listing.addresses.len(), listing.failures.len()), (2, 2));
}

#[test]
fn waiting_is_not_failing() {
    let start = Instant::now();
    let listing = both(None, None, start);
    assert!(listing.pending() && listing.failures.is_empty());
    let listing = both(Some(failing(None, FailureKind::Server, 1, start)), None, start);
    assert!(listing.pending());
    let down = || Some(failing(None, FailureKind::Server, 1, start));
    assert!(!both(down(), down(), start).pending());
    assert!(!both(Some(answer(&["10.0.0.1"], start)), None, start).pending());
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Srv {
        priority,
        weight,
        port,
        target: target.into(),
    }
}

#[test]
fn srv_records_lead_to_addresses_with_weight_and_priority() {
    let start = Instant::now();
    let mut backend = backend("primary", "", 0);
    backend.target = Target::Srv {
        name: "_Sync._tcp.Example.".into(),
    };
    let resolution = chain(vec![]).resolution;
    let name = question("_sync._tcp.example", RecordKind::Srv);
    let records = vec![
        srv(0, 0, 1650, "b.example."),
        srv(0, 60, 1650, "A.example"),
        srv(10, 5, 1651, "a.example"),
        srv(0, 1, 1, "."),
    ];
    let mut lookups = Lookups::from([(name.clone(), answered(records, start))]);
    let asked: Vec<_> = questions(&backend, &resolution, &lookups).into_iter().collect();
    let (a, b) = (
        question("a.example", RecordKind::A),
        question("b.example", RecordKind::A),
    );
    assert_eq!(asked, [name, a.clone(), b.clone()]);

    lookups.insert(a, answer(&["10.0.0.1", "10.0.0.2"], start));
    lookups.insert(b.clone(), answer(&["10.0.0.2"], start));
    let listing = Listing::read(&backend, &resolution, &lookups, start);
    let shares: Vec<_> = listing
        .addresses
        .iter()
        .map(|(address, l)| (address.to_string(), l.weight, l.priority))
        .collect();
    let expected = [
        ("10.0.0.1:1650", 60, 0),
        ("10.0.0.1:1651", 5, 10),
        ("10.0.0.2:1650", 61, 0),
        ("10.0.0.2:1651", 5, 10),
    ];
    assert_eq!(
        shares,
        expected.map(|(address, weight, priority)| (address.to_owned(), weight, priority))
    );

    // nothing can be said about b's addresses while its own name is not resolved
    lookups.remove(&b);
    let listing = Listing::read(&backend, &resolution, &lookups, start);
    let v4: IpAddr = "10.0.0.9".parse().unwrap();
    assert_eq!(listing.silence_about("b.example", v4), Some(&Silence::Waiting));
    assert_eq!(listing.silence_about("a.example", v4), None);
    assert_eq!(listing.silence_about("left.example", v4), None);
}

#[test]
fn what_becomes_of_an_address_that_is_not_listed() {
    let start = Instant::now();
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let fresh = || Presence::Listed(Freshness::Fresh);
    let read = |lookup: Option<Arc<Lookup>>| {
        let lookups = lookup
            .map(|lookup| (question("a", RecordKind::A), lookup))
            .into_iter()
            .collect();
        Listing::read(
            &backend("primary", "a", 0),
            &chain(vec![]).resolution,
            &lookups,
            start,
        )
    };
    let next = |presence: Presence, lookup| presence.next(&read(lookup), address, "a", start);
    let missing = Presence::Missing { since: start };
    assert_eq!(next(fresh(), Some(answer(&["10.0.0.2"], start))), missing);
    assert_eq!(next(missing.clone(), Some(answer(&["10.0.0.1"], start))), fresh());
    // other nameservers are asked now
    assert_eq!(next(fresh(), None), fresh());
    let stale = Presence::Listed(Freshness::Stale {
        since: start,
        why: "SERVFAIL".into(),
    });
    assert_eq!(
        next(fresh(), Some(failing(None, FailureKind::Server, 1, start))),
        stale
    );
    assert_eq!(
        next(
            missing.clone(),
            Some(failing(None, FailureKind::Server, 1, start))
        ),
        missing
    );
}
