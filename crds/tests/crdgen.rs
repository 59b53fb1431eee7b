//! The generator as `make gen` and `make gen-check` run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn crdgen(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crdgen"))
        .args(args)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_it_writes_has_not_drifted_and_what_is_edited_has() {
    let dir = tempfile::tempdir().unwrap();
    let (pools, chains) = (
        dir.path().join("proxypools.yaml"),
        dir.path().join("proxychains.yaml"),
    );
    assert_eq!(crdgen(&[text(dir.path())]).status.code(), Some(0));
    assert_eq!(crdgen(&["--check", text(dir.path())]).status.code(), Some(0));

    fs::write(
        &pools,
        fs::read_to_string(&pools)
            .unwrap()
            .replacen("maxItems: 32", "maxItems: 33", 1),
    )
    .unwrap();
    let edited = crdgen(&["--check", text(dir.path())]);
    assert_eq!(edited.status.code(), Some(1));
    assert!(
        stderr(&edited).contains(text(&pools)) && !stderr(&edited).contains(text(&chains)),
        "{}",
        stderr(&edited)
    );

    fs::remove_file(&chains).unwrap();
    let missing = crdgen(&["--check", text(dir.path())]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        stderr(&missing).contains(text(&pools)) && stderr(&missing).contains(text(&chains)),
        "{}",
        stderr(&missing)
    );

    assert_eq!(crdgen(&[text(dir.path())]).status.code(), Some(0));
    assert_eq!(crdgen(&["--check", text(dir.path())]).status.code(), Some(0));
}

#[test]
fn what_it_cannot_do_it_says() {
    for args in [&[][..], &["--chekc", "x"], &["--check"], &["a", "b"]] {
        let output = crdgen(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains("usage: crdgen [--check] DIR"),
            "{args:?}"
        );
    }
    let nowhere = crdgen(&["/nonexistent/folder"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(
        stderr(&nowhere).contains("cannot write /nonexistent/folder/proxypools.yaml"),
        "{}",
        stderr(&nowhere)
    );
}
