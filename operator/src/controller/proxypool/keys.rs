//! Keys that proxies share: the gossip of a namespace, the TLS tickets of a pool.
//!
//! In: the Secret as it was found, and the time. Out: the ring it must hold now, and when to look again. Each key lives
//! through three periods: as `next` it is only told, so that every proxy can read what will be written with it; as `current`
//! it writes; as `previous` it still reads. No proxy meets a key it was not told a whole period before, however late the
//! operator is. Keys have no `Debug`, and are never logged.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Bytes of one key: enough for AES-256 and `ChaCha20`.
pub const KEY_BYTES: usize = 32;
/// Annotation with the time of the last step of the ring (RFC 3339).
pub const ROTATED_AT: &str = "switchyard.dev/rotated-at";
/// How long TLS tickets are written with one key; a ticket is read for as long again.
pub const TICKETS_PERIOD: Duration = Duration::from_hours(12);
/// How long gossip is written with one key.
pub const GOSSIP_PERIOD: Duration = Duration::from_hours(7 * 24);

/// A secret key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// From random bytes.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

/// The keys of one use.
#[derive(Clone, PartialEq, Eq)]
pub struct Ring {
    /// Reads what was written before the last step; none before the first.
    previous: Option<Key>,
    /// Writes, and reads.
    current: Key,
    /// Reads already; writes after the next step.
    next: Key,
    /// When the last step was taken, in whole seconds.
    rotated_at: Timestamp,
}

/// What is to be done about a ring.
pub struct Plan {
    /// What the Secret must hold.
    pub ring: Ring,
    /// How long from now until the next step; at most a period.
    pub next_step_in: Duration,
}

/// What a Secret held. Anything may be missing or damaged, since people can edit it.
#[derive(Default)]
pub struct Found {
    keys: BTreeMap<&'static str, Key>,
    rotated_at: Option<Timestamp>,
}

impl Found {
    /// Reads a Secret as the API server tells it.
    pub fn read(secret: &Value) -> Self {
        let key = |name: &'static str| {
            let text = secret["data"][name].as_str()?;
            let bytes = STANDARD.decode(text).ok()?;
            Some((name, Key(bytes.try_into().ok()?)))
        };
        let rotated_at = secret["metadata"]["annotations"][ROTATED_AT]
            .as_str()
            .and_then(|text| text.parse().ok());
        Self {
            keys: ["previous", "current", "next"]
                .into_iter()
                .filter_map(key)
                .collect(),
            rotated_at,
        }
    }
}

impl Ring {
    /// The `data` of its Secret.
    pub fn data(&self) -> Value {
        let text = |key: &Key| json!(STANDARD.encode(key.0));
        let mut data = json!({"current": text(&self.current), "next": text(&self.next)});
        if let Some(previous) = &self.previous {
            data["previous"] = text(previous);
        }
        data
    }

    /// When it took its last step, as the annotation carries it.
    pub fn rotated_at(&self) -> String {
        self.rotated_at.to_string()
    }
}

/// What the Secret must hold at `now`. At most one step is taken, however late it is; `fresh` are two new keys, used where
/// one is needed.
pub fn plan(now: Timestamp, period: Duration, found: Found, fresh: [Key; 2]) -> Plan {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let [first, second] = fresh;
    let Found { mut keys, rotated_at } = found;
    let previous = keys.remove("previous");
    let age = rotated_at.map(|at| now.duration_since(at));
    let rotated_at = rotated_at.unwrap_or(now);
    let ring = match (keys.remove("current"), keys.remove("next")) {
        (Some(current), Some(next)) => match age.map(Duration::try_from) {
            Some(Ok(age)) if age < period => Ring {
                previous,
                current,
                next,
                rotated_at,
            },
            Some(Ok(_)) => Ring {
                previous: Some(current),
                current: next,
                next: first,
                rotated_at: now,
            },
            // No time, or one that is still to come: nobody knows how long `next` has been told. Count from now.
            None | Some(Err(_)) => Ring {
                previous,
                current,
                next,
                rotated_at: now,
            },
        },
        // A new `next` must be told for a whole period before it writes.
        (Some(current), None) => Ring {
            previous,
            current,
            next: first,
            rotated_at: now,
        },
        // Every proxy has been told `next`: the best there is.
        (None, Some(next)) => Ring {
            previous,
            current: next,
            next: first,
            rotated_at: now,
        },
        (None, None) => Ring {
            previous,
            current: first,
            next: second,
            rotated_at: now,
        },
    };
    let passed = Duration::try_from(now.duration_since(ring.rotated_at)).unwrap_or_default();
    Plan {
        next_step_in: period.saturating_sub(passed),
        ring,
    }
}

#[cfg(test)]
mod tests;
