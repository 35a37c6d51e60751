//! `cargo xtask bench`: compares CPU cost and latency of vipd with keepalived or another build of
//! vipd.

mod figure;
mod lanes;
mod machine;
mod measure;
mod metric;
mod pictures;
mod plot;
mod progress;
mod regression;
mod report;
mod results;
mod scenario;
mod subject;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use clap::{Parser, ValueEnum as _};
use serde_json::json;

use measure::owners;
use progress::Progress;
use report::Run;
use results::{Measured, Results};
use scenario::{Effort, Runs, Scenario};
use subject::{Programs, Who};
use targets::{Verdict, judge};

/// Name of the file with the reasons for missed targets, in the report's folder.
const REASONS: &str = "misses.md";

/// Compare vipd with keepalived, in turn and in identical labs; needs root
///
/// Prints medians of several runs, and compares the results with vipd's targets. The host's network
/// is not affected, but all CPUs are used. Other load on the machine distorts the results.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    after_help = "\
Examples:
  cargo xtask bench                                      everything, five runs; about 38 minutes
  cargo xtask bench --quick                              everything, one short run; about 8 minutes
  cargo xtask bench backup master                        CPU per advert received and sent
  cargo xtask bench owners --faults 100                  each fault 100 times; about an hour
  cargo xtask bench owners --only 'SIGKILL at 1 s'       one fault at one interval, alone
  cargo xtask bench --check                              exit status 1 if a target is missed
  cargo xtask bench --json FILE                          all results by key
  cargo xtask bench --markdown docs/bench/README.md      write the report as a document, with charts
  cargo xtask bench --vipd OLD                           compare with another build of vipd"
)]
struct Args {
    /// Scenarios to measure [default: all]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Number of runs per scenario; long scenarios have fewer
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Number of times that the scenario `owners` plays each fault at each interval
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    faults: u32,
    /// In the scenario `owners`, play only this fault at one interval, such as `SIGKILL at 1 s`,
    /// instead of all faults at all intervals in parallel
    #[arg(long, value_name = "FAULT", value_parser = owners::parse_point)]
    only: Option<u32>,
    /// Run each scenario only once, and for a shorter time
    #[arg(long, conflicts_with_all = ["runs", "faults", "only"])]
    quick: bool,
    /// Fail if a target is missed or, with --vipd, if a CPU metric increased by more than 5 %,
    /// not counting noise
    #[arg(long)]
    check: bool,
    /// Also write the report to this file, and its charts next to it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write all results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare with this build of vipd instead of keepalived
    #[arg(long, value_name = "FILE")]
    vipd: Option<PathBuf>,
}

