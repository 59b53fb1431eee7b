//! New connections to endpoints. In: a stream that stands. Out: a connection of the endpoint's HTTP version, ready for a
//! request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use switchyard_snapshot::HttpVersion;

use super::Visit;
use super::conn::Conn;
use super::link::Shared;
use super::pool::{Kept, MOST_STREAMS, Taken};
use crate::connect::{Connected, Reached};
use crate::listener::gate::Pass;
use crate::session::end::ConnectError;
use crate::wire::Wire;

/// How long an endpoint may take to begin to speak HTTP/2.
const SETTINGS: Duration = Duration::from_secs(5);
/// Bytes that an endpoint may send on one stream, and on all of a connection, before it is told that they were taken. As much
/// on a connection as on all its streams: clients share it, and those who take nothing must not hold up the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = MOST_STREAMS as u32 * STREAM_WINDOW;
/// Bytes of a response's header, unpacked.
const MAX_HEADER_LIST: u32 = 256 * 1024;

/// What was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) taken: Taken,
    pub(super) reached: Reached,
}

/// A connection that stands could not be used.
pub(super) type Unusable = (Reached, ConnectError, String);

/// Makes a link of a stream.
pub(super) async fn open(visit: &Visit, pass: Pass, connected: Connected) -> Result<Opened, Box<Unusable>> {
    let Connected {
        stream,
        place,
        via,
        relay,
        attempts,
        ..
    } = connected;
    let reached = Reached {
        place,
        via,
        relayed: relay.is_some(),
        attempts,
    };
    // A request's last segment must not wait for an acknowledgement; it only fails on a broken socket.
    let _ = stream.tcp().set_nodelay(true);
    let first = match relay {
        Some(header) => header,
        None if via.tls => Vec::new(),
        None => visit.proxy_header(via.send_proxy),
    };
    match via.http {
        HttpVersion::Http1 => {
            let conn = Conn::new(stream, &[]);
            if !first.is_empty() {
                conn.gather(|out| out.extend_from_slice(&first));
            }
            let kept = Kept {
                conn: Rc::new(conn),
                _pass: pass,
            };
            Ok(Opened {
                taken: Taken::H1(kept),
                reached,
            })
        }
        HttpVersion::Http2 => match visit
            .worker()
            .alarms
            .within(SETTINGS, http2(stream, &first, pass))
            .await
        {
            Ok(Ok(shared)) => {
                let pool = &visit.worker().pool;
                if first.is_empty() {
                    pool.share(reached.place.endpoint().id, Rc::clone(&shared));
                }
                Ok(Opened {
                    taken: Taken::H2(shared),
                    reached,
                })
            }
            Ok(Err(text)) => Err(Box::new((reached, ConnectError::Other, text))),
            Err(_) => {
                let text = "it did not begin to speak HTTP/2 in time".to_owned();
                Err(Box::new((reached, ConnectError::TimedOut, text)))
            }
        },
    }
}

async fn http2(mut stream: Wire, first: &[u8], pass: Pass) -> Result<Rc<Shared>, String> {
    use tokio::io::AsyncWriteExt as _;
    let told = |error: &h2::Error| format!("it does not speak HTTP/2: {error}");
    stream.write_all(first).await.map_err(|error| error.to_string())?;
    let (send, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(|error| told(&error))?;
    let mut pings = connection.ping_pong().ok_or("its connection cannot be asked")?;
    let shared = Rc::new(Shared {
        send: RefCell::new(send),
        streams: Cell::new(0),
        closed: Cell::new(false),
    });
    let watched = Rc::downgrade(&shared);
    // It ends with the worker, or when nobody has a handle to it any more.
    tokio::task::spawn_local(async move {
        let ended = connection.await;
        if let Some(shared) = watched.upgrade() {
            shared.closed.set(true);
        }
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP/2 connection to an endpoint broke");
        }
        drop(pass);
    });
    // Its settings come before its answer: they say how many streams there may be, and whether extended CONNECT is known. And
    // a server that does not speak HTTP/2 is found out before a request is lost on it.
    pings
        .ping(h2::Ping::opaque())
        .await
        .map_err(|error| told(&error))?;
    Ok(shared)
}
