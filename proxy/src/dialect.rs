//! Native redirects: a client is told in its own protocol where to go. In: what it has said so far, and where it shall go.
//! Out: the bytes that tell it, or that it speaks something else, so that it has to be relayed. All of it is pure.
//!
//! | dialect | told by | file |
//! | --- | --- | --- |
//! | HTTP, WebSocket handshake | 307 (RFC 9110 §15.4.8) | [`http`] |
//! | XMPP | `see-other-host` (RFC 6120 §4.9.3.19) | [`xmpp`] |
//! | MQTT 5 | CONNACK or DISCONNECT with a server reference (MQTT 5 §4.11) | [`mqtt`] |
//!
//! A new protocol of opaque bytes is one file with a function of type [`Reader`], and a line in [`reader`]. One whose servers
//! can send an established session elsewhere has a [`Watch`], too, and a line in [`watch`].

pub mod http;
pub mod mqtt;
mod place;
mod target;
pub mod xmpp;

use std::fmt;

use switchyard_snapshot::Dialect;

pub use place::Place;
pub use target::{home, target};

/// Bytes of a client's first words that a reader looks at; who needs more to say what it speaks is relayed. They are read anew
/// with each packet that comes, so this bounds what packets of one byte each may cost.
pub const LIMIT: usize = 16 * 1024;
/// How often a reader may speak before the client knows where to go.
const MOST_TURNS: u8 = 4;

/// All dialects, in the order of [`index`].
pub const ALL: [Dialect; 4] = [Dialect::Http, Dialect::WebSocket, Dialect::Xmpp, Dialect::Mqtt];

/// Position in [`ALL`].
pub fn index(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Http => 0,
        Dialect::WebSocket => 1,
        Dialect::Xmpp => 2,
        Dialect::Mqtt => 3,
    }
}

/// The word for metrics.
pub fn label(dialect: Dialect) -> &'static str {
    &word(dialect)["redirected:".len()..]
}

/// The word for the access log.
pub fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Http => "redirected:http",
        Dialect::WebSocket => "redirected:webSocket",
        Dialect::Xmpp => "redirected:xmpp",
        Dialect::Mqtt => "redirected:mqtt",
    }
}

/// Whether requests may be redirected: it is worth opening TLS for them.
pub fn http_fits(dialects: &[Dialect]) -> bool {
    dialects
        .iter()
        .any(|dialect| matches!(dialect, Dialect::Http | Dialect::WebSocket))
}

/// Whether opaque bytes may be of a protocol that has a redirect.
pub fn opaque_fits(dialects: &[Dialect]) -> bool {
    dialects.iter().any(|dialect| reader(*dialect).is_some())
}

/// What a reader is asked.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Everything that the client has said, from its first byte on. Never more than [`LIMIT`].
    pub said: &'a [u8],
    /// How often the reader has said [`Step::Say`].
    pub turns: u8,
    /// Where the client shall go.
    pub to: &'a Place,
    /// A number that no other connection gets.
    pub nonce: u64,
}

/// What a reader makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Too early to tell.
    More,
    /// It speaks something else, or a version that knows no redirect. Once said, more bytes do not change it.
    NotMine,
    /// The client waits for a word before it says more: these bytes go out, then the reader is asked again.
    Say(Vec<u8>),
    /// These bytes tell it where to go. Nothing follows them.
    Done(Vec<u8>),
}

/// Reads what a client of one dialect says. Pure; never panics, whatever the bytes.
pub type Reader = fn(&Heard<'_>) -> Step;

/// Who reads a dialect of opaque bytes; none: it is HTTP's.
pub fn reader(dialect: Dialect) -> Option<Reader> {
    match dialect {
        Dialect::Http | Dialect::WebSocket => None,
        Dialect::Xmpp => Some(xmpp::read),
        Dialect::Mqtt => Some(mqtt::read),
    }
}

/// What is to be done with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Read more, and ask again.
    More,
    /// It speaks none of the dialects. Nothing was said to it: it can be relayed.
    Relay,
    /// Write these bytes, read more, and ask again.
    Say(Vec<u8>),
    /// Write these bytes, and end the connection in order.
    Redirect(Dialect, Vec<u8>),
    /// End the connection: it was spoken to and says something strange.
    Close,
}

/// The readers that a client may still turn out to belong to.
#[derive(Debug)]
pub struct Talk {
    readers: Vec<(Dialect, Reader)>,
    to: Place,
    nonce: u64,
    turns: u8,
}

impl Talk {
    /// With a client that shall go to `to`, in one of the opaque ones of `dialects`. `nonce`: a number that no other
    /// connection gets.
    pub fn new(dialects: &[Dialect], to: Place, nonce: u64) -> Self {
        let readers = dialects
            .iter()
            .filter_map(|dialect| Some((*dialect, reader(*dialect)?)));
        Self::with(readers.collect(), to, nonce)
    }

    fn with(readers: Vec<(Dialect, Reader)>, to: Place, nonce: u64) -> Self {
        Self {
            readers,
            to,
            nonce,
            turns: 0,
        }
    }

    /// Where the client shall go.
    pub fn to(&self) -> &Place {
        &self.to
    }

    /// Whether anything was said to the client: then it can be relayed no more.
    pub fn has_spoken(&self) -> bool {
        self.turns > 0
    }

    /// What to do now that the client has said all of `said`.
    pub fn ask(&mut self, said: &[u8]) -> Turn {
        let heard = Heard {
            said: &said[..said.len().min(LIMIT)],
            turns: self.turns,
            to: &self.to,
            nonce: self.nonce,
        };
        let mut spoken = None;
        self.readers.retain(|(dialect, read)| {
            if spoken.is_some() {
                return true;
            }
            match read(&heard) {
                Step::NotMine => return false,
                Step::More => {}
                Step::Say(bytes) => spoken = Some((*dialect, Turn::Say(bytes))),
                Step::Done(bytes) => spoken = Some((*dialect, Turn::Redirect(*dialect, bytes))),
            }
            true
        });
        let nobody = if self.turns == 0 { Turn::Relay } else { Turn::Close };
        match spoken {
            Some((_, Turn::Say(_))) if self.turns == MOST_TURNS => Turn::Close,
            Some((dialect, turn)) => {
                // Whoever was spoken to in one protocol speaks no other.
                self.readers.retain(|(other, _)| *other == dialect);
                self.turns += 1;
                turn
            }
            None if self.readers.is_empty() || said.len() >= LIMIT => nobody,
            None => Turn::More,
        }
    }
}

/// Follows an established session as far as it takes to put a last word of ours between the server's.
pub trait Watch: fmt::Debug {
    /// The client has said this.
    fn up(&mut self, bytes: &[u8]);

    /// The server has said this, and the client gets all of it.
    fn down(&mut self, bytes: &[u8]);

    /// It speaks something else: nothing more needs to be seen.
    fn is_over(&self) -> bool;

    /// What tells the client, after everything that was seen, to go to `to` instead; none: nothing can be said now.
    fn farewell(&self, to: &Place) -> Option<Vec<u8>>;
}

/// Who watches the sessions of a chain that lists `dialects`; none: none of them can be told anything once they stand.
pub fn watch(dialects: &[Dialect]) -> Option<Box<dyn Watch>> {
    dialects
        .contains(&Dialect::Mqtt)
        .then(|| Box::<mqtt::Session>::default() as Box<dyn Watch>)
}

#[cfg(test)]
mod tests;
