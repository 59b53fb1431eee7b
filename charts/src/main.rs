//! `chartgen CHART` writes what is generated of the chart in this folder; `chartgen --check CHART` exits 1 and names each file
//! there that drifted.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--check", chart] => check(Path::new(chart)),
        [chart] if !chart.starts_with('-') => write(Path::new(chart)),
        _ => {
            eprintln!("usage: chartgen [--check] CHART");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(code) => code,
        Err(message) => {
            eprintln!("chartgen: {message}");
            ExitCode::from(2)
        }
    }
}

fn write(chart: &Path) -> Result<ExitCode, String> {
    for file in switchyard_charts::generated(chart)? {
        std::fs::write(&file.path, file.content)
            .map_err(|error| format!("cannot write {}: {error}", file.path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(chart: &Path) -> Result<ExitCode, String> {
    let drifted = switchyard_charts::drifted(chart)?;
    for path in &drifted {
        eprintln!(
            "{} differs from what it is made of: run `make gen` and commit it",
            path.display()
        );
    }
    Ok(if drifted.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
