//! A server that does what the path says, and writes down what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// An HTTP/1.1 server.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
    accepting: AbortHandle,
    connected: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Site {
    /// Stops listening, and breaks every connection.
    pub(super) fn kill(&self) {
        self.accepting.abort();
        for connection in self.connected.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<(usize, String)>>>::default();
        let writes = Arc::clone(&seen);
        let connected = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let tasks = Arc::clone(&connected);
        let accepting = tokio::spawn(async move {
            for nth in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = tokio::spawn(serve(stream, nth, name, Arc::clone(&writes)));
                tasks.lock().unwrap().push(serving.abort_handle());
            }
        });
        Self {
            address,
            seen,
            accepting: accepting.abort_handle(),
            connected,
        }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        let connected = self.connected.lock().unwrap();
        connected.iter().filter(|task| !task.is_finished()).count()
    }

    /// The heads of all requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, head)| head.clone())
            .collect()
    }

    /// On which connection each request came.
    pub(super) fn connections(&self) -> Vec<usize> {
        self.seen.lock().unwrap().iter().map(|(nth, _)| *nth).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    nth: usize,
    name: &'static str,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
) {
    while let Some(head) = read_head(&mut stream).await {
        seen.lock().unwrap().push((nth, head.clone()));
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let answer = match path.as_str() {
            "/die" => return,
            "/close" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nto the end").await;
                return;
            }
            "/cut" => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                    .await;
                return;
            }
            "/chunked" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-After: 1\r\n\r\n"
                    .to_owned()
            }
            "/empty" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/silent" => {
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                return;
            }
            "/garbage" => "this is no HTTP\r\n\r\n".to_owned(),
            "/two" => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "/early" => {
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                    .to_owned()
            }
            "/expect" => {
                assert!(head.contains("expect: 100-continue"), "{head}");
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                echo(&mut stream, &head).await
            }
            "/echo" => echo(&mut stream, &head).await,
            "/ws" => {
                let _ = stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome ")
                    .await;
                let (mut from, mut to) = stream.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                return;
            }
            "/bulk" => {
                if bulk(&mut stream).await.is_err() {
                    return;
                }
                continue;
            }
            _ => plain(name, &head),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next head, in lower case; none: the stream ended.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(bytes).unwrap().to_lowercase())
}

/// The request's body, as it was sent, as a response.
async fn echo(stream: &mut TcpStream, head: &str) -> String {
    let mut body = Vec::new();
    if let Some(length) = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
    {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    } else if head.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.unwrap());
        }
    }
    let body = String::from_utf8(body).unwrap();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// 64 MiB.
async fn bulk(stream: &mut TcpStream) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20);
    stream.write_all(head.as_bytes()).await?;
    let piece = vec![b'x'; 1 << 16];
    for _ in 0..1024 {
        stream.write_all(&piece).await?;
    }
    Ok(())
}

/// The server's name.
fn plain(name: &str, head: &str) -> String {
    let length = name.len();
    let body = if head.starts_with("head ") { "" } else { name };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nKeep-Alive: timeout=5\r\n\r\n{body}")
}
