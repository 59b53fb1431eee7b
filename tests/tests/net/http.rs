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
    certificates::add(suite); // takes longest
    clients::add(suite);
    drain::add(suite);
    rules::add(suite);
    frames::add(suite);
    requests::add(suite);
    outages::add(suite); // these have the machine for themselves
    volume::add(suite);
}
