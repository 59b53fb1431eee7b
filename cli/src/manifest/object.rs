//! From documents to objects: which kind, read by which schema; a `List` is taken apart.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::Value;
use switchyard_crds::Kind;
use switchyard_operator::compile::FieldPath;
use switchyard_operator::secrets::Known;

use super::mistake::{Mistake, Position};
use super::secret;
use super::suggest::suggestion;
use super::tree::{Content, Node};
use super::value::convert;
use super::{metadata, place};

/// Kinds that are read, as manifests write them.
const KINDS: [&str; 3] = ["ProxyPool", "ProxyChain", secret::KIND];

/// One object of a file, and where its fields stand.
#[derive(Debug)]
pub struct Manifest {
    /// The file it stands in.
    pub file: String,
    /// `default` where the user names none.
    pub namespace: String,
    /// Empty where it is missing.
    pub name: String,
    /// What it is.
    pub object: Object,
    root: Rc<Node>,
    /// Where the object stands in its document: `items[2]` of a List, else nothing.
    base: FieldPath,
}

/// The content of an object.
#[derive(Debug)]
pub enum Object {
    /// A pool or chain as the user wrote it, without status, before defaults, not checked yet.
    Resource(Kind, Value),
    /// Checked, and never printed.
    Secret(Known),
}

impl Manifest {
    /// A mistake of the field that a JSON pointer leads to; what is missing stands where its parent does.
    pub fn mistake(&self, pointer: &str, message: impl Into<String>) -> Mistake {
        let (path, at) = place::locate(&self.root, &self.base, pointer);
        Mistake::at(&self.file, at, path.to_string(), message)
    }

    /// As manifests write it.
    pub fn kind(&self) -> &'static str {
        match self.object {
            Object::Resource(kind, _) => kind.as_str(),
            Object::Secret(_) => secret::KIND,
        }
    }
}

/// Schemas of our kinds, as the API server has them, with metadata as far as it means something here.
static SCHEMAS: LazyLock<HashMap<String, Value>> = LazyLock::new(|| {
    let schema = |crd| -> Option<(String, Value)> {
        let crd = serde_json::to_value(crd).ok()?;
        let kind = crd.pointer("/spec/names/kind")?.as_str()?.to_owned();
        let mut schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?.clone();
        // Definitions leave metadata to the API server.
        schema
            .get_mut("properties")?
            .as_object_mut()?
            .insert("metadata".into(), metadata::schema());
        Some((kind, schema))
    };
    switchyard_crds::all_crds()
        .into_iter()
        .filter_map(schema)
        .collect()
});

/// Reads one document: an object, or a `List` of objects.
pub fn read_document(
    file: &str,
    root: &Rc<Node>,
    manifests: &mut Vec<Manifest>,
    mistakes: &mut Vec<Mistake>,
) {
    let base = FieldPath::default();
    if root.get("kind").and_then(|kind| kind.value.text()) != Some("List") {
        manifests.extend(read_object(file, root, base, mistakes));
        return;
    }
    match root.get("items") {
        Some(items) => match &items.value.content {
            Content::Sequence(list) => {
                for (i, item) in list.iter().enumerate() {
                    manifests.extend(read_object(file, item, base.key("items").index(i), mistakes));
                }
            }
            _ => mistakes.push(Mistake::at(
                file,
                items.key_at,
                "items",
                "must be a list of objects",
            )),
        },
        None => mistakes.push(Mistake::at(
            file,
            root.at,
            "items",
            "is missing: a List holds its objects there",
        )),
    }
}

fn read_object(
    file: &str,
    root: &Rc<Node>,
    base: FieldPath,
    mistakes: &mut Vec<Mistake>,
) -> Option<Manifest> {
    let kind = kind_of(file, root, &base, mistakes)?;
    let (object, (namespace, name)) = if let Ok(kind) = kind.parse::<Kind>() {
        let mut value = convert(root, SCHEMAS.get(kind.as_str()).unwrap_or(&Value::Null));
        if let Some(fields) = value.as_object_mut() {
            // Written by the system, never by a user; it stands in what `kubectl get -o yaml` prints.
            fields.remove("status");
        }
        let identity = metadata::identity(&mut value);
        (Object::Resource(kind, value), identity)
    } else {
        let mut value = convert(root, &secret::schema());
        let identity = metadata::identity(&mut value);
        let mut report = |pointer: &str, words: String| {
            let (path, at) = place::locate(root, &base, pointer);
            mistakes.push(Mistake::at(file, at, path.to_string(), words));
        };
        (Object::Secret(secret::read(&value, &mut report)), identity)
    };
    Some(Manifest {
        file: file.to_owned(),
        namespace,
        name,
        object,
        root: Rc::clone(root),
        base,
    })
}

fn kind_of(file: &str, root: &Node, base: &FieldPath, mistakes: &mut Vec<Mistake>) -> Option<&'static str> {
    let mut report = |at: Position, path: FieldPath, words: String| {
        mistakes.push(Mistake::at(file, at, path.to_string(), words));
    };
    let known = KINDS.join(", ");
    if !matches!(root.content, Content::Mapping(_)) {
        report(
            root.at,
            base.clone(),
            format!("is no object: write one of {known}, each with apiVersion and kind"),
        );
        return None;
    }
    let path = base.key("kind");
    let Some(entry) = root.get("kind") else {
        report(root.at, path, format!("is missing: write one of {known}"));
        return None;
    };
    let written = entry.value.text().unwrap_or_default();
    let kind = KINDS.into_iter().find(|kind| *kind == written);
    if kind.is_none() {
        let near = suggestion(written, KINDS.into_iter());
        let hint = near.map_or_else(
            || format!("known are {known}"),
            |near| format!("did you mean {near}?"),
        );
        report(
            entry.key_at,
            path,
            format!("{written:?} is no kind that is read here; {hint}"),
        );
    }
    kind
}

/// Leaves the first of each kind, namespace and name; names both places.
pub fn refuse_duplicates(manifests: &mut Vec<Manifest>, mistakes: &mut Vec<Mistake>) {
    let mut first: HashMap<(&'static str, String, String), (String, u32)> = HashMap::new();
    manifests.retain(|manifest| {
        let Manifest {
            file,
            namespace,
            name,
            root,
            ..
        } = manifest;
        // Without a name it is wrong already.
        if name.is_empty() {
            return true;
        }
        let key = (manifest.kind(), namespace.clone(), name.clone());
        if let Some((other, line)) = first.get(&key) {
            let words = format!("{} {namespace}/{name} is there already: {other}:{line}", key.0);
            mistakes.push(manifest.mistake("/metadata/name", words));
            return false;
        }
        first.insert(key, (file.clone(), root.at.line));
        true
    });
}
