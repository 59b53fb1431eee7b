//! From documents to objects: which kind, read by which schema; a `List` is taken apart.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::{Value, json};
use switchyard_operator::compile::FieldPath;

use super::mistake::{Mistake, Position};
use super::secret::{self, Secret};
use super::suggest::suggestion;
use super::tree::{Content, Node};
use super::value::Converter;
use super::{metadata, place};

/// What a manifest may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A pool of proxies.
    ProxyPool,
    /// A way through a pool.
    ProxyChain,
    /// Keys and certificates.
    Secret,
}

impl ObjectKind {
    const ALL: [Self; 3] = [Self::ProxyPool, Self::ProxyChain, Self::Secret];

    /// As manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProxyPool => "ProxyPool",
            Self::ProxyChain => "ProxyChain",
            Self::Secret => "Secret",
        }
    }

    fn api_version(self) -> String {
        match self {
            Self::ProxyPool | Self::ProxyChain => {
                format!("{}/{}", switchyard_crds::GROUP, switchyard_crds::VERSION)
            }
            Self::Secret => "v1".to_owned(),
        }
    }
}

/// One object of a file, and where its fields stand.
#[derive(Debug)]
pub struct Manifest {
    /// The file it stands in.
    pub file: String,
    /// What it is.
    pub kind: ObjectKind,
    /// `default` where the user names none.
    pub namespace: String,
    /// Empty where it is missing, which is reported.
    pub name: String,
    /// Its content.
    pub object: Object,
    root: Rc<Node>,
    /// Where the object stands in its document: `items[2]` of a List, else nothing.
    base: FieldPath,
}

/// The content of an object.
#[derive(Debug)]
pub enum Object {
    /// A pool or chain as the user wrote it, without status, before defaults.
    Resource(Value),
    /// Never printed.
    Secret(Secret),
}

impl Manifest {
    /// A mistake of the field that a JSON pointer leads to; what is missing stands where its parent does.
    pub fn mistake(&self, pointer: &str, message: impl Into<String>) -> Mistake {
        let (path, at) = place::locate(&self.root, &self.base, pointer);
        Mistake::at(&self.file, at, path.to_string(), message)
    }

    /// Where the object begins.
    pub fn at(&self) -> Position {
        self.root.at
    }
}

/// Schemas by kind, as the API server has them, with metadata as far as it means something here.
static SCHEMAS: LazyLock<HashMap<&'static str, Value>> = LazyLock::new(|| {
    let crds = switchyard_crds::all_crds().into_iter();
    let ours = crds.zip(["ProxyPool", "ProxyChain"]).filter_map(|(crd, kind)| {
        let crd = serde_json::to_value(crd).ok()?;
        let mut schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?.clone();
        let properties = schema.get_mut("properties")?.as_object_mut()?;
        // The API server adds these to every definition by itself.
        properties.insert("apiVersion".into(), json!({"type": "string"}));
        properties.insert("kind".into(), json!({"type": "string"}));
        properties.insert("metadata".into(), metadata::schema());
        Some((kind, schema))
    });
    ours.chain([("Secret", secret::schema())]).collect()
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
    let schema = SCHEMAS.get(kind.as_str()).unwrap_or(&Value::Null);
    let mut converter = Converter {
        file,
        mistakes: Vec::new(),
    };
    let mut value = converter.convert(root, schema, &base);
    mistakes.append(&mut converter.mistakes);
    let mut report = |pointer: &str, words: String| {
        let (path, at) = place::locate(root, &base, pointer);
        mistakes.push(Mistake::at(file, at, path.to_string(), words));
    };
    let (namespace, name) = metadata::check(kind, &mut value, &mut report);
    let object = match kind {
        ObjectKind::Secret => Object::Secret(secret::read(&value, &mut report)),
        ObjectKind::ProxyPool | ObjectKind::ProxyChain => {
            // Written by the system, never by a user; it stands in what `kubectl get -o yaml` prints.
            if let Some(fields) = value.as_object_mut() {
                fields.remove("status");
            }
            Object::Resource(value)
        }
    };
    Some(Manifest {
        file: file.to_owned(),
        kind,
        namespace,
        name,
        object,
        root: Rc::clone(root),
        base,
    })
}

fn kind_of(file: &str, root: &Node, base: &FieldPath, mistakes: &mut Vec<Mistake>) -> Option<ObjectKind> {
    let mut report = |at: Position, field: &str, words: String| {
        mistakes.push(Mistake::at(file, at, base.key(field).to_string(), words));
    };
    let known = ObjectKind::ALL.map(ObjectKind::as_str);
    if !matches!(root.content, Content::Mapping(_)) {
        let words = "is no object: it has neither apiVersion nor kind";
        mistakes.push(Mistake::at(file, root.at, base.to_string(), words));
        return None;
    }
    let Some(entry) = root.get("kind") else {
        report(
            root.at,
            "kind",
            format!("is missing: write one of {}", known.join(", ")),
        );
        return None;
    };
    let written = entry.value.text().unwrap_or_default();
    let Some(kind) = ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == written) else {
        let near = suggestion(written, known.into_iter());
        let hint = near.map_or_else(
            || format!("known are {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        report(
            entry.key_at,
            "kind",
            format!("{written:?} is no kind that is read here; {hint}"),
        );
        return None;
    };
    let right = kind.api_version();
    match root.get("apiVersion") {
        None => report(root.at, "apiVersion", format!("is missing: write {right}")),
        Some(entry) if entry.value.text() != Some(&right) => {
            let written = entry.value.text().unwrap_or_default();
            report(
                entry.key_at,
                "apiVersion",
                format!(
                    "{written:?} is no version of {written_kind}: write {right}",
                    written_kind = kind.as_str()
                ),
            );
        }
        Some(_) => return Some(kind),
    }
    // The version is reported; what is below it can be checked all the same.
    Some(kind)
}

/// Leaves the first of each kind, namespace and name; names both places.
pub fn refuse_duplicates(manifests: &mut Vec<Manifest>, mistakes: &mut Vec<Mistake>) {
    let mut first: HashMap<(ObjectKind, String, String), (String, u32)> = HashMap::new();
    manifests.retain(|manifest| {
        let Manifest {
            file,
            kind,
            namespace,
            name,
            ..
        } = manifest;
        if name.is_empty() {
            return true;
        }
        let key = (*kind, namespace.clone(), name.clone());
        if let Some((other, line)) = first.get(&key) {
            let words = format!(
                "{} {namespace}/{name} is there already: {other}:{line}",
                kind.as_str()
            );
            mistakes.push(manifest.mistake("/metadata/name", words));
            return false;
        }
        first.insert(key, (file.clone(), manifest.at().line));
        true
    });
}
