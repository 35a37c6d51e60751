//! `cargo xtask bench`: what vipd costs and how fast it is, beside keepalived.

mod report;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;
use vipd_tests::agent::AgentKind;
use vipd_tests::bench::{Figure, flood, many, steady, takeover};

use crate::setup;
use crate::support::process::say;
use crate::support::{agent, privilege, workspace};
use report::Measured;

/// The shortest interval of VRRPv3.
const FAST: Duration = Duration::from_millis(10);
/// How many virtual routers an interface can have.
const ALL: u8 = 255;

/// Measure vipd beside keepalived, in turn, in the same labs; needs root
///
/// Medians of several runs. Nothing on the host changes, but every processor is busy: a machine that does something else
/// meanwhile measures that.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask bench                                      everything, five runs
  cargo xtask bench --quick                              everything, once
  cargo xtask bench backup master                        what adverts cost who hears and who sends them
  cargo xtask bench --markdown docs/bench/README.md      the report as a document
  cargo xtask bench cut --vipd ../before/vipd            another vipd, to hold a change against what was before")]
pub(crate) struct Args {
    /// What is measured [default: everything]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Runs of each
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// One run of each
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// Write the report to this file as well
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Another program instead of the vipd of this checkout, to hold a change against what was before
    #[arg(long, value_name = "FILE")]
    vipd: Option<PathBuf>,
}

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// 255 virtual routers in Backup at 10 ms
    Backup,
    /// The same at 100 ms: a tenth of the adverts
    Slow,
    /// 255 virtual routers in Master at 10 ms
    Master,
    /// The cable of a master of one virtual router at 10 ms is cut
    One,
    /// The same with 100 addresses
    Addresses,
    /// The same with 255 virtual routers
    Cut,
    /// A healthy pair at 10 ms under as much junk as the machine makes
    Flood,
    /// 4,080 virtual routers on 16 interfaces at 100 ms; vipd alone
    Many,
    /// What the XDP program costs a frame; vipd alone
    Xdp,
}

impl Scenario {
    /// Whether it is vipd's alone.
    fn is_ours(self) -> bool {
        matches!(self, Self::Many | Self::Xdp)
    }

    fn measure(self, kind: &AgentKind) -> Result<Vec<Figure>> {
        let length = Duration::from_secs(5);
        match self {
            Self::Backup => steady::backup(kind, ALL, FAST, length),
            Self::Slow => steady::backup(kind, ALL, FAST * 10, length),
            Self::Master => steady::master(kind, ALL, FAST, length),
            Self::One => takeover::of_many_routers(kind, 1, FAST),
            Self::Addresses => takeover::of_many_addresses(kind, 100, FAST),
            Self::Cut => takeover::of_many_routers(kind, ALL, FAST),
            Self::Flood => flood::pair(kind, FAST, length),
            Self::Many => many::routers(kind, FAST * 10, length),
            Self::Xdp => in_xdp(),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup, 255 virtual routers at 10 ms",
            Self::Slow => "backup, 255 virtual routers at 100 ms",
            Self::Master => "master, 255 virtual routers at 10 ms",
            Self::One => "cut, 1 virtual router at 10 ms",
            Self::Addresses => "cut, 1 virtual router with 100 addresses at 10 ms",
            Self::Cut => "cut, 255 virtual routers at 10 ms",
            Self::Flood => "junk against a pair at 10 ms",
            Self::Many => "4,080 virtual routers at 100 ms",
            Self::Xdp => "the XDP program",
        })
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
    let kinds = [AgentKind::Vipd(vipd), AgentKind::Keepalived];
    let scenarios = if args.scenarios.is_empty() { Scenario::value_variants() } else { &args.scenarios };
    let runs = if args.quick { 1 } else { args.runs };
    let start = Instant::now();
    let mut measured = Vec::new();
    for scenario in scenarios {
        let one = measure(*scenario, &kinds, runs)?;
        // Shown as it comes: a full run takes a while.
        print!("{}", report::plain(&one));
        measured.push(one);
    }
    if let Some(path) = &args.markdown {
        let text = report::markdown(&measured, runs, start.elapsed())?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Alternates the agents: whatever else the machine does meets them alike.
fn measure(scenario: Scenario, kinds: &[AgentKind], runs: u32) -> Result<Measured> {
    let asked = if scenario.is_ours() { 1 } else { kinds.len() };
    let mut all = vec![Vec::new(); asked];
    for run in 1..=runs {
        for (kind, figures) in kinds.iter().zip(&mut all) {
            say("bench", format_args!("{scenario}: {kind}, run {run} of {runs}"));
            figures.push(scenario.measure(kind).with_context(|| format!("{scenario}: {kind}"))?);
        }
    }
    Ok(Measured { title: scenario.to_string(), agents: all })
}

/// The bench of the program itself, which knows the `vipd` crate (see main.rs): cargo builds and runs it. A line is what was
/// measured, a tab, and nanoseconds.
fn in_xdp() -> Result<Vec<Figure>> {
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "--quiet", "--locked", "--package", "vipd", "--bench", "xdp"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the bench of the XDP program failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("the bench says no text")?;
    let figure = |line: &str| -> Result<Figure> {
        let (name, value) = line.split_once('\t').with_context(|| format!("{line:?} is no figure"))?;
        Ok(Figure { name: name.to_owned(), unit: "ns", value: value.parse()? })
    };
    text.lines().map(figure).collect()
}
