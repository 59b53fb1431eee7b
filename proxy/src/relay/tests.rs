use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use switchyard_snapshot::{AcceptProxy, Listener, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::session::LINGER;
use crate::session::end::{CloseReason, End};
use crate::socket::reset_on_close;
use crate::testing::eventually;
use crate::testing::rig::{Control, apply, expect, listener, rest, routing, within, workers};
use crate::worker::Workers;

/// One worker, one chain, and a backend whose side of each connection the test plays itself.
struct Pair {
    workers: Workers,
    control: Control,
    at: SocketAddr,
    backend: TcpListener,
}

impl Pair {
    async fn new(listener: Listener) -> Self {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = Control::simple("c", &[backend.local_addr().unwrap()]);
        let workers = workers(1);
        let name = listener.name.clone();
        let at = apply(&workers, routing(vec![(listener, vec![&control])])).await[&name];
        Self {
            workers,
            control,
            at,
            backend,
        }
    }

    async fn plain() -> Self {
        Self::new(listener("main", Protocol::Tcp)).await
    }

    /// A client's end and the backend's end of one session.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.at).await.unwrap();
        let (backend, _) = within(self.backend.accept()).await.unwrap();
        (client, backend)
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
    prop::collection::vec(chunk, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn carries_every_byte_in_order_and_both_ends(
        up in chunks(), down in chunks(), slow_client in 1..70_000_usize, slow_backend in 1..70_000_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pair = Pair::plain().await;
            let (client, backend) = pair.connect().await;
            let (from_client, to_client) = client.into_split();
            let (from_backend, to_backend) = backend.into_split();
            let ((), (), got_up, got_down) = tokio::time::timeout(Duration::from_secs(30), async {
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

#[tokio::test]
async fn a_half_close_leaves_the_other_direction_alone() {
    let pair = Pair::plain().await;
    let (mut client, mut backend) = pair.connect().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut backend).await, (b"question".to_vec(), Ok(())));
    for _ in 0..3 {
        backend.write_all(b"answer").await.unwrap();
        expect(&mut client, "answer").await;
    }
    drop(backend);
    assert_eq!(rest(&mut client).await, (vec![], Ok(())));
    pair.until_ended(End::ClientClosed).await;

    let (mut client, mut backend) = pair.connect().await;
    backend.write_all(b"bye").await.unwrap();
    backend.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, (b"bye".to_vec(), Ok(())));
    client.write_all(b"wait").await.unwrap();
    expect(&mut backend, "wait").await;
    drop(client);
    pair.until_ended(End::BackendClosed).await;
    pair.workers.stop().await;
}

fn reset(stream: TcpStream) {
    reset_on_close(&stream);
    drop(stream);
}

async fn until_reset(stream: &mut TcpStream) -> Vec<u8> {
    let (bytes, ended) = rest(stream).await;
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    bytes
}

#[tokio::test]
async fn resets_are_passed_on_as_resets() {
    // While idle.
    let pair = Pair::plain().await;
    let (client, mut backend) = pair.connect().await;
    reset(client);
    until_reset(&mut backend).await;
    pair.until_ended(End::ClientReset).await;

    // Before the first byte it would be a failed attempt, and tried again.
    let (mut client, mut backend) = pair.connect().await;
    backend.write_all(b"connected").await.unwrap();
    expect(&mut client, "connected").await;
    reset(backend);
    until_reset(&mut client).await;
    pair.until_ended(End::BackendReset).await;
    pair.workers.stop().await;

    // After some bytes, which arrive.
    let pair = Pair::plain().await;
    let (mut client, mut backend) = pair.connect().await;
    client.write_all(b"said before").await.unwrap();
    expect(&mut backend, "said before").await;
    backend.write_all(b"answered before").await.unwrap();
    expect(&mut client, "answered before").await;
    reset(client);
    until_reset(&mut backend).await;
    pair.until_ended(End::ClientReset).await;

    // After the other side had ended its stream.
    let (mut client, mut backend) = pair.connect().await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut backend).await, (vec![], Ok(())));
    reset(backend);
    until_reset(&mut client).await;
    pair.until_ended(End::BackendReset).await;
    pair.workers.stop().await;
}

/// Fills a direction until nothing more goes through; how much did.
async fn fill(stream: &mut TcpStream) -> usize {
    let chunk = vec![7; 64 * 1024];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), stream.write(&chunk)).await {
        sent += written.unwrap();
    }
    sent
}

#[tokio::test]
async fn a_receiver_that_does_not_read_stops_the_sender_and_nobody_else() {
    let pair = Pair::plain().await;
    let (mut client, mut backend) = pair.connect().await;
    let (mut other_client, mut other_backend) = pair.connect().await;
    let sent = fill(&mut client).await;
    // Two sockets' buffers at their largest (tcp_rmem, tcp_wmem) on each leg; the relay adds one of its own.
    assert!(sent < 64 << 20, "{sent}");
    other_client.write_all(b"others go on").await.unwrap();
    expect(&mut other_backend, "others go on").await;
    backend
        .write_all(b"and so does the other direction")
        .await
        .unwrap();
    expect(&mut client, "and so does the other direction").await;
    client.shutdown().await.unwrap();
    let (bytes, ended) = rest(&mut backend).await;
    assert_eq!((bytes.len(), ended), (sent, Ok(())));
    pair.workers.stop().await;
}

