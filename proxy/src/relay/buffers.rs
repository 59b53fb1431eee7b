//! Memory for bytes under way. In: nothing. Out: one scratch buffer for all relays of a worker, and buffers for those
//! few whose receiver is slower than its sender.

use std::cell::{RefCell, RefMut};

/// Bytes moved by one read, until a direction proves bulky: what a slow receiver may cost us.
pub(crate) const SIZE: usize = 16 * 1024;
/// Bytes moved by one read of a bulky direction: fewer system calls and wake-ups per byte; also the most that ever waits for
/// a receiver.
pub(crate) const BULK: usize = 64 * 1024;
/// Spare buffers kept for reuse, per worker.
const SPARE: usize = 64;

/// The buffers of one worker.
#[derive(Debug)]
pub(crate) struct Buffers {
    scratch: RefCell<Box<[u8]>>,
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            scratch: RefCell::new(vec![0; BULK].into_boxed_slice()),
            spare: RefCell::default(),
        }
    }
}

impl Buffers {
    /// The worker's scratch buffer; for the duration of one poll.
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// A buffer of the connection's own, holding `bytes`.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Waiting {
        let spare = (bytes.len() <= SIZE)
            .then(|| self.spare.borrow_mut().pop())
            .flatten();
        let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(bytes.len().max(SIZE)));
        buffer.extend_from_slice(bytes);
        Waiting {
            bytes: buffer,
            written: 0,
        }
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&self, waiting: Waiting) {
        let mut buffer = waiting.bytes;
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() == SIZE && spare.len() < SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Bytes that could not be written yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    written: usize,
}

impl Waiting {
    /// Bytes that are there before anything is read.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Adds what comes after.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn advance(&mut self, by: usize) {
        self.written += by;
    }
}
