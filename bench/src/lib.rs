//! Side-by-side measurements against other proxies.
