//! `cargo xtask bench`: what vipd costs and how fast it is, beside keepalived.

mod machine;
mod pictures;
mod plot;
mod progress;
mod report;
mod results;
mod scenario;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use clap::ValueEnum as _;

use crate::setup;
use crate::support::{agent, privilege};
use progress::Progress;
use report::Run;
use results::{Measured, Results};
use scenario::{Effort, Scenario};
use targets::{Verdict, judge};

/// Beside the report: why targets are missed.
const REASONS: &str = "misses.md";

/// Measure vipd beside keepalived, in turn, in the same labs; needs root
///
/// Medians of several runs, held against what vipd must reach. Nothing on the host changes, but every processor is busy: a
/// machine that does something else meanwhile measures that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask bench                                      everything, five runs, about 25 minutes
  cargo xtask bench --quick                              everything, once and shorter, under 5 minutes
  cargo xtask bench backup master                        what adverts cost who hears and who sends them
  cargo xtask bench --check                              exit status 1 if a target is missed
  cargo xtask bench --markdown docs/bench/README.md      the report as a document, pictures beside it
  cargo xtask bench cut --vipd ../before/vipd            another vipd, to hold a change against what was before")]
pub(crate) struct Args {
    /// What is measured [default: everything]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Runs of each; fewer of what takes long
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// One short run of each
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// Fail if a target is missed
    #[arg(long)]
    check: bool,
    /// Write the report to this file as well, and its pictures beside it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Another program instead of the vipd of this checkout, to hold a change against what was before
    #[arg(long, value_name = "FILE")]
    vipd: Option<PathBuf>,
}

impl Args {
    /// What would be typed to repeat it.
    fn command(&self) -> String {
        let scenarios = self.scenarios.iter().filter_map(clap::ValueEnum::to_possible_value);
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(scenarios.map(|scenario| scenario.get_name().to_owned()));
        words.push(if self.quick { "--quick".to_owned() } else { format!("--runs {}", self.runs) });
        words.extend(self.markdown.iter().map(|path| format!("--markdown {}", path.display())));
        words.join(" ")
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    privilege::require("the bench", "cargo xtask bench")?;
    setup::tests()?;
    let vipd = match &args.vipd {
        Some(other) => other.clone(),
        None => agent::build("bench")?,
    };
    let scenarios = if args.scenarios.is_empty() { Scenario::value_variants() } else { &args.scenarios };
    scenarios.iter().try_for_each(|scenario| scenario.prepare())?;
    let (runs, effort) = if args.quick { (1, Effort::QUICK) } else { (args.runs, Effort::FULL) };
    let start = Instant::now();
    let results = measure(scenarios, &vipd, runs, effort)?;
    let verdicts = judge(&results);
    print!("{}", report::plain_targets(&verdicts));
    if let Some(path) = &args.markdown {
        write(path, &results, &verdicts, &args.command(), start.elapsed())?;
    }
    let missed: Vec<_> = verdicts.iter().filter(|verdict| !verdict.is_reached()).collect();
    let missed: Vec<_> = missed.iter().map(|verdict| verdict.target.what).collect();
    ensure!(!args.check || missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// Every scenario with all who are measured in turn: whatever else the machine does meets them alike.
fn measure(scenarios: &[Scenario], vipd: &Path, runs: u32, effort: Effort) -> Result<Results> {
    let steps = |scenario: &Scenario| {
        let columns = u32::try_from(scenario.who().len()).unwrap_or(1);
        scenario.expected(effort) * columns * scenario.runs(runs)
    };
    let mut progress = Progress::new(scenarios.iter().map(steps).sum::<Duration>())?;
    let mut results = Results::default();
    for scenario in scenarios {
        let mut measured = Measured::new(*scenario);
        let runs = scenario.runs(runs);
        for run in 1..=runs {
            for who in scenario.who() {
                progress.begin(&format!("{who}, run {run} of {runs}: {scenario}"));
                let one = || scenario.measure(*who, vipd, effort);
                let figures = patiently(one, |error| {
                    progress.remark(&format!("once more: {error:#}"));
                    results.again.push(format!("{scenario}: {who}, run {run}: {error:#}"));
                });
                measured.add(*who, figures.with_context(|| format!("{scenario}: {who}, run {run}"))?);
                progress.end(scenario.expected(effort));
            }
        }
        // Shown as it comes: a full run takes a while.
        progress.print(&report::plain(&measured));
        results.measured.push(measured);
    }
    Ok(results)
}

/// Measures again what failed, twice at most: a machine that was too busy for a moment does not cost a whole run.
fn patiently<T>(mut measure: impl FnMut() -> Result<T>, mut failed: impl FnMut(&Error)) -> Result<T> {
    for _ in 0..2 {
        match measure() {
            Err(error) => failed(&error),
            done => return done,
        }
    }
    measure()
}

/// The report, and its pictures beside it.
fn write(path: &Path, results: &Results, verdicts: &[Verdict], command: &str, took: Duration) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let reasons = report::reasons(&fs::read_to_string(folder.join(REASONS)).unwrap_or_default());
    let pictures = pictures::of(results);
    for picture in &pictures {
        let path = folder.join(picture.file);
        fs::write(&path, plot::svg(picture)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let run = Run { command, took, reasons: &reasons };
    let text = report::markdown(results, verdicts, &pictures, &run)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_measurement_may_fail_twice() {
        for (failures, succeeds) in [(0, true), (2, true), (3, false)] {
            let (mut left, mut told) = (failures, 0);
            let result = patiently(
                || {
                    if left > 0 {
                        left -= 1;
                        bail!("too busy")
                    }
                    Ok(())
                },
                |_| told += 1,
            );
            assert_eq!((result.is_ok(), told), (succeeds, failures.min(2)));
        }
    }
}
