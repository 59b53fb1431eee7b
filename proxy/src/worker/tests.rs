use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use switchyard_snapshot::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::session::end::{CloseReason, ConnectError, End, Refusal};
use crate::testing::eventually;
use crate::testing::rig::{
    Control, Echo, apply, ask, assert_closed, assert_reset, candidate, client, free_port, listener, nobody,
    rest, routing, within, workers,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_both_ways_and_counts() {
    for count in [1, 2] {
        let (a, b) = (Echo::start("a").await, Echo::start("b").await);
        let control = Control::simple("c", &[a.address, b.address]);
        let workers = workers(count);
        let at = apply(
            &workers,
            routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
        )
        .await["main"];
        let one = TcpStream::connect(at).await.unwrap();
        within(one.readable()).await.unwrap();
        let (mut seen_a, mut seen_b) = (0, 0);
        for _ in 0..10 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let (bytes, ended) = rest(&mut stream).await;
            assert_eq!(
                ended,
                Ok(()),
                "half close is passed on, and the backend's end comes back"
            );
            match bytes.as_slice() {
                b"ahello" => seen_a += 1,
                b"bhello" => seen_b += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(seen_a > 0 && seen_b > 0, "{seen_a} {seen_b}");
        eventually("sessions ended", Duration::from_secs(5), || {
            workers.counters().chains[control.id()].active == 1
        })
        .await;
        let totals = workers.counters();
        let chain = &totals.chains[control.id()];
        assert_eq!((chain.sessions, chain.ended[End::ClientClosed.index()]), (11, 10));
        assert_eq!(chain.bytes_up, 50);
        // The greeting of the one that goes on is counted at the worker's next look.
        assert!([60, 61].contains(&chain.bytes_down), "{}", chain.bytes_down);
        assert_eq!(chain.connect_buckets.iter().sum::<u64>(), 11);
        let main = &totals.listeners["main"];
        assert_eq!((main.accepted, main.active), (11, 1));
        let sessions = workers.sessions(10).await;
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].client, one.local_addr().unwrap());
        drop(one);
        workers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_on_another_endpoint_and_reports_the_dead_one() {
    let dead = nobody();
    let alive = Echo::start("alive").await;
    let mut control = Control::simple("c", &[dead, alive.address]);
    let workers = workers(1);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
    )
    .await["main"];
    for _ in 0..4 {
        client(at, "alive").await;
    }
    let failed = within(control.failures.recv()).await.unwrap();
    assert_eq!(failed.in_a_row, 1);
    assert!(failed.why.contains("refused"), "{}", failed.why);
    let chain = &workers.counters().chains[control.id()];
    let refused = chain.connect_errors[ConnectError::Refused.index()];
    assert!((1..=4).contains(&refused), "{refused}");
    assert_eq!((chain.sessions, chain.retries), (4, refused));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_caught_in_a_failover_is_served_by_the_standby() {
    let (dead, standby) = (nobody(), Echo::start("standby").await);
    let mut control = Control::simple("c", &[dead]);
    let workers = workers(1);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
    )
    .await["main"];
    let waiting = tokio::spawn(client(at, "standby"));
    within(control.failures.recv()).await.unwrap();
    // The control side makes up its mind: first nobody, then the standby.
    control.publish(vec![]);
    control.publish(vec![candidate(standby.address)]);
    within(waiting).await.unwrap();
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refuses_with_a_reset_when_nobody_serves() {
    let mut control = Control::simple("c", &[]);
    control.chain.connect.timeout = Duration::from_millis(100);
    control.publish(vec![]);
    let workers = workers(1);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
    )
    .await["main"];
    let begun = std::time::Instant::now();
    assert_reset(at).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    control.suspend();
    assert_reset(at).await;
    let refused = workers.counters().chains[control.id()].refused;
    assert_eq!(
        (
            refused[Refusal::NoEndpoint.index()],
            refused[Refusal::Suspended.index()]
        ),
        (1, 1)
    );
    workers.stop().await;
}

/// Inodes of all listening sockets of this process on `at`.
fn inodes(at: SocketAddr) -> HashSet<String> {
    let port = format!(":{:04X}", at.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let listening = table.lines().filter(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
    });
    listening
        .map(|line| line.split_whitespace().nth(9).unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_touches_only_what_changed() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (one, two) = (
        Control::simple("one", &[a.address]),
        Control::simple("two", &[b.address]),
    );
    let workers = workers(2);
    let kept = listener("kept", Protocol::Tcp);
    let mut other = listener("other", Protocol::Tcp);
    other.addresses = vec!["127.0.0.2".parse().unwrap()];
    let at = apply(
        &workers,
        routing(vec![(kept.clone(), vec![&one]), (other.clone(), vec![&two])]),
    )
    .await;
    let before = inodes(at["kept"]);
    assert_eq!(before.len(), 2, "one socket per worker");
    let mut old = client(at["kept"], "a").await;

    // Another chain, other limits, another listener gone: same sockets.
    let mut changed = kept.clone();
    changed.max_connections = 7;
    changed.name = "renamed".into();
    let after = apply(&workers, routing(vec![(changed, vec![&two])])).await;
    assert_eq!(after["renamed"], at["kept"]);
    assert_eq!(inodes(at["kept"]), before);
    client(at["kept"], "b").await;
    ask(&mut old, "still here").await;
    let refused = TcpStream::connect(at["other"]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn says_which_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let control = Control::simple("c", &[]);
    let workers = workers(2);
    let mut main = listener("main", Protocol::Tcp);
    main.port = taken.local_addr().unwrap().port();
    let errors = workers.apply(routing(vec![(main.clone(), vec![&control])])).await;
    let [error] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    let text = error.to_string();
    assert!(
        text.contains("\"main\"") && text.contains(&main.port.to_string()) && text.contains("127.0.0.1"),
        "{text}"
    );
    assert!(text.contains("another process"), "{text}");
    drop(taken);
    assert!(
        workers
            .apply(routing(vec![(main, vec![&control])]))
            .await
            .is_empty(),
        "tried again"
    );
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_a_port_that_somebody_else_shares() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.listen(1).unwrap();
    let mut main = listener("main", Protocol::Tcp);
    main.port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let workers = workers(2);
    let errors = workers.apply(routing(vec![(main, vec![])])).await;
    assert_eq!(
        errors.len(),
        1,
        "another process with SO_REUSEPORT would take half of the connections"
    );
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_address_gives_way_to_a_single_one() {
    let a = Echo::start("a").await;
    let control = Control::simple("c", &[a.address]);
    let workers = workers(2);
    let mut main = listener("main", Protocol::Tcp);
    main.addresses = vec!["0.0.0.0".parse().unwrap()];
    main.port = free_port();
    apply(&workers, routing(vec![(main.clone(), vec![&control])])).await;
    main.addresses = vec!["127.0.0.1".parse().unwrap()];
    let at = apply(&workers, routing(vec![(main, vec![&control])])).await["main"];
    client(at, "a").await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_sessions_with_fin_the_idlest_first() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let control = Control::simple("c", &[a.address, b.address]);
    let workers = workers(2);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
    )
    .await["main"];
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let mut name = [0];
        within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut name))
            .await
            .unwrap();
        streams.push((name[0], stream));
    }
    // Those on `a` become busy again, one after the other; the first of them is the idlest.
    let endpoint = control.handle.view().candidates[0].endpoint.id;
    let of_a = HashSet::from([endpoint]);
    assert_eq!(workers.count_sessions(control.id(), &of_a).await, 4);
    let (mut on_a, on_b): (Vec<_>, Vec<_>) = streams.into_iter().partition(|(name, _)| *name == b'a');
    assert_eq!(
        workers
            .close_sessions(control.id(), &of_a, 3, CloseReason::Switched)
            .await,
        3
    );
    assert_eq!(workers.count_sessions(control.id(), &of_a).await, 1);
    assert_closed(on_a.iter_mut().map(|(_, stream)| stream), 3).await;
    for (_, mut stream) in on_b {
        ask(&mut stream, "not its subject").await;
    }
    drop(on_a);
    eventually("counted", Duration::from_secs(5), || {
        let chain = &workers.counters().chains[control.id()];
        chain.ended[End::Moved(CloseReason::Switched).index()] == 3
    })
    .await;
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_then_stops() {
    let a = Echo::start("a").await;
    let control = Control::simple("c", &[a.address]);
    let workers = workers(2);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
    )
    .await["main"];
    let mut session = client(at, "a").await;
    workers.stop_accepting().await;
    assert!(TcpStream::connect(at).await.is_err());
    assert_eq!(
        workers
            .drain(std::time::Instant::now() + Duration::from_millis(50))
            .await,
        1
    );
    ask(&mut session, "drained, not cut").await;
    let leaves = tokio::spawn(async move {
        session.shutdown().await.unwrap();
        rest(&mut session).await
    });
    assert_eq!(
        workers
            .drain(std::time::Instant::now() + Duration::from_secs(5))
            .await,
        0
    );
    assert_eq!(within(leaves).await.unwrap(), (vec![], Ok(())));
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_sessions_with_fin() {
    let a = Echo::start("a").await;
    let control = Control::simple("c", &[a.address]);
    let workers = workers(1);
    let at = apply(
        &workers,
        routing(vec![(listener("main", Protocol::Tcp), vec![&control])]),
    )
    .await["main"];
    let mut session = client(at, "a").await;
    let stopped = tokio::spawn(workers.stop());
    assert_eq!(rest(&mut session).await, (vec![], Ok(())));
    drop(session);
    within(stopped).await.unwrap();
}
