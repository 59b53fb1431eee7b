use super::*;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
}

fn text(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn what_belongs_to_one_connection_stays_there() {
    let mut all = headers(&[
        ("connection", "close, X-Secret, cookie"),
        ("x-secret", "1"),
        ("cookie", "kept"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("te", "gzip, trailers"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("upgrade", "websocket"),
        ("accept", "*/*"),
    ]);
    assert_eq!(strip(&mut all), None);
    assert_eq!(text(&all), ["accept: */*", "cookie: kept", "te: trailers"]);
}

#[test]
fn who_may_not_speak_for_others_does_not() {
    let said = [
        ("x-forwarded-for", "198.51.100.9"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=198.51.100.9"),
        ("x-real-ip", "198.51.100.9"),
        ("x-request-id", "given"),
    ];
    let host = HeaderValue::from_static("a.example");
    let marks = |from: &str, trusted, headers: &mut HeaderMap| Marks {
        lines: Rc::new(Lines::new(from.parse().unwrap(), false, trusted)),
        id: id_of(headers, || 0xab),
    };
    let mut untrusted = headers(&said);
    marks("192.0.2.1", false, &mut untrusted).insert(&mut untrusted, Some(&host));
    assert_eq!(
        text(&untrusted),
        [
            "forwarded: for=192.0.2.1;proto=http;host=\"a.example\"",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: a.example",
            "x-forwarded-proto: http",
            "x-request-id: given",
        ]
    );
    let mut trusted = headers(&said);
    marks("192.0.2.1", true, &mut trusted).insert(&mut trusted, Some(&host));
    assert_eq!(trusted["x-forwarded-for"], "198.51.100.9, 192.0.2.1");
    assert_eq!(trusted["x-forwarded-proto"], "https");
    assert!(
        trusted["forwarded"]
            .to_str()
            .unwrap()
            .starts_with("for=198.51.100.9, for=192.0.2.1;")
    );
    let mut fresh = HeaderMap::new();
    let marks = marks("2001:db8::1", false, &mut fresh);
    marks.insert(&mut fresh, Some(&host));
    // Both ways to say it say the same.
    let mut written = Vec::new();
    marks.write(&mut written, Some(&host));
    let mut inserted = Vec::new();
    write_lines(&mut inserted, &fresh);
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&written), sorted(&inserted));
    assert_eq!(fresh["x-request-id"], format!("{:032x}", 0xab));
    assert!(
        fresh["forwarded"]
            .to_str()
            .unwrap()
            .starts_with("for=\"[2001:db8::1]\";")
    );
}

#[test]
fn a_chains_rules_remove_then_set_then_add() {
    let field = |name: &str, value: &str| HeaderField {
        name: name.into(),
        value: value.into(),
    };
    let rules = HeaderChanges {
        set: vec![field("a", "2")],
        add: vec![field("a", "3"), field("b", "4")],
        remove: vec!["a".into(), "c".into()],
    };
    let mut all = headers(&[("a", "1"), ("a", "1"), ("b", "1"), ("c", "1")]);
    change(&mut all, &rules);
    assert_eq!(text(&all), ["a: 2", "a: 3", "b: 1", "b: 4"]);
}
