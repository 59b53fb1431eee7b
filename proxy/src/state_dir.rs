//! What outlives a restart, on disk: one small file per chain. In: [`Stored`] whenever it changes. Out: the last one,
//! when the proxy starts again; a file that cannot be understood counts as none.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use switchyard_snapshot::ChainId;
use tokio::sync::watch;

use crate::chain::event::Stored;

/// A write that failed is tried again after this long, or when there is something newer.
const RETRY: Duration = Duration::from_secs(5);

/// More than a file of ours ever holds.
const LONGEST: u64 = 64 * 1024;

/// A directory that belongs to one proxy.
#[derive(Clone, Debug)]
pub struct StateDir(Arc<Path>);

/// What a chain's file shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As it is.
    Unchanged,
    /// This.
    Stored(Stored),
    /// There shall be no file: the chain is gone.
    Forgotten,
}

impl StateDir {
    /// Creates the directory (mode 0700) if it is not there.
    ///
    /// # Errors
    /// What the system says, about the path or a part of it.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.into()))
    }

    /// What was stored of a chain, if that can be read.
    pub fn load(&self, chain: &ChainId) -> Option<Stored> {
        let path = self.path(chain)?;
        let length = match fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%chain, file = %path.display(), %error, "stored state ignored: it cannot be read");
                return None;
            }
        };
        let read = || -> Result<Stored, String> {
            if length > LONGEST {
                return Err(format!("it has {length} bytes"));
            }
            let text = fs::read(&path).map_err(|error| error.to_string())?;
            serde_json::from_slice(&text).map_err(|error| error.to_string())
        };
        read()
            .map_err(|error| {
                tracing::warn!(%chain, file = %path.display(), error, "stored state ignored: it makes no sense");
            })
            .ok()
    }

    /// Replaces what is stored, as a whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn store(&self, chain: &ChainId, stored: &Stored) -> io::Result<()> {
        let Some(path) = self.path(chain) else {
            return Ok(());
        };
        replace_file(&path, &serde_json::to_vec(stored)?)
    }

    fn remove(&self, chain: &ChainId) -> io::Result<()> {
        match self.path(chain).map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps the file of one chain as `wanted` says, until its sender is gone and the last wish is fulfilled.
    pub async fn keep(self, chain: ChainId, mut wanted: watch::Receiver<Kept>) {
        while wanted.changed().await.is_ok() {
            loop {
                let kept = wanted.borrow_and_update().clone();
                let (dir, id) = (self.clone(), chain.clone());
                let written = tokio::task::spawn_blocking(move || match kept {
                    Kept::Unchanged => Ok(()),
                    Kept::Stored(stored) => dir.store(&id, &stored),
                    Kept::Forgotten => dir.remove(&id),
                });
                let Err(error) = written.await.unwrap_or_else(|error| Err(io::Error::other(error))) else {
                    break;
                };
                tracing::warn!(%chain, dir = %self.0.display(), %error, "state not stored: a restart would lose it");
                if let Ok(Err(_)) = tokio::time::timeout(RETRY, wanted.changed()).await {
                    return;
                }
            }
        }
    }

    /// Names of resources are DNS labels; anything else (a snapshot from elsewhere) gets no file, so that no name leads
    /// out of the directory.
    fn path(&self, chain: &ChainId) -> Option<PathBuf> {
        let plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        let ChainId { namespace, name } = chain;
        (plain(namespace) && plain(name)).then(|| self.0.join(format!("{namespace}_{name}.json")))
    }
}

/// Replaces a `.json` file (mode 0600) as a whole or not at all.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn id(name: &str) -> ChainId {
        ChainId {
            namespace: "edge".into(),
            name: name.into(),
        }
    }

    fn stored(epoch: u64) -> Stored {
        Stored {
            epoch,
            tier: 1,
            since: jiff::Timestamp::UNIX_EPOCH,
            returns_at: None,
            failback_at: None,
        }
    }

    #[test]
    fn what_is_stored_comes_back_and_nonsense_counts_as_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/state");
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(dir.load(&id("msuite-1")), None);
        dir.store(&id("msuite-1"), &stored(7)).unwrap();
        assert_eq!(dir.load(&id("msuite-1")), Some(stored(7)));
        let file = path.join("edge_msuite-1.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        for nonsense in ["", "{\"epoch\":7}", "{\"epoch\":7,\"tier\":1,\"since\":\"x\"}"] {
            fs::write(&file, nonsense).unwrap();
            assert_eq!(dir.load(&id("msuite-1")), None, "{nonsense}");
        }
        fs::write(&file, vec![b' '; 1 << 20]).unwrap();
        assert_eq!(dir.load(&id("msuite-1")), None);
        dir.store(&id("../../escaped"), &stored(1)).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn the_last_wish_is_fulfilled_before_the_keeper_ends() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path()).unwrap();
        let wishes = watch::Sender::new(Kept::Unchanged);
        let keeper = tokio::spawn(dir.clone().keep(id("a"), wishes.subscribe()));
        wishes.send_replace(Kept::Stored(stored(1)));
        wishes.send_replace(Kept::Stored(stored(2)));
        drop(wishes);
        keeper.await.unwrap();
        assert_eq!(dir.load(&id("a")), Some(stored(2)));
        let wishes = watch::Sender::new(Kept::Unchanged);
        let keeper = tokio::spawn(dir.clone().keep(id("a"), wishes.subscribe()));
        wishes.send_replace(Kept::Forgotten);
        drop(wishes);
        keeper.await.unwrap();
        assert_eq!(dir.load(&id("a")), None);
    }
}
