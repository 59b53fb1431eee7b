use super::*;

fn lost() -> Lost {
    Lost {
        websocket: false,
        secure: false,
        guest: false,
        monitor: false,
        back: false,
        reachable: true,
        relay: true,
    }
}

#[test]
fn the_ladder_is_native_then_relay_then_a_refusal() {
    use Dialect::{Http, Mqtt, WebSocket};
    let redirect = |dialect| Way::Redirect(dialect);
    let (now, later) = (Way::Refuse { again: true }, Way::Refuse { again: false });
    for (what, dialects, change, clear, secure) in [
        (
            "a request",
            &[Http][..],
            (|_| ()) as fn(&mut Lost),
            redirect(Http),
            redirect(Http),
        ),
        (
            "a handshake",
            &[WebSocket],
            |l| l.websocket = true,
            redirect(WebSocket),
            redirect(WebSocket),
        ),
        (
            "a handshake of a chain that lists HTTP only",
            &[Http],
            |l| l.websocket = true,
            Way::Relay,
            now,
        ),
        (
            "a request of a chain that lists WebSocket only",
            &[Mqtt, WebSocket],
            |_| (),
            Way::Relay,
            now,
        ),
        ("a chain that lists none", &[], |_| (), Way::Relay, now),
        ("it came back", &[Http], |l| l.back = true, Way::Relay, now),
        (
            "no target that it reaches",
            &[Http],
            |l| l.reachable = false,
            Way::Relay,
            now,
        ),
        (
            "nobody relays",
            &[Http],
            |l| l.relay = false,
            redirect(Http),
            redirect(Http),
        ),
        (
            "nobody relays, and it came back",
            &[Http],
            |l| (l.relay, l.back) = (false, true),
            later,
            later,
        ),
        ("a guest", &[Http], |l| l.guest = true, later, later),
        ("a probe", &[Http], |l| l.monitor = true, later, later),
    ] {
        let mut lost = lost();
        change(&mut lost);
        assert_eq!(lost.way(dialects), clear, "{what}");
        lost.secure = true;
        assert_eq!(lost.way(dialects), secure, "{what}, over TLS");
    }
}

#[test]
fn locations_keep_scheme_path_and_query() {
    let text = |secure, websocket, host, port, target: &str| {
        let to = Place::new(host, port).unwrap();
        let location = location(secure, websocket, &to, target.as_bytes())?;
        Some(location.to_str().unwrap().to_owned())
    };
    for (secure, websocket, host, port, target, expected) in [
        (
            false,
            false,
            "b.example",
            18_080,
            "/a?b=c",
            "http://b.example:18080/a?b=c",
        ),
        (false, false, "b.example", 80, "/", "http://b.example/"),
        (true, false, "b.example", 443, "/%20", "https://b.example/%20"),
        (true, false, "b.example", 80, "//x", "https://b.example:80//x"),
        (true, false, "::1", 18_443, "/", "https://[::1]:18443/"),
        (true, true, "b.example", 18_443, "/ws", "//b.example:18443/ws"),
        (false, true, "b.example", 80, "/ws", "//b.example/ws"),
    ] {
        assert_eq!(
            text(secure, websocket, host, port, target).as_deref(),
            Some(expected)
        );
    }
    assert_eq!(text(true, false, "b.example", 443, "*"), None);
}

#[test]
fn an_alternative_ends_with_the_detour() {
    let to = Place::new("2001:db8::1", 18_443).unwrap();
    let expected = |ma| Some(format!("h2=\"[2001:db8::1]:18443\"; ma={ma}"));
    assert_eq!(alternative(&to, 61), expected(61));
    assert_eq!(alternative(&to, i64::MAX), expected(86_400));
    assert_eq!(alternative(&to, 0), None);
    assert_eq!(alternative(&to, -5), None);
}
