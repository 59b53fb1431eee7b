//! Which tier serves. In: how many endpoints of each tier serve here and by the word of pool-mates, the user's rules, the calendar, time. Out: changes of the
//! active tier, each with its reason, and the moment a failback is due.

pub mod council;
pub mod machine;
pub mod schedule;
