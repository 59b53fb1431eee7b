//! Which TCP sockets listen in a network namespace. In: the namespace of the calling thread. Out: their addresses, by inode.
//!
//! By `sock_diag(7)`, not `/proc/net/tcp`: the kernel looks through the listening sockets only. For a line of `/proc` it
//! walks all connections of the machine, of all namespaces, which takes it 200 ms while tests leave thousands behind.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

/// Those that listen now.
///
/// # Errors
/// When the kernel refuses to tell.
pub fn listening() -> io::Result<BTreeMap<u64, SocketAddr>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    let mut found = BTreeMap::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        ask(&socket, family, any)?;
        while !read(&socket, &mut found)? {}
    }
    Ok(found)
}

fn ask(socket: &Socket, family: u8, any: SocketId) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: any,
    });
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(|_| ())
}

/// Reads one datagram of the answer; whether it was the last.
fn read(socket: &Socket, found: &mut BTreeMap<u64, SocketAddr>) -> io::Result<bool> {
    let (bytes, _) = socket.recv_from_full()?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                let id = &socket.header.socket_id;
                let address = SocketAddr::new(id.source_address, id.source_port);
                found.insert(u64::from(socket.header.inode), address);
            }
            // With an error where the kernel cannot tell: it has no `tcp_diag`.
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(-done.code));
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(refused) => return Err(refused.to_io()),
            other => return Err(io::Error::other(format!("not an answer: {other:?}"))),
        }
        // Messages stand at multiples of four bytes (`NLMSG_ALIGN` of netlink(7)).
        let length = message.header.length.next_multiple_of(4) as usize;
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::listening;

    #[test]
    fn who_listens_is_seen_and_who_does_not_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let socket = TcpListener::bind(address).unwrap();
            let address = socket.local_addr().unwrap();
            let among = || listening().unwrap().values().filter(|it| **it == address).count();
            assert_eq!(among(), 1, "{address}");
            drop(socket);
            assert_eq!(among(), 0, "{address}");
        }
    }
}
