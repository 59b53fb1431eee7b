//! In: the text of a file. Out: its YAML documents as trees in which every key and value knows its line and column, and
//! what is wrong with the text.
//!
//! Typed readers stop at the first error and forget where values stood, so the tree is built from the parser's events.
//! JSON needs nothing of its own: it is YAML.

use std::collections::HashMap;
use std::rc::Rc;

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, Tag};
use switchyard_operator::compile::FieldPath;

use super::mistake::{Mistake, Position};

/// Levels of nesting.
pub const MAX_DEPTH: usize = 64;
/// Values of one document, aliases counted at what they stand for: a few lines of nested aliases can stand for billions.
pub const MAX_VALUES: usize = 100_000;
/// Documents of one file.
pub const MAX_DOCUMENTS: usize = 1_000;
/// Documents of one file whose text may be broken before we give it up.
const MAX_BROKEN: usize = 100;

/// A value and where it stands. Shared, because aliases repeat it.
#[derive(Debug)]
pub struct Node {
    /// Where the value begins.
    pub at: Position,
    /// The value.
    pub content: Content,
    /// Values in it, itself included, aliases expanded.
    size: usize,
    /// Levels in it, its own included.
    depth: usize,
}

/// What a value is made of.
#[derive(Debug)]
pub enum Content {
    /// Text whose type the reader decides: plain, without quotes.
    Plain(String),
    /// Text that is meant as text: quoted, a block, or tagged `!!str`.
    Text(String),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys are unique.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Where the key begins.
    pub key_at: Position,
    /// What it stands for.
    pub value: Rc<Node>,
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text of a scalar, quoted or not.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Plain(text) | Content::Text(text) => Some(text),
            Content::Sequence(_) | Content::Mapping(_) => None,
        }
    }

    /// Whether nothing is here: an empty document, or a key without a value (for which the parser writes `~`).
    fn is_null(&self) -> bool {
        matches!(&self.content, Content::Plain(text) if matches!(text.as_str(), "" | "~" | "null"))
    }

    fn new(at: Position, content: Content) -> Self {
        let (size, depth) = match &content {
            Content::Plain(_) | Content::Text(_) => (0, 0),
            Content::Sequence(items) => measure(items.iter()),
            Content::Mapping(entries) => measure(entries.iter().map(|entry| &entry.value)),
        };
        Self {
            at,
            content,
            size: size.saturating_add(1),
            depth: depth.saturating_add(1),
        }
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    children.fold((0, 0), |(size, depth), child| {
        (child.size.saturating_add(size), child.depth.max(depth))
    })
}

/// Every document that could be read whole, and every mistake of the text. A broken document does not hide later ones.
pub fn parse(file: &str, text: &str) -> (Vec<Rc<Node>>, Vec<Mistake>) {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    let mut reader = Reader::new(file);
    let mut broken = 0;
    loop {
        match parser.next_event() {
            None => break,
            Some(Ok((Event::DocumentEnd, _))) => {
                documents.extend(reader.finish());
                if documents.len() > MAX_DOCUMENTS {
                    documents.pop();
                    let words = format!("holds more than {MAX_DOCUMENTS} documents: split it");
                    reader.mistakes.push(Mistake::of_file(file, words));
                    break;
                }
            }
            Some(Ok((event, span))) => {
                reader.take(event, position(span.start));
                if reader.values > MAX_VALUES {
                    let words = format!("holds more than {MAX_VALUES} values: split it");
                    reader.mistakes.push(Mistake::of_file(file, words));
                    break;
                }
            }
            Some(Err(error)) => {
                let words = format!("no YAML: {}", error.info());
                reader
                    .mistakes
                    .push(Mistake::at(file, position(*error.marker()), "", words));
                reader.abandon();
                broken += 1;
                if broken == MAX_BROKEN || !parser.proceed_next_document().unwrap_or(false) {
                    break;
                }
            }
        }
    }
    (documents, reader.mistakes)
}

fn position(mark: Marker) -> Position {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Position {
        line: number(mark.line()),
        column: number(mark.col() + 1),
    }
}

/// The document being read.
struct Reader<'a> {
    file: &'a str,
    mistakes: Vec<Mistake>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    /// Values read so far in the file.
    values: usize,
}

/// A collection whose end has not come yet. An anchor of 0 is none.
enum Open {
    Sequence {
        at: Position,
        anchor: usize,
        items: Vec<Rc<Node>>,
    },
    Mapping {
        at: Position,
        anchor: usize,
        entries: Vec<Entry>,
        key: Option<Key>,
    },
}

