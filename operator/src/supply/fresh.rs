//! Pods that have just become ready. In: changes, and the time. Out: the same changes; those of such pods say that they are not
//! ready, and come again. Pure.
//!
//! The address of a Service leads to a pod some time after the pod has its address, which nobody tells: until then guests who
//! were sent there would be refused. A pod may be ready before that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::index::Change;
use crate::pods::Pod;

/// How long it takes until all nodes know the way: kube-proxy waits for up to a second after its last look and takes its time with
/// thousands of Services; since when a pod is ready is told in whole seconds.
const ON_THE_WAY: Duration = Duration::from_secs(4);

/// Those that come again, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Fresh(BTreeMap<(String, String), (Instant, Change)>);

impl Fresh {
    /// The change as it is to be taken in now.
    pub(super) fn take(&mut self, mut change: Change, wall: Timestamp, now: Instant) -> Change {
        let Change::Pod { namespace, name, pod } = &change else {
            return change;
        };
        let key = (namespace.clone(), name.clone());
        self.0.remove(&key);
        let left = pod.as_ref().map_or(Duration::ZERO, |pod| left(pod, wall));
        if !left.is_zero() {
            self.0.insert(key, (now + left, change.clone()));
            if let Change::Pod { pod: Some(pod), .. } = &mut change
                && let Some(place) = &mut pod.place
            {
                place.ready = false;
            }
        }
        change
    }

    /// When the next comes again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|(due, _)| *due).min()
    }

    /// Those that come again now, as they are.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Change> {
        let due = self.0.extract_if(.., |_, (due, _)| *due <= now);
        due.map(|(_, (_, change))| change).collect()
    }
}

/// Until it is known that all nodes know the way to it. A node whose clock is ahead has it wait no longer than others; one whose
/// clock is behind by all of that time has it not wait at all.
fn left(pod: &Pod, wall: Timestamp) -> Duration {
    let Some(since) = pod.ready_since else {
        return Duration::ZERO;
    };
    let ready_for = Duration::try_from(wall.duration_since(since)).unwrap_or_default();
    ON_THE_WAY.saturating_sub(ready_for)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::pods::Place;

    fn change(name: &str, ready: bool, ready_since: Option<Timestamp>) -> Change {
        let place = Place {
            ip: IpAddr::from([10, 0, 0, 1]),
            node: "node-1".to_owned(),
            node_ip: None,
            ready,
        };
        Change::Pod {
            namespace: "edge".to_owned(),
            name: name.to_owned(),
            pod: Some(Box::new(Pod {
                place: Some(place),
                ready_since,
                ..Pod::default()
            })),
        }
    }

    fn is_ready(change: &Change) -> bool {
        match change {
            Change::Pod { pod: Some(pod), .. } => pod.place.as_ref().is_some_and(|place| place.ready),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_has_just_become_ready_comes_again_as_such() {
        let (wall, start) = (Timestamp::UNIX_EPOCH, Instant::now());
        let ms = Duration::from_millis;
        #[rustfmt::skip]
        let table = [
            // ready for so long, in ms; comes again after
            (Some(0),       Some(4000)),
            (Some(1),       Some(3999)),
            (Some(3999),    Some(1)),
            (Some(4000),    None),
            (Some(100_000), None),
            // the clock of its node is ahead
            (Some(-5000),   Some(4000)),
            (None,          None),
        ];
        for (ready_for, again) in table {
            let mut fresh = Fresh::default();
            let since = ready_for.map(|ago| wall - jiff::SignedDuration::from_millis(ago));
            let now = fresh.take(change("one", true, since), wall, start);
            assert_eq!(is_ready(&now), again.is_none(), "{ready_for:?}");
            assert_eq!(fresh.next(), again.map(|it| start + ms(it)), "{ready_for:?}");
            let Some(again) = again else { continue };
            assert!(fresh.due(start + ms(again - 1)).is_empty(), "{ready_for:?}");
            let due = fresh.due(start + ms(again));
            assert!(due.len() == 1 && is_ready(&due[0]), "{due:?}");
            assert_eq!(fresh.next(), None, "once");
        }
    }

    #[test]
    fn only_the_newest_of_a_pod_comes_again() {
        let (wall, now) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut fresh = Fresh::default();
        fresh.take(change("one", true, Some(wall)), wall, now);
        fresh.take(change("other", true, Some(wall)), wall, now);
        fresh.take(change("one", false, None), wall, now);
        let gone = Change::Pod {
            namespace: "edge".to_owned(),
            name: "other".to_owned(),
            pod: None,
        };
        assert!(fresh.next().is_some());
        fresh.take(gone, wall, now);
        assert_eq!(fresh.next(), None);
    }
}
