//! From objects to what is compiled, and from what the compile step refuses back to places in the files.

use serde_json::Value;
use switchyard_crds::Reason;
use switchyard_operator::compile::{Fields, Given, Kind, ObjectKey, Refusal, Resources};

use crate::manifest::{Manifest, Mistake, Object, ObjectKind};

/// The pools and chains; what breaks a rule of its own kind is reported.
pub fn build(manifests: &[Manifest], mistakes: &mut Vec<Mistake>) -> Resources {
    let mut resources = Resources::default();
    for (order, manifest) in manifests.iter().enumerate() {
        let (Object::Resource(value), Some(key)) = (&manifest.object, key_of(manifest)) else {
            continue;
        };
        let order = order as u64;
        let found = match key.kind {
            Kind::ProxyPool => read(manifest, value, order, mistakes).map(|pool| resources.pools.push(pool)),
            Kind::ProxyChain => {
                read(manifest, value, order, mistakes).map(|chain| resources.chains.push(chain))
            }
        };
        if found.is_none() {
            resources.unreadable.insert(key);
        }
    }
    resources
}

fn key_of(manifest: &Manifest) -> Option<ObjectKey> {
    let kind = match manifest.kind {
        ObjectKind::ProxyPool => Kind::ProxyPool,
        ObjectKind::ProxyChain => Kind::ProxyChain,
        ObjectKind::Secret => return None,
    };
    Some(ObjectKey {
        kind,
        namespace: manifest.namespace.clone(),
        name: manifest.name.clone(),
    })
}

/// The object by its type. One that breaks a rule is read all the same where its types allow it, so that the compile step
/// can say what else is wrong.
fn read<T: serde::de::DeserializeOwned>(
    manifest: &Manifest,
    value: &Value,
    order: u64,
    mistakes: &mut Vec<Mistake>,
) -> Option<Given<T>> {
    match serde_json::from_value(value.clone()) {
        Ok(object) => Some(Given {
            object,
            written: Fields::written(value),
            order,
        }),
        Err(error) => {
            mistakes.push(manifest.mistake("", error.to_string()));
            None
        }
    }
}

/// Says where the fields stand that the compile step refused.
pub fn report_refusals(manifests: &[Manifest], refused: &[Refusal], mistakes: &mut Vec<Mistake>) {
    for Refusal {
        object,
        field,
        reason,
        message,
    } in refused
    {
        // Its cause is reported where it stands.
        if *reason == Reason::Pending {
            continue;
        }
        let Some(manifest) = manifests
            .iter()
            .find(|manifest| key_of(manifest).as_ref() == Some(object))
        else {
            continue;
        };
        let mistake = manifest.mistake(field.pointer(), message);
        let known =
            |m: &Mistake| (&m.file, m.line, &m.field) == (&mistake.file, mistake.line, &mistake.field);
        if !mistakes.iter().any(known) {
            mistakes.push(mistake);
        }
    }
}
