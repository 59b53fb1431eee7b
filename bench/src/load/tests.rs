//! The load without a proxy, and with relays that do wrong.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use super::exchange::{Exchange, Speech, Then};
use super::stream::Stream;
use super::*;

const WHILE: Duration = Duration::from_millis(200);
const AT_MOST: Duration = Duration::from_secs(20);

fn backend() -> (TcpListener, SocketAddrV4) {
    let listener = socket::listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    (listener, address)
}

fn stop() -> Stop {
    Stop::install(Duration::from_mins(1)).unwrap()
}

fn exchange(target: SocketAddrV4, clients: u32, then: Then) -> exchange::Plan {
    exchange::Plan {
        target,
        clients,
        speech: Speech::Opaque(100, 200),
        then,
    }
}

/// A relay for one connection. `change` gets what comes from the backend, its position, and may change it; what it
/// returns goes on.
fn relay(backend: SocketAddrV4, change: fn(u64, Vec<u8>) -> Option<Vec<u8>>) -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let mut server = TcpStream::connect(backend).unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let (mut buffer, mut position) = ([0; 4096], 0);
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let Some(changed) = change(position, buffer[..count].to_vec()) else {
                break;
            };
            position += count as u64;
            if client.write_all(&changed).is_err() {
                return;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    });
    address
}

fn exchange_through(change: fn(u64, Vec<u8>) -> Option<Vec<u8>>) -> LoadError {
    let ((listener, address), stop) = (backend(), stop());
    let plan = exchange(relay(address, change), 1, Then::Repeat);
    let mut driver = Driver::start(Exchange::new(plan, &listener), &stop).unwrap();
    driver.run_until(1000, AT_MOST).unwrap_err()
}

#[test]
fn requests_are_repeated_on_the_same_connections() {
    let ((listener, address), stop) = (backend(), stop());
    let mut driver = Driver::start(
        Exchange::new(exchange(address, 300, Then::Repeat), &listener),
        &stop,
    )
    .unwrap();
    driver.run_until(30_000, AT_MOST).unwrap();
    assert_eq!(driver.accepted(), 300);
}

#[test]
fn connections_are_opened_anew() {
    let ((listener, address), stop) = (backend(), stop());
    let mut driver = Driver::start(
        Exchange::new(exchange(address, 64, Then::Reopen), &listener),
        &stop,
    )
    .unwrap();
    driver.run_until(2000, AT_MOST).unwrap();
    let (done, accepted) = (driver.done(), driver.accepted());
    assert!(
        (done..=done + 64).contains(&accepted),
        "{accepted} connections for {done} responses"
    );
}

#[test]
fn held_connections_stay() {
    let ((listener, address), stop) = (backend(), stop());
    let mut driver = Driver::start(
        Exchange::new(exchange(address, 500, Then::Hold), &listener),
        &stop,
    )
    .unwrap();
    driver.run_until(500, AT_MOST).unwrap();
    driver.run_for(WHILE).unwrap();
    assert_eq!((driver.done(), driver.accepted()), (500, 500));
}

#[test]
fn wrong_byte_is_noticed() {
    let error = exchange_through(|position, mut bytes| {
        if position > 10_000 {
            bytes[0] ^= 1;
        }
        Some(bytes)
    });
    assert!(matches!(error, LoadError::Corrupt { end: "client" }), "{error}");
}

#[test]
fn early_close_is_noticed() {
    let error = exchange_through(|position, bytes| (position < 10_000).then_some(bytes));
    let reset = matches!(
        error,
        LoadError::System {
            errno: Errno::ECONNRESET | Errno::EPIPE,
            ..
        }
    );
    assert!(reset || matches!(error, LoadError::Closed { .. }), "{error}");
}

#[test]
fn silence_is_noticed() {
    let ((listener, address), stop) = (backend(), stop());
    let plan = exchange(relay(address, |_, _| Some(Vec::new())), 1, Then::Repeat);
    let mut driver = Driver::start(Exchange::new(plan, &listener), &stop).unwrap();
    let error = driver.run_until(1, WHILE).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::TooSlow {
                done: 0,
                wanted: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn bulk_data_flows_both_ways() {
    let ((listener, address), stop) = (backend(), stop());
    let plan = stream::Plan {
        target: address,
        each_way: 2,
        tls: None,
    };
    let mut driver = Driver::start(Stream::new(plan, &listener), &stop).unwrap();
    driver.run_until(500_000_000, AT_MOST).unwrap();
}

#[test]
fn lost_byte_of_bulk_data_is_noticed() {
    let ((listener, address), stop) = (backend(), stop());
    let target = relay(address, |position, mut bytes| {
        if position > 1_000_000 && position < 1_010_000 {
            bytes.truncate(bytes.len() - 1);
        }
        Some(bytes)
    });
    // The relay serves the first connection only: the one that downloads.
    let plan = stream::Plan {
        target,
        each_way: 1,
        tls: None,
    };
    let mut driver = Driver::start(Stream::new(plan, &listener), &stop).unwrap();
    let error = driver.run_for(AT_MOST).unwrap_err();
    assert!(matches!(error, LoadError::Corrupt { end: "client" }), "{error}");
}
