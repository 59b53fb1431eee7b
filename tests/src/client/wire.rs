//! One connection in a test's hand: every step as the test says it. In: bytes,
//! FIN, reset, silence. Out: what came back, when, and how it ended. Every
//! wait has a deadline; nothing is tried twice.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpSocket;

use super::{End, within};
use crate::greeting::Greeting;
use crate::lab::Host;

/// Time for each step, unless the step says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An open connection. Dropped, it says FIN.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// Read, but not yet asked for.
    ahead: Vec<u8>,
}

impl Wire {
    /// Connects from `host` to `to`.
    pub fn connect(host: &Host, to: SocketAddr) -> Result<Self, End> {
        Self::open(host, None, to, None)
    }

    /// Connects from one of the addresses that `host` has.
    pub fn connect_from(host: &Host, from: IpAddr, to: SocketAddr) -> Result<Self, End> {
        Self::open(host, Some(from), to, None)
    }

    /// Connects with a receive buffer of so many bytes: what the other side
    /// can send while this one does not read.
    pub fn narrow(host: &Host, to: SocketAddr, receive_buffer: u32) -> Result<Self, End> {
        Self::open(host, None, to, Some(receive_buffer))
    }

    fn open(
        host: &Host,
        from: Option<IpAddr>,
        to: SocketAddr,
        receive_buffer: Option<u32>,
    ) -> Result<Self, End> {
        // The socket stays in the namespace in which it was made.
        let stream = host.block_on(async move {
            let connect = async {
                let socket = if to.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                if let Some(size) = receive_buffer {
                    socket.set_recv_buffer_size(size)?;
                }
                if let Some(from) = from {
                    socket.bind(SocketAddr::new(from, 0))?;
                }
                socket.connect(to).await?.into_std()
            };
            within(Instant::now() + PATIENCE, connect).await
        })?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
        })
    }

    /// Its own address.
    ///
    /// # Panics
    /// When the system does not know it.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("it was connected")
    }

    /// Sends bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), End> {
        self.stream.write_all(bytes.as_ref()).map_err(ended)
    }

    /// Asks a backend for its name.
    pub fn ask(&mut self) -> Result<Greeting, End> {
        self.say("who are you?\n")?;
        self.greeting()
    }

    /// The next line, as a backend that says its name.
    pub fn greeting(&mut self) -> Result<Greeting, End> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|_| End::Other(format!("no backend's greeting: {line:?}")))
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.more()?;
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.ahead.len() < count {
            self.more()?;
        }
        Ok(self.ahead.drain(..count).collect())
    }

    /// Sends FIN; the other direction stays open.
    pub fn fin(&mut self) -> Result<(), End> {
        self.stream.shutdown(Shutdown::Write).map_err(ended)
    }

    /// Ends the connection with RST.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn reset(self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&self.stream, sockopt::Linger, &linger).expect("a socket lingers as it is told");
    }

    /// Waits for the other side's end, and says how long that took.
    ///
    /// # Panics
    /// When the system refuses a deadline.
    pub fn end(&mut self, patience: Duration) -> (Duration, End) {
        let begun = Instant::now();
        self.stream
            .set_read_timeout(Some(patience.max(Duration::from_millis(1))))
            .expect("a socket takes a deadline");
        let end = match self.more() {
            Err(end) => end,
            Ok(()) => End::Other(format!("{} bytes nobody asked for", self.ahead.len())),
        };
        let took = begun.elapsed();
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes a deadline");
        (took, end)
    }

    /// Reads whatever comes, until the end: how many bytes, and how it ended.
    pub fn rest(&mut self) -> (usize, End) {
        let mut count = self.ahead.len();
        loop {
            self.ahead.clear();
            match self.more() {
                Ok(()) => count += self.ahead.len(),
                Err(end) => return (count, end),
            }
        }
    }

    /// Sends until nobody has taken anything for `patience`, or the other side
    /// ends; says how many bytes were taken.
    ///
    /// # Panics
    /// When the system refuses a deadline.
    pub fn fill(&mut self, patience: Duration) -> usize {
        let deadline = |time| self.stream.set_write_timeout(Some(time));
        deadline(patience).expect("a socket takes a deadline");
        let block = [b'x'; 16 * 1024];
        let mut sent = 0;
        while let Ok(count @ 1..) = (&self.stream).write(&block) {
            sent += count;
        }
        deadline(PATIENCE).expect("a socket takes a deadline");
        sent
    }

    fn more(&mut self) -> Result<(), End> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).map_err(ended)? {
            0 => Err(End::Fin),
            count => {
                self.ahead.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// A deadline of a blocking socket comes as `WouldBlock` (socket(7), `SO_RCVTIMEO`).
fn ended(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::WouldBlock => End::Timeout,
        _ => End::from(error),
    }
}
