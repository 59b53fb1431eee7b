//! Requests that two readers could read differently, and others that are no requests: a table. Each is refused, or goes to
//! the backend once, as the one thing that it can mean. The backend records what it was sent; the connection is used
//! once more where it stays open, so that nothing can hide in it; a client beside is served all the time.

use std::collections::BTreeSet;
use std::time::Duration;

use switchyard_tests::client::{End, Reply, Wire};
use switchyard_tests::lab::Lab;
use switchyard_tests::manifest;
use switchyard_tests::recorder::{Recorded, Recorder};
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{PORT, SOON, listener, pool_of};

mod bodies;
mod connections;
mod heads;
mod targets;

pub fn add(suite: &mut Suite) {
    suite.test("http::requests::bodies", |lab| run(lab, &bodies::cases()));
    suite.test("http::requests::heads", |lab| run(lab, &heads::cases()));
    suite.test("http::requests::targets", |lab| run(lab, &targets::cases()));
    suite.test("http::requests::connections", |lab| {
        run(lab, &connections::cases());
    });
}

/// How long a refused client may wait until its connection is closed.
const CLOSED: Duration = Duration::from_secs(5);
/// What proxies add on the way; `rules.rs` has its own trials of them.
const ADDED: [&str; 6] = [
    "x-request-id",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
/// The last request of a connection that stays open.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// One row of the table.
pub struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    want: Want,
}

enum Want {
    /// One of these statuses, then the end; the backend has got no whole request.
    Refused(&'static [u16]),
    /// The end, without an answer: what came is not HTTP, and an answer would not be read.
    Closed,
    /// So many requests reach the backend, each with exactly these lines and this body, and are answered in this order;
    /// then the connection goes on.
    Forwarded(Vec<Sent>),
    /// As many, then a refusal and the end: what follows is not read.
    ThenRefused(Vec<Sent>, &'static [u16]),
}

/// A request as the backend must get it: lines without what proxies add, names in lower case, in order of the alphabet
/// after the first, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    lines: Vec<String>,
    body: String,
}

pub fn refused(name: &'static str, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Case {
    Case {
        name,
        bytes: bytes.into(),
        want: Want::Refused(statuses),
    }
}

pub fn closed(name: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        bytes: bytes.into(),
        want: Want::Closed,
    }
}

pub fn forwarded(name: &'static str, bytes: impl Into<Vec<u8>>, sent: &[Sent]) -> Case {
    Case {
        name,
        bytes: bytes.into(),
        want: Want::Forwarded(sent.to_vec()),
    }
}

pub fn then_refused(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    sent: &[Sent],
    statuses: &'static [u16],
) -> Case {
    Case {
        name,
        bytes: bytes.into(),
        want: Want::ThenRefused(sent.to_vec(), statuses),
    }
}

/// `lines` as one text, `|` between them.
pub fn sent(lines: &str, body: &str) -> Sent {
    let lines: Vec<String> = lines.split('|').map(str::to_owned).collect();
    Sent {
        lines,
        body: body.to_owned(),
    }
}

/// A POST with these header lines (each with its end) and whatever follows them.
pub fn post(lines: &str, rest: &str) -> String {
    format!("POST /case HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n{rest}")
}

/// A GET with these header lines, each with its end.
pub fn get(lines: &str) -> String {
    format!("GET /case HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n")
}

fn run(lab: &Lab, cases: &[Case]) {
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
    let (client, proxy_host) = (lab.host("client", 100), lab.host("proxy", 2));
    let recorder = Recorder::start(&lab.host("b1", 11), PORT);
    let manifests = manifest::join(&[
        pool_of(&[listener("web", 80, "protocol: HTTP, handshakeTimeout: 2s")], ""),
        manifest::chain(
            "web",
            "poolRef: {name: edge}\nbackends: [{name: b1, host: 10.77.0.11, port: 1650}]\n",
        ),
    ]);
    let mut proxy = Switchyard::start_ready(&proxy_host, Plan::new(1, &manifests));
    proxy.await_serving("web", &[recorder.address()], SOON);

    let mut beside = Wire::connect(&client, proxy_host.at(80)).expect("a connection beside");
    ask(&mut beside, "before").expect("a client beside is served before");
    recorder.take();
    let mut wrong = Vec::new();
    for case in cases {
        let mut wire = Wire::connect(&client, proxy_host.at(80)).expect("a connection");
        if let Err(why) = check(case, &mut wire, &recorder) {
            wrong.push(format!("{}: {why}", case.name));
        }
        recorder.take();
        if let Err(why) = ask(&mut beside, case.name) {
            wrong.push(format!("{}: a client beside: {why}", case.name));
            beside = Wire::connect(&client, proxy_host.at(80)).expect("a connection beside");
        }
        recorder.take();
    }
    lab.say(format!("{} cases, {} wrong", cases.len(), wrong.len()));
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(proxy.program().runs(), "the proxy has ended");
}

