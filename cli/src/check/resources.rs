//! From objects to what is compiled, and from what is wrong with them back to places in the files.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use switchyard_crds::offline::{self, Violation};
use switchyard_crds::{Kind, Reason};
use switchyard_operator::compile::{Fields, Given, ObjectKey, Refusal, Resources};
use switchyard_operator::secrets::{Known, SecretId};

use crate::manifest::{self, Manifest, Mistake, Object};

/// What each object breaks of the rules of its own kind.
pub type Violations = HashMap<ObjectKey, Vec<Violation>>;

/// The pools, chains and Secrets, and what breaks a rule of its own kind.
pub fn build(manifests: &[Manifest], mistakes: &mut Vec<Mistake>) -> (Resources, Violations) {
    let mut resources = Resources::default();
    let mut violations = Violations::new();
    resources.secrets = manifests.iter().filter_map(secret).collect();
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
        let written = Fields::written(value);
        let order = order as u64;
        let (read, misfit) = match kind {
            Kind::ProxyPool => add(&mut resources.pools, object, &written, order),
            Kind::ProxyChain => add(&mut resources.chains, object, &written, order),
        };
        if !read {
            resources.unreadable.insert(key.clone(), written);
        }
        // The rules have said it better, if they have said anything; if they have not, it must not run all the same.
        if let (Some(message), true) = (misfit, found.is_empty()) {
            found.push(Violation {
                pointer: String::new(),
                message,
            });
        }
        violations.insert(key, found);
    }
    (resources, violations)
}

fn secret(manifest: &Manifest) -> Option<(SecretId, Known)> {
    let Object::Secret(known) = &manifest.object else {
        return None;
    };
    let id = SecretId {
        namespace: manifest.namespace.clone(),
        name: manifest.name.clone(),
    };
    Some((id, known.clone()))
}

/// Adds an object by its type, if it can be read, and says what does not fit the type. What breaks a rule is read all the
/// same, so that the compile step can say what else is wrong; a value that does not even fit its type is left out, so that its
/// default takes its place.
fn add<T: DeserializeOwned>(
    list: &mut Vec<Arc<Given<T>>>,
    mut object: Value,
    written: &Fields,
    order: u64,
) -> (bool, Option<String>) {
    let mut misfit = None;
    loop {
        let error = match serde_path_to_error::deserialize(&object) {
            Ok(object) => {
                let written = written.clone();
                list.push(Arc::new(Given {
                    object: Arc::new(object),
                    written,
                    order,
                }));
                return (true, misfit);
            }
            Err(error) => error,
        };
        misfit.get_or_insert_with(|| error.to_string());
        if !take_out(&mut object, error.path()) {
            return (false, misfit);
        }
    }
}

/// Takes a field out of the mapping that holds it; not so an item of a list, since that would move the others.
fn take_out(object: &mut Value, path: &serde_path_to_error::Path) -> bool {
    let mut here = object;
    let mut steps = path.iter().peekable();
    while let Some(step) = steps.next() {
        let next = match (step, here) {
            (Segment::Map { key }, Value::Object(fields)) if steps.peek().is_none() => {
                return fields.remove(key).is_some();
            }
            (Segment::Map { key }, Value::Object(fields)) => fields.get_mut(key),
            (Segment::Seq { index }, Value::Array(items)) => items.get_mut(*index),
            _ => None,
        };
        match next {
            Some(next) => here = next,
            None => return false,
        }
    }
    false
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
