//! Sockets with the options this proxy wants. In: addresses. Out: sockets that are bound or ready to connect, and
//! what the system's errors mean.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::session::end::ConnectError;

/// Waiting in the kernel for an accept; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A peer that is silent for a minute is asked whether it lives; three unanswered questions, ten seconds apart, and it
/// is gone.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(10))
        .with_retries(3)
}

/// How long sent bytes may stay unacknowledged. Not shorter, because Linux also counts the time in which a living
/// peer keeps its window shut (`tcp_probe_timer`), as a paused consumer does.
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// One listening socket per worker, all on `address`, none of them accepting yet where `count` is above what is used.
/// Accepted connections inherit what is set here, so that an accept costs no further system calls.
///
/// # Errors
/// `AddrInUse` also where another process holds the port with `SO_REUSEPORT`: two processes that both set it would
/// silently share the connections.
pub(crate) fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = address;
    let mut sockets = Vec::with_capacity(count);
    for nth in 0..count {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        if nth == 0 {
            // Bound without SO_REUSEPORT, the first socket fails where anybody else listens; the flag that the others
            // need is looked at when they bind.
            socket.bind(&address.into())?;
            socket.set_reuse_port(true)?;
            if let Some(bound) = socket.local_addr()?.as_socket() {
                address = bound;
            }
        } else {
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
        }
        socket.set_tcp_nodelay(true)?;
        set_lasting(&SockRef::from(&socket))?;
        sockets.push(socket);
    }
    // Only once all are bound: a first connection must not find some of them missing.
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// From now on nobody new is seen by this listening socket; who has had its SYN answered still gets in.
///
/// # Errors
/// The system has no memory for a filter.
pub(crate) fn ignore_newcomers(listening: &impl AsFd) -> io::Result<()> {
    // A filter of a TCP socket sees each segment from its header on (`tcp_filter` of Linux); RFC 9293 section 3.1 has the flags
    // in its byte 13.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    let step = |code: u32, unless: u8, value: u32| SockFilter::new(code as u16, 0, unless, value);
    SockRef::from(listening).attach_filter(&[
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, FLAGS),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, SYN_OR_ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
    ])
}

/// Lets an accepted connection have all of its own, where its listening socket [ignores newcomers](ignore_newcomers): it has
/// inherited that.
pub(crate) fn ignore_nobody(accepted: &impl AsFd) {
    // It can only fail where there is no filter.
    let _ = SockRef::from(accepted).detach_filter();
}

/// All local addresses, in both families where there is IPv6.
pub(crate) fn any_address() -> IpAddr {
    let has_v6 = Socket::new(Domain::IPV6, Type::STREAM, None).is_ok();
    if has_v6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}

