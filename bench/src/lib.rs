//! Side-by-side measurements against other proxies.
//!
//! Read in this order: [`options`] say what to measure, [`rounds`] goes through rounds, cases and proxies, [`proxies`]
//! starts one proxy at a time, a case of [`cases`] puts the traffic of [`load`] through it and reads what that cost
//! with [`measure`], and [`report`] prints and writes the result.

pub mod cases;
pub mod load;
pub mod measure;
pub mod options;
pub mod proxies;
pub mod report;
pub mod rounds;
pub mod stop;
pub mod tls;
