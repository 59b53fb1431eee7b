//! Reading ahead beneath TLS. In: a socket. Out: its bytes, in as small pieces as somebody likes, by few system calls.
//!
//! rustls reads 4 KiB at a time, a quarter of a record. Small messages cost one read each as they are; once a read was full,
//! as much as there is comes by the next one. That memory is held for as long as bytes keep coming, no longer.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are read at once while there are many.
const BULK: usize = 64 * 1024;

/// A socket that is read ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    tcp: TcpStream,
    /// Read and not asked for yet, from `taken` on.
    bytes: Vec<u8>,
    taken: usize,
    /// The last read was full: there is more.
    bulky: bool,
}

impl Ahead {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            bytes: Vec::new(),
            taken: 0,
            bulky: false,
        }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The socket; what was read ahead is lost.
    pub(crate) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// Whether anything that was read ahead is left; `buf` has got as much of it as it takes.
    fn serve(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = self.bytes.get(self.taken..).unwrap_or_default();
        let served = left.len().min(buf.remaining());
        buf.put_slice(&left[..served]);
        self.taken += served;
        served > 0
    }

    /// Reads as much as there is.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes.clear();
        self.taken = 0;
        self.bytes.reserve_exact(BULK);
        let read = pin!(self.tcp.read_buf(&mut self.bytes)).poll(cx);
        if !matches!(read, Poll::Ready(Ok(1..))) {
            self.bytes = Vec::new();
            self.bulky = false;
        }
        read.map_ok(drop)
    }
}

impl AsyncRead for Ahead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ahead = self.get_mut();
        if ahead.serve(buf) {
            return Poll::Ready(Ok(()));
        }
        if ahead.bulky {
            ready!(ahead.fill(cx))?;
            ahead.serve(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.remaining();
        ready!(Pin::new(&mut ahead.tcp).poll_read(cx, buf))?;
        ahead.bulky = before > 0 && buf.remaining() == 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_in_order_and_memory_goes_when_it_is_quiet() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut to = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut ahead = Ahead::new(listener.accept().await.unwrap().0);
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        for length in [1, 4096, 4097, 200_000, 10] {
            let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let got = async {
                let mut got = Vec::new();
                while got.len() < length {
                    let read = ahead.read(&mut piece).await.unwrap();
                    got.extend_from_slice(&piece[..read]);
                }
                got
            };
            let (written, got) = tokio::join!(to.write_all(&sent), got);
            written.unwrap();
            assert!(got == sent, "{length}");
            all.extend(got);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let mut buf = ReadBuf::new(&mut piece);
            assert!(Pin::new(&mut ahead).poll_read(&mut cx, &mut buf).is_pending());
            assert_eq!(ahead.bytes.capacity(), 0, "{length}");
        }
        drop(to);
        assert_eq!(ahead.read(&mut piece).await.unwrap(), 0);
        assert_eq!(ahead.read(&mut piece).await.unwrap(), 0, "and stays at its end");
    }
}