impl Args {
    /// Returns the command that repeats this run.
    fn command(&self) -> String {
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(self.scenarios.iter().map(|scenario| scenario.key()));
        if self.quick {
            words.push("--quick".to_owned());
        } else {
            words.push(format!("--runs {} --faults {}", self.runs, self.faults));
            words.extend(self.only.map(|point| format!("--only '{}'", owners::point_name(point))));
        }
        words.extend(self.vipd.iter().map(|path| format!("--vipd {}", path.display())));
        words.extend(self.markdown.iter().map(|path| format!("--markdown {}", path.display())));
        words.join(" ")
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let programs = Programs::new(vipd_tests::vipd_binary()?, args.vipd.clone())?;
    let scenarios = if args.scenarios.is_empty() { Scenario::value_variants() } else { &args.scenarios };
    scenarios.iter().try_for_each(|scenario| scenario.prepare())?;
    let (runs, effort) = if args.quick {
        (Runs { each: 1, faults: 1 }, Effort::QUICK)
    } else {
        (Runs { each: args.runs, faults: args.faults }, Effort::FULL.playing(args.only))
    };
    let start = Instant::now();
    let results = measure(scenarios, &programs, runs, effort)?;
    let verdicts = judge(&results);
    print!("{}", report::plain_targets(&verdicts));
    if let Some(path) = &args.markdown {
        write(path, &results, &verdicts, &args.command(), start.elapsed())?;
    }
    if let Some(path) = &args.json {
        let document =
            json!({ "machine": machine::describe()?, "command": args.command(), "results": results.json() });
        let text = serde_json::to_string_pretty(&document)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.check {
        check(&results, &verdicts)?;
    }
    Ok(())
}

/// Returns an error if there are missed targets or CPU regressions.
fn check(results: &Results, verdicts: &[Verdict]) -> Result<()> {
    let missed = verdicts.iter().filter(|verdict| !verdict.is_met());
    let mut failures: Vec<_> = missed.map(|verdict| format!("missed: {}", verdict.target.title)).collect();
    for measured in &results.measured {
        let worse = regression::compare(measured).into_iter();
        let worse = worse.filter(|(.., change)| *change == regression::Change::Worse);
        failures.extend(worse.map(|(row, ..)| format!("worse: {}: {row}", measured.scenario)));
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

/// Runs the scenarios. The programs of a scenario take turns, so that changes in the machine's load
/// affect all programs.
fn measure(scenarios: &[Scenario], programs: &Programs, runs: Runs, effort: Effort) -> Result<Results> {
    let columns = |scenario: Scenario| -> Vec<Who> {
        scenario.who().iter().copied().filter(|who| programs.subject(*who).is_some()).collect()
    };
    let time = |scenario: &Scenario| {
        let runs: u32 = columns(*scenario).iter().map(|who| scenario.runs(*who, runs)).sum();
        scenario.expected(effort) * runs
    };
    let mut progress = Progress::new(scenarios.iter().map(time).sum::<Duration>())?;
    let mut results = Results::default();
    for scenario in scenarios {
        let mut measured = Measured::new(*scenario);
        let most = columns(*scenario).iter().map(|who| scenario.runs(*who, runs)).max().unwrap_or(0);
        for run in 1..=most {
            for who in columns(*scenario).into_iter().filter(|who| run <= scenario.runs(*who, runs)) {
                let Some(subject) = programs.subject(who) else { continue };
                progress.begin(&format!("{who}, run {run}: {scenario}"));
                let figures = with_retries(
                    || scenario.measure(&subject, effort),
                    |error| {
                        progress.remark(&format!("repeating: {error:#}"));
                        results.repeated.push(format!("{scenario}: {who}, run {run}: {error:#}"));
                    },
                );
                measured.add(who, figures.with_context(|| format!("{scenario}: {who}, run {run}"))?);
                progress.end(scenario.expected(effort));
            }
        }
        progress.print(&report::plain(&measured));
        results.measured.push(measured);
    }
    Ok(results)
}

/// Repeats a failed measurement up to twice, so that a short burst of load does not fail the whole
/// run.
fn with_retries<T>(mut measure: impl FnMut() -> Result<T>, mut failed: impl FnMut(&Error)) -> Result<T> {
    for _ in 0..2 {
        match measure() {
            Err(error) => failed(&error),
            done => return done,
        }
    }
    measure()
}

/// Writes the report and its charts.
fn write(path: &Path, results: &Results, verdicts: &[Verdict], command: &str, took: Duration) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let reasons = report::reasons(&fs::read_to_string(folder.join(REASONS)).unwrap_or_default());
    let images = plot::images(results)?;
    for image in &images {
        let path = folder.join(image.file);
        fs::write(&path, &image.svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let run = Run { command, took, reasons: &reasons };
    let text = report::markdown(results, verdicts, &images, &run)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn failed_measurement_is_repeated_at_most_twice() {
        for (failures, succeeds) in [(0, true), (2, true), (3, false)] {
            let (mut left, mut reported) = (failures, 0);
            let result = with_retries(
                || {
                    if left > 0 {
                        left -= 1;
                        bail!("the machine is busy")
                    }
                    Ok(())
                },
                |_| reported += 1,
            );
            assert_eq!((result.is_ok(), reported), (succeeds, failures.min(2)));
        }
    }
}
