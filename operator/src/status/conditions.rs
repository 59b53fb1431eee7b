//! Conditions. In: what was found, and the conditions as they stand. Out: the new ones: positive, with the generation they are
//! about, their times moved only where a status flipped.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use switchyard_crds::{ConditionType, Reason};

use super::board::Verdict;
use crate::compile::Refusal;

/// Messages are cut here, well below the bound of the schema.
const MESSAGE_BYTES: usize = 1024;

/// So many refusals are told; the others are counted.
const TOLD: usize = 5;

/// Whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What was found about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is so.
    pub status: Status,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// The generation that this is about.
    pub generation: i64,
}

impl Finding {
    /// Of this generation.
    pub fn new(status: Status, reason: Reason, message: impl Into<String>, generation: i64) -> Self {
        Self {
            status,
            reason,
            message: cut(message.into(), MESSAGE_BYTES),
            generation,
        }
    }
}

/// The condition of this type, as it stands.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// The new conditions, in the order of the types. None: the condition stays as it stands. Conditions of other types, which
/// somebody else wrote, stay at the end.
pub fn merge(
    old: &[Condition],
    found: Vec<(ConditionType, Option<Finding>)>,
    now: Timestamp,
) -> Vec<Condition> {
    let foreign = old
        .iter()
        .filter(|condition| found.iter().all(|(type_, _)| type_.as_str() != condition.type_))
        .cloned()
        .collect::<Vec<_>>();
    let merged = found.into_iter().filter_map(|(type_, finding)| {
        let stands = find(old, type_);
        match finding {
            None => stands.cloned(),
            Some(finding) => Some(condition(type_, finding, stands, now)),
        }
    });
    merged.chain(foreign).collect()
}

fn condition(
    type_: ConditionType,
    finding: Finding,
    stands: Option<&Condition>,
    now: Timestamp,
) -> Condition {
    let same = stands.filter(|stands| stands.status == finding.status.as_str());
    Condition {
        type_: type_.as_str().to_owned(),
        status: finding.status.as_str().to_owned(),
        reason: finding.reason.as_str().to_owned(),
        message: finding.message,
        observed_generation: Some(finding.generation),
        last_transition_time: same.map_or_else(|| seconds(now), |same| same.last_transition_time.clone()),
    }
}

/// Times of statuses are whole seconds: what is written must equal what is read back.
pub fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// At most so many bytes, at a character's boundary; what was cut is shown.
pub fn cut(mut text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('…');
    text
}

/// Whether the object itself is fine; `also` is what keeps it accepted but wants to be known, the gravest first.
pub fn accepted(verdict: &Verdict, also: &[(Reason, String)]) -> Finding {
    let refusals: Vec<&Refusal> = verdict
        .refusals
        .iter()
        .filter(|refusal| !of_reference(refusal.reason))
        .collect();
    if let Some(reason) = gravest(&refusals) {
        return Finding::new(Status::False, reason, told(&refusals), verdict.generation);
    }
    match also.first() {
        Some((reason, _)) => {
            let words: Vec<&str> = also.iter().map(|(_, words)| words.as_str()).collect();
            Finding::new(Status::True, *reason, words.join("; "), verdict.generation)
        }
        None => Finding::new(Status::True, Reason::Accepted, "", verdict.generation),
    }
}

/// Whether everything the object refers to can be used.
pub fn resolved(verdict: &Verdict) -> Finding {
    let refusals: Vec<&Refusal> = verdict
        .refusals
        .iter()
        .filter(|refusal| of_reference(refusal.reason))
        .collect();
    match gravest(&refusals) {
        Some(reason) => Finding::new(Status::False, reason, told(&refusals), verdict.generation),
        None => Finding::new(Status::True, Reason::ResolvedRefs, "", verdict.generation),
    }
}

/// Reasons that Gateway API gives to `ResolvedRefs`; ours for Secrets beside them.
const fn of_reference(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BackendNotFound
            | Reason::InvalidCertificateRef
            | Reason::InvalidSecretRef
            | Reason::UnsupportedProtocol
    )
}

/// The first that is not only a consequence of another object's refusal.
fn gravest(refusals: &[&Refusal]) -> Option<Reason> {
    let own = refusals.iter().find(|refusal| refusal.reason != Reason::Pending);
    own.or(refusals.first()).map(|refusal| refusal.reason)
}

fn told(refusals: &[&Refusal]) -> String {
    let words = |refusal: &&Refusal| {
        let field = refusal.field.to_string();
        if field.is_empty() || refusal.message.contains(&field) {
            refusal.message.clone()
        } else {
            format!("{field}: {}", refusal.message)
        }
    };
    let mut told: Vec<String> = refusals.iter().take(TOLD).map(words).collect();
    if let Some(more) = refusals.len().checked_sub(TOLD).filter(|more| *more > 0) {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}
