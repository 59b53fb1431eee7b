//! The user's API: ProxyPool and ProxyChain.
