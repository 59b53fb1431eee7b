//! From a field to its place in the text.

use switchyard_operator::compile::FieldPath;

use super::mistake::Position;
use super::tree::{Content, Node};

/// What a JSON pointer leads to in a tree: the path in words, and the place of the deepest part of it that is written
/// there. A value stands where its key (or item) begins.
pub fn locate(root: &Node, base: &FieldPath, pointer: &str) -> (FieldPath, Position) {
    let mut path = base.clone();
    let mut at = root.at;
    let mut here = Some(root);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let next = match here.map(|node| &node.content) {
            Some(Content::Sequence(items)) => {
                let index: Option<usize> = token.parse().ok();
                index
                    .and_then(|index| items.get(index))
                    .map(|item| (item.at, item.as_ref()))
            }
            Some(Content::Mapping(entries)) => entries
                .iter()
                .find(|entry| entry.key == token)
                .map(|entry| (entry.key_at, entry.value.as_ref())),
            _ => None,
        };
        let is_item = match (here.map(|node| &node.content), token.parse::<usize>()) {
            (Some(Content::Mapping(_)), _) | (_, Err(_)) => None,
            (_, Ok(index)) => Some(index),
        };
        path = match is_item {
            Some(index) => path.index(index),
            None => path.key(&token),
        };
        here = next.map(|(place, node)| {
            at = place;
            node
        });
    }
    (path, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tree;

    #[test]
    fn a_pointer_leads_to_the_deepest_place_that_is_written() {
        let text = "spec:\n  listeners:\n  - name: a\n    tls:\n      mode: Terminate\nlabels: {a/b: c}\n";
        let (documents, mistakes) = tree::parse("f", text);
        assert_eq!(mistakes, []);
        for (pointer, field, line, column) in [
            ("", "", 1, 1),
            ("/spec", "spec", 1, 1),
            ("/spec/listeners/0", "spec.listeners[0]", 3, 5),
            ("/spec/listeners/0/tls/mode", "spec.listeners[0].tls.mode", 5, 7),
            (
                "/spec/listeners/0/tls/alpn/0",
                "spec.listeners[0].tls.alpn[0]",
                4,
                5,
            ),
            ("/spec/listeners/3/port", "spec.listeners[3].port", 2, 3),
            ("/labels/a~1b", "labels[\"a/b\"]", 6, 10),
        ] {
            let (path, at) = locate(&documents[0], &FieldPath::default(), pointer);
            assert_eq!(
                (path.to_string().as_str(), at),
                (field, Position { line, column }),
                "{pointer}"
            );
        }
    }
}
