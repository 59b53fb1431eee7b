//! MQTT 5. In: a client's CONNECT. Out: a CONNACK that names another server (reason 0x9C, "use another server", which is for
//! now; 0x9D would be for good), §3.2.2.3.10, §4.11. In an established session: a DISCONNECT that says the same, between two
//! packets of the server's ([`Session`]).
//!
//! Clients of version 3 know no such reason: they are not ours.

mod boundary;
mod connect;
mod session;

use super::{Heard, LIMIT, Place, Step};

pub use boundary::Boundary;
pub use session::Session;

use connect::{Look, look};

/// Types of packets, with their flags (§2.1.2, §2.1.3).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const DISCONNECT: u8 = 0xe0;
/// "Use another server" (§2.4).
const USE_ANOTHER_SERVER: u8 = 0x9c;
/// The property that names it (§2.2.2.2).
const SERVER_REFERENCE: u8 = 0x1c;

/// Reads a client's first words, and answers them. Pure; never panics.
pub fn read(heard: &Heard<'_>) -> Step {
    match look(heard.said) {
        Look::More if heard.said.len() < LIMIT => Step::More,
        Look::More | Look::NotMine => Step::NotMine,
        Look::Connect { longest } => {
            let bytes = connack(heard.to);
            // A client that takes no such long packet cannot be told (§3.1.2.11.4).
            if bytes.len() > longest as usize {
                Step::NotMine
            } else {
                Step::Done(bytes)
            }
        }
    }
}

/// §3.2: no session, and where to find another server.
fn connack(to: &Place) -> Vec<u8> {
    packet(CONNACK, &[0, USE_ANOTHER_SERVER], to)
}

/// §3.14.
fn disconnect(to: &Place) -> Vec<u8> {
    packet(DISCONNECT, &[USE_ANOTHER_SERVER], to)
}

/// A packet whose only property is a server reference.
fn packet(kind: u8, header: &[u8], to: &Place) -> Vec<u8> {
    let reference = to.to_string();
    let mut properties = vec![SERVER_REFERENCE];
    // A place is far shorter than a string may be.
    properties.extend_from_slice(&(reference.len() as u16).to_be_bytes());
    properties.extend_from_slice(reference.as_bytes());
    let mut body = header.to_vec();
    write_length(&mut body, properties.len());
    body.append(&mut properties);
    let mut packet = vec![kind];
    write_length(&mut packet, body.len());
    packet.append(&mut body);
    packet
}

/// A variable byte integer (§1.5.5).
fn write_length(out: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    loop {
        let digit = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(digit);
            return;
        }
        out.push(digit | 0x80);
    }
}

#[cfg(test)]
mod tests;
