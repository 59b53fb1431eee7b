//! The way back to the client. In: a response's status, header and size. Out: where its body goes; for a client of either HTTP
//! version.

use std::future::poll_fn;
use std::io::Write as _;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::answer::Answer;
use super::body::{Pump, Sink, Size, Source, Writer};
use super::conn::Conn;
use super::life::Life;
use super::rewrite;
use crate::relay::buffers::Buffers;

/// A client that waits for its response.
#[derive(Debug)]
pub(super) enum Reply {
    H1 {
        conn: Rc<Conn>,
        /// It speaks HTTP/1.0.
        is_10: bool,
        /// The connection may take another request.
        keeps: bool,
        /// It asked with HEAD.
        head: bool,
    },
    H2 {
        respond: SendResponse<Bytes>,
        head: bool,
    },
}

/// A response's first part.
#[derive(Debug)]
pub(super) struct Begin<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) size: Size,
    /// Of a response without a body: the length that one would have.
    pub(super) told_length: Option<u64>,
    /// The protocol that is spoken from now on.
    pub(super) upgrade: Option<&'a HeaderValue>,
}

impl Reply {
    /// The version, as people write it.
    pub(super) fn version(&self) -> &'static str {
        match self {
            Self::H1 { is_10: true, .. } => "HTTP/1.0",
            Self::H1 { .. } => "HTTP/1.1",
            Self::H2 { .. } => "HTTP/2",
        }
    }

    /// Nothing more is asked on this connection.
    pub(super) fn close_after(&mut self) {
        if let Self::H1 { keeps, .. } = self {
            *keeps = false;
        }
    }

    /// Whether the connection may take another request.
    pub(super) fn keeps(&self) -> bool {
        match self {
            Self::H1 { keeps, .. } => *keeps,
            Self::H2 { .. } => true,
        }
    }

    /// Ready once the client has taken its request back.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        match self {
            Self::H1 { .. } => Poll::Pending,
            Self::H2 { respond, .. } => respond.poll_reset(cx).map(|reset| match reset {
                Ok(reason) => format!("the stream was reset: {reason}"),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Passes on a response of 1xx (RFC 9110 §15.2); whoever cannot be told is not.
    pub(super) fn informational(&mut self, status: StatusCode, headers: HeaderMap) {
        match self {
            Self::H1 { is_10: true, .. } => {}
            Self::H1 { conn, .. } => conn.gather(|out| {
                rewrite::write_status(out, status);
                rewrite::write_lines(out, &headers);
                out.extend_from_slice(b"\r\n");
            }),
            Self::H2 { respond, .. } => {
                let mut response = http::Response::new(());
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                // Where it fails the stream is gone, which the response will find out.
                let _ = respond.send_informational(response);
            }
        }
    }

    /// Begins the response.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn begin(&mut self, begin: Begin<'_>) -> Result<Sink, String> {
        match self {
            Self::H1 {
                conn,
                is_10,
                keeps,
                head,
            } => {
                let writer = writer(&begin, *is_10, *head);
                *keeps &= !(writer == Writer::Close);
                let keeps = *keeps;
                conn.gather(|out| write_head(out, &begin, writer, *is_10, keeps));
                Ok(Sink::h1(conn, writer))
            }
            Self::H2 { respond, head, .. } => {
                let Begin {
                    status,
                    headers,
                    size,
                    told_length,
                    upgrade,
                } = begin;
                let ends = upgrade.is_none() && (size == Size::Empty || *head);
                let mut response = http::Response::new(());
                // RFC 8441 §5: there is no 101 in HTTP/2.
                *response.status_mut() = if upgrade.is_some() { StatusCode::OK } else { status };
                *response.headers_mut() = headers;
                if let (Size::Exact(length), None) | (Size::Empty, Some(length)) =
                    (size, told_length.filter(|_| ends))
                {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                } else if let Size::Exact(length) = size {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                let stream = respond
                    .send_response(response, ends)
                    .map_err(|error| error.to_string())?;
                Ok(Sink::h2(stream, ends))
            }
        }
    }

    /// Says an answer of ours, to its end. False: the client is gone, or does not take it.
    pub(super) async fn say(&mut self, answer: &Answer, life: &Life, buffers: &Buffers) -> bool {
        let begin = Begin {
            status: answer.status,
            headers: answer.headers.clone(),
            size: Size::Exact(answer.body.len() as u64),
            told_length: Some(answer.body.len() as u64),
            upgrade: None,
        };
        let Ok(sink) = self.begin(begin) else {
            return false;
        };
        let head = matches!(self, Self::H1 { head: true, .. } | Self::H2 { head: true, .. });
        let source = if head {
            Source::Empty
        } else {
            Source::Once(answer.body.clone())
        };
        life.extend();
        let mut pump = Pump::new(source, sink, None);
        let said = life.unless_over(poll_fn(|cx| pump.poll(cx, buffers, life))).await;
        matches!(said, Ok(Ok(())))
    }
}

/// How the body is delimited; `Left(0)`: there is none.
fn writer(begin: &Begin<'_>, is_10: bool, head: bool) -> Writer {
    let bodyless = head || matches!(begin.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match begin.size {
        _ if begin.upgrade.is_some() => Writer::Close,
        _ if bodyless => Writer::Left(0),
        Size::Empty => Writer::Left(0),
        Size::Exact(length) => Writer::Left(length),
        Size::Unknown if is_10 => Writer::Close,
        Size::Unknown => Writer::Chunked,
    }
}

fn write_head(out: &mut Vec<u8>, begin: &Begin<'_>, writer: Writer, is_10: bool, keeps: bool) {
    let no_length = begin.status == StatusCode::NO_CONTENT;
    if let Some(protocol) = begin.upgrade {
        rewrite::write_status(out, StatusCode::SWITCHING_PROTOCOLS);
        rewrite::write_lines(out, &begin.headers);
        out.extend_from_slice(b"connection: upgrade\r\n");
        if !begin.headers.contains_key(header::UPGRADE) {
            rewrite::write_line(out, &header::UPGRADE, protocol.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        return;
    }
    rewrite::write_status(out, begin.status);
    rewrite::write_lines(out, &begin.headers);
    // Writing to a Vec cannot fail.
    let _ = match (writer, begin.told_length) {
        (Writer::Chunked, _) => out.write_all(b"transfer-encoding: chunked\r\n"),
        (Writer::Left(0), Some(length)) if !no_length => write!(out, "content-length: {length}\r\n"),
        (Writer::Left(0), None)
            if !no_length && begin.size == Size::Empty && begin.status != StatusCode::NOT_MODIFIED =>
        {
            out.write_all(b"content-length: 0\r\n")
        }
        (Writer::Left(length), _) if length > 0 => write!(out, "content-length: {length}\r\n"),
        _ => Ok(()),
    };
    if !keeps {
        out.extend_from_slice(b"connection: close\r\n");
    } else if is_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
