//! Figures. In: times, sizes and their bounds. Out: lines for people, JSON for the next comparison, and whether a bound was
//! missed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this machine.
    processors: usize,
    /// Processes that wanted to run, over the last minute, when the measurement began: the machine was quiet if this is
    /// far below `processors`.
    load_before: f64,
    figures: Vec<Figure>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// Under which circumstances.
    case: String,
    /// What.
    what: String,
    value: f64,
    unit: &'static str,
    /// At most; none: for information.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<f64>,
}

impl Report {
    /// Nothing is measured yet.
    pub fn begin() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let first = load.split_whitespace().next().and_then(|text| text.parse().ok());
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: first.unwrap_or_default(),
            figures: Vec::new(),
        }
    }

    /// A time, with its bound if there is one.
    pub fn time(&mut self, case: &str, what: &str, time: Duration, bound: Option<Duration>) {
        let millis = |time: Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
        self.figure(case, what, millis(time), "ms", bound.map(millis));
    }

    /// A size in memory.
    pub fn memory(&mut self, case: &str, what: &str, bytes: u64, bound: Option<u64>) {
        let mega = |bytes: u64| (bytes as f64 / 1e5).round() / 1e1;
        self.figure(case, what, mega(bytes), "MB", bound.map(mega));
    }

    /// How often.
    pub fn count(&mut self, case: &str, what: &str, count: usize) {
        self.figure(case, what, count as f64, "", None);
    }

    /// Median, 99th percentile (which has the bound) and maximum of times.
    ///
    /// # Panics
    /// When there are none.
    pub fn spread(&mut self, case: &str, mut times: Vec<Duration>, p99_bound: Option<Duration>) {
        times.sort_unstable();
        self.count(case, "pairs of change and proxy", times.len());
        self.time(case, "p50", percentile(&times, 50), None);
        self.time(case, "p99", percentile(&times, 99), p99_bound);
        self.time(case, "max", *times.last().expect("something was measured"), None);
    }

    fn figure(&mut self, case: &str, what: &str, value: f64, unit: &'static str, bound: Option<f64>) {
        let figure = Figure {
            case: case.to_owned(),
            what: what.to_owned(),
            value,
            unit,
            bound,
        };
        println!("{}", figure.line());
        self.figures.push(figure);
    }

    /// Whether a figure is beyond its bound.
    pub fn missed(&self) -> bool {
        self.figures.iter().any(Figure::missed)
    }

    /// Writes everything as JSON.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, file: &Path) {
        let text = serde_json::to_string_pretty(self).expect("figures are JSON");
        let folder = file.parent().expect("a file in a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(file, text + "\n").unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        println!("written to {}", file.display());
    }
}

impl Figure {
    fn missed(&self) -> bool {
        self.bound.is_some_and(|bound| self.value > bound)
    }

    fn line(&self) -> String {
        let Self {
            case,
            what,
            value,
            unit,
            bound,
        } = self;
        let bound = bound.map_or_else(String::new, |bound| {
            let verdict = if self.missed() { "MISSED" } else { "kept" };
            format!("  (at most {bound}: {verdict})")
        });
        format!("{case:34} {what:44} {value:>10} {unit}{bound}")
    }
}

/// The value that so many percent of all are not above.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    *sorted.get(at).expect("something was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
    }

    #[test]
    fn a_bound_is_missed_from_beyond_it() {
        let mut report = Report::begin();
        report.time(
            "a",
            "b",
            Duration::from_millis(50),
            Some(Duration::from_millis(50)),
        );
        assert!(!report.missed());
        report.time(
            "a",
            "b",
            Duration::from_micros(50_010),
            Some(Duration::from_millis(50)),
        );
        assert!(report.missed());
    }
}
