use super::*;
use crate::dialect::Place;

fn ask(said: &str) -> Step {
    ask_to(said.as_bytes(), "b.example")
}

fn ask_to(said: &[u8], host: &str) -> Step {
    let to = Place::new(host, 5222).unwrap();
    read(&Heard {
        said,
        turns: 0,
        to: &to,
        nonce: 0xabc,
    })
}

fn told(said: &str) -> String {
    match ask(said) {
        Step::Done(bytes) => String::from_utf8(bytes).unwrap(),
        step => panic!("{step:?} for {said}"),
    }
}

const PLAIN: &str = "<?xml version='1.0'?><stream:stream to='a.example' xmlns='jabber:client' \
                     xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

#[test]
fn a_client_is_told_where_to_go() {
    assert_eq!(
        told(PLAIN),
        "<?xml version='1.0'?><stream:stream from='a.example' id='0000000000000abc' version='1.0' xml:lang='en' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><stream:error>\
         <see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>b.example:5222</see-other-host>\
         </stream:error></stream:stream>"
    );
    let Step::Done(bytes) = ask_to(PLAIN.as_bytes(), "2001:db8::1") else {
        panic!("it is told")
    };
    assert!(String::from_utf8(bytes).unwrap().contains(">[2001:db8::1]:5222<"));
}

#[test]
fn headers_may_be_written_in_many_ways() {
    for header in [
        "<stream:stream xmlns=\"jabber:client\" xmlns:stream=\"http://etherx.jabber.org/streams\" to=\"a.example\" version=\"1.0\">",
        "\n <?xml version=\"1.0\" encoding=\"UTF-8\" standalone='yes' ?>\r\n\t<s:stream\n to = 'a.example'\r\n xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' version='1.1' xml:lang='de' >",
        "<stream:stream to='a.example' version='2.0' xmlns:x='a>b' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
        "<stream:stream to='&#97;.ex&#x61;mple' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><auth xmlns='x'>",
    ] {
        assert!(told(header).contains(" from='a.example' id="), "{header}");
    }
}

#[test]
fn what_is_echoed_cannot_be_markup() {
    let header = PLAIN.replace(
        "to='a.example'",
        "from=\"o'neill@é.example/a'b\" to=\"&lt;x&gt;'&quot;&amp;&apos;\"",
    );
    assert!(
        told(&header).contains(
            " from='&lt;x&gt;&apos;&quot;&amp;&apos;' to='o&apos;neill@é.example' id='0000000000000abc'"
        ),
        "{}",
        told(&header)
    );
}

#[test]
fn who_cannot_be_redirected_is_not_ours() {
    let long = "x".repeat(2048);
    for (from, to) in [
        ("<stream:stream", "<stream"),
        ("<stream:stream", "<stream:features"),
        ("<stream:stream", "<other:stream"),
        ("<stream:stream", "<a:b:stream"),
        ("<stream:stream", "<!DOCTYPE x><stream:stream"),
        ("<stream:stream", "<!-- x --><stream:stream"),
        ("<stream:stream", "GET / HTTP/1.1"),
        ("<stream:stream", "<\u{e9}:stream"),
        ("<?xml version='1.0'?>", "<?xmlversion='1.0'?>"),
        ("<?xml version='1.0'?>", "<?xml <?>"),
        ("jabber:client", "jabber:server"),
        ("jabber:client", "jabber:component:accept"),
        ("etherx.jabber.org", "example.org"),
        ("version='1.0'>", ">"),
        ("version='1.0'>", "version='0.9'>"),
        ("version='1.0'>", "version='1'>"),
        ("version='1.0'>", "version='+1.0'>"),
        ("version='1.0'>", "version='1.0'/>"),
        ("version='1.0'>", "version='1.0' version='1.0'>"),
        ("version='1.0'>", "version='1.0'x='y'>"),
        ("version='1.0'>", "version=1.0>"),
        (" to='a.example'", ""),
        ("to='a.example'", "to=''"),
        ("to='a.example'", "to='a&nbsp;b'"),
        ("to='a.example'", "to='a&b'"),
        ("to='a.example'", "to='a<b'"),
        ("to='a.example'", "to='a&#0;b'"),
        ("to='a.example'", "to='a&#xd800;b'"),
        ("to='a.example'", "to='a&#+97;b'"),
        ("to='a.example'", "to='a&#10;b'"),
        ("a.example", long.as_str()),
    ] {
        let header = PLAIN.replacen(from, to, 1);
        assert_ne!(header, PLAIN);
        assert_eq!(ask(&header), Step::NotMine, "{header}");
    }
    let latin1 = [
        PLAIN.as_bytes().split_at(40).0,
        b"\xe9",
        PLAIN.as_bytes().split_at(40).1,
    ]
    .concat();
    assert_eq!(ask_to(&latin1, "b.example"), Step::NotMine);
}

#[test]
fn nothing_is_decided_before_the_header_is_whole() {
    for header in [PLAIN.to_owned(), PLAIN.replace('\'', "\"")] {
        for end in 0..header.len() {
            assert_eq!(ask(&header[..end]), Step::More, "{}", &header[..end]);
        }
    }
    let endless = format!("<stream:stream to='{}", "x".repeat(LIMIT));
    assert_eq!(ask(&endless[..LIMIT - 1]), Step::More);
    assert_eq!(ask(&endless[..LIMIT]), Step::NotMine);
}
