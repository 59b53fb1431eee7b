//! Clients of a chain that is dead are served by another of its group, and come back: three sites with pools of their own,
//! real servers and clients, partitions, strangers, and thousands of guests. Judged by what clients saw.

use switchyard_tests::suite::Suite;

mod clients;
mod cuts;
mod forged;
mod guests;
mod kinds;
mod partitions;
mod reach;
mod servers;
mod sites;

pub fn add(suite: &mut Suite) {
    reach::add(suite);
    // These judge moments and want the machine for themselves: part of `make soak`.
    if std::env::var_os("SWITCHYARD_SOAK").is_some() {
        partitions::add(suite);
        forged::add(suite);
        kinds::add(suite);
        guests::add(suite);
    }
}
