//! Operator and proxies in one process, over real TLS on loopback; the API server's part (its keys) is an HTTP server of its own.

mod exchange;
mod rig;
mod rotation;
