//! What clients and backends do to each other through the proxy: limits, slow
//! and vanished peers, resets, PROXY headers, TLS, balances, and what the
//! proxy tells of it. Each test runs with one data worker and with two.

use switchyard_tests::suite::Suite;

mod ends;
mod exhaustion;
mod life;
mod limits;
mod names;
mod proxy_headers;
mod sources;
mod spread;
mod telling;

pub fn add(suite: &mut Suite) {
    spread::add(suite); // takes longest
    life::add(suite);
    ends::add(suite);
    limits::add(suite);
    names::add(suite);
    proxy_headers::add(suite);
    sources::add(suite);
    telling::add(suite);
    exhaustion::add(suite); // has the machine for itself
}
