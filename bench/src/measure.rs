//! What a proxy costs: the CPU time and the memory of all its processes, read from the kernel.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// The processes of one proxy (nginx has a master and a worker), found by their process group.
#[derive(Debug)]
pub struct Processes {
    group: Pid,
    pids: Vec<Pid>,
}

/// User-space memory in bytes. What the kernel holds for sockets is not in it: it is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Proportional set size: pages shared by n processes count 1/n for each. The figure that is compared.
    pub pss: u64,
    /// Resident set size: shared pages count fully in each process.
    pub rss: u64,
    /// The part of the proportional set size that no file backs.
    pub anonymous: u64,
}

/// A moment of a run under load.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Instant,
    cpu: Duration,
    core_idle: Duration,
    core_total: Duration,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Wall clock time.
    pub wall: Duration,
    /// CPU time of the proxy, user and system, all threads of all its processes.
    pub cpu: Duration,
    /// Share of the proxy's core that nobody used, 0 to 1.
    pub idle: f64,
}

impl Processes {
    /// All processes of a process group.
    pub fn of_group(group: Pid) -> io::Result<Self> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            // A process that ended in between has no group any more.
            if nix::unistd::getpgid(Some(Pid::from_raw(pid))) == Ok(group) {
                pids.push(Pid::from_raw(pid));
            }
        }
        pids.sort_unstable();
        if pids.is_empty() {
            Err(io::Error::other("the proxy has ended"))
        } else {
            Ok(Self { group, pids })
        }
    }

    /// An error when a process was replaced or ended: its cost would be missing.
    pub fn unchanged(&self) -> io::Result<()> {
        if Self::of_group(self.group)?.pids == self.pids {
            return Ok(());
        }
        Err(io::Error::other(
            "a process of the proxy ended or was started while it was measured",
        ))
    }

    /// CPU time used so far. The kernel brings a running thread up to date every tick (1 to 4 ms).
    fn cpu(&self) -> io::Result<Duration> {
        let mut sum = Duration::ZERO;
        for &pid in &self.pids {
            sum += Duration::from(clock_getcpuclockid(pid)?.now()?);
        }
        Ok(sum)
    }

    /// Memory in use now.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut sum = Memory::default();
        for pid in &self.pids {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let field = |name: &str| -> io::Result<u64> {
                let line = rollup
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
                kib.map(|kib| kib * 1024)
                    .ok_or_else(|| io::Error::other(format!("smaps_rollup has no {name}")))
            };
            sum.pss += field("Pss")?;
            sum.rss += field("Rss")?;
            sum.anonymous += field("Pss_Anon")?;
        }
        Ok(sum)
    }

    /// Reads the clocks; `core` is the one that the proxy runs on.
    pub fn moment(&self, core: usize) -> io::Result<Moment> {
        let (core_idle, core_total) = core_time(core)?;
        Ok(Moment {
            at: Instant::now(),
            cpu: self.cpu()?,
            core_idle,
            core_total,
        })
    }
}

impl Moment {
    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> Window {
        let total = self.core_total.saturating_sub(earlier.core_total).as_secs_f64();
        let idle = self.core_idle.saturating_sub(earlier.core_idle).as_secs_f64();
        Window {
            wall: self.at - earlier.at,
            cpu: self.cpu.saturating_sub(earlier.cpu),
            idle: if total > 0.0 { idle / total } else { 0.0 },
        }
    }
}

impl Window {
    /// Share of the wall clock time that the proxy was on the CPU.
    pub fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// Idle time and time altogether of a core since boot, in ticks of 10 ms.
fn core_time(core: usize) -> io::Result<(Duration, Duration)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core}");
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
    let fields = line.ok_or_else(|| io::Error::other(format!("this machine has no core {core}")))?;
    // user nice system idle iowait irq softirq steal; guest time is part of user time
    let ticks: Vec<u64> = fields
        .split(' ')
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [_, _, _, idle, waiting, ..] = ticks[..] else {
        return Err(io::Error::other("/proc/stat is not as expected"));
    };
    let time = |ticks: u64| Duration::from_millis(ticks * 10);
    Ok((time(idle + waiting), time(ticks.iter().sum())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_group_is_measured() {
        let own = Processes::of_group(nix::unistd::getpgrp()).unwrap();
        assert!(own.pids.contains(&nix::unistd::getpid()));
        let before = own.cpu().unwrap();
        let memory = own.memory().unwrap();
        assert!(memory.rss >= memory.pss && memory.pss >= memory.anonymous && memory.anonymous > 0);

        let held = vec![1_u8; 64 << 20];
        let started = Instant::now();
        let mut sum = 0_u64;
        while started.elapsed() < Duration::from_millis(50) {
            sum = held
                .iter()
                .fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        }
        assert!(sum > 0);
        assert!(own.memory().unwrap().anonymous >= memory.anonymous + (60 << 20));
        assert!(own.cpu().unwrap() > before);
    }

    #[test]
    fn group_that_ended_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        child.wait().unwrap();
        assert!(Processes::of_group(pid).is_err());
    }
}
