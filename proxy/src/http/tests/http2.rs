use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use switchyard_snapshot::HttpVersion;
use tokio::net::TcpListener;

use super::*;
use crate::testing::eventually;
use crate::testing::rig::candidate;

/// A client with one connection to `at`, driven by a task.
async fn client(at: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(at).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // What it ends with is told to those who wait on its streams.
        let _ = connection.await;
    });
    send.ready().await.unwrap()
}

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://web.example{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

async fn collect(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = within(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all, within(body.trailers()).await?))
}

/// Asks without a body.
async fn ask(send: &mut SendRequest<Bytes>, path: &str) -> (StatusCode, Vec<u8>, Option<HeaderMap>) {
    let (response, _) = send.send_request(request(Method::GET, path), true).unwrap();
    let mut response = within(response).await.unwrap();
    let (body, trailers) = collect(response.body_mut()).await.unwrap();
    (response.status(), body, trailers)
}

/// A server of HTTP/2 that sends back bodies, with their length in a trailer; `/refuse` refuses the first stream of each
/// connection.
async fn echo2() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                let mut connection = builder.enable_connect_protocol().handshake(stream).await.unwrap();
                let mut nth = 0;
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo_stream(request, respond, nth));
                    nth += 1;
                }
            });
        }
    });
    at
}

