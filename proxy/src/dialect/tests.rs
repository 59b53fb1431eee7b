use super::*;

fn place(host: &str, port: u16) -> Place {
    Place::new(host, port).unwrap()
}

#[test]
fn a_place_is_written_so_that_every_protocol_can_read_it() {
    for (host, port, text) in [
        ("a.example", 5222, "a.example:5222"),
        ("192.0.2.1", 1, "192.0.2.1:1"),
        ("2001:db8:0:0::1", 443, "[2001:db8::1]:443"),
        ("[2001:db8::1]", 443, "[2001:db8::1]:443"),
        ("under_score-1.example", 65_535, "under_score-1.example:65535"),
    ] {
        assert_eq!(place(host, port).to_string(), text);
    }
    assert_eq!(place("::1", 443).authority(443), "[::1]");
    assert_eq!(place("a.example", 80).authority(80), "a.example");
    for host in [
        "",
        "a b",
        "a\"b",
        "a<b",
        "a/b",
        "a@b",
        "a:b",
        "fe80::1%eth0",
        "müller.example",
        "[::1",
        "a\r\nb",
    ] {
        assert_eq!(Place::new(host, 1), None, "{host}");
    }
    assert_eq!(Place::new("a", 0), None);
    assert_eq!(Place::new(&"a".repeat(254), 1), None);
}

#[test]
fn dialects_have_words_and_positions() {
    for (at, dialect) in ALL.into_iter().enumerate() {
        assert_eq!(index(dialect), at);
        assert!(!label(dialect).is_empty());
    }
    assert!(http_fits(&[Dialect::WebSocket]) && !http_fits(&[Dialect::Mqtt]));
    assert!(opaque_fits(&[Dialect::Http, Dialect::Xmpp]) && !opaque_fits(&[Dialect::Http]));
    assert!(watch(&[Dialect::Xmpp]).is_none() && watch(&[Dialect::Mqtt]).is_some());
}

/// A protocol whose server greets, and whose client says its name.
fn greeting(heard: &Heard<'_>) -> Step {
    match (heard.turns, heard.said) {
        (0, b"") | (1, b"HELLO") => Step::More,
        (0, said) if said.starts_with(b"HELLO") => Step::Say(b"who?".to_vec()),
        (1, said) if said.starts_with(b"HELLO me") => Step::Done(format!("go {}", heard.to).into()),
        _ => Step::NotMine,
    }
}

fn endless(_: &Heard<'_>) -> Step {
    Step::Say(vec![1])
}

fn talk(readers: &[(Dialect, Reader)]) -> Talk {
    Talk::with(readers.to_vec(), place("b.example", 7), 1)
}

#[test]
fn who_speaks_none_of_the_dialects_is_relayed_as_soon_as_that_is_known() {
    let mut talk = Talk::new(&ALL, place("b.example", 7), 1);
    assert_eq!(talk.ask(b""), Turn::More);
    assert_eq!(talk.ask(b"\x10"), Turn::More, "MQTT begins so, XMPP does not");
    assert_eq!(talk.ask(b"\x10\x0c\x00\x04MQTT\x04"), Turn::Relay);
    assert_eq!(
        Talk::new(&[Dialect::Http], place("b.example", 7), 1).ask(b"GET"),
        Turn::Relay
    );
    let mut talk = Talk::new(&[Dialect::Xmpp], place("b.example", 7), 1);
    assert_eq!(talk.ask(&vec![b' '; LIMIT - 1]), Turn::More);
    assert_eq!(talk.ask(&vec![b' '; LIMIT + 1]), Turn::Relay);
}

#[test]
fn who_waits_for_a_word_gets_one_and_is_asked_again() {
    let mut talk = talk(&[(Dialect::Xmpp, xmpp::read), (Dialect::Mqtt, greeting)]);
    assert_eq!(talk.ask(b""), Turn::More);
    assert_eq!(talk.ask(b"HELLO"), Turn::Say(b"who?".to_vec()));
    assert_eq!(talk.ask(b"HELLO"), Turn::More);
    assert_eq!(
        talk.ask(b"HELLO me"),
        Turn::Redirect(Dialect::Mqtt, b"go b.example:7".to_vec())
    );
}

#[test]
fn who_was_spoken_to_is_never_relayed() {
    let mut strange = talk(&[(Dialect::Mqtt, greeting)]);
    assert_eq!(strange.ask(b"HELLO"), Turn::Say(b"who?".to_vec()));
    assert_eq!(strange.ask(b"HELLO?"), Turn::Close);
    let mut chatty = talk(&[(Dialect::Mqtt, endless)]);
    for _ in 0..MOST_TURNS {
        assert_eq!(chatty.ask(b""), Turn::Say(vec![1]));
    }
    assert_eq!(chatty.ask(b""), Turn::Close);
}
