//! Notices that files change. In: the paths of `-f`. Out: one wake-up per burst of changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A burst of changes ends when nothing happened for this long …
const QUIET: Duration = Duration::from_millis(50);
/// … or has lasted this long.
const BURST_LIMIT: Duration = Duration::from_secs(1);

/// Watches until dropped.
pub struct Follower {
    changes: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Follower {
    /// Watches folders as such, and files through their folder: editors and mounted Secrets replace files by renaming.
    pub fn start(paths: &[PathBuf]) -> Result<Self, String> {
        let (changed, changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A full queue means that a wake-up is waiting already; reading files is no change of them.
            if !matches!(
                event,
                Ok(notify::Event {
                    kind: EventKind::Access(_),
                    ..
                })
            ) {
                let _ = changed.try_send(());
            }
        })
        .map_err(|error| format!("cannot watch files: {error}"))?;
        for path in paths {
            let folder = if path.is_dir() {
                path.as_path()
            } else {
                folder_of(path)
            };
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(|error| format!("cannot watch {}: {error}", folder.display()))?;
        }
        Ok(Self {
            changes,
            _watcher: watcher,
        })
    }

    /// Returns once something changed and a burst of changes is over.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The watcher is gone only when this is: nothing will ever change.
            std::future::pending::<()>().await;
        }
        let end = Instant::now() + BURST_LIMIT;
        loop {
            let quiet = (Instant::now() + QUIET).min(end);
            if timeout_at(quiet, self.changes.recv()).await.is_err() {
                return;
            }
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => file,
    }
}
