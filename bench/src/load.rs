//! The load generator: clients and backend in one thread around one epoll instance, so that a single core is enough to
//! keep the proxy's core busy. [`exchange`] speaks request and response, [`http2`] many of them at once, [`stream`] moves
//! bulk data; clients speak through a [`wire`].
//!
//! Every byte that comes through is compared with what was sent, and any failed connection fails the measurement: a
//! proxy that loses data is not fast.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::stop::{Stop, Stopped};

mod backend;
pub mod exchange;
pub mod http2;
mod message;
mod records;
pub mod socket;
pub mod stream;
pub mod wire;

/// Token of the backend's listener; connections have small ones.
pub(crate) const LISTENER: usize = usize::MAX;

/// Why the load could not be put through a proxy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The run is to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A system call failed where that is nobody's plan.
    #[error("{doing}: {errno}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The proxy ended a connection whose turn it was not.
    #[error("the proxy closed a {end} connection in the middle of its work")]
    Closed {
        /// Which side saw it: `client` or `backend`.
        end: &'static str,
    },
    /// What came out is not what went in.
    #[error("the proxy delivered wrong bytes to the {end}")]
    Corrupt {
        /// Which side saw it: `client` or `backend`.
        end: &'static str,
    },
    /// The load did not get where it should in time.
    #[error("after {seconds} s only {done} of {wanted} were done")]
    TooSlow {
        /// How long it had.
        seconds: f64,
        /// What was reached.
        done: u64,
        /// What should have been.
        wanted: u64,
    },
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// HTTP/2 went otherwise than it should.
    #[error("HTTP/2: {0}")]
    Http2(String),
    /// The kernel refuses to say what a process cost.
    #[error("reading the proxy's cost: {0}")]
    Measure(#[from] io::Error),
}

impl LoadError {
    /// For `map_err`: TLS failed.
    pub(crate) fn tls(error: impl std::fmt::Display) -> Self {
        Self::Tls(error.to_string())
    }

    /// For `map_err`: says what was tried.
    pub(crate) fn system(doing: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { doing, errno }
    }
}

/// Clients and backend as the loop sees them.
pub trait Traffic {
    /// Opens the first connections.
    fn start(&mut self, poller: &Poller) -> Result<(), LoadError>;
    /// A socket is ready. Must also bear being called for nothing, and for a token that is gone.
    fn ready(&mut self, poller: &Poller, token: usize, flags: EpollFlags) -> Result<(), LoadError>;
    /// Work done since the start, in the unit of the traffic's kind.
    fn done(&self) -> u64;
    /// Connections that came to the backend since the start, the proxy's monitors among them.
    fn accepted(&self) -> u64;
}

/// The epoll instance.
#[derive(Debug)]
pub struct Poller(Epoll);

/// Traffic and the loop that drives it.
#[derive(Debug)]
pub struct Driver<'a, T> {
    poller: Poller,
    events: Vec<EpollEvent>,
    stop: &'a Stop,
    traffic: T,
}

impl Poller {
    pub(crate) fn add(&self, fd: impl AsFd, token: usize, flags: EpollFlags) -> Result<(), LoadError> {
        let event = EpollEvent::new(flags, token as u64);
        self.0
            .add(fd, event)
            .map_err(LoadError::system("watching a socket"))
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: usize, flags: EpollFlags) -> Result<(), LoadError> {
        let mut event = EpollEvent::new(flags, token as u64);
        self.0
            .modify(fd, &mut event)
            .map_err(LoadError::system("watching a socket"))
    }
}

impl<'a, T: Traffic> Driver<'a, T> {
    /// Starts the traffic. It moves only inside of the `run` functions.
    pub fn start(traffic: T, stop: &'a Stop) -> Result<Self, LoadError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(LoadError::system("creating an epoll instance"))?;
        let mut driver = Self {
            poller: Poller(epoll),
            events: vec![EpollEvent::empty(); 512],
            stop,
            traffic,
        };
        driver.traffic.start(&driver.poller)?;
        Ok(driver)
    }

    /// Lets the traffic flow for `time`.
    pub fn run_for(&mut self, time: Duration) -> Result<(), LoadError> {
        self.run(time, |_| false)
    }

    /// Lets the traffic flow until `wanted` units of work are done, for `time` at most.
    pub fn run_until(&mut self, wanted: u64, time: Duration) -> Result<(), LoadError> {
        self.run(time, |traffic| traffic.done() >= wanted)?;
        let done = self.traffic.done();
        if done >= wanted {
            return Ok(());
        }
        Err(LoadError::TooSlow {
            seconds: time.as_secs_f64(),
            done,
            wanted,
        })
    }

    /// Work done since the start.
    pub fn done(&self) -> u64 {
        self.traffic.done()
    }

    /// Connections that came to the backend since the start.
    pub fn accepted(&self) -> u64 {
        self.traffic.accepted()
    }

    fn run(&mut self, time: Duration, enough: impl Fn(&T) -> bool) -> Result<(), LoadError> {
        const CHECK: Duration = Duration::from_millis(50);
        let end = Instant::now() + time;
        let mut next_check = Instant::now();
        while !enough(&self.traffic) {
            let now = Instant::now();
            if now >= end {
                break;
            }
            if now >= next_check {
                self.stop.check()?;
                next_check = now + CHECK;
            }
            // It never sleeps: the proxy must not pay for waking it.
            let count = match self.poller.0.wait(&mut self.events, EpollTimeout::ZERO) {
                Err(Errno::EINTR) => 0,
                other => other.map_err(LoadError::system("waiting for sockets"))?,
            };
            for event in &self.events[..count] {
                self.traffic
                    .ready(&self.poller, event.data() as usize, event.events())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
