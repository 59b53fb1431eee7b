//! The grpc monitor: `grpc.health.v1.Health/Check` (grpc/doc/health-checking.md) over cleartext HTTP/2.
//!
//! The h2 crate brings the transport. The two messages have one field each, so they are read and written here, by the
//! rules of protobuf's encoding.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;

use super::Fault;

/// A health response has a few bytes; more is something else.
const LONGEST_RESPONSE: usize = 4096;

pub(super) async fn probe(stream: TcpStream, address: SocketAddr, service: &str) -> Result<(), Fault> {
    let (sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(|error| fault(&error))?;
    let check = check(sender, address, service);
    tokio::select! {
        biased;
        result = check => result,
        ended = connection => Err(match ended {
            Err(error) => fault(&error),
            Ok(()) => Fault::endpoint("connection closed early"),
        }),
    }
}

async fn check(sender: SendRequest<Bytes>, address: SocketAddr, service: &str) -> Result<(), Fault> {
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| Fault::Ours(error.to_string()))?;
    let mut sender = sender.ready().await.map_err(|error| fault(&error))?;
    let (response, mut body) = sender
        .send_request(request, false)
        .map_err(|error| fault(&error))?;
    body.send_data(encode_request(service), true)
        .map_err(|error| fault(&error))?;
    let response = response.await.map_err(|error| fault(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Fault::Endpoint(format!(
            "HTTP status {}",
            response.status().as_u16()
        )));
    }
    // a call that fails at once has its status in the only headers there are
    status(response.headers())?;
    let mut message = BytesMut::new();
    let mut stream = response.into_body();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.map_err(|error| fault(&error))?;
        stream
            .flow_control()
            .release_capacity(chunk.len())
            .map_err(|error| fault(&error))?;
        if message.len() + chunk.len() > LONGEST_RESPONSE {
            return Err(Fault::endpoint("the health response is too long"));
        }
        message.extend_from_slice(&chunk);
    }
    if let Some(trailers) = stream.trailers().await.map_err(|error| fault(&error))? {
        status(&trailers)?;
    }
    match decode_response(&message) {
        Some(1) => Ok(()),
        Some(0) => Err(Fault::endpoint("health is UNKNOWN")),
        Some(2) => Err(Fault::endpoint("health is NOT_SERVING")),
        Some(3) => Err(Fault::endpoint("health is SERVICE_UNKNOWN")),
        Some(other) => Err(Fault::Endpoint(format!("health is {other}, which has no name"))),
        None => Err(Fault::endpoint("the health response makes no sense")),
    }
}

/// The call's outcome (grpc/doc/PROTOCOL-HTTP2.md); absent: not there yet.
fn status(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(code) = headers.get("grpc-status").and_then(|code| code.to_str().ok()) else {
        return Ok(());
    };
    let message = headers
        .get("grpc-message")
        .and_then(|text| text.to_str().ok())
        .unwrap_or("");
    match code {
        "0" => Ok(()),
        "5" => Err(Fault::endpoint("health of this service is not known there")),
        "12" => Err(Fault::endpoint("has no grpc.health.v1 service")),
        code if message.is_empty() => Err(Fault::Endpoint(format!("grpc-status {code}"))),
        code => Err(Fault::Endpoint(format!("grpc-status {code}: {message}"))),
    }
}

/// A length-prefixed `HealthCheckRequest { string service = 1; }`.
fn encode_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// The status of a length-prefixed `HealthCheckResponse { ServingStatus status = 1; }`; other fields are skipped.
fn decode_response(framed: &[u8]) -> Option<u64> {
    let (head, mut message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    if head[0] != 0 || message.len() != length {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn fault(error: &h2::Error) -> Fault {
    match error.get_io() {
        Some(io) => Fault::io(io),
        None => Fault::Endpoint(format!("HTTP/2: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_health_protocol() {
        assert_eq!(&encode_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode_request("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        let long = "x".repeat(200);
        assert_eq!(&encode_request(&long)[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        let table: [(&[u8], Option<u64>); 7] = [
            (&[0, 0, 0, 0, 2, 0x08, 1], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 0x08, 2], Some(2)),
            (&[0, 0, 0, 0, 3, 0x08, 1], None),
            (&[0, 0, 0, 0, 1, 0x08], None),
            (&[1, 0, 0, 0, 0], None),
            (&[0, 0, 0], None),
        ];
        for (framed, expected) in table {
            assert_eq!(decode_response(framed), expected, "{framed:?}");
        }
    }
}
