//! `cargo xtask lab`: causes failures in a private lab and measures their impact.

use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use vipd_tests::agent::AgentKind;
use vipd_tests::compare::compare;
use vipd_tests::protocol::Version;
use vipd_tests::report;
use vipd_tests::scenario::{Scenario, Setup};

use crate::support::process::{self, ask, program};
use crate::support::{agent, privilege};

/// Scenarios that run by default.
const DEFAULT: [Scenario; 2] = [Scenario::Crash, Scenario::Return];

/// Run failure scenarios in a private lab and measure the client's outage; needs root
///
/// The lab consists of network namespaces: two nodes and a client, connected to a switch. Node 1
/// has priority 200, and node 2 has priority 100. The host's interfaces are not changed, and the
/// lab is removed on exit, even on Ctrl-C.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Scenarios:
  crash    the master's agent is killed with SIGKILL
  return   the master's agent is killed with SIGKILL, then restarted
  cut      the master's cable is cut, then reconnected
  stop     the master's agent is shut down with SIGTERM
  pause    the master's agent is suspended with SIGSTOP, then resumed

Examples:
  cargo xtask lab                                    a crash, then a crash with a restart
  cargo xtask lab cut --interval 10ms                a cut cable at the minimum interval
  cargo xtask lab return --agents keepalived,vipd    vipd takes over from keepalived
  cargo xtask lab return --no-preempt                the old master returns as a backup
  cargo xtask lab stop --vrrp-version 2              VRRPv2 at 1 s
  cargo xtask lab cut --interval 10ms --repeat 9 --compare vipd,keepalived")]
pub(crate) struct Args {
    /// Scenarios to run: crash, return, cut, stop or pause [default: crash return]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Programs on nodes 1 and 2: vipd or keepalived
    #[arg(long, value_name = "PREFERRED,BACKUP", default_value = "vipd,vipd")]
    agents: Pair,
    /// Advertisement interval: 10ms to 40950ms in steps of 10 ms, or 1s to 255s in whole seconds in
    /// VRRPv2 [default: 100ms, or 1s in VRRPv2]
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    interval: Option<Duration>,
    /// VRRP version: 2 or 3
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_version)]
    vrrp_version: Version,
    /// Keep the VIP on the new master when the preferred node returns
    #[arg(long)]
    no_preempt: bool,
    /// Run each scenario this many times, and print minimum, median and maximum
    #[arg(long, value_name = "ROUNDS", default_value = "1", conflicts_with = "agents", value_parser = parse_rounds)]
    repeat: usize,
    /// Programs to compare, each running on both nodes; use with --repeat [default: vipd]
    #[arg(long, value_name = "PROGRAMS", value_delimiter = ',', conflicts_with = "agents")]
    compare: Vec<Program>,
}

/// A program, as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Program {
    Vipd,
    Keepalived,
}

/// The programs that run on the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    preferred: Program,
    backup: Program,
}

impl FromStr for Pair {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let program = |name: &str| {
            <Program as clap::ValueEnum>::from_str(name, false)
                .map_err(|_| anyhow!("unknown program {name:?}; expected vipd or keepalived"))
        };
        match text.split(',').collect::<Vec<_>>()[..] {
            [preferred, backup] => Ok(Self { preferred: program(preferred)?, backup: program(backup)? }),
            _ => {
                bail!(
                    "expected two programs separated by a comma, the preferred node's first, such as vipd,keepalived"
                )
            }
        }
    }
}

/// Runs `cargo xtask lab`.
pub(crate) fn run(args: &Args) -> Result<()> {
    // Check the arguments before building anything.
    let interval = interval(args.vrrp_version, args.interval)?;
    privilege::require("the lab", "cargo xtask lab")?;
    let programs = programs(args);
    if programs.contains(&Program::Keepalived) {
        require_keepalived()?;
    }
    let vipd = agent::build("lab")?;
    let setup = Setup {
        version: args.vrrp_version,
        interval,
        preempt: !args.no_preempt,
        ..Setup::new(args.agents.preferred.kind(&vipd), args.agents.backup.kind(&vipd))
    };

    let scenarios = if args.scenarios.is_empty() { &DEFAULT[..] } else { &args.scenarios };
    let mut failed = Vec::new();
    for &scenario in scenarios {
        let result = if is_comparison(args) {
            let kinds: Vec<_> = programs.iter().map(|program| program.kind(&vipd)).collect();
            repeat(scenario, &setup, &kinds, args.repeat)
        } else {
            play(scenario, &setup)
        };
        // Scenarios are independent, so continue after a failure.
        if let Err(reason) = result {
            progress(format_args!("{scenario} FAILED: {reason:#}"));
            failed.push(scenario.name());
        }
    }
    ensure!(failed.is_empty(), "scenarios failed: {}", failed.join(", "));
    Ok(())
}

