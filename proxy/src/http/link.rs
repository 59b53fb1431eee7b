//! A connection to an endpoint, of either HTTP version. In: a request. Out: where its body goes, and its response.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::header;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::body::{Sink, Size, Source, Writer};
use super::conn::Conn;
use super::head::{self, Framing};
use super::request::Request;
use super::rewrite;
use crate::relay::buffers::Buffers;

/// Bytes of a response's head.
const MAX_HEAD: usize = 256 * 1024;

/// A connection that can take a request now.
#[derive(Clone, Debug)]
pub(super) enum Link {
    H1(Rc<Conn>),
    H2(Rc<Shared>),
}

/// An HTTP/2 connection, shared by its streams.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) send: RefCell<SendRequest<Bytes>>,
    pub(super) streams: Cell<usize>,
    /// It takes no new streams.
    pub(super) closed: Cell<bool>,
}

/// Why there is no response.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// The server has certainly not seen the request (RFC 9113 §8.7).
    pub(super) unseen: bool,
}

impl Failed {
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            unseen: false,
        }
    }

    fn of_h2(error: &h2::Error) -> Self {
        let unseen = error.reason() == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away();
        Self {
            why: error.to_string(),
            unseen,
        }
    }
}

/// A response's first line and header.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) size: Size,
    /// Of a response without a body: the length that one would have.
    pub(super) told_length: Option<u64>,
    pub(super) body: Source,
    /// The connection may be used again once the body has been read.
    pub(super) reusable: bool,
}

/// A response that is waited for.
#[derive(Debug)]
pub(super) enum Pending {
    H1 {
        conn: Rc<Conn>,
        method: Method,
    },
    H2 {
        response: ResponseFuture,
        method: Method,
        _stream: Stream,
    },
}

/// Counts a stream for as long as it lives.
#[derive(Debug)]
pub(super) struct Stream(Rc<Shared>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

/// How a request is put to an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Where it goes: the host, where the client named none.
    pub(super) address: SocketAddr,
    pub(super) secure: bool,
}

/// Sends the head, with the first of what follows; the body goes into the sink.
pub(super) fn send_h1(conn: &Rc<Conn>, request: &Request, manner: Manner) -> (Sink, Pending) {
    conn.gather(|out| write_head(out, request, manner));
    let writer = match request.size {
        Size::Empty => Writer::Left(0),
        Size::Exact(length) => Writer::Left(length),
        Size::Unknown => Writer::Chunked,
    };
    let pending = Pending::H1 {
        conn: Rc::clone(conn),
        method: request.method.clone(),
    };
    (Sink::h1(conn, writer), pending)
}

impl Shared {
    /// Sends the head; the body goes into the sink.
    pub(super) async fn send(
        self: &Rc<Self>,
        request: &Request,
        manner: Manner,
    ) -> Result<(Sink, Pending), Failed> {
        let head =
            h2_head(request, manner).ok_or(Failed::because("the request cannot be written as HTTP/2"))?;
        let sender = self.send.borrow().clone();
        self.streams.set(self.streams.get() + 1);
        let stream = Stream(Rc::clone(self));
        let mut sender = sender.ready().await.map_err(|error| {
            self.closed.set(true);
            Failed {
                why: error.to_string(),
                unseen: true,
            }
        })?;
        let ends = request.size == Size::Empty && request.upgrade.is_none();
        let (response, body) = sender.send_request(head, ends).map_err(|error| {
            self.closed.set(true);
            Failed::of_h2(&error)
        })?;
        let pending = Pending::H2 {
            response,
            method: request.method.clone(),
            _stream: stream,
        };
        Ok((Sink::h2(body, ends), pending))
    }
}

