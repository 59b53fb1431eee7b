//! The machine's own resolver configuration. In: `resolv.conf` and `hosts`. Out: nameservers, search list and static
//! names, anew whenever one of the files changes.

use std::fs::Metadata;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::Name;
use hickory_resolver::Hosts;
use hickory_resolver::system_conf::parse_resolv_conf;

/// Where the system's configuration stands.
#[derive(Clone, Debug)]
pub struct SystemFiles {
    /// resolv.conf(5): nameservers and search list; its timeouts are not used, ours are shorter.
    pub resolv_conf: PathBuf,
    /// hosts(5).
    pub hosts: PathBuf,
}

impl Default for SystemFiles {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// What the files say.
#[derive(Clone, Debug)]
pub(super) struct SystemConf {
    pub(super) nameservers: Vec<SocketAddr>,
    pub(super) search: Vec<Name>,
    pub(super) hosts: Arc<Hosts>,
}

impl SystemFiles {
    /// Reads both; a missing hosts file is an empty one.
    pub(super) fn read(&self) -> Result<SystemConf, String> {
        let path = self.resolv_conf.display();
        let text = std::fs::read(&self.resolv_conf).map_err(|e| format!("cannot read {path}: {e}"))?;
        let (config, _) = parse_resolv_conf(text).map_err(|e| format!("cannot use {path}: {e}"))?;
        let nameservers = config
            .name_servers()
            .iter()
            .flat_map(|server| {
                let port = server
                    .connections
                    .first()
                    .map_or(53, |connection| connection.port);
                [SocketAddr::new(server.ip, port)]
            })
            .collect();
        let mut hosts = Hosts::default();
        match std::fs::File::open(&self.hosts).and_then(|file| hosts.read_hosts_conf(file)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.hosts.display(), error = %e, "hosts file ignored");
            }
            _ => {}
        }
        Ok(SystemConf {
            nameservers,
            search: config.search().to_vec(),
            hosts: Arc::new(hosts),
        })
    }

    /// Changes whenever one of the files does.
    pub(super) fn fingerprint(&self) -> [Option<Fingerprint>; 2] {
        [&self.resolv_conf, &self.hosts].map(|path| Fingerprint::of(path))
    }
}

/// Tells two versions of a file apart without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    file: (u64, u64),
    modified: (i64, i64),
    length: u64,
}

impl Fingerprint {
    fn of(path: &Path) -> Option<Self> {
        let meta: Metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (meta.dev(), meta.ino()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            length: meta.len(),
        })
    }
}
