//! What is wrong with each object, put together. In: what the compile step refuses, and what the cluster cannot be made to run.
//! Out: one verdict per object for its status, told only when it differs from the one before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::ObjectMeta;

use crate::compile::{ObjectKey, Refusal};
use crate::status::{Board, Verdict};

/// Which revision of which object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Revision {
    uid: String,
    generation: i64,
}

/// What is known of one object.
#[derive(Debug, Default)]
struct Parts {
    compiled: Option<(Revision, Vec<Refusal>)>,
    built: Option<(Revision, Vec<Refusal>)>,
    told: Option<Verdict>,
}

/// All verdicts. Clones are the same.
#[derive(Clone, Debug)]
pub struct Verdicts {
    board: Board,
    objects: Arc<Mutex<BTreeMap<ObjectKey, Parts>>>,
}

impl Verdicts {
    /// None yet; they are told to `board`.
    pub fn new(board: Board) -> Self {
        Self {
            board,
            objects: Arc::default(),
        }
    }

    /// The compile step has looked at the object with this metadata.
    pub fn compiled(&self, key: ObjectKey, meta: &ObjectMeta, refusals: Vec<Refusal>) {
        let revision = Revision {
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
        };
        let mut objects = self.lock();
        let parts = objects.entry(key.clone()).or_default();
        parts.compiled = Some((revision, refusals));
        self.tell(key, parts);
    }

    /// The workload of the pool with this UID, at this generation, has been looked at.
    pub fn built(&self, key: ObjectKey, uid: &str, generation: i64, refusals: Vec<Refusal>) {
        let revision = Revision {
            uid: uid.to_owned(),
            generation,
        };
        let mut objects = self.lock();
        let parts = objects.entry(key.clone()).or_default();
        parts.built = Some((revision, refusals));
        self.tell(key, parts);
    }

    /// The object is gone.
    pub fn gone(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    fn tell(&self, key: ObjectKey, parts: &mut Parts) {
        let Some(verdict) = parts.together() else { return };
        if parts.told.as_ref() != Some(&verdict) {
            parts.told = Some(verdict.clone());
            self.board.verdict(key, verdict);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Parts>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    /// The verdict on what was compiled last; none: nothing was. What was found about another revision is left out. The same
    /// fault found twice is told once, in the words of the compile step.
    fn together(&self) -> Option<Verdict> {
        let (revision, compiled) = self.compiled.as_ref()?;
        let mut refusals = compiled.clone();
        let built = self.built.iter().filter(|(of, _)| of == revision);
        for refusal in built.flat_map(|(_, refusals)| refusals) {
            let known = |other: &Refusal| other.reason == refusal.reason && other.field == refusal.field;
            if !refusals.iter().any(known) {
                refusals.push(refusal.clone());
            }
        }
        Some(Verdict {
            uid: revision.uid.clone(),
            generation: revision.generation,
            refusals,
        })
    }
}

#[cfg(test)]
mod tests {
    use switchyard_crds::{Kind, Reason};

    use super::*;
    use crate::compile::FieldPath;

    fn key() -> ObjectKey {
        ObjectKey {
            kind: Kind::ProxyPool,
            namespace: "edge".into(),
            name: "dmz".into(),
        }
    }

    fn refusal(field: &str, message: &str) -> Refusal {
        Refusal {
            object: key(),
            field: FieldPath::spec().key(field),
            reason: Reason::Conflicted,
            message: message.into(),
        }
    }

    fn meta(generation: i64) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".into()),
            generation: Some(generation),
            ..ObjectMeta::default()
        }
    }

    fn told(verdicts: &Verdicts) -> Option<Vec<String>> {
        let objects = verdicts.lock();
        let verdict = objects.get(&key())?.told.clone()?;
        Some(
            verdict
                .refusals
                .into_iter()
                .map(|refusal| refusal.message)
                .collect(),
        )
    }

    #[test]
    fn both_halves_of_one_revision_make_one_verdict() {
        let verdicts = Verdicts::new(Board::default());
        verdicts.built(key(), "u", 1, vec![refusal("workload", "no")]);
        assert_eq!(told(&verdicts), None, "not compiled yet");
        verdicts.compiled(key(), &meta(1), vec![refusal("accessPoint", "first")]);
        assert_eq!(told(&verdicts).unwrap(), ["first", "no"]);
        verdicts.built(key(), "u", 1, vec![refusal("accessPoint", "the same again")]);
        assert_eq!(told(&verdicts).unwrap(), ["first"]);
        // what is known of the workload is about the revision before
        verdicts.built(key(), "u", 1, vec![refusal("workload", "no")]);
        verdicts.compiled(key(), &meta(2), vec![]);
        assert_eq!(told(&verdicts).unwrap(), Vec::<String>::new());
        verdicts.built(key(), "u", 2, vec![refusal("workload", "still")]);
        assert_eq!(told(&verdicts).unwrap(), ["still"]);
        verdicts.gone(&key());
        assert_eq!(told(&verdicts), None);
    }
}
