//! Session tickets (RFC 5077, RFC 8446 §4.6.1). In: a session's secrets. Out: tickets that only the holder of a key can read
//! or make, and sessions out of them.
//!
//! A ticket is the key's id (16 bytes), a nonce (12 bytes), the sealed session and its tag (16 bytes). Id and context are
//! authenticated with it: a ticket opens at the listener that gave it only, on whichever proxy, and no longer once the CAs
//! of client certificates have changed: a resumed session shows no certificate (RFC 8446 §2.2), neither the client's nor
//! ours.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use switchyard_snapshot::TicketKey;

const ID: usize = 16;
const SECRET: usize = 32;
/// How long a process's own key seals; after that it opens for as long again.
const ROTATE: Duration = Duration::from_hours(12);
/// What clients are told; for at least this long a ticket opens, unless its pool rotates keys faster.
const LIFETIME: Duration = ROTATE;

/// What a ticket is bound to.
pub(super) type Context = [u8; ring::digest::SHA256_OUTPUT_LEN];

/// One key.
pub(super) struct Key {
    id: [u8; ID],
    aead: LessSafeKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    fn new(id: [u8; ID], secret: &[u8; SECRET]) -> Result<Self, Unspecified> {
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret)?);
        Ok(Self { id, aead })
    }

    fn random() -> Result<Self, Unspecified> {
        let (mut id, mut secret) = ([0; ID], [0; SECRET]);
        let random = SystemRandom::new();
        random.fill(&mut id)?;
        random.fill(&mut secret)?;
        Self::new(id, &secret)
    }

    /// A key of a pool; none: it is malformed.
    fn shared(key: &TicketKey) -> Option<Self> {
        Self::new(hex(&key.id)?, &hex(key.key.reveal())?).ok()
    }

    fn authenticated(&self, context: &Context) -> Aad<Vec<u8>> {
        Aad::from([&self.id[..], context].concat())
    }

    fn seal(&self, context: &Context, session: &[u8]) -> Option<Vec<u8>> {
        // Random, because proxies that share a key share no count: fit for 2^32 tickets per key (NIST SP 800-38D §8.3).
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(ID + NONCE_LEN + session.len() + self.aead.algorithm().tag_len());
        ticket.extend(self.id);
        ticket.extend(nonce);
        ticket.extend(session);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = ticket.get_mut(ID + NONCE_LEN..)?;
        let tag = self
            .aead
            .seal_in_place_separate_tag(nonce, self.authenticated(context), sealed)
            .ok()?;
        ticket.extend(tag.as_ref());
        Some(ticket)
    }

    /// `sealed` is what follows the id.
    fn open(&self, context: &Context, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut session = sealed.to_vec();
        let length = self
            .aead
            .open_in_place(nonce, self.authenticated(context), &mut session)
            .ok()?
            .len();
        session.truncate(length);
        Some(session)
    }
}

/// N bytes in hex; none: it is something else.
pub(crate) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// Keys of this process alone, for a pool that shares none: as old as the process, whatever it is configured to do.
#[derive(Debug)]
pub(super) struct OwnKeys {
    keys: ArcSwap<Turn>,
}

#[derive(Debug)]
struct Turn {
    seals: Arc<Key>,
    opens: Option<Arc<Key>>,
    until: Instant,
}

impl OwnKeys {
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new(now: Instant) -> Result<Self, Unspecified> {
        Ok(Self {
            keys: ArcSwap::from_pointee(Turn {
                seals: Arc::new(Key::random()?),
                opens: None,
                until: now + ROTATE,
            }),
        })
    }

    /// The keys that hold `now`.
    fn turn(&self, now: Instant) -> Arc<Turn> {
        let known = self.keys.load_full();
        if now < known.until {
            return known;
        }
        let Ok(fresh) = Key::random() else {
            // Rather an old key than none.
            return known;
        };
        let next = Arc::new(Turn {
            seals: Arc::new(fresh),
            opens: (now < known.until + ROTATE).then(|| Arc::clone(&known.seals)),
            until: now + ROTATE,
        });
        // Whoever comes first among several workers settles it for all of them.
        self.keys.compare_and_swap(&known, next);
        self.keys.load_full()
    }
}

/// Who seals and who opens.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    /// The pool's: the first seals.
    Shared(Arc<[Key]>),
    Own(Arc<OwnKeys>),
}

impl Keys {
    /// Those of the pool; `own` where it has none.
    ///
    /// # Errors
    /// One is malformed; which.
    pub(super) fn of(pool: &[TicketKey], own: &Arc<OwnKeys>) -> Result<Self, String> {
        if pool.is_empty() {
            return Ok(Self::Own(Arc::clone(own)));
        }
        let keys: Result<Vec<Key>, String> = pool
            .iter()
            .zip(1..)
            .map(|(key, nth)| {
                Key::shared(key).ok_or_else(|| {
                    format!(
                        "ticket key {nth} of the pool is malformed: its id must be 16 and the key 32 bytes in hex"
                    )
                })
            })
            .collect();
        Ok(Self::Shared(keys?.into()))
    }
}

/// The tickets of one listener.
#[derive(Debug)]
pub(super) struct Tickets {
    keys: Keys,
    context: Context,
}

impl Tickets {
    pub(super) fn new(keys: Keys, context: Context) -> Self {
        Self { keys, context }
    }

    fn seal_at(&self, now: Instant, session: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Shared(keys) => keys.first()?.seal(&self.context, session),
            Keys::Own(own) => own.turn(now).seals.seal(&self.context, session),
        }
    }

    fn open_at(&self, now: Instant, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, sealed) = ticket.split_at_checked(ID)?;
        match &self.keys {
            Keys::Shared(keys) => {
                let key = keys.iter().find(|key| key.id == *id)?;
                key.open(&self.context, sealed)
            }
            Keys::Own(own) => {
                let turn = own.turn(now);
                let mut keys = std::iter::once(&turn.seals).chain(&turn.opens);
                keys.find(|key| key.id == *id)?.open(&self.context, sealed)
            }
        }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal_at(Instant::now(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open_at(Instant::now(), cipher)
    }
}

#[cfg(test)]
mod tests;
