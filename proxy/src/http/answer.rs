//! Answers that are made here, because there is nobody else who could. In: a status and words. Out: a small response that says
//! what happened, whose fault it is, and when to come back.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use switchyard_snapshot::Dialect;

use super::head::Bad;
use crate::dialect;
use crate::listener::Refused;
use crate::session::end::Refusal;

/// A response of our own.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The word for the access log.
    pub(super) end: &'static str,
    /// In words, for the access log.
    pub(super) why: Option<String>,
}

/// Seconds after which to try again what may be over at once.
const SOON: &str = "1";
/// Seconds after which to try again what somebody has to end by hand.
const LATER: &str = "60";

impl Answer {
    fn new(status: StatusCode, words: &str) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self {
            status,
            headers,
            body: format!("{} {words}\n", status.as_str()).into(),
            end: "answered",
            why: None,
        }
    }

    /// The request cannot be understood, or is not served.
    pub(super) fn bad(bad: Bad) -> Self {
        let mut answer = Self::new(bad.status, bad.why);
        if bad.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
            answer.headers.insert(header::ALLOW, allowed);
        }
        answer.end = "refused:badRequest";
        answer.why = Some(bad.why.to_owned());
        answer
    }

    /// It took too long until the request was complete.
    pub(super) fn too_slow() -> Self {
        let mut answer = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "the request was not complete in time",
        );
        answer.end = "refused:handshakeTimeout";
        answer
    }

    /// Nobody serves this host here.
    pub(super) fn no_chain(host: Option<&HeaderValue>, misdirected: bool) -> Self {
        let status = if misdirected {
            StatusCode::MISDIRECTED_REQUEST
        } else {
            StatusCode::NOT_FOUND
        };
        let mut answer = Self::new(status, "no service of this name is known here");
        answer.end = Refusal::NoChain.word();
        answer.why = Some(format!("no chain for {host:?}"));
        answer
    }

    /// The body is longer than the listener allows.
    pub(super) fn too_long() -> Self {
        let mut answer = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than allowed");
        answer.end = "refused:badRequest";
        answer
    }

    /// Nobody could be reached.
    pub(super) fn refused(refused: &Refused) -> Self {
        let (status, words, after) = match refused.why {
            Refusal::ConnectFailed => (StatusCode::BAD_GATEWAY, "no server could be reached", SOON),
            Refusal::Suspended => (StatusCode::SERVICE_UNAVAILABLE, "the service is suspended", LATER),
            Refusal::EndpointsFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "every server has all the connections it may have",
                SOON,
            ),
            Refusal::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "no server is available", SOON),
            Refusal::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the proxy stops", SOON),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the proxy has no room left",
                SOON,
            ),
        };
        let mut answer = Self::new(status, words);
        answer
            .headers
            .insert(header::RETRY_AFTER, HeaderValue::from_static(after));
        answer.end = refused.why.word();
        answer.why.clone_from(&refused.text);
        answer
    }

    /// The server broke the connection, or what it said cannot be understood.
    pub(super) fn bad_gateway(why: String) -> Self {
        let mut answer = Self::new(StatusCode::BAD_GATEWAY, "the server did not answer as it should");
        answer
            .headers
            .insert(header::RETRY_AFTER, HeaderValue::from_static(SOON));
        answer.end = "backendFailed";
        answer.why = Some(why);
        answer
    }

    /// The server says nothing.
    pub(super) fn gateway_timeout() -> Self {
        let mut answer = Self::new(StatusCode::GATEWAY_TIMEOUT, "the server did not answer in time");
        answer
            .headers
            .insert(header::RETRY_AFTER, HeaderValue::from_static(SOON));
        answer.end = "backendTimeout";
        answer
    }

    /// To `location` for now, never for good (RFC 9110 §15.4.8); `why` in words.
    pub(super) fn elsewhere(dialect: Dialect, location: HeaderValue, why: String) -> Self {
        let mut answer = Self::new(
            StatusCode::TEMPORARY_REDIRECT,
            "this is served elsewhere for now: see Location",
        );
        answer.headers.insert(header::LOCATION, location);
        answer.end = dialect::word(dialect);
        answer.why = Some(why);
        answer
    }

    /// Its bytes cannot be led to where they would be served, but those of its next connection can.
    pub(super) fn come_again(why: String) -> Self {
        let mut answer = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this is served elsewhere for now: try again, on a new connection",
        );
        answer
            .headers
            .insert(header::RETRY_AFTER, HeaderValue::from_static(SOON));
        answer.end = "redirected:nextConnection";
        answer.why = Some(why);
        answer
    }

    /// To the same place over TLS, for good (RFC 9110 §15.4.9).
    pub(super) fn to_https(host: &HeaderValue, name: &str, target: &[u8], port: u16) -> Self {
        let mut answer = Self::new(StatusCode::PERMANENT_REDIRECT, "this is served over https");
        let is_v6 = host.as_bytes().starts_with(b"[");
        let name = if is_v6 && !name.starts_with('[') {
            format!("[{name}]")
        } else {
            name.to_owned()
        };
        let mut location = if port == 443 {
            format!("https://{name}")
        } else {
            format!("https://{name}:{port}")
        }
        .into_bytes();
        location.extend_from_slice(if target == b"*" { b"/" } else { target });
        if let Ok(location) = HeaderValue::from_bytes(&location) {
            answer.headers.insert(header::LOCATION, location);
        }
        answer.headers.remove(header::CACHE_CONTROL);
        answer.end = "redirected:https";
        answer
    }
}
