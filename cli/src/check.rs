//! `switchyard check`: in, manifest files; out, what they become, or every mistake with file, line and field.
//!
//! [`load`] is what `run` calls too, at the start and whenever the files change: files ─► [`manifest`] (objects and their
//! places) ─► the rules of each kind ─► [`switchyard_operator::compile::compile`] ─► snapshots. Only [`load`] touches the disk;
//! [`load_sources`] is a pure function of what the files hold.

mod resources;
mod summary;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use switchyard_operator::compile::{Compiled, Note, Profile, Resources, compile, pool_id};
use switchyard_operator::secrets::Secrets;
use switchyard_snapshot::{Pool, PoolId, Snapshot};

use crate::manifest::{self, Mistake, Source, source};

/// Bad input.
const EXIT_BAD_INPUT: u8 = 2;
/// Mistakes printed; a file of garbage has as many as lines.
const MAX_PRINTED: usize = 1_000;

/// What `switchyard check` takes.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A manifest, or a folder of them (*.yaml, *.yml, *.json)
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
}

/// What valid files hold.
#[derive(Debug)]
pub struct Loaded {
    resources: Resources,
    compiled: Compiled,
}

impl Loaded {
    /// The pools in the order of the files, each with how many proxies it wants.
    pub fn pools(&self) -> Vec<(PoolId, u32)> {
        let pools = self.resources.pools.iter();
        pools
            .map(|pool| (pool_id(&pool.object.metadata), pool.object.spec.replicas))
            .collect()
    }

    /// What the proxies of a pool run. A pool that the files do not hold has neither listeners nor chains.
    pub fn snapshot(&self, pool: &PoolId) -> Snapshot {
        self.compiled
            .snapshots
            .get(pool)
            .cloned()
            .unwrap_or_else(|| Snapshot {
                pool: Pool {
                    namespace: pool.namespace.clone(),
                    name: pool.name.clone(),
                    site: String::new(),
                    snat: Vec::new(),
                    affinity: None,
                    drain_timeout: std::time::Duration::ZERO,
                    ticket_keys: Vec::new(),
                    relay_keys: Vec::new(),
                    gossip: None,
                },
                listeners: Vec::new(),
                chains: Vec::new(),
                peers: Vec::new(),
            })
    }

    /// The Secrets, by namespace and name.
    pub fn secrets(&self) -> &Secrets {
        &self.resources.secrets
    }

    /// What is written but has no effect here, in words.
    pub fn notes(&self) -> impl Iterator<Item = String> + '_ {
        let words =
            |Note { object, field, why }: &Note| format!("{object}: {field} has no effect here: {why}");
        self.compiled.notes.iter().map(words)
    }
}

/// Reads and compiles files and directories; every mistake is reported, sorted by file and line.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, Vec<Mistake>> {
    load_sources(&source::read_files(paths)?)
}

/// The same, of what the files hold.
pub fn load_sources(sources: &[Source]) -> Result<Loaded, Vec<Mistake>> {
    let (manifests, mut mistakes) = manifest::read(sources);
    let (resources, violations) = resources::build(&manifests, &mut mistakes);
    let compiled = compile(&resources, Profile::Standalone);
    resources::report(&manifests, &violations, &compiled.refused, &mut mistakes);
    if !mistakes.is_empty() {
        let files: HashMap<&str, usize> = sources
            .iter()
            .enumerate()
            .map(|(i, source)| (source.name.as_str(), i))
            .collect();
        mistakes.sort_by_cached_key(|m| {
            let file = files.get(m.file.as_str()).copied();
            (file, m.line, m.column, m.field.clone(), m.message.clone())
        });
        mistakes.dedup();
        return Err(mistakes);
    }
    Ok(Loaded { resources, compiled })
}

/// Says what the files become, or all that is wrong with them: exit code 2.
pub fn run(args: &CheckArgs) -> ExitCode {
    match load(&args.files) {
        Ok(loaded) => {
            for line in summary::lines(&loaded) {
                println!("{line}");
            }
            for note in loaded
                .notes()
                .chain(summary::out_of_date(&loaded, Timestamp::now()))
            {
                println!("note: {note}");
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            print_mistakes(&mistakes);
            ExitCode::from(EXIT_BAD_INPUT)
        }
    }
}

/// Each mistake on a line of standard error, then how many there are.
pub fn print_mistakes(mistakes: &[Mistake]) {
    for mistake in mistakes.iter().take(MAX_PRINTED) {
        eprintln!("{mistake}");
    }
    if mistakes.len() > MAX_PRINTED {
        eprintln!("and {} more", mistakes.len() - MAX_PRINTED);
    }
    eprintln!("{}", summary::count(mistakes));
}

#[cfg(test)]
mod tests;
