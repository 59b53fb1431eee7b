//! Bytes through TLS, on one side or both.

use std::io::ErrorKind;
use std::time::Duration;

use proptest::prelude::*;
use switchyard_snapshot::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{client, server};

use crate::session::end::{CloseReason, End};
use crate::socket::reset_on_close;
use crate::testing::eventually;
use crate::testing::rig::{self, Control, apply, candidate, expect, rest, routing, within, workers};
use crate::testing::tls::{Authority, Client, accept, listener, server_config};
use crate::worker::Workers;

/// One worker, one chain; clients come by TLS, and the test plays the backend, by TLS or in the clear.
struct Pair {
    ca: Authority,
    workers: Workers,
    control: Control,
    at: std::net::SocketAddr,
    backend: TcpListener,
}

impl Pair {
    async fn new(tls_backend: bool) -> Self {
        let ca = Authority::new();
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut chain = rig::chain("c");
        chain.connect.timeout = Duration::from_secs(4);
        let mut to = candidate(backend.local_addr().unwrap());
        if tls_backend {
            chain.backends[0].tls = Some(ca.backend("backend.example"));
            to.via.tls = true;
        }
        let control = Control::new(chain, vec![to]);
        let workers = workers(1);
        let main = listener("main", Protocol::Tls, vec![ca.issue(&["a.example"])]);
        let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
        Self {
            ca,
            workers,
            control,
            at,
            backend,
        }
    }

    async fn plain(&self) -> (client::TlsStream<TcpStream>, TcpStream) {
        let client = Client::of(&self.ca).open(self.at, "a.example").await.unwrap();
        (client, within(self.backend.accept()).await.unwrap().0)
    }

    async fn secure(&self) -> (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        let (client, tcp) = self.plain().await;
        let config = server_config(&self.ca.issue(&["backend.example"]), None);
        (client, accept(&config, tcp).await.unwrap())
    }

