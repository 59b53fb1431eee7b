//! What changes between two JSON values. Pure. In: before and after. Out: the operations of a JSON patch (RFC 6902). Lists of
//! another length are replaced as a whole.

use serde_json::{Value, json};

/// Operations that make `after` of `before`; none: they are equal.
pub fn between(before: &Value, after: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    compare(before, after, &mut String::new(), &mut operations);
    operations
}

fn compare(before: &Value, after: &Value, path: &mut String, operations: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                at(path, name, |path| {
                    operations.push(json!({"op": "remove", "path": path}));
                });
            }
            for (name, value) in new {
                at(path, name, |path| match old.get(name) {
                    Some(before) => compare(before, value, path, operations),
                    None => operations.push(json!({"op": "add", "path": path, "value": value})),
                });
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (before, after)) in old.iter().zip(new).enumerate() {
                at(path, &i.to_string(), |path| {
                    compare(before, after, path, operations);
                });
            }
        }
        _ if before != after => {
            operations.push(json!({"op": "replace", "path": path, "value": after}));
        }
        _ => {}
    }
}

/// One step further down: RFC 6901 §3 writes `~` as `~0` and `/` as `~1`.
fn at(path: &mut String, name: &str, then: impl FnOnce(&mut String)) {
    let here = path.len();
    path.push('/');
    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
    then(path);
    path.truncate(here);
}
