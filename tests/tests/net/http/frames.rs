//! HTTP/2 connections that break the protocol, or keep to its letter to do harm: a table. Each is refused as far as it does
//! harm: the stream or the connection; the backend gets no whole request; a client beside is served all the time; the
//! proxy's memory stays where it is.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use switchyard_tests::client::End;
use switchyard_tests::client::frames::{END_HEADERS, END_STREAM, Fate, Frames, HEADERS, block, frame};
use switchyard_tests::lab::{Host, Lab};
use switchyard_tests::manifest;
use switchyard_tests::recorder::Recorder;
use switchyard_tests::suite::Suite;
use switchyard_tests::switchyard::{Plan, Switchyard};

use crate::scene::{PORT, SOON, listener, pool_of};

mod fields;
mod floods;
mod order;

pub fn add(suite: &mut Suite) {
    suite.test("http::frames::order", |lab| run(lab, &order::cases()));
    suite.test("http::frames::fields", |lab| run(lab, &fields::cases()));
    suite.test("http::frames::floods", |lab| run(lab, &floods::cases()));
}

/// Bytes by which the proxy may have grown after all of them. What one connection may hold is far less; what each of
/// these sends, if it were kept, is more.
const GROWTH: u64 = 24 << 20;

/// Error codes (RFC 9113 §7).
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One row of the table. Bytes follow preface and settings; what is judged is stream 1.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub want: Want,
}

#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// GOAWAY with one of these codes, or the end.
    Connection(&'static [u32]),
    /// `RST_STREAM` with one of these codes, or one of the statuses; the connection lives.
    Stream(&'static [u32], &'static [u16]),
    /// A malformed request: the stream ends, or is answered with 400; or the connection ends, where the table of fields is
    /// read and nobody knows of streams yet.
    Malformed,
    /// Answered with 200 by the backend.
    Served,
    /// Whatever is sent, it costs no more than that: the connection ends, is no longer read, or lives.
    Bounded,
}

/// A GET for `/case` with further fields.
pub fn get(more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", "/case"),
    ];
    fields.extend_from_slice(more);
    head(1, &fields)
}

/// A request without a body.
pub fn head(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields))
}

/// The head of a request with a body.
pub fn post(more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", "/case"),
    ];
    fields.extend_from_slice(more);
    frame(HEADERS, END_HEADERS, 1, &block(&fields))
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

    let mut beside = Beside::connect(lab, proxy_host.at(80));
    beside.ask().expect("a client beside is served before");
    recorder.take();
    let before = proxy.program().resident();
    let (mut wrong, mut peak) = (Vec::new(), before);
    for case in cases {
        let mut frames = Frames::connect(&client, proxy_host.at(80)).expect("a connection");
        match check(case, &mut frames, &recorder) {
            Ok(fate) if case.bytes.len() > 10_000 => lab.say(format!("{}: {fate}", case.name)),
            Ok(_) => {}
            Err(why) => wrong.push(format!("{}: {why}", case.name)),
        }
        peak = peak.max(proxy.program().resident());
        if let Err(why) = beside.ask() {
            wrong.push(format!("{}: a client beside: {why}", case.name));
        }
        recorder.take();
    }
    let grown = peak.saturating_sub(before);
    lab.say(format!(
        "{} cases, {} wrong; grown by {} KiB at most",
        cases.len(),
        wrong.len(),
        grown >> 10
    ));
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(grown < GROWTH, "the proxy has grown by {grown} bytes");
    assert!(proxy.program().runs(), "the proxy has ended");
}

/// What became of it, in words, or what is wrong with that.
fn check(case: &Case, frames: &mut Frames, recorder: &Recorder) -> Result<String, String> {
    // A refusal may come, and the connection close, before all is said.
    let said = frames.say(&case.bytes);
    if matches!(case.want, Want::Bounded) {
        return match said.map_err(Fate::Ended).and_then(|()| frames.lives()) {
            Ok(()) => Ok("lives".to_owned()),
            Err(fate @ (Fate::GoAway(_) | Fate::Ended(End::Fin | End::Reset | End::Timeout))) => {
                Ok(format!("{fate:?}"))
            }
            Err(other) => Err(format!("{other:?}")),
        };
    }
    let fate = frames.fate(1);
    let right = match (&case.want, &fate) {
        (Want::Connection(codes), Fate::GoAway(code)) | (Want::Stream(codes, _), Fate::Reset(code)) => {
            codes.contains(code)
        }
        (Want::Connection(_), Fate::Ended(End::Fin | End::Reset)) => true,
        (Want::Stream(_, statuses), Fate::Answered(status, _)) => statuses.contains(status),
        (Want::Malformed, Fate::Reset(code) | Fate::GoAway(code)) => matches!(*code, PROTOCOL_ERROR | CANCEL),
        (Want::Malformed, Fate::Answered(status, _)) => *status == 400,
        (Want::Served, Fate::Answered(status, _)) => *status == 200,
        _ => false,
    };
    if !right {
        return Err(format!("{fate:?}, not {:?}", case.want));
    }
    let whole = recorder
        .take()
        .into_iter()
        .filter(|one| one.broken.is_none())
        .count();
    let expected = usize::from(matches!(case.want, Want::Served));
    if whole != expected {
        return Err(format!("the backend got {whole} whole requests"));
    }
    if matches!(fate, Fate::Answered(..) | Fate::Reset(_)) {
        frames
            .lives()
            .map_err(|fate| format!("the connection: {fate:?}"))?;
    }
    Ok(format!("{fate:?}"))
}

/// A client beside that keeps to the protocol, on one connection.
struct Beside {
    _host: Host,
    frames: Frames,
    stream: u32,
}

impl Beside {
    fn connect(lab: &Lab, to: SocketAddr) -> Self {
        let host = lab.host("beside", 101);
        let frames = Frames::connect(&host, to);
        Self {
            _host: host,
            frames: frames.expect("a connection beside"),
            stream: 1,
        }
    }

    fn ask(&mut self) -> Result<(), String> {
        let path = format!("/beside/{}", self.stream);
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.example"),
            (":path", &path),
        ];
        self.frames
            .say(&head(self.stream, &fields))
            .map_err(|end| end.to_string())?;
        let fate = self.frames.fate(self.stream);
        self.stream += 2;
        let expected = format!("GET {path}").into_bytes();
        if fate == Fate::Answered(200, expected) {
            Ok(())
        } else {
            Err(format!("asked for {path}, got {fate:?}"))
        }
    }
}
