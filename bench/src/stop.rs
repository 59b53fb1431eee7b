//! When to stop early: a signal, or the time limit of the whole run.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Why the run ends before it is complete.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// SIGINT, SIGTERM or SIGHUP came.
    #[error("stopped by a signal")]
    Signal,
    /// The run took as long as it may.
    #[error("the time limit of the run is over; see --limit, --rounds and --seconds")]
    TimeLimit,
}

/// Asked at every step that takes time, so that proxies are ended in an orderly way whatever stops the run.
#[derive(Debug)]
pub struct Stop {
    signals: SignalFd,
    deadline: Instant,
}

impl Stop {
    /// Turns the ending signals into answers of [`Stop::check`]. Must be called before threads are started.
    pub fn install(limit: Duration) -> nix::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            signals,
            deadline: Instant::now() + limit,
        })
    }

    /// An error once it is time to stop, and from then on.
    pub fn check(&self) -> Result<(), Stopped> {
        self.wait(Duration::ZERO)
    }

    /// Waits for `pause`, or until it is time to stop.
    pub fn wait(&self, pause: Duration) -> Result<(), Stopped> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(pause.min(left)).unwrap_or(PollTimeout::ZERO);
        // The signal is left unread: it goes on to be the answer.
        let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut polled, timeout) {
            Ok(0) if left > pause => Ok(()),
            Ok(0) => Err(Stopped::TimeLimit),
            Ok(_) | Err(_) => Err(Stopped::Signal),
        }
    }
}