#[tokio::test]
async fn resets_while_a_write_is_blocked() {
    let pair = Pair::plain().await;
    let (mut client, backend) = pair.connect().await;
    fill(&mut client).await;
    reset(backend);
    until_reset(&mut client).await;
    pair.until_ended(End::BackendReset).await;
    let (client, mut backend) = pair.connect().await;
    fill(&mut backend).await;
    reset(client);
    until_reset(&mut backend).await;
    pair.until_ended(End::ClientReset).await;
    pair.workers.stop().await;
}

#[tokio::test]
async fn what_a_backend_said_before_it_hung_up_arrives() {
    let pair = Pair::plain().await;
    let (mut client, mut backend) = pair.connect().await;
    client.write_all(b"a request that is not read").await.unwrap();
    within(backend.peek(&mut [0])).await.unwrap();
    backend.write_all(b"too large").await.unwrap();
    // With unread bytes, this close is a reset.
    drop(backend);
    let said = rest(&mut client).await;
    pair.until_ended(End::BackendReset).await;
    assert_eq!(said, (b"too large".to_vec(), Err(ErrorKind::ConnectionReset)));
    pair.workers.stop().await;
}

#[tokio::test]
async fn an_idle_session_is_closed_with_fin_and_a_busy_one_is_not() {
    // So long a pause of this test itself makes the busy one idle, too.
    const IDLE: Duration = Duration::from_secs(3);
    let mut main = listener("main", Protocol::Tcp);
    main.idle_timeout = IDLE;
    let pair = Pair::new(main).await;
    let end = &async |stream: &mut TcpStream| {
        let mut bytes = Vec::new();
        let ended = tokio::time::timeout(5 * IDLE, stream.read_to_end(&mut bytes)).await;
        (
            bytes,
            ended.expect("closed").map(drop).map_err(|error| error.kind()),
        )
    };
    let begun = Instant::now();
    let (mut idle, mut idle_backend) = pair.connect().await;
    let (mut busy, mut busy_backend) = pair.connect().await;
    let closed = async move {
        let client = end(&mut idle).await;
        (client, end(&mut idle_backend).await, begun.elapsed())
    };
    tokio::pin!(closed);
    let (client, backend, after) = loop {
        busy.write_all(b".").await.unwrap();
        expect(&mut busy_backend, ".").await;
        if let Ok(closed) = tokio::time::timeout(Duration::from_millis(100), &mut closed).await {
            break closed;
        }
    };
    assert_eq!((client, backend), ((vec![], Ok(())), (vec![], Ok(()))));
    assert!(
        (IDLE..IDLE + Duration::from_secs(4)).contains(&after),
        "{after:?}"
    );
    pair.until_ended(End::Idle).await;
    busy.write_all(b"still here").await.unwrap();
    expect(&mut busy_backend, "still here").await;
    // Half-closed sessions are no exception.
    busy.shutdown().await.unwrap();
    assert_eq!(end(&mut busy_backend).await.1, Ok(()));
    assert_eq!(end(&mut busy).await, (vec![], Ok(())));
    pair.workers.stop().await;
}

#[tokio::test]
async fn a_closed_session_delivers_what_waits_and_does_not_linger_for_ever() {
    let pair = Pair::plain().await;
    let (mut client, mut backend) = pair.connect().await;
    let sent = fill(&mut backend).await;
    let endpoint = pair.control.handle.view().candidates[0].endpoint.id;
    let endpoints = [endpoint].into();
    let why = CloseReason::Failback;
    let begun = Instant::now();
    assert_eq!(
        pair.workers
            .close_sessions(pair.control.id(), &endpoints, 9, why)
            .await,
        1
    );
    // The backend hears of it at once, though its client is slow.
    assert_eq!(rest(&mut backend).await, (vec![], Ok(())));
    let (bytes, ended) = rest(&mut client).await;
    assert_eq!(ended, Ok(()));
    assert!(bytes.len() <= sent && !bytes.is_empty());
    // Neither side closes: we do not wait for them longer than we said.
    pair.until_ended(End::Moved(CloseReason::Failback)).await;
    let lingered = begun.elapsed();
    assert!(
        (LINGER..LINGER + Duration::from_secs(3)).contains(&lingered),
        "{lingered:?}"
    );
    pair.workers.stop().await;
}

#[tokio::test]
async fn a_forbidden_proxy_header_never_reaches_the_backend() {
    let mut main = listener("main", Protocol::Tcp);
    main.accept_proxy = AcceptProxy::Accept;
    main.trusted_sources = vec!["192.0.2.0/24".parse().unwrap()];
    let pair = Pair::new(main).await;
    // In pieces.
    let (mut client, mut backend) = pair.connect().await;
    client.set_nodelay(true).unwrap();
    client.write_all(b"PRO").await.unwrap();
    client
        .write_all(b"XY TCP4 1.2.3.4 1.2.3.4 1 1\r\n")
        .await
        .unwrap();
    assert_eq!(until_reset(&mut backend).await, b"");
    until_reset(&mut client).await;
    pair.until_ended(End::UntrustedHeader).await;
    // What only looks like one at first.
    let (mut client, mut backend) = pair.connect().await;
    backend.write_all(b"a server that speaks first").await.unwrap();
    expect(&mut client, "a server that speaks first").await;
    for part in ["P", "RO", "FESSOR", " of nothing"] {
        client.write_all(part.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    expect(&mut backend, "PROFESSOR of nothing").await;
    // What ends too soon to be one.
    let (mut client, mut backend) = pair.connect().await;
    client.write_all(b"\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut backend).await, (b"\r\n\r\n".to_vec(), Ok(())));
    pair.workers.stop().await;
}
