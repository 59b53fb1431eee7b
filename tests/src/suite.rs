//! Runs the tests of one test program, side by side. In: functions that get
//! a lab. Out: the usual output of `cargo test`, its filters and exit code.
//!
//! A test that the machine cannot run is skipped and says why; with `CI=true`
//! it fails instead: a skip must never look like a pass.

use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Trial};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::lab::{self, Lab};
use crate::netns;
use crate::tool;
use crate::webservers;

/// Tests at a time unless `--test-threads` says otherwise: most wait for time
/// to pass, so there are more than processors; with many more clients would
/// measure each other.
const AT_A_TIME: usize = 10;

/// Programs that the harness starts.
const TOOLS: [&str; 17] = [
    "ip",
    "nsenter",
    "prlimit",
    "nft",
    "dig",
    "named",
    "knotd",
    "knotc",
    "nsd",
    "nginx",
    "openssl",
    "curl",
    "node",
    "nghttp",
    "h2load",
    "prosody",
    "mosquitto",
];

/// The tests of a test program, in the order in which they are begun: put
/// the long ones first.
pub struct Suite {
    trials: Vec<Trial>,
    /// Run after all others, one by one.
    alone: Vec<Trial>,
    at_a_time: usize,
    lacking: Arc<Option<String>>,
}

impl Default for Suite {
    fn default() -> Self {
        Self::new()
    }
}

impl Suite {
    /// An empty suite; looks at what the machine can run, and removes what
    /// killed test programs left behind.
    pub fn new() -> Self {
        let lacking = lacking();
        if lacking.is_none() {
            netns::delete_stale();
            lab::delete_stale();
            allow_many_descriptors();
        }
        Self {
            trials: Vec::new(),
            alone: Vec::new(),
            at_a_time: AT_A_TIME,
            lacking: Arc::new(lacking),
        }
    }

    /// So many of its tests run at a time, unless `--test-threads` says otherwise.
    #[must_use]
    pub fn at_a_time(mut self, tests: usize) -> Self {
        self.at_a_time = tests;
        self
    }

    /// Its tests need this too: what of it the machine lacks, if anything.
    #[must_use]
    pub fn needing(mut self, lacking: Option<String>) -> Self {
        if self.lacking.is_none() {
            self.lacking = Arc::new(lacking);
        }
        self
    }

    /// Adds a test that runs beside others.
    pub fn test(&mut self, name: &str, body: impl Fn(&Lab) + Send + 'static) {
        let trial = self.trial(name, move |name| body(&Lab::new(name)));
        self.trials.push(trial);
    }

    /// Adds a test that has the machine for itself, because it measures what
    /// others would disturb, or takes all of something. They come last, in the
    /// order in which they were added.
    pub fn alone(&mut self, name: &str, body: impl Fn(&Lab) + Send + 'static) {
        let trial = self.trial(name, move |name| body(&Lab::new(name)));
        self.alone.push(trial);
    }

    /// Adds the test twice: with one data worker and with two.
    pub fn workers(&mut self, name: &str, body: fn(&Lab, usize)) {
        self.test(&format!("{name}/1_worker"), move |lab| body(lab, 1));
        self.test(&format!("{name}/2_workers"), move |lab| body(lab, 2));
    }

    /// As [`Suite::workers`], each with the machine for itself.
    pub fn workers_alone(&mut self, name: &str, body: fn(&Lab, usize)) {
        self.alone(&format!("{name}/1_worker"), move |lab| body(lab, 1));
        self.alone(&format!("{name}/2_workers"), move |lab| body(lab, 2));
    }

    /// Runs what the command line selects: those that run beside others, then
    /// those that run alone; each part ends with a result of its own.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(self.at_a_time);
        let beside = libtest_mimic::run(&arguments, self.trials);
        arguments.test_threads = Some(1);
        let alone = libtest_mimic::run(&arguments, self.alone);
        if beside.has_failed() || alone.has_failed() {
            ExitCode::from(101)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn trial(&self, name: &str, run: impl FnOnce(&str) + Send + 'static) -> Trial {
        let lacking = Arc::clone(&self.lacking);
        let named = name.to_owned();
        Trial::ignorable_test(name, move || {
            let Some(why) = lacking.as_ref() else {
                run(&named);
                return Ok(Completion::Completed);
            };
            if in_ci() {
                return Err(format!("must not be skipped in CI: {why}").into());
            }
            Ok(Completion::ignored_with(why))
        })
    }
}

/// What the machine lacks to run these tests.
fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !tool::exists(tool)).collect();
    if !missing.is_empty() {
        return Some(format!(
            "`make tools` installs what is missing: {}",
            missing.join(", ")
        ));
    }
    if let Some(why) = webservers::lacking() {
        return Some(why);
    }
    let probe = format!("{}-probe", std::process::id());
    let add = tool::try_output(Command::new("ip").args(["netns", "add", &probe]));
    if let Err(why) = add {
        return Some(format!("the machine refuses network namespaces: {why}"));
    }
    let _ = tool::try_output(Command::new("ip").args(["netns", "del", &probe])); // told when it lists them
    None
}

/// Clients of all tests share this process, and what it starts inherits its
/// limit: up to what the machine allows.
fn allow_many_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    raised.expect("a limit can be raised up to the hard one");
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
