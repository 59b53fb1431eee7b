//! HTTP and TLS at the front: what real clients and servers do through it, what forbidden requests and frames do to it, and
//! what happens while certificates, backends and proxies come and go.

use switchyard_tests::suite::Suite;

mod certificates;
mod clients;
mod drain;
mod frames;
mod outages;
mod requests;
mod rules;
mod volume;

pub fn add(suite: &mut Suite) {
    clients::add(suite); // these take longest
    drain::add(suite);
    rules::add(suite);
    frames::add(suite);
    requests::add(suite);
    certificates::add(suite); // these have the machine for themselves
    outages::add(suite);
    volume::add(suite);
}
