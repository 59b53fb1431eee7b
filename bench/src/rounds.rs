//! The order of things: rounds, in each all cases, in each all proxies in turn, so that whatever changes on the machine
//! in the meantime meets all of them.

use std::error::Error;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::cases::{Case, Sample, Subject};
use crate::load::socket;
use crate::options::Options;
use crate::proxies::{BACKEND, Ground, Proxy};
use crate::report::{Machine, Measured, Report};
use crate::stop::Stop;
use crate::tls;

/// Descriptors for every process: enough for the idle connections, and the same on every machine.
const DESCRIPTORS: u64 = 20_000;

/// Measures all that the options ask for, prints the table and writes the results.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let stop = Stop::install(Duration::from_secs_f64(options.limit))?;
    prepare(options)?;
    let backend = socket::listen(BACKEND)
        .map_err(|errno| format!("the backend cannot listen on {BACKEND}: {errno}"))?;
    backend.set_nonblocking(true)?;
    let trust = tls::issue(&options.tls())?;
    let ground = Ground {
        options,
        backend: &backend,
        trust: &trust,
        stop: &stop,
    };

    let mut versions = Vec::new();
    for proxy in options.proxies() {
        let version = proxy.version(options)?;
        println!("{:<11} {version}", proxy.name);
        versions.push((proxy.name, version));
    }
    let mut report = Report::new(options, Machine::read()?, versions);

    let started = Instant::now();
    for round in 1..=options.rounds {
        let outcome = one_round(options, round, &mut report, |proxy, case| {
            let running = proxy.start(case.front, &ground)?;
            let subject = Subject {
                running: &running,
                trust: &trust,
                backend: &backend,
                options,
                stop: &stop,
            };
            (case.measure)(&subject)
                .map_err(|error| {
                    format!(
                        "{} in {}: {error}\n{}",
                        proxy.name,
                        case.name,
                        running.last_words()
                    )
                    .into()
                })
                .and_then(|sample| stop.check().map(|()| sample).map_err(Into::into))
        });
        if let Err(error) = outcome {
            // What was measured so far is still worth a look.
            report.print();
            return Err(error);
        }
        eprintln!(
            "bench: round {round} of {} done after {:.0} s",
            options.rounds,
            started.elapsed().as_secs_f64()
        );
    }
    report.print();
    let folder = options.here.join(if options.is_full() {
        "results"
    } else {
        ".cache/results"
    });
    report
        .write(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    println!("written: {}", folder.display());
    Ok(())
}

fn one_round(
    options: &Options,
    round: u32,
    report: &mut Report,
    measure: impl Fn(&'static Proxy, &'static Case) -> Result<Sample, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut proxies = options.proxies();
    // Each comes first, and after each other one, equally often.
    let count = proxies.len();
    proxies.rotate_left(round as usize % count);
    for case in options.cases() {
        for proxy in &proxies {
            let sample = measure(proxy, case)?;
            report.add(Measured {
                round,
                case: case.name,
                proxy: proxy.name,
                sample,
            });
        }
    }
    Ok(())
}

/// Own core, and descriptors enough for this process and the proxies that it starts.
fn prepare(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.proxy_core == options.load_core {
        return Err(
            "the proxy and the load generator need a core each: see --proxy-core and --load-core".into(),
        );
    }
    let mut cores = CpuSet::new();
    cores.set(options.load_core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
        .map_err(|errno| format!("cannot run on core {}: {errno}", options.load_core))?;

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = u64::from(options.idle) * 2 + 500;
    if hard < wanted {
        return Err(format!("{wanted} descriptors are needed, the hard limit is {hard}: see --idle").into());
    }
    setrlimit(
        Resource::RLIMIT_NOFILE,
        DESCRIPTORS.min(hard),
        DESCRIPTORS.min(hard),
    )?;
    Ok(())
}