/// A key that waits for its value.
enum Key {
    Text(String, Position),
    /// Already reported; its value is read and dropped.
    Wrong,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            mistakes: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            values: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, at: Position) {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let content = self.scalar(text.into_owned(), style, tag.as_deref(), at);
                self.close(Node::new(at, content), anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", at);
                self.open.push(Open::Sequence {
                    at,
                    anchor,
                    items: Vec::new(),
                });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", at);
                self.open.push(Open::Mapping {
                    at,
                    anchor,
                    entries: Vec::new(),
                    key: None,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence { at, anchor, items }) => {
                    self.close(Node::new(at, Content::Sequence(items)), anchor);
                }
                Some(Open::Mapping {
                    at, anchor, entries, ..
                }) => {
                    self.close(Node::new(at, Content::Mapping(entries)), anchor);
                }
                None => {}
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.place(node);
                }
                None => self.wrong(at, "an alias inside the value that it stands for"),
            },
            Event::UnresolvedAlias(name) => {
                self.wrong(at, &format!("no anchor &{name} stands before this alias"));
            }
            _ => {}
        }
    }

    /// Something stands here, but nothing that can be used.
    fn wrong(&mut self, at: Position, words: &str) {
        self.report(at, words);
        self.place(Rc::new(Node::new(at, Content::Plain(String::new()))));
    }

    fn report(&mut self, at: Position, words: impl Into<String>) {
        let mistake = Mistake::at(self.file, at, self.path(), words);
        self.mistakes.push(mistake);
    }

    /// The path of the value that comes next.
    fn path(&self) -> String {
        let step = |path: FieldPath, open: &Open| match open {
            Open::Sequence { items, .. } => path.index(items.len()),
            Open::Mapping {
                key: Some(Key::Text(key, _)),
                ..
            } => path.key(key),
            Open::Mapping { .. } => path,
        };
        self.open.iter().fold(FieldPath::default(), step).to_string()
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Content {
        let core = tag.and_then(Tag::core_suffix);
        if let (Some(tag), None | Some("binary")) = (tag, core)
            && tag.original() != "!"
        {
            self.report(
                at,
                format!("the tag {} means nothing here: leave it out", tag.original()),
            );
        }
        match (core, style) {
            (Some("str"), _) => Content::Text(text),
            (Some(_), _) | (None, ScalarStyle::Plain) if tag.is_none_or(|tag| tag.original() != "!") => {
                Content::Plain(text)
            }
            _ => Content::Text(text),
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, core: &str, at: Position) {
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema_tag(core)
        {
            self.report(
                at,
                format!("the tag {} means nothing here: leave it out", tag.original()),
            );
        }
    }

    fn close(&mut self, node: Node, anchor: usize) {
        // Bounded here and not at the end: aliases of aliases nest without the parser's seeing it, and dropping what
        // nests too deep would already overflow the stack.
        if node.depth > MAX_DEPTH {
            self.wrong(
                node.at,
                &format!("nested deeper than {MAX_DEPTH} levels, aliases expanded"),
            );
            return;
        }
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node);
    }

    /// Puts a complete value where it belongs: an item, a key, what a key stands for, or the document.
    fn place(&mut self, node: Rc<Node>) {
        self.values += 1;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping {
                entries,
                key: waiting,
                ..
            }) => match waiting.take() {
                None => self.begin_entry(&node),
                Some(Key::Wrong) => {}
                Some(Key::Text(key, key_at)) => entries.push(Entry {
                    key,
                    key_at,
                    value: node,
                }),
            },
        }
    }

    fn begin_entry(&mut self, node: &Node) {
        let Some(Open::Mapping { entries, key, .. }) = self.open.last_mut() else {
            return;
        };
        let words = match node.text() {
            Some("<<") => {
                *key = Some(Key::Wrong);
                "merge keys (<<) are no part of YAML 1.2: repeat the fields, or use an alias for a whole value".to_owned()
            }
            Some(text) => {
                *key = Some(Key::Text(text.to_owned(), node.at));
                match entries.iter().find(|entry| entry.key == text) {
                    Some(first) => format!("stands here twice; first on line {}", first.key_at.line),
                    None => return,
                }
            }
            None => {
                *key = Some(Key::Wrong);
                "a key must be text, no list and no mapping".to_owned()
            }
        };
        self.report(node.at, words);
        if let Some(Open::Mapping { key, .. }) = self.open.last_mut() {
            *key = Some(Key::Wrong);
        }
    }

    /// The document, unless it is empty or out of bounds.
    fn finish(&mut self) -> Option<Rc<Node>> {
        let root = self.root.take();
        self.abandon();
        let root = root.filter(|root| !root.is_null())?;
        if root.size <= MAX_VALUES {
            return Some(root);
        }
        self.report(
            root.at,
            format!("holds more than {MAX_VALUES} values, aliases expanded"),
        );
        None
    }

    fn abandon(&mut self) {
        self.open.clear();
        self.anchors.clear();
        self.root = None;
    }
}

#[cfg(test)]
mod tests;