/// A request of a client beside, which must get its own answer.
fn ask(wire: &mut Wire, what: &str) -> Result<(), String> {
    let path = format!(
        "/beside/{}",
        what.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    );
    wire.say(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
        .map_err(|end| end.to_string())?;
    let reply = Reply::read(wire).map_err(|end| end.to_string())?;
    let expected = format!("GET {path}");
    if reply.status == 200 && reply.text() == expected {
        Ok(())
    } else {
        Err(format!(
            "asked for {path}, got {} {:?}",
            reply.status,
            reply.text()
        ))
    }
}

fn check(case: &Case, wire: &mut Wire, recorder: &Recorder) -> Result<(), String> {
    let (expected, statuses) = match &case.want {
        Want::Closed => (&[][..], Some(&[][..])),
        Want::Refused(statuses) => (&[][..], Some(*statuses)),
        Want::Forwarded(sent) => (&sent[..], None),
        Want::ThenRefused(sent, statuses) => (&sent[..], Some(*statuses)),
    };
    // A refusal may come, and the connection close, before all is said.
    let _ = wire.say(&case.bytes);
    for sent in expected {
        let reply = final_reply(wire).map_err(|end| format!("no answer: {end}"))?;
        let asked: Vec<&str> = sent.lines[0].split(' ').take(2).collect();
        if reply.status != 200 || reply.text() != asked.join(" ") {
            return Err(format!("answered {} {:?}", reply.status, reply.text()));
        }
    }
    let mut all = expected.to_vec();
    if matches!(case.want, Want::Closed) {
        // Judged below: whatever comes but the end is wrong.
    } else if let Some(statuses) = statuses {
        let reply = final_reply(wire).map_err(|end| format!("not refused, but {end}{}", seen(recorder)))?;
        if !statuses.contains(&reply.status) {
            return Err(format!(
                "refused with {}, not {statuses:?}{}",
                reply.status,
                seen(recorder)
            ));
        }
    } else {
        wire.say(LAST).map_err(|end| format!("not kept open: {end}"))?;
        let reply = Reply::read(wire).map_err(|end| format!("not kept open: {end}{}", seen(recorder)))?;
        if reply.text() != "GET /last" {
            return Err(format!(
                "the last answer was {:?}{}",
                reply.text(),
                seen(recorder)
            ));
        }
        all.push(sent("GET /last HTTP/1.1|host: a.example", ""));
    }
    match wire.end(CLOSED).1 {
        End::Fin | End::Reset => {}
        other => return Err(format!("not closed: {other}")),
    }
    let recorded = recorder.take();
    let got: Vec<Sent> = recorded
        .iter()
        .filter(|one| one.broken.is_none())
        .map(as_sent)
        .collect();
    if got == all {
        Ok(())
    } else {
        Err(format!("the backend got {got:?}"))
    }
}

/// The next response that is not an interim one.
fn final_reply(wire: &mut Wire) -> Result<Reply, End> {
    loop {
        let reply = Reply::read(wire)?;
        if reply.status >= 200 {
            return Ok(reply);
        }
    }
}

/// For a person to read.
fn seen(recorder: &Recorder) -> String {
    match &recorder.take()[..] {
        [] => String::new(),
        some => format!("; the backend got {some:?}"),
    }
}

fn as_sent(recorded: &Recorded) -> Sent {
    let mut lines = recorded.lines();
    let first = if lines.is_empty() {
        String::new()
    } else {
        lines.remove(0)
    };
    let mut lines: Vec<String> = lines
        .iter()
        .map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
            None => line.clone(),
        })
        .filter(|line| !ADDED.iter().any(|added| line.starts_with(&format!("{added}:"))))
        .collect();
    lines.sort();
    lines.insert(0, first);
    Sent {
        lines,
        body: String::from_utf8_lossy(&recorded.body).into_owned(),
    }
}
