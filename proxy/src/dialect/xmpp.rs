//! XMPP between client and server (RFC 6120). In: a client's stream header. Out: the header of our stream, and the error
//! `see-other-host` (§4.9.3.19), which closes it. The error may come before TLS and before anything else (§4.9.1.1).
//!
//! Streams between servers, streams of components and those of before RFC 3920 know no such error: they are not ours. WebSocket
//! and BOSH have framings of their own, and come as HTTP.

use std::fmt::Write as _;

use super::{Heard, LIMIT, Step};

/// The namespace of the stream itself (§4.8.1).
const STREAMS: &str = "http://etherx.jabber.org/streams";
/// The namespace of what a client sends in it (§4.8.2).
const CLIENT: &str = "jabber:client";
/// Bytes of an element's or attribute's name, and attributes of one element.
const LONGEST_NAME: usize = 128;
const MOST_ATTRIBUTES: usize = 32;
/// Bytes of an address (RFC 7622 §3.1: two parts of 1023 and an `@`).
const LONGEST_ADDRESS: usize = 2047;

/// Why a header was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    More,
    NotMine,
}

/// What is needed of a client's stream header.
#[derive(Debug)]
struct Header {
    to: String,
    from: Option<String>,
}

/// Reads a client's first words, and answers them. Pure; never panics.
pub fn read(heard: &Heard<'_>) -> Step {
    match header(heard.said) {
        Ok(header) => Step::Done(answer(&header, heard).into_bytes()),
        Err(Stop::More) if heard.said.len() < LIMIT => Step::More,
        Err(_) => Step::NotMine,
    }
}

fn answer(header: &Header, heard: &Heard<'_>) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("<?xml version='1.0'?><stream:stream from='");
    escape(&mut out, &header.to);
    if let Some(from) = &header.from {
        // The bare address (§4.7.2).
        out.push_str("' to='");
        escape(&mut out, from.split('/').next().unwrap_or_default());
    }
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "' id='{:016x}' version='1.0' xml:lang='en' xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>\
         <stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>",
        heard.nonce
    );
    escape(&mut out, &heard.to.to_string());
    out.push_str("</see-other-host></stream:error></stream:stream>");
    out
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
}

fn header(said: &[u8]) -> Result<Header, Stop> {
    let mut text = Text { said, at: 0 };
    text.space();
    if text.literal(b"<?xml")? {
        text.declaration()?;
        text.space();
    }
    if !text.literal(b"<")? {
        return Err(Stop::NotMine);
    }
    let name = text.name()?;
    let mut attributes: Vec<(&str, &[u8])> = Vec::new();
    loop {
        let parted = text.space();
        if text.peek()? == b'>' {
            break;
        }
        let attribute = text.attribute()?;
        let again = attributes.iter().any(|(known, _)| *known == attribute.0);
        if !parted || again || attributes.len() == MOST_ATTRIBUTES {
            return Err(Stop::NotMine);
        }
        attributes.push(attribute);
    }
    understand(name, &attributes).ok_or(Stop::NotMine)
}

/// None: it is no header of a client's stream that can be redirected.
fn understand(name: &str, attributes: &[(&str, &[u8])]) -> Option<Header> {
    let value = |name: &str| {
        let found = attributes.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| unescape(value))
    };
    let prefix = name
        .strip_suffix(":stream")
        .filter(|prefix| !prefix.contains(':'))?;
    let stream = value(&format!("xmlns:{prefix}"))??;
    let content = value("xmlns")??;
    let version = value("version")??;
    if stream != STREAMS || content != CLIENT || !is_modern(&version) {
        return None;
    }
    let fit = |address: &String| !address.is_empty() && address.len() <= LONGEST_ADDRESS;
    let to = value("to")?.filter(fit)?;
    let from = match value("from") {
        None => None,
        Some(from) => Some(from.filter(fit)?),
    };
    Some(Header { to, from })
}

/// 1.0 or later (§4.7.5).
fn is_modern(version: &str) -> bool {
    let digits = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    version
        .split_once('.')
        .is_some_and(|(major, minor)| digits(major) && digits(minor) && major.bytes().any(|b| b != b'0'))
}

/// The text of an attribute (XML 1.0 §4.1, §4.6); none: it is none, or holds what may not stand in an address.
fn unescape(value: &[u8]) -> Option<String> {
    let mut rest = std::str::from_utf8(value).ok()?;
    let mut text = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let (reference, after) = after.split_once(';')?;
        text.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => character(number.strip_prefix('#')?)?,
        });
        rest = after;
    }
    text.push_str(rest);
    let strange = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    (!text.contains(strange)).then_some(text)
}

fn character(number: &str) -> Option<char> {
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // A sign would be read, too.
    let all = (1..=8).contains(&digits.len()) && digits.chars().all(|c| c.is_digit(radix));
    char::from_u32(all.then(|| u32::from_str_radix(digits, radix).ok())??)
}

/// What was said, and how much of it has been read.
struct Text<'a> {
    said: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    fn rest(&self) -> &'a [u8] {
        self.said.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.rest().first().copied().ok_or(Stop::More)
    }

    /// Passes over white space; false: there was none.
    fn space(&mut self) -> bool {
        let spaces = self.rest().iter().take_while(|b| is_space(**b)).count();
        self.at += spaces;
        spaces > 0
    }

    /// Passes over `expected`; false: something else stands there.
    fn literal(&mut self, expected: &[u8]) -> Result<bool, Stop> {
        let rest = self.rest();
        if rest.starts_with(expected) {
            self.at += expected.len();
            return Ok(true);
        }
        // What is no more than its beginning may become it.
        if expected.starts_with(rest) {
            Err(Stop::More)
        } else {
            Ok(false)
        }
    }

    /// Passes over what is left of an XML declaration.
    fn declaration(&mut self) -> Result<(), Stop> {
        if !is_space(self.peek()?) {
            return Err(Stop::NotMine);
        }
        let plain = |b: &u8| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n') && !b"<>?".contains(b);
        self.at += self.rest().iter().take_while(|b| plain(b)).count();
        if self.literal(b"?>")? {
            Ok(())
        } else {
            Err(Stop::NotMine)
        }
    }

    /// A name, of which it is certain that it is whole.
    fn name(&mut self) -> Result<&'a str, Stop> {
        let rest = self.rest();
        let length = rest.iter().take_while(|b| is_name(**b)).count();
        let end = rest.get(length);
        if length > LONGEST_NAME || (length == 0 && end.is_some()) {
            return Err(Stop::NotMine);
        }
        if end.is_none() {
            return Err(Stop::More);
        }
        self.at += length;
        std::str::from_utf8(&rest[..length]).map_err(|_| Stop::NotMine)
    }

    /// `name = 'value'`, with either quote.
    fn attribute(&mut self) -> Result<(&'a str, &'a [u8]), Stop> {
        let name = self.name()?;
        self.space();
        if !self.literal(b"=")? {
            return Err(Stop::NotMine);
        }
        self.space();
        let quote = self.peek()?;
        if !matches!(quote, b'"' | b'\'') {
            return Err(Stop::NotMine);
        }
        self.at += 1;
        let rest = self.rest();
        let end = rest.iter().position(|b| *b == quote || *b == b'<');
        let end = end.ok_or(Stop::More)?;
        if rest[end] != quote {
            return Err(Stop::NotMine);
        }
        self.at += end + 1;
        Ok((name, &rest[..end]))
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Names are compared with what we know, and never written: ASCII is enough.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)
}

#[cfg(test)]
mod tests;
