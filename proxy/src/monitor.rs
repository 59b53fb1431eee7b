//! How endpoints are watched. In: the endpoints a chain wants probed. Out: a result per probe; what results in a row
//! mean is [`track`]'s business.

pub mod track;
