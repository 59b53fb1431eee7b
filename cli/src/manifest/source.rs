//! Finds and reads the files: in, paths of files and directories; out, their bytes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::mistake::{Mistake, Position};

/// Bytes of one file.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Files read together.
pub const MAX_FILES: usize = 1_000;

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the user named it, or as found in a directory that the user named.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// Reads files, and of directories every `*.yaml`, `*.yml` and `*.json`, sorted by name, without going deeper.
///
/// Each file is named in the mistakes if it cannot be read, is no regular file, or is larger than [`MAX_BYTES`].
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut sources: Vec<Source> = Vec::new();
    for path in files(paths, &mut mistakes) {
        let name = path.display().to_string();
        if sources.iter().any(|source| source.name == name) {
            continue;
        }
        if sources.len() == MAX_FILES {
            mistakes.push(Mistake::of_file(
                &name,
                format!("more than {MAX_FILES} files: join some"),
            ));
            break;
        }
        match read_file(&path) {
            Ok(bytes) if bytes.len() as u64 > MAX_BYTES => {
                let words = format!("is larger than {} MiB: split it", MAX_BYTES / (1024 * 1024));
                mistakes.push(Mistake::of_file(&name, words));
            }
            Ok(bytes) => sources.push(Source { name, bytes }),
            Err(error) => mistakes.push(Mistake::of_file(&name, format!("cannot be read: {error}"))),
        }
    }
    if mistakes.is_empty() {
        Ok(sources)
    } else {
        Err(mistakes)
    }
}

fn files(paths: &[PathBuf], mistakes: &mut Vec<Mistake>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let name = path.display().to_string();
        match manifests_in(path) {
            Ok(found) if found.is_empty() => {
                mistakes.push(Mistake::of_file(
                    &name,
                    "holds no manifest (*.yaml, *.yml, *.json)",
                ));
            }
            Ok(found) => files.extend(found),
            Err(error) => mistakes.push(Mistake::of_file(&name, format!("cannot be listed: {error}"))),
        }
    }
    files
}

fn manifests_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // Hidden files are not meant for us: editors leave locks and swap files there, mounted volumes their versions.
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let manifest = path
            .extension()
            .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext == *known));
        if manifest && !hidden && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before opening: opening a named pipe waits for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes as text.
pub fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Mistake> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let line = number(before.matches('\n').count() + 1);
        let column = number(before.rsplit('\n').next().unwrap_or_default().chars().count() + 1);
        let words = format!(
            "is no UTF-8 text: byte {:#04x} does not belong there",
            bytes[error.valid_up_to()]
        );
        Mistake::at(name, Position { line, column }, "", words)
    })
}
