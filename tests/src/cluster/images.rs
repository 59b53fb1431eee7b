//! Images for a cluster without a registry. In: the tars of a folder. Out:
//! what nodes load before they take pods.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::apiserver::programs;
use crate::tool;

/// Names the folder of the tars; else it is `images` beside the profile's folder.
pub const FOLDER: &str = "SWITCHYARD_IMAGES";
/// What `make image` and `make cluster-images` pack.
const PACKED: [&str; 4] = [
    "switchyard-operator.tar",
    "switchyard-proxy.tar",
    "test-backend.tar",
    "test-pause.tar",
];
/// The test backend's image.
pub const BACKEND: &str = "switchyard.test/backend:1";
/// This version's operator.
pub const OPERATOR: &str = concat!("switchyard/operator:", env!("CARGO_PKG_VERSION"));
/// This version's proxy.
pub const PROXY: &str = concat!("switchyard/proxy:", env!("CARGO_PKG_VERSION"));

/// What nodes load.
pub struct Images {
    folder: PathBuf,
    /// Cluster DNS, packed from the program.
    own: TempDir,
}

impl Images {
    /// What of them is not there.
    pub fn lacking() -> Option<String> {
        let folder = folder();
        let missing: Vec<&str> = PACKED
            .into_iter()
            .filter(|tar| !folder.join(tar).is_file())
            .collect();
        (!missing.is_empty()).then(|| {
            let missing = missing.join(", ");
            format!(
                "`make cluster-images` packs what is missing in {}: {missing}",
                folder.display()
            )
        })
    }

    /// Those of the folder, and cluster DNS.
    ///
    /// # Panics
    /// When they cannot be packed.
    pub fn packed() -> Self {
        let images = Self {
            folder: folder(),
            own: tempfile::tempdir().expect("a temporary directory"),
        };
        let packer = Path::new(env!("CARGO_MANIFEST_DIR"))
            .with_file_name("images")
            .join("pack.sh");
        let mut pack = Command::new(packer);
        // Port 53 is root's.
        pack.arg(images.coredns())
            .args(["switchyard.test/coredns:1", "0"]);
        tool::output(pack.arg(programs::find("coredns")));
        images
    }

    /// What every node needs.
    pub(super) fn least(&self) -> Vec<PathBuf> {
        vec![self.folder.join("test-pause.tar")]
    }

    /// What a node that takes pods needs.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let packed = PACKED.iter().map(|tar| self.folder.join(tar));
        packed.chain([self.coredns()]).collect()
    }

    fn coredns(&self) -> PathBuf {
        self.own.path().join("coredns.tar")
    }
}

fn folder() -> PathBuf {
    if let Some(named) = std::env::var_os(FOLDER) {
        return named.into();
    }
    let program = std::env::current_exe().expect("this program has a path");
    // TARGET/PROFILE/deps/PROGRAM for tests, TARGET/PROFILE/PROGRAM for others.
    let folders = program.ancestors().skip(2).take(2).map(|it| it.join("images"));
    let mut folders: Vec<PathBuf> = folders.collect();
    let found = folders.iter().position(|it| it.is_dir()).unwrap_or(0);
    folders.swap_remove(found)
}
