use switchyard_crds::Kind;

use super::*;
use crate::status::board::Board;
use crate::status::fixture::{chain, key};

fn version(number: u32) -> Object {
    let mut chain = chain("c");
    chain.metadata.resource_version = Some(number.to_string());
    Object::Chain(Arc::new(chain))
}

/// The watch has seen it.
fn see(desk: &mut Desk, object: Option<Object>) {
    let board = Board::default();
    board.object(key(Kind::ProxyChain, "c"), object);
    desk.take(board.take(), |_| {});
}

fn newest(desk: &Desk) -> Option<String> {
    let newest = desk.newest(&key(Kind::ProxyChain, "c"))?;
    newest.meta().resource_version.clone()
}

#[test]
fn what_a_write_returned_counts_until_the_watch_has_seen_it_and_is_kept_no_longer() {
    let mut desk = Desk::default();
    see(&mut desk, Some(version(1)));
    desk.returned(version(3));
    assert_eq!(newest(&desk).as_deref(), Some("3"));
    // what somebody else wrote in between
    see(&mut desk, Some(version(2)));
    assert_eq!(newest(&desk).as_deref(), Some("3"));
    see(&mut desk, Some(version(3)));
    assert_eq!(newest(&desk).as_deref(), Some("3"));
    assert!(desk.returned.is_empty());
}

#[test]
fn what_the_watch_has_seen_first_is_not_kept_twice() {
    let mut desk = Desk::default();
    see(&mut desk, Some(version(4)));
    desk.returned(version(3));
    desk.returned(version(4));
    assert!(desk.returned.is_empty());
    assert_eq!(newest(&desk).as_deref(), Some("4"));
}

#[test]
fn nothing_is_kept_of_an_object_that_was_deleted_while_it_was_written() {
    let mut desk = Desk::default();
    see(&mut desk, Some(version(1)));
    see(&mut desk, None);
    desk.returned(version(2));
    assert!(desk.returned.is_empty());
    assert_eq!(newest(&desk), None);
}
