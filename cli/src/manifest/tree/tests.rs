use super::*;

fn said(text: &str) -> Vec<String> {
    parse("f", text).1.iter().map(ToString::to_string).collect()
}

fn position(line: u32, column: u32) -> Position {
    Position { line, column }
}

#[test]
fn keys_and_values_know_where_they_stand() {
    let (documents, mistakes) = parse(
        "f",
        "# first\na:\n  - Grüße: {b: c}\n    d: |\n      e\n---\n\"f\": 1\n",
    );
    assert_eq!(mistakes, []);
    let a = documents[0].get("a").unwrap();
    assert_eq!((a.key_at, a.value.at), (position(2, 1), position(3, 3)));
    let Content::Sequence(items) = &a.value.content else {
        panic!("{a:?}")
    };
    let greeting = items[0].get("Grüße").unwrap();
    assert_eq!(
        (greeting.key_at, greeting.value.at),
        (position(3, 5), position(3, 12)),
        "columns count characters"
    );
    assert_eq!(greeting.value.get("b").unwrap().key_at, position(3, 13));
    assert_eq!(items[0].get("d").unwrap().value.text(), Some("e\n"));
    assert_eq!(documents[1].get("f").unwrap().key_at, position(7, 1));
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let (documents, mistakes) = parse("f", "a: 1\n---\nb: [\n---\nc: 3\n---\nd: }\n---\ne: 5\n");
    let keys: Vec<&str> = documents
        .iter()
        .filter_map(|document| match &document.content {
            Content::Mapping(entries) => Some(entries[0].key.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(keys, ["a", "c", "e"]);
    let lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [3, 7]);
}

#[test]
fn an_alias_stands_for_what_its_anchor_names() {
    let (documents, mistakes) = parse("f", "a: &x {b: 1}\nc: *x\nd: [*x]\n");
    assert_eq!(mistakes, []);
    let Content::Sequence(items) = &documents[0].get("d").unwrap().value.content else {
        panic!("no list")
    };
    assert_eq!(items[0].get("b").unwrap().value.text(), Some("1"));
    assert_eq!(
        said("a: &x 1\n---\nb: *x\n"),
        ["f:3:4: b: no anchor &x stands before this alias"],
        "per document"
    );
}

#[test]
fn empty_documents_are_none() {
    for text in ["", "# nothing\n", "---\n---\n...\n", "null", "word", "\u{feff}"] {
        let (documents, mistakes) = parse("f", text);
        assert_eq!(
            (documents.len(), mistakes.len()),
            (usize::from(text == "word"), 0),
            "{text:?}"
        );
    }
}

#[test]
fn json_is_read_with_tabs_and_on_windows() {
    let (documents, mistakes) = parse(
        "f",
        "{\r\n\t\"a\": [\r\n\t\t1,\r\n\t\t\"\\u00e9\"\r\n\t]\r\n}\r\n",
    );
    assert_eq!(mistakes, []);
    let Content::Sequence(items) = &documents[0].get("a").unwrap().value.content else {
        panic!("no list")
    };
    assert_eq!((items[1].text(), items[1].at), (Some("é"), position(4, 3)));
}

#[test]
fn depth_is_counted_through_aliases() {
    let nested = |levels: usize| {
        format!(
            "a: &a {}x{}\nb: {}*a{}\n",
            "[".repeat(levels),
            "]".repeat(levels),
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert_eq!(said(&nested(31)), Vec::<String>::new());
    assert_eq!(
        said(&nested(32)),
        ["f:2:4: b: nested deeper than 64 levels, aliases expanded"]
    );
}