    /// Until so much has been written to the client.
    async fn until_down(&self, bytes: u64) {
        within(async {
            while self
                .workers
                .sessions(1)
                .await
                .first()
                .map(|session| session.bytes_down)
                != Some(bytes)
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn ended(&self, end: End) -> u64 {
        self.workers.counters().chains[self.control.id()].ended[end.index()]
    }

    async fn until_ended(&self, end: End) {
        eventually(end.word(), Duration::from_secs(10), || self.ended(end) == 1).await;
    }
}

/// Sends chunks, with a chance for others in between, then ends the stream.
async fn send(mut to: impl AsyncWriteExt + Unpin, chunks: Vec<Vec<u8>>) {
    for chunk in chunks {
        to.write_all(&chunk).await.unwrap();
        to.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: impl AsyncReadExt + Unpin, at_a_time: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut some = vec![0; at_a_time];
    loop {
        match from.read(&mut some).await.unwrap() {
            0 => return all,
            read => all.extend_from_slice(&some[..read]),
        }
    }
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let chunk = (0..100_000_usize, any::<u8>()).prop_map(|(length, first)| {
        (0..length)
            .map(|at| first.wrapping_add((at % 251) as u8))
            .collect()
    });
    prop::collection::vec(chunk, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn carries_every_byte_in_order_and_both_ends(
        up in chunks(), down in chunks(), slow_client in 1..70_000_usize, slow_backend in 1..70_000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pair = Pair::new(true).await;
            let (client, backend) = pair.secure().await;
            let (from_client, to_client) = tokio::io::split(client);
            let (from_backend, to_backend) = tokio::io::split(backend);
            let ((), (), got_up, got_down) = tokio::time::timeout(Duration::from_mins(1), async {
                tokio::join!(
                    send(to_client, up.clone()),
                    send(to_backend, down.clone()),
                    receive(from_backend, slow_backend),
                    receive(from_client, slow_client),
                )
            }).await.unwrap();
            assert!(got_up == up.concat() && got_down == down.concat());
            eventually("ended", Duration::from_secs(5), || {
                pair.ended(End::ClientClosed) + pair.ended(End::BackendClosed) == 1
            }).await;
            let totals = pair.workers.counters();
            let chain = &totals.chains[pair.control.id()];
            assert_eq!((chain.bytes_up, chain.bytes_down), (got_up.len() as u64, got_down.len() as u64));
            pair.workers.stop().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_passed_on_and_the_other_direction_goes_on() {
    for tls_backend in [false, true] {
        let pair = Pair::new(tls_backend).await;
        if tls_backend {
            let (mut client, mut backend) = pair.secure().await;
            half_close(&mut client, &mut backend).await;
        } else {
            let (mut client, mut backend) = pair.plain().await;
            half_close(&mut client, &mut backend).await;
        }
        pair.until_ended(End::ClientClosed).await;
        pair.workers.stop().await;
    }
}

async fn half_close(
    client: &mut client::TlsStream<TcpStream>,
    backend: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
) {
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(backend).await, (b"question".to_vec(), Ok(())));
    backend.write_all(b"answer").await.unwrap();
    backend.flush().await.unwrap();
    expect(client, "answer").await;
    backend.write_all(b" and more").await.unwrap();
    backend.shutdown().await.unwrap();
    assert_eq!(
        rest(client).await,
        (b" and more".to_vec(), Ok(())),
        "an end, not a cut"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_is_not_taken_for_one_that_ended() {
    // The client's TCP ends, or is reset, without the end of TLS.
    for reset in [false, true] {
        let pair = Pair::new(false).await;
        let (mut client, mut backend) = pair.plain().await;
        client.write_all(b"cut").await.unwrap();
        expect(&mut backend, "cut").await;
        if reset {
            reset_on_close(client.get_ref().0);
        }
        drop(client);
        assert_eq!(
            rest(&mut backend).await,
            (vec![], Err(ErrorKind::ConnectionReset)),
            "{reset}"
        );
        pair.until_ended(End::ClientReset).await;
        pair.workers.stop().await;
    }
    // So does the backend's.
    for tls_backend in [false, true] {
        let pair = Pair::new(tls_backend).await;
        let mut client = if tls_backend {
            let (client, mut backend) = pair.secure().await;
            backend.write_all(b"cut").await.unwrap();
            backend.flush().await.unwrap();
            drop(backend.into_inner());
            client
        } else {
            let (client, mut backend) = pair.plain().await;
            backend.write_all(b"cut").await.unwrap();
            pair.until_down(3).await;
            reset_on_close(&backend);
            drop(backend);
            client
        };
        let (said, ended) = rest(&mut client).await;
        assert!(said.is_empty() || said == b"cut", "{said:?}");
        ended.expect_err("a cut");
        pair.until_ended(End::BackendReset).await;
        pair.workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_we_close_ends_in_order_with_all_that_waited() {
    let pair = Pair::new(true).await;
    let (mut client, mut backend) = pair.secure().await;
    backend.write_all(&vec![7; 100_000]).await.unwrap();
    backend.flush().await.unwrap();
    pair.until_down(100_000).await;
    let endpoint = pair.control.handle.view().candidates[0].endpoint.id;
    let closed = pair
        .workers
        .close_sessions(pair.control.id(), &[endpoint].into(), 1, CloseReason::Switched)
        .await;
    assert_eq!(closed, 1);
    assert_eq!(rest(&mut client).await, (vec![7; 100_000], Ok(())));
    assert_eq!(rest(&mut backend).await, (vec![], Ok(())));
    drop((client, backend));
    pair.until_ended(End::Moved(CloseReason::Switched)).await;
    pair.workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_slows_the_sender_and_costs_no_memory() {
    /// More than sockets and buffers of all three together may ever hold.
    const HELD: usize = 24 << 20;
    let pair = Pair::new(true).await;
    let (mut client, mut backend) = pair.secure().await;
    let block: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
    let mut sent = 0;
    loop {
        let next = backend.write(&block[sent % block.len()..]);
        match tokio::time::timeout(Duration::from_secs(1), next).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
        assert!(sent < HELD, "nobody holds the sender up");
    }
    let relayed = pair.workers.sessions(1).await[0].bytes_down;
    assert!((1..sent as u64).contains(&relayed), "{relayed} of {sent}");
    // All of it arrives once the client reads, and the sender may go on.
    let reading = tokio::spawn(async move {
        let mut read = 0;
        let mut bytes = vec![0; 64 << 10];
        loop {
            match client.read(&mut bytes).await.unwrap() {
                0 => return read,
                more => {
                    assert!(
                        bytes[..more]
                            .iter()
                            .zip(read..)
                            .all(|(byte, at)| *byte == (at % 256) as u8)
                    );
                    read += more;
                }
            }
        }
    });
    while sent < 3 * HELD {
        sent += within(backend.write(&block[sent % block.len()..])).await.unwrap();
    }
    backend.shutdown().await.unwrap();
    assert_eq!(
        tokio::time::timeout(Duration::from_mins(1), reading)
            .await
            .unwrap()
            .unwrap(),
        sent
    );
    pair.workers.stop().await;
}
