//! How snapshots reach proxies and reports come back.