fn write_head(out: &mut Vec<u8>, request: &Request, manner: Manner) {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&request.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    match &request.host {
        Some(host) => rewrite::write_line(out, &header::HOST, host.as_bytes()),
        None => rewrite::write_line(out, &header::HOST, manner.address.to_string().as_bytes()),
    }
    if let Some(marks) = &request.marks {
        marks.write(out, request.asked_of.as_ref().or(request.host.as_ref()));
    }
    rewrite::write_lines(out, &request.headers);
    match request.size {
        // Methods that are expected to have a body say that they have none (RFC 9110 §8.6).
        Size::Empty if matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Size::Empty => {}
        Size::Exact(length) => {
            use std::io::Write as _;
            // Writing to a Vec cannot fail.
            let _ = write!(out, "content-length: {length}\r\n");
        }
        Size::Unknown => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if request.expects {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocol) = &request.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        rewrite::write_line(out, &header::UPGRADE, protocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// None: something in it cannot be said in HTTP/2.
fn h2_head(request: &Request, manner: Manner) -> Option<http::Request<()>> {
    let address;
    let host = if let Some(host) = &request.host {
        host.to_str().ok()?
    } else {
        address = manner.address.to_string();
        &address
    };
    let scheme = if manner.secure { "https" } else { "http" };
    let path = PathAndQuery::from_maybe_shared(request.target.clone()).ok()?;
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(path)
        .build()
        .ok()?;
    let mut head = http::Request::new(());
    head.method_mut().clone_from(&request.method);
    *head.uri_mut() = uri;
    *head.version_mut() = http::Version::HTTP_2;
    head.headers_mut().clone_from(&request.headers);
    if let Some(marks) = &request.marks {
        let host = request.asked_of.as_ref().or(request.host.as_ref());
        marks.insert(head.headers_mut(), host);
    }
    if let Size::Exact(length) = request.size {
        head.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(protocol) = &request.upgrade {
        // RFC 8441 §4.
        let protocol = protocol.to_str().ok()?.to_owned();
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut()
            .insert(h2::ext::Protocol::from(protocol.as_str()));
        head.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    }
    Some(head)
}

impl Pending {
    /// The next head: one of 1xx, or the last.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, buffers: &Buffers) -> Poll<Result<Response, Failed>> {
        match self {
            Self::H1 { conn, method } => {
                let mut head = loop {
                    let taken = head::take_response(&mut conn.input.borrow_mut(), MAX_HEAD);
                    match taken {
                        Ok(Some(head)) => break head,
                        Ok(None) => {}
                        Err(bad) => return Poll::Ready(Err(Failed::because(bad.why))),
                    }
                    match ready!(conn.poll_fill(cx, buffers)) {
                        Ok(0) => {
                            let begun = !conn.input.borrow().is_empty();
                            let why = if begun {
                                "it ended in the middle of a head"
                            } else {
                                "it ended without a word"
                            };
                            return Poll::Ready(Err(Failed::because(why)));
                        }
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(Failed::because(error.to_string()))),
                    }
                };
                Poll::Ready(h1_response(conn, method, &mut head))
            }
            Self::H2 { response, method, .. } => {
                if let Poll::Ready(Some(Ok(informational))) = response.poll_informational(cx) {
                    return Poll::Ready(Ok(Response::without_body(informational)));
                }
                let response = match ready!(std::pin::Pin::new(response).poll(cx)) {
                    Ok(response) => response,
                    Err(error) => return Poll::Ready(Err(Failed::of_h2(&error))),
                };
                Poll::Ready(h2_response(response, method))
            }
        }
    }
}

impl Response {
    fn without_body(response: http::Response<()>) -> Self {
        let (parts, ()) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            size: Size::Empty,
            told_length: None,
            body: Source::Empty,
            reusable: false,
        }
    }
}

fn h1_response(conn: &Rc<Conn>, method: &Method, head: &mut head::ResponseHead) -> Result<Response, Failed> {
    let framing = head::response_framing(head, method).map_err(|bad| Failed::because(bad.why))?;
    let told_length = head::content_length(&head.headers).map_err(|bad| Failed::because(bad.why))?;
    let tokens = |token: &[u8]| rewrite::lists(&head.headers, &header::CONNECTION, token);
    let stays = if head.is_10 {
        tokens(b"keep-alive")
    } else {
        !tokens(b"close")
    };
    let changes = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut headers = std::mem::take(&mut head.headers);
    let upgrade = changes.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    rewrite::strip(&mut headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
    }
    Ok(Response {
        status: head.status,
        headers,
        size: match framing {
            Framing::None => Size::Empty,
            Framing::Length(length) => Size::Exact(length),
            Framing::Chunked | Framing::Close => Size::Unknown,
        },
        told_length,
        body: Source::h1(conn, framing),
        reusable: stays && framing != Framing::Close && !changes,
    })
}

fn h2_response(response: http::Response<h2::RecvStream>, method: &Method) -> Result<Response, Failed> {
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    let told_length = head::content_length(&headers).map_err(|bad| Failed::because(bad.why))?;
    rewrite::strip(&mut headers);
    let body = Source::h2(body);
    let size = match told_length {
        _ if body.is_empty() || *method == Method::HEAD => Size::Empty,
        Some(length) if *method != Method::CONNECT => Size::Exact(length),
        _ => Size::Unknown,
    };
    Ok(Response {
        status: parts.status,
        headers,
        size,
        told_length,
        body,
        reusable: true,
    })
}