async fn echo_stream(request: Request<RecvStream>, mut respond: h2::server::SendResponse<Bytes>, nth: usize) {
    if request.uri().path() == "/refuse" && nth == 0 {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let tunnel = request.method() == Method::CONNECT;
    let te = request.headers().get("te").cloned();
    let mut body = request.into_body();
    let mut response = Response::builder().status(200);
    if let Some(te) = te {
        response = response.header("x-te", te);
    }
    let mut to = respond.send_response(response.body(()).unwrap(), false).unwrap();
    let mut count = 0;
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        count += data.len();
        let mut data = data;
        while !data.is_empty() {
            to.reserve_capacity(data.len());
            let Some(Ok(room)) = std::future::poll_fn(|cx| to.poll_capacity(cx)).await else {
                return;
            };
            let _ = to.send_data(data.split_to(room.min(data.len())), false);
        }
    }
    if tunnel {
        let _ = to.send_data(Bytes::new(), true);
        return;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-length", count.into());
    let _ = to.send_trailers(trailers);
}

async fn front2(at: SocketAddr) -> Front {
    let mut to = candidate(at);
    to.via.http = HttpVersion::Http2;
    Front::of(Control::new(rig::chain("web"), vec![to]), |_| {}).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_clients_are_served_by_http1_servers() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut send = client(front.at).await;
    let (status, body, _) = ask(&mut send, "/x").await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"one"[..]));
    let (_, body, trailers) = ask(&mut send, "/chunked").await;
    assert_eq!(body, b"abc");
    assert_eq!(trailers.unwrap()["x-after"], "1");
    let (response, mut to) = send.send_request(request(Method::POST, "/echo"), false).unwrap();
    to.send_data("hello".into(), true).unwrap();
    let mut response = within(response).await.unwrap();
    assert_eq!(
        collect(response.body_mut()).await.unwrap().0,
        b"5\r\nhello\r\n0\r\n\r\n"
    );
    let head = site.heads().pop().unwrap();
    assert!(
        head.contains("host: web.example") && head.contains("transfer-encoding: chunked"),
        "{head}"
    );
    let (response, _) = send.send_request(request(Method::GET, "/cut"), true).unwrap();
    let broken = match within(response).await {
        Ok(mut response) => collect(response.body_mut()).await.unwrap_err(),
        // A reset may overtake the head.
        Err(broken) => broken,
    };
    assert_eq!(
        broken.reason(),
        Some(Reason::INTERNAL_ERROR),
        "half is never taken for the whole"
    );
    assert_eq!(ask(&mut send, "/y").await.1, b"one", "other streams go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_servers_are_spoken_to_over_shared_connections() {
    let front = front2(echo2().await).await;
    let mut send = client(front.at).await;
    let mut head = request(Method::POST, "/grpc");
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    let (response, mut to) = send.send_request(head, false).unwrap();
    let big = vec![b'x'; 3 << 20];
    let sending = async {
        for piece in big.chunks(1 << 14) {
            to.reserve_capacity(piece.len());
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                let room = std::future::poll_fn(|cx| to.poll_capacity(cx))
                    .await
                    .unwrap()
                    .unwrap();
                to.send_data(piece.split_to(room.min(piece.len())), false)
                    .unwrap();
                to.reserve_capacity(piece.len());
            }
        }
        to.send_data(Bytes::new(), true).unwrap();
    };
    let hearing = async {
        let mut response = response.await.unwrap();
        assert_eq!(response.headers()["x-te"], "trailers");
        collect(response.body_mut()).await.unwrap()
    };
    let ((), (body, trailers)) = within(async { tokio::join!(sending, hearing) }).await;
    assert_eq!(body.len(), big.len());
    assert_eq!(trailers.unwrap()["x-length"], big.len().to_string());
    let mut old = front.connect().await;
    let told = old
        .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert!(told.head.contains("transfer-encoding: chunked"), "{}", told.head);
    assert_eq!(told.body, b"2\r\nhi\r\n0\r\nx-length: 2\r\n\r\n");
    let (status, ..) = ask(&mut send, "/refuse").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_at_once_share_a_connection_that_is_being_opened() {
    let front = front2(echo2().await).await;
    let mut send = client(front.at).await;
    let responses: Vec<_> = (0..80)
        .map(|_| send.send_request(request(Method::GET, "/x"), true).unwrap().0)
        .collect();
    for response in responses {
        let mut response = within(response).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        // A request is counted when it is over, not when its head is there.
        collect(response.body_mut()).await.unwrap();
    }
    let totals = || front.workers.counters().chains[front.control.id()].clone();
    eventually("all are counted", Duration::from_secs(5), || {
        totals().requests.iter().sum::<u64>() >= 80
    })
    .await;
    let totals = totals();
    let connects: u64 = totals.connect_buckets.iter().sum();
    assert_eq!((totals.requests, connects), ([0, 80, 0, 0, 0], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_a_server_refused_unseen_is_asked_again() {
    let front = front2(echo2().await).await;
    let mut client = front.connect().await;
    let told = client
        .ask("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(told.status(), 200, "{}", told.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_crosses_versions_both_ways() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut send = client(front.at).await;
    eventually("extended CONNECT is offered", Duration::from_secs(5), || {
        send.is_extended_connect_protocol_enabled()
    })
    .await;
    let mut head = request(Method::CONNECT, "/ws");
    head.extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    head.headers_mut()
        .insert("sec-websocket-version", "13".parse().unwrap());
    let (response, mut to) = send.send_request(head, false).unwrap();
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    to.send_data("hi".into(), false).unwrap();
    let mut body = response.into_body();
    let mut heard = Vec::new();
    while heard.len() < 10 {
        heard.extend_from_slice(&within(body.data()).await.unwrap().unwrap());
    }
    assert_eq!(heard, b"welcome hi");
    let head = site.heads().pop().unwrap();
    assert!(
        head.starts_with("get /ws")
            && head.contains("upgrade: websocket")
            && head.contains("sec-websocket-key"),
        "{head}"
    );
    // And the other way round: the key and its answer are RFC 6455's own (§1.3).
    let front = front2(echo2().await).await;
    let mut old = front.connect().await;
    old.say("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
    let head = old.head().await;
    assert!(
        head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    old.say("hello").await;
    let mut bytes = [0; 5];
    within(old.0.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_drains_says_goaway_and_ends_what_is_under_way() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut send = client(front.at).await;
    let (response, mut to) = send.send_request(request(Method::POST, "/echo"), false).unwrap();
    to.send_data("hel".into(), false).unwrap();
    eventually("the request arrives", Duration::from_secs(5), || {
        site.heads().len() == 1
    })
    .await;
    front.workers.stop_accepting().await;
    front.workers.leave(false).await;
    let refused = within(async {
        loop {
            // Until the GOAWAY is here, streams are still served.
            match send.clone().ready().await {
                Ok(mut ready) => match ready.send_request(request(Method::GET, "/"), true) {
                    Ok((response, _)) => drop(response.await),
                    Err(error) => break error,
                },
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(
        refused.is_go_away() || refused.is_library() || refused.is_remote(),
        "{refused}"
    );
    to.send_data("lo".into(), true).unwrap();
    let mut response = within(response).await.unwrap();
    let (body, _) = collect(response.body_mut()).await.unwrap();
    assert_eq!(body, b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    assert_eq!(
        within(
            front
                .workers
                .drain(std::time::Instant::now() + Duration::from_secs(5))
        )
        .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_a_request_back_frees_the_server() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut send = client(front.at).await;
    let (response, _) = send.send_request(request(Method::GET, "/silent"), true).unwrap();
    eventually("the request arrives", Duration::from_secs(5), || {
        site.heads().len() == 1
    })
    .await;
    drop(response);
    eventually("the server's connection ends", Duration::from_secs(5), || {
        site.open() == 0
    })
    .await;
    let (response, mut to) = send
        .send_request(request(Method::POST, "/silent"), false)
        .unwrap();
    eventually("the request arrives", Duration::from_secs(5), || {
        site.heads().len() == 2
    })
    .await;
    to.send_reset(Reason::CANCEL);
    drop(response);
    eventually("the server's connection ends", Duration::from_secs(5), || {
        site.open() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_takes_its_requests_back_is_sent_away() {
    let site = Site::start("one").await;
    let front = Front::new(&[&site]).await;
    let mut send = client(front.at).await;
    let mut sent = 0;
    let ended = within(async {
        loop {
            match send.clone().ready().await {
                Ok(ready) => send = ready,
                Err(error) => break error,
            }
            let Ok((response, mut to)) = send.send_request(request(Method::POST, "/silent"), false) else {
                continue;
            };
            sent += 1;
            to.send_reset(Reason::CANCEL);
            drop(response);
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What it goes on sending may turn the close into a reset, which overtakes the reason.
    let told = ended.reason() == Some(Reason::ENHANCE_YOUR_CALM) || ended.is_io();
    assert!(told, "{ended} after {sent}");
    let mut other = client(front.at).await;
    assert_eq!(ask(&mut other, "/").await.1, b"one");
}