fn play(scenario: Scenario, setup: &Setup) -> Result<()> {
    progress(format_args!("{scenario}: {}", scenario.summary()));
    let outcome = scenario.play_with_progress(setup, &mut process::clocked("lab"))?;
    print(|out| {
        writeln!(out)?;
        report::write(&outcome, out)?;
        writeln!(out)
    })
}

fn repeat(scenario: Scenario, setup: &Setup, kinds: &[AgentKind], rounds: usize) -> Result<()> {
    let mut progress = process::clocked("lab");
    let series = compare(scenario, setup, kinds, rounds, |round, outcome| {
        progress(&format!("{scenario} with {}: round {round} of {rounds}", outcome.setup.preferred));
    })?;
    print(|out| {
        let (version, interval) = (setup.version.number(), setup.interval.as_millis());
        writeln!(out, "\n{scenario}: {}; VRRPv{version} every {interval} ms", scenario.summary())?;
        report::write_comparison(&series, out)?;
        writeln!(out)
    })
}

fn print(write: impl FnOnce(&mut anstream::Stdout) -> io::Result<()>) -> Result<()> {
    write(&mut anstream::stdout()).context("cannot write to standard output")
}

fn is_comparison(args: &Args) -> bool {
    args.repeat > 1 || !args.compare.is_empty()
}

/// Returns the programs to run.
fn programs(args: &Args) -> Vec<Program> {
    if !args.compare.is_empty() {
        args.compare.clone()
    } else if is_comparison(args) {
        vec![Program::Vipd]
    } else {
        vec![args.agents.preferred, args.agents.backup]
    }
}

impl Program {
    fn kind(self, vipd: &Path) -> AgentKind {
        match self {
            Self::Vipd => AgentKind::Vipd(vipd.to_owned()),
            Self::Keepalived => AgentKind::Keepalived,
        }
    }
}

fn require_keepalived() -> Result<()> {
    ensure!(
        ask(program("keepalived").arg("--version")).is_some(),
        "keepalived is not on the PATH; run `cargo xtask setup --tests` to install it (Debian's package \
         keepalived)"
    );
    Ok(())
}

pub(crate) fn parse_version(text: &str) -> Result<Version> {
    match text {
        "2" => Ok(Version::V2),
        "3" => Ok(Version::V3),
        _ => bail!("expected a VRRP version, 2 or 3"),
    }
}

fn parse_rounds(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => bail!("expected a number of rounds, at least 1"),
    }
}

/// Parses an interval such as `10ms` or `2s`.
pub(crate) fn parse_interval(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    match (number.parse(), unit) {
        (Ok(number), "ms") => Ok(Duration::from_millis(number)),
        (Ok(number), "s") => Ok(Duration::from_secs(number)),
        _ => bail!("expected a whole number with a unit, such as 10ms, 100ms or 1s"),
    }
}

/// Returns the requested interval, or the version's default. Rejects intervals that the version
/// cannot encode.
pub(crate) fn interval(version: Version, requested: Option<Duration>) -> Result<Duration> {
    let (default, step, max_steps, rule) = match version {
        Version::V2 => (1000, 1000, 255, "whole seconds from 1s to 255s"),
        Version::V3 => (100, 10, 4095, "multiples of 10 ms from 10ms to 40950ms"),
    };
    let (default, step) = (Duration::from_millis(default), Duration::from_millis(step));
    let interval = requested.unwrap_or(default);
    let fits = interval >= step
        && interval <= step * max_steps
        && interval.as_millis().is_multiple_of(step.as_millis());
    ensure!(
        fits,
        "--interval {}ms is not valid in VRRPv{}, which supports {rule}",
        interval.as_millis(),
        version.number()
    );
    Ok(interval)
}

fn progress(message: impl std::fmt::Display) {
    process::progress("lab", message);
}

#[cfg(test)]
mod tests;
