//! Where packets begin and end (§2.1.4). In: one direction's bytes, cut anywhere. Out: whether what was seen so far ends with a
//! packet. Costs a few bytes of state, and nothing per byte of a packet's body.

/// Where a stream of packets stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    state: State,
    /// Of the packet that began last.
    kind: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two packets.
    #[default]
    Between,
    /// In the length of one: what is known of it, and how many bits that are.
    Length { known: u32, bits: u8 },
    /// In its body: so many bytes are missing.
    Body(u32),
    /// This is no stream of packets.
    Broken,
}

impl Boundary {
    /// The stream goes on with `bytes`.
    pub fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let [first, after @ ..] = rest {
            self.state = match self.state {
                State::Broken => return,
                State::Between => {
                    self.kind = *first;
                    rest = after;
                    if *first >> 4 == 0 {
                        State::Broken
                    } else {
                        State::Length { known: 0, bits: 0 }
                    }
                }
                State::Length { known, bits } => {
                    rest = after;
                    let known = known | u32::from(first & 0x7f) << bits;
                    match (first & 0x80 != 0, known) {
                        (true, _) if bits == 21 => State::Broken,
                        (true, known) => State::Length {
                            known,
                            bits: bits + 7,
                        },
                        (false, 0) => State::Between,
                        (false, length) => State::Body(length),
                    }
                }
                State::Body(missing) => {
                    let taken = (missing as usize).min(rest.len());
                    rest = &rest[taken..];
                    match missing - taken as u32 {
                        0 => State::Between,
                        missing => State::Body(missing),
                    }
                }
            };
        }
    }

    /// Whether a packet of ours may follow what was seen.
    pub fn is_between(&self) -> bool {
        self.state == State::Between
    }

    /// Whether what was seen is no MQTT.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// The first byte of the packet that began last; 0: none has.
    pub fn kind(&self) -> u8 {
        self.kind
    }
}
