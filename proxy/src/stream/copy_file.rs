//! The last good copy on disk. In: a copy whenever something was applied. Out: what was held when it was written.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchyard_discovery::client::{Copy, Mirror};
use switchyard_snapshot::PoolId;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::state_dir::replace_file;

/// Between two writes: with many changes a second, each would be the whole snapshot again.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// After a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// More than a copy of ours ever holds.
const LONGEST: u64 = 256 << 20;

#[derive(Clone, Debug)]
pub(super) struct CopyFile(PathBuf);

impl CopyFile {
    /// A file in this folder, which is created (mode 0700) if it is not there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self(folder.join("snapshot.json")))
    }

    /// What was held of this pool; none: there is no copy, or it is of no use.
    pub(super) fn load(&self, pool: &PoolId) -> Option<Mirror> {
        let file = self.0.display();
        let mirror = match self.read() {
            Ok(mirror) => mirror?,
            Err(error) => {
                tracing::warn!(%file, error, "the last good copy is ignored");
                return None;
            }
        };
        let theirs = mirror.snapshot().map(|snapshot| PoolId {
            namespace: snapshot.pool.namespace,
            name: snapshot.pool.name,
        })?;
        if theirs != *pool {
            tracing::warn!(%file, %theirs, ours = %pool, "the last good copy is ignored: it is of another pool");
            return None;
        }
        Some(mirror)
    }

    fn read(&self) -> Result<Option<Mirror>, String> {
        let length = match fs::metadata(&self.0) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        if length > LONGEST {
            return Err(format!("it has {length} bytes"));
        }
        let bytes = fs::read(&self.0).map_err(|error| error.to_string())?;
        let mirror = Copy::from_bytes(&bytes).and_then(Mirror::restore);
        mirror.map(Some).map_err(|error| error.to_string())
    }

    /// Keeps the file at the newest copy; never ends.
    pub(super) async fn keep(self, mut copies: watch::Receiver<Option<Copy>>) {
        loop {
            if copies.changed().await.is_err() {
                return std::future::pending().await;
            }
            loop {
                // Not `while let`: that would hold the channel locked while the file is written, and who sends the next copy is
                // polled by the same thread.
                let Some(copy) = copies.borrow_and_update().clone() else {
                    break;
                };
                let path = self.0.clone();
                let written = tokio::task::spawn_blocking(move || replace_file(&path, &copy.to_bytes()?));
                let Err(error) = written.await.unwrap_or_else(|error| Err(io::Error::other(error))) else {
                    break;
                };
                let file = self.0.display();
                tracing::warn!(%file, %error, "no last good copy: a restart without the operator would have an old one, or none");
                sleep(RETRY).await;
            }
            sleep(AT_MOST_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_and_nonsense_are_no_copy() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/copy");
        let file = CopyFile::open(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let pool = PoolId {
            namespace: "edge".into(),
            name: "dmz".into(),
        };
        assert!(file.load(&pool).is_none());
        for nonsense in ["", "{}", "{\"pieces\":[]}"] {
            replace_file(&file.0, nonsense.as_bytes()).unwrap();
            assert!(file.load(&pool).is_none(), "{nonsense:?}");
        }
        assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// One thread sends and writes: were the channel locked while the file is written, it would stand still for ever.
    #[test]
    fn a_new_copy_may_come_while_the_last_is_written() {
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let root = tempfile::tempdir().unwrap();
            let file = CopyFile::open(root.path()).unwrap();
            let path = file.0.clone();
            let (tell, copies) = watch::channel(None);
            let sending = async {
                for _ in 0..3 {
                    tell.send_replace(Some(Mirror::default().copy()));
                    tokio::task::yield_now().await;
                }
                while !path.exists() {
                    tokio::task::yield_now().await;
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = file.keep(copies) => {}
                    () = sending => {}
                }
            });
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(10)).expect("it goes on");
    }
}
