//! From objects to what is compiled, and from what is wrong with them back to places in the files.

use std::collections::HashMap;

use serde_json::Value;
use switchyard_crds::offline::{self, Violation};
use switchyard_crds::{Kind, Reason};
use switchyard_operator::compile::{Fields, Given, ObjectKey, Refusal, Resources};

use crate::manifest::{self, Manifest, Mistake, Object};

/// What each object breaks of the rules of its own kind.
pub type Violations = HashMap<ObjectKey, Vec<Violation>>;

/// The pools and chains, and what breaks a rule of its own kind.
pub fn build(manifests: &[Manifest], mistakes: &mut Vec<Mistake>) -> (Resources, Violations) {
    let mut resources = Resources::default();
    let mut violations = Violations::new();
    for (order, manifest) in manifests.iter().enumerate() {
        let Object::Resource(kind, value) = &manifest.object else {
            continue;
        };
        let mut found = offline::validate(*kind, value);
        let mut object = value.clone();
        manifest::reduce(&mut object, &mut |pointer: &str, message| {
            found.push(Violation {
                pointer: pointer.to_owned(),
                message,
            });
        });
        offline::apply_defaults(*kind, &mut object);
        let Some(key) = key_of(manifest) else {
            // Without a name nothing can refer to it, and nothing can be said about it but that.
            mistakes.extend(found.into_iter().map(|v| manifest.mistake(&v.pointer, v.message)));
            continue;
        };
        let place = (Fields::written(value), order as u64);
        if let Err(message) = add(&mut resources, *kind, object, place) {
            resources.unreadable.insert(key.clone());
            // The rules have said it better, if they have said anything.
            if found.is_empty() {
                found.push(Violation {
                    pointer: String::new(),
                    message,
                });
            }
        }
        violations.insert(key, found);
    }
    (resources, violations)
}

/// An object that breaks a rule is read all the same where its types allow it: the compile step can then say what else is
/// wrong.
fn add(resources: &mut Resources, kind: Kind, object: Value, place: (Fields, u64)) -> Result<(), String> {
    let (written, order) = place;
    let words = |error: serde_json::Error| error.to_string();
    match kind {
        Kind::ProxyPool => {
            let object = serde_json::from_value(object).map_err(words)?;
            resources.pools.push(Given {
                object,
                written,
                order,
            });
        }
        Kind::ProxyChain => {
            let object = serde_json::from_value(object).map_err(words)?;
            resources.chains.push(Given {
                object,
                written,
                order,
            });
        }
    }
    Ok(())
}

fn key_of(manifest: &Manifest) -> Option<ObjectKey> {
    let Manifest {
        namespace,
        name,
        object: Object::Resource(kind, _),
        ..
    } = manifest
    else {
        return None;
    };
    let key = ObjectKey {
        kind: *kind,
        namespace: namespace.clone(),
        name: name.clone(),
    };
    (!name.is_empty()).then_some(key)
}

/// Says where the fields stand that break a rule or are refused by the compile step. What both say is said once.
pub fn report(
    manifests: &[Manifest],
    violations: &Violations,
    refused: &[Refusal],
    mistakes: &mut Vec<Mistake>,
) {
    for manifest in manifests {
        let Some(key) = key_of(manifest) else { continue };
        let refused: Vec<&Refusal> = refused.iter().filter(|refusal| refusal.object == key).collect();
        let violations = violations.get(&key).map_or(&[][..], Vec::as_slice);
        for Violation { pointer, message } in violations {
            if !refused.iter().any(|refusal| says_which_port(refusal, pointer)) {
                mistakes.push(manifest.mistake(pointer, message));
            }
        }
        for refusal in refused {
            let Refusal {
                object: _,
                field,
                reason,
                message,
            } = refusal;
            let known = match reason {
                // Its cause is reported where it stands.
                Reason::Pending => true,
                Reason::Invalid => violations
                    .iter()
                    .any(|v| is_at_or_below(&v.pointer, field.pointer())),
                _ => false,
            };
            if !known {
                mistakes.push(manifest.mistake(field.pointer(), message));
            }
        }
    }
}

fn is_at_or_below(pointer: &str, ancestor: &str) -> bool {
    pointer
        .strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a refusal says of which listener a port clashes, where the rule speaks of all listeners together.
fn says_which_port(refusal: &Refusal, rule: &str) -> bool {
    let pointer = refusal.field.pointer();
    rule == "/spec/listeners" && is_at_or_below(pointer, rule) && pointer.to_lowercase().ends_with("port")
}
