//! What pages for users tell them to type. In: a page of the repository and a heading. Out: the commands below it, a line each, and
//! what they say where they are run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apiserver::programs;
use crate::tool;

/// The commands of the first block of shell below this heading.
///
/// # Panics
/// When there is no such page, heading or block.
#[track_caller]
pub fn commands(page: &str, heading: &str) -> Vec<String> {
    let found = block(&text(page), heading);
    found.unwrap_or_else(|| panic!("{page}: no block of shell below {heading:?}"))
}

/// Runs such a command, of `helm` or `kubectl`, in the repository's folder, for the cluster of this kubeconfig: what it said.
///
/// # Panics
/// When it fails, or is another program's.
#[track_caller]
pub fn run(command: &str, kubeconfig: &Path) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    assert!(["helm", "kubectl"].contains(&program), "{command}");
    // helm keeps files of its own.
    let home = kubeconfig.parent().unwrap_or(kubeconfig);
    tool::output(
        Command::new(programs::find(program))
            .current_dir(root())
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", home)
            .args(words),
    )
}

/// The text of a page.
///
/// # Panics
/// When there is no such page.
#[track_caller]
pub fn text(page: &str) -> String {
    let file = root().join(page);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}

fn block(text: &str, heading: &str) -> Option<Vec<String>> {
    let mut lines = text.lines();
    lines.find(|line| line.trim_start_matches('#').trim() == heading && line.starts_with('#'))?;
    let below = lines.take_while(|line| !line.starts_with("## "));
    let inside = below.skip_while(|line| *line != "```sh").skip(1);
    let commands: Vec<String> = inside
        .take_while(|line| *line != "```")
        .map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    (!commands.is_empty()).then_some(commands)
}

#[cfg(test)]
mod tests {
    use super::block;

    #[test]
    fn the_first_block_below_the_heading() {
        let text = "# A\n```sh\nno\n```\n## B c\nwords\n```sh\none --two    # words\n\nthree\n```\n```sh\nfour\n```\n## D\n## E\n```sh\nfive\n```\n";
        let own = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(block(text, "B c"), own(&["one --two", "three"]));
        assert_eq!(block(text, "E"), own(&["five"]));
        assert_eq!(block(text, "D"), None);
        assert_eq!(block(text, "F"), None);
    }
}
