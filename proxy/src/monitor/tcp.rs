//! The tcp monitor: a connect; then, if asked for, bytes out and bytes expected back.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Fault, connect, shown};

/// What is expected must come within so many bytes.
const LOOK_AT: usize = 16 * 1024;

pub(super) async fn probe(
    address: SocketAddr,
    send: Option<&str>,
    expect: Option<&str>,
) -> Result<(), Fault> {
    let mut stream = connect(address).await?;
    if let Some(send) = send {
        let written = stream.write_all(send.as_bytes()).await;
        written.map_err(|error| Fault::io(&error))?;
    }
    let Some(expect) = expect else { return Ok(()) };
    let mut got = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let room = buffer.len().min(LOOK_AT - got.len());
        let read = stream.read(&mut buffer[..room]).await;
        let read = read.map_err(|error| Fault::io(&error))?;
        got.extend_from_slice(&buffer[..read]);
        if contains(&got, expect.as_bytes()) {
            return Ok(());
        }
        if read == 0 {
            let what = if got.is_empty() {
                "nothing".to_owned()
            } else {
                shown(&got)
            };
            return Err(Fault::Endpoint(format!(
                "expected {}, got {what}",
                shown(expect.as_bytes())
            )));
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
