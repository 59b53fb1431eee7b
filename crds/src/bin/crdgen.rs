//! `crdgen DIR` writes the definitions into DIR; `crdgen --check DIR` exits 1 and names each file there that drifted.

use std::{env, path::Path, process::ExitCode};

use switchyard_crds::manifest;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--check", dir] => check(Path::new(dir)),
        [dir] if !dir.starts_with('-') => write(Path::new(dir)),
        _ => {
            eprintln!("usage: crdgen [--check] DIR");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(message) => {
            eprintln!("crdgen: {message}");
            ExitCode::from(2)
        }
    }
}

fn write(dir: &Path) -> Result<ExitCode, String> {
    for manifest in manifest::all()? {
        let path = dir.join(manifest.file);
        std::fs::write(&path, manifest.yaml)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(dir: &Path) -> Result<ExitCode, String> {
    let drifted = manifest::drifted(dir)?;
    for path in &drifted {
        eprintln!(
            "{} differs from the types: run `make gen` and commit it",
            path.display()
        );
    }
    Ok(if drifted.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
