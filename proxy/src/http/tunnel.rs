//! Connections that change their protocol (RFC 9110 §7.8, RFC 8441). In: a request that asks for it, a response that agrees.
//! Out: what the relay carries from then on; the few header fields in which the two ways to ask differ.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::body::Size;
use super::conn::Conn;
use super::lease::Lease;
use super::link::{Link, Response};
use super::pool::Taken;
use super::reply::Reply;
use super::request::Request;
use super::{Held, Visit};
use crate::relay::{First, Relay, Sockets};
use crate::session::Start;

/// RFC 6455 §1.3.
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Makes a request that wants to change the protocol fit for the version that the endpoint speaks.
///
/// # Errors
/// The endpoint's version has no way to ask for it.
pub(super) fn prepare(
    request: &mut Request,
    link: &Link,
    reply: &Reply,
    mut random: impl FnMut() -> u64,
) -> Result<(), String> {
    match link {
        Link::H1(_) => {
            if matches!(reply, Reply::H2 { .. }) {
                request.size = Size::Empty;
                let key = [random().to_ne_bytes(), random().to_ne_bytes()].concat();
                if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) {
                    request.headers.insert(header::SEC_WEBSOCKET_KEY, key);
                }
            }
            Ok(())
        }
        Link::H2(shared) if shared.send.borrow().is_extended_connect_protocol_enabled() => Ok(()),
        Link::H2(_) => Err("the server speaks HTTP/2 without extended CONNECT (RFC 8441)".to_owned()),
    }
}

/// Whether the endpoint agrees to change the protocol.
pub(super) fn is_accepted(request: &Request, response: &Response, link: &Link) -> bool {
    request.upgrade.is_some()
        && match link {
            Link::H1(_) => response.status == StatusCode::SWITCHING_PROTOCOLS,
            Link::H2(_) => response.status.is_success(),
        }
}

/// Makes the header of a response that agrees fit for the client's version.
pub(super) fn accept(headers: &mut HeaderMap, request: &Request, link: &Link, reply: &Reply) {
    match (reply, link) {
        (Reply::H2 { .. }, Link::H1(_)) => {
            headers.remove(header::UPGRADE);
            headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        }
        (Reply::H1 { .. }, Link::H2(_)) => {
            if let Some(key) = request.headers.get(header::SEC_WEBSOCKET_KEY) {
                let text = [key.as_bytes(), WEBSOCKET].concat();
                let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
                if let Ok(accept) = HeaderValue::from_str(&STANDARD.encode(hash)) {
                    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                }
            }
        }
        _ => {}
    }
}

/// The relay that carries what follows. None: one of the sides is in use elsewhere, which cannot be.
pub(super) fn relay(lease: Lease, client: Rc<Conn>, visit: Visit) -> Option<Relay> {
    let Lease {
        reached,
        taken: Taken::H1(kept),
        hold,
    } = lease
    else {
        return None;
    };
    let (backend, down) = Rc::into_inner(kept.conn)?.into_parts();
    let (client, up) = Rc::into_inner(client)?.into_parts();
    let chain = hold.pass_on();
    let details = visit.details();
    let Held { busy, passes } = Rc::into_inner(visit.held)?;
    let start = Start {
        chain,
        listener: visit.listener,
        client: visit.from,
        place: reached.place,
        since: visit.at,
        monitor: visit.monitor,
        guest: visit.guest,
        relayed: reached.relayed,
        details,
    };
    let sockets = Sockets { client, backend };
    let first = First {
        bytes: up.into(),
        down: down.into(),
        forbid_header: false,
    };
    Some(Relay::new(busy, passes, start, sockets, first))
}
