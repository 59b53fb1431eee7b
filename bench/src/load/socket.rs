//! Non-blocking TCP sockets: listen, accept, connect, send, receive, each one system call where it counts.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, sockopt};

use super::LoadError;

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// This many bytes.
    Bytes(usize),
    /// The end: the other side closed.
    Closed,
    /// Nothing yet.
    Nothing,
}

/// Listens with a backlog that a burst of connections does not fill.
pub fn listen(address: SocketAddrV4) -> nix::Result<TcpListener> {
    let fd = stream_socket()?;
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    socket::listen(&fd, Backlog::new(4096)?)?;
    Ok(TcpListener::from(fd))
}

/// The next connection, if one waits. It is a blocking socket: [`send`] and [`receive`] never wait anyway.
pub(crate) fn accept(listener: &TcpListener) -> Result<Option<OwnedFd>, LoadError> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream.into())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            Err(LoadError::System {
                doing: "accepting at the backend",
                errno,
            })
        }
    }
}

/// Starts connecting. The port is chosen by the kernel for this pair of addresses, so that each source address has
/// all ports.
pub(crate) fn connect(source: Ipv4Addr, target: SocketAddrV4) -> Result<OwnedFd, LoadError> {
    let attempt = || {
        let fd = stream_socket()?;
        socket::setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        socket::bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))?;
        match socket::connect(fd.as_raw_fd(), &SockaddrIn::from(target)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
            Err(errno) => Err(errno),
        }
    };
    attempt().map_err(LoadError::system("connecting to the proxy"))
}

/// Sends what fits now: how many bytes that was, 0 if the socket takes none (also while it connects).
pub(crate) fn send(fd: &OwnedFd, data: &[u8]) -> nix::Result<usize> {
    match socket::send(
        fd.as_raw_fd(),
        data,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    ) {
        Err(Errno::EAGAIN) => Ok(0),
        other => other,
    }
}

/// Receives what is there now.
pub(crate) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Received> {
    receive_with(fd, buffer, MsgFlags::empty())
}

/// Counts what is there now, up to the length of `buffer`, and lets the kernel throw it away without a copy (`tcp(7)`
/// on `MSG_TRUNC`).
pub(crate) fn discard(fd: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Received> {
    receive_with(fd, buffer, MsgFlags::MSG_TRUNC)
}

fn receive_with(fd: &OwnedFd, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<Received> {
    match socket::recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | flags) {
        Ok(0) => Ok(Received::Closed),
        Ok(count) => Ok(Received::Bytes(count)),
        Err(Errno::EAGAIN) => Ok(Received::Nothing),
        Err(errno) => Err(errno),
    }
}

fn stream_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)
}

/// Sends a message to a socket that has nothing else to send: all of it, or, while it connects, nothing.
pub(crate) fn send_whole(fd: &OwnedFd, message: &[u8], doing: &'static str) -> Result<bool, LoadError> {
    match send(fd, message).map_err(LoadError::system(doing))? {
        0 => Ok(false),
        sent if sent == message.len() => Ok(true),
        _ => Err(LoadError::System {
            doing,
            errno: Errno::EMSGSIZE,
        }),
    }
}
