//! An established session. In: what both sides say. Out: the packet that sends the client elsewhere, while one may be said:
//! between two packets of the server's, after a CONNACK that accepts the client (§3.14: none may come before), or instead of it.

use crate::dialect::{Place, Watch};

use super::boundary::Boundary;
use super::connect::{Look, look};
use super::{CONNACK, DISCONNECT, connack, disconnect};

/// Bytes of a client's first packet that are kept until its version is known.
const MOST_KEPT: usize = 4096;
/// Bytes of the server's first packet that tell whether it accepts the client: type, length, flags, reason (§3.2).
const CONNACK_HEAD: usize = 7;

/// What is known of a session.
#[derive(Debug, Default)]
pub struct Session {
    client: Client,
    server: Boundary,
    /// How the server began.
    begun: Vec<u8>,
}

#[derive(Debug)]
enum Client {
    /// What it has said, which does not tell enough yet.
    Unknown(Vec<u8>),
    /// It speaks MQTT 5, and takes packets of so many bytes.
    Speaks(u32),
    /// It speaks something else.
    Other,
}

impl Default for Client {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl Watch for Session {
    fn up(&mut self, bytes: &[u8]) {
        let Client::Unknown(said) = &mut self.client else {
            return;
        };
        let room = MOST_KEPT - said.len();
        said.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.client = match look(said) {
            Look::Connect { longest } => Client::Speaks(longest),
            Look::More if said.len() < MOST_KEPT => return,
            Look::More | Look::NotMine => Client::Other,
        };
    }

    fn down(&mut self, bytes: &[u8]) {
        let room = CONNACK_HEAD - self.begun.len();
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.server.see(bytes);
    }

    fn is_over(&self) -> bool {
        matches!(self.client, Client::Other) || self.server.is_broken()
    }

    fn farewell(&self, to: &Place) -> Option<Vec<u8>> {
        let Client::Speaks(longest) = self.client else {
            return None;
        };
        // Nothing may follow a DISCONNECT.
        if !self.server.is_between() || self.server.kind() == DISCONNECT {
            return None;
        }
        let packet = if self.begun.is_empty() {
            connack(to)
        } else if accepts(&self.begun) {
            disconnect(to)
        } else {
            return None;
        };
        (packet.len() <= longest as usize).then_some(packet)
    }
}

/// Whether a server's first packet is a CONNACK with a reason that is no error (§3.2.2.2).
fn accepts(begun: &[u8]) -> bool {
    let Some((CONNACK, rest)) = begun.split_first().map(|(kind, rest)| (*kind, rest)) else {
        return false;
    };
    let length = rest.iter().take_while(|b| **b & 0x80 != 0).count() + 1;
    rest.get(length + 1).is_some_and(|reason| *reason < 0x80)
}
