//! What clients speak through: TCP as it is, or TLS.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::LoadError;
use super::records::Records;
use super::socket::{self, Received};
use crate::tls::Trust;

/// Bytes of one receive from a TLS connection: a whole handshake.
const ROOM: usize = 32 * 1024;

/// A client's side of the wire.
pub trait Wire {
    /// What each connection has of its own.
    type Session: Debug;
    /// For the next connection of this client.
    fn session(&mut self, client: u32) -> Result<Self::Session, LoadError>;
    /// Sends a message whole; false: not yet, try again when the socket is ready.
    fn send(&mut self, session: &mut Self::Session, fd: &OwnedFd, message: &[u8]) -> Result<bool, LoadError>;
    /// Receives what is there.
    fn receive(
        &mut self,
        session: &mut Self::Session,
        fd: &OwnedFd,
        buffer: &mut [u8],
    ) -> Result<Received, LoadError>;
    /// Says what has to be said before the socket is closed.
    fn close(&mut self, session: &mut Self::Session, fd: &OwnedFd) -> Result<(), LoadError>;
}

/// TCP as it is.
#[derive(Debug)]
pub struct Plain;

impl Wire for Plain {
    type Session = ();

    fn session(&mut self, _: u32) -> Result<(), LoadError> {
        Ok(())
    }

    fn send(&mut self, (): &mut (), fd: &OwnedFd, message: &[u8]) -> Result<bool, LoadError> {
        socket::send_whole(fd, message, "sending a request")
    }

    fn receive(&mut self, (): &mut (), fd: &OwnedFd, buffer: &mut [u8]) -> Result<Received, LoadError> {
        socket::receive(fd, buffer).map_err(LoadError::system("receiving a response"))
    }

    fn close(&mut self, (): &mut (), _: &OwnedFd) -> Result<(), LoadError> {
        Ok(())
    }
}

/// TLS 1.3.
#[derive(Debug)]
pub struct Tls {
    trust: Trust,
    /// Each client has a configuration of its own, and with it tickets of its own.
    clients: Vec<Arc<ClientConfig>>,
    resume: bool,
    scratch: Vec<u8>,
}

/// One TLS connection.
#[derive(Debug)]
pub struct TlsSession {
    connection: ClientConnection,
    /// Its handshake must have been of this kind; none: any, or it has been looked at.
    expected: Option<HandshakeKind>,
}

impl Tls {
    /// Every handshake is a full one, or, with `resume`, every one but each client's first is resumed by a ticket.
    pub fn new(trust: Trust, resume: bool) -> Self {
        Self {
            trust,
            clients: Vec::new(),
            resume,
            scratch: vec![0; ROOM],
        }
    }

    /// Takes in all that has come. False: the other side has closed.
    fn pump(&mut self, session: &mut TlsSession, fd: &OwnedFd) -> Result<bool, LoadError> {
        loop {
            let received = socket::receive(fd, &mut self.scratch);
            let mut came = match received.map_err(LoadError::system("receiving TLS"))? {
                Received::Nothing => return Ok(true),
                Received::Closed => return Ok(false),
                Received::Bytes(count) => &self.scratch[..count],
            };
            while !came.is_empty() {
                session.connection.read_tls(&mut came).map_err(LoadError::tls)?;
                session.connection.process_new_packets().map_err(LoadError::tls)?;
            }
        }
    }
}

impl Wire for Tls {
    type Session = TlsSession;

    fn session(&mut self, client: u32) -> Result<TlsSession, LoadError> {
        let number = client as usize;
        let first = number >= self.clients.len();
        while number >= self.clients.len() {
            let config = self.trust.client(self.resume).map_err(LoadError::tls)?;
            self.clients.push(Arc::new(config));
        }
        let expected = match (self.resume, first) {
            (true, true) => None,
            (true, false) => Some(HandshakeKind::Resumed),
            (false, _) => Some(HandshakeKind::Full),
        };
        let name = ServerName::try_from(crate::tls::NAME).map_err(LoadError::tls)?;
        let connection =
            ClientConnection::new(Arc::clone(&self.clients[number]), name).map_err(LoadError::tls)?;
        Ok(TlsSession { connection, expected })
    }

    fn send(&mut self, session: &mut TlsSession, fd: &OwnedFd, message: &[u8]) -> Result<bool, LoadError> {
        session.flush(fd)?;
        if session.connection.is_handshaking() {
            if session.connection.wants_write() {
                return Ok(false);
            }
            let open = self.pump(session, fd)?;
            if session.connection.is_handshaking() {
                return if open {
                    Ok(false)
                } else {
                    Err(LoadError::Closed { end: "client" })
                };
            }
        }
        if let Some(expected) = session.expected.take()
            && session.connection.handshake_kind() != Some(expected)
        {
            return Err(LoadError::Tls(format!(
                "a handshake was {:?}, not {expected:?}",
                session.connection.handshake_kind()
            )));
        }
        session
            .connection
            .writer()
            .write_all(message)
            .map_err(LoadError::tls)?;
        session.flush(fd)?;
        if session.connection.wants_write() {
            return Err(LoadError::Tls(
                "the socket took a part of a request only".to_owned(),
            ));
        }
        Ok(true)
    }

    fn receive(
        &mut self,
        session: &mut TlsSession,
        fd: &OwnedFd,
        buffer: &mut [u8],
    ) -> Result<Received, LoadError> {
        let open = self.pump(session, fd)?;
        match session.connection.reader().read(buffer) {
            Ok(0) => Ok(Received::Closed),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && open => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Closed),
            Err(error) => Err(LoadError::tls(error)),
        }
    }

    fn close(&mut self, session: &mut TlsSession, fd: &OwnedFd) -> Result<(), LoadError> {
        session.connection.send_close_notify();
        session.flush(fd)
    }
}

impl TlsSession {
    /// Sends what waits, as far as the socket takes it.
    fn flush(&mut self, fd: &OwnedFd) -> Result<(), LoadError> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(fd)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(LoadError::tls(error)),
            }
        }
        Ok(())
    }
}

/// Does the handshake of a connection for bulk data, whose records are then made elsewhere.
pub(crate) fn handshake(trust: &Trust, fd: &OwnedFd) -> Result<Records, LoadError> {
    const AT_MOST: Duration = Duration::from_secs(5);
    let mut wire = Tls::new(trust.clone(), false);
    let mut session = wire.session(0)?;
    let start = Instant::now();
    while session.connection.is_handshaking() || session.connection.wants_write() {
        session.flush(fd)?;
        if session.connection.is_handshaking() && !wire.pump(&mut session, fd)? {
            return Err(LoadError::Closed { end: "client" });
        }
        if start.elapsed() > AT_MOST {
            return Err(LoadError::Tls("no handshake within 5 s".to_owned()));
        }
    }
    Records::new(
        session
            .connection
            .dangerous_extract_secrets()
            .map_err(LoadError::tls)?,
    )
}

/// A socket to write to.
struct Socket<'a>(&'a OwnedFd);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match socket::send(self.0, bytes)? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    /// One record after the other would be one packet after the other.
    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.write(
            &slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect::<Vec<u8>>(),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