/// Connects to `to`, from `from` if given. No option is set that a short session can do without.
pub(crate) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    if let Some(from) = from {
        // Without it a port is taken at bind, when the kernel does not know the destination yet: the 28,000 ports of
        // an address would be shared by all destinations (ip(7)).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE).await?;
    // The event says whether it failed; only then is the system asked why.
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

/// What only a session that lasts is worth the system calls for: keepalive and user timeout.
pub(crate) fn settle(stream: &TcpStream) -> io::Result<()> {
    set_lasting(&SockRef::from(stream))
}

fn set_lasting(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Makes the coming close a reset instead of a FIN.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // It can only fail on what is no socket; then the close is a plain one.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The address the client connected to.
pub(crate) fn local_address(stream: &impl AsFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(stream).local_addr()?;
    let address = address
        .as_socket()
        .ok_or_else(|| io::Error::other("not an IP socket"))?;
    Ok(canonical(address))
}

/// An IPv4 address that came through an IPv6 socket, as the IPv4 address it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Raises the soft limit of descriptors to the hard one; the limit from now on.
///
/// # Errors
/// The system refuses to say or to raise it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Whether an accept failed for want of something of ours, so that trying again at once is of no use.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

/// What a failed connect says.
pub(crate) fn connect_error(error: &io::Error) -> ConnectError {
    if is_exhaustion(error) {
        return ConnectError::OutOfDescriptors;
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN) => ConnectError::OutOfPorts,
        Some(Errno::ECONNREFUSED) => ConnectError::Refused,
        Some(Errno::ETIMEDOUT) => ConnectError::TimedOut,
        Some(Errno::ECONNRESET) => ConnectError::Reset,
        Some(
            Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::EAFNOSUPPORT,
        ) => ConnectError::Unreachable,
        _ => ConnectError::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn accepted_connections_inherit_what_the_listening_socket_has() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = listen(loopback, 2).unwrap();
        let at = listening[0].local_addr().unwrap();
        assert_eq!(listening[1].local_addr().unwrap(), at, "one port for all workers");
        let _clients: Vec<_> = (0..8)
            .map(|_| std::net::TcpStream::connect(at).unwrap())
            .collect();
        let accepted = listening
            .iter()
            .find_map(|socket| socket.accept().ok())
            .unwrap()
            .0;
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_mins(1));
        assert_eq!(
            accepted.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[test]
    fn who_has_begun_gets_in_and_newcomers_are_not_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listening = listen(address.parse().unwrap(), 1).unwrap();
            let at = listening[0].local_addr().unwrap();
            let mut early = std::net::TcpStream::connect(at).unwrap();
            ignore_newcomers(&listening[0]).unwrap();
            // A SYN comes again after a second.
            let late = std::thread::spawn(move || std::net::TcpStream::connect(at));
            let newcomer = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(300));
            assert_eq!(newcomer.unwrap_err().kind(), io::ErrorKind::TimedOut, "{address}");
            let (mut accepted, from) = listening[0].accept().unwrap();
            assert_eq!(from, early.local_addr().unwrap());
            accepted.set_nonblocking(false).unwrap();
            ignore_nobody(&accepted);
            accepted.write_all(b"in").unwrap();
            let mut said = [0; 2];
            early.read_exact(&mut said).unwrap();
            early.write_all(b"ok").unwrap();
            accepted.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"ok");
            drop(listening);
            assert_eq!(
                late.join().unwrap().unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused,
                "{address}"
            );
        }
    }

    #[tokio::test]
    async fn a_connecting_socket_is_set_up_and_settles_later() {
        let listening = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        let at = listening[0].local_addr().unwrap();
        let from = IpAddr::from([127, 0, 0, 9]);
        let stream = connect(at, Some(from)).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), from);
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap());
        settle(&stream).unwrap();
        assert!(socket.keepalive().unwrap());
        drop(listening);
        let refused = connect(at, None).await.unwrap_err();
        assert_eq!(connect_error(&refused), ConnectError::Refused);
    }

    #[test]
    fn tells_our_own_failures_from_the_endpoints() {
        for (errno, kind) in [
            (Errno::EMFILE, ConnectError::OutOfDescriptors),
            (Errno::ENFILE, ConnectError::OutOfDescriptors),
            (Errno::ENOBUFS, ConnectError::OutOfDescriptors),
            (Errno::ENOMEM, ConnectError::OutOfDescriptors),
            (Errno::EADDRNOTAVAIL, ConnectError::OutOfPorts),
            (Errno::ECONNREFUSED, ConnectError::Refused),
            (Errno::ETIMEDOUT, ConnectError::TimedOut),
            (Errno::ECONNRESET, ConnectError::Reset),
            (Errno::EHOSTUNREACH, ConnectError::Unreachable),
            (Errno::ENETUNREACH, ConnectError::Unreachable),
            (Errno::EAFNOSUPPORT, ConnectError::Unreachable),
            (Errno::EPERM, ConnectError::Other),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(connect_error(&error), kind, "{errno}");
            assert_eq!(
                kind == ConnectError::OutOfDescriptors,
                is_exhaustion(&error),
                "{errno}"
            );
        }
    }
}
