//! `cargo xtask lab`: plays failures in a private lab and tells what they cost.

use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use vipd_tests::agent::AgentKind;
use vipd_tests::compare::compare;
use vipd_tests::protocol::Version;
use vipd_tests::scenario::{Scenario, Setup};
use vipd_tests::story;

use crate::support::process::{self, ask, program};
use crate::support::{agent, privilege};

/// The crash, and the crash with a return.
const USUAL: [Scenario; 2] = [Scenario::Crash, Scenario::Return];

/// Play failures in a private lab and tell what they cost the client; needs root
///
/// Two nodes and a client on a switch, made of network namespaces; the host's own interfaces are not touched, and
/// everything is gone when this ends, by Ctrl-C too. Node 1 has priority 200, node 2 has 100.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Scenarios:
  crash    the master's agent is killed with SIGKILL
  return   the master's agent is killed with SIGKILL, then started again
  cut      the master's cable is cut, then mended
  stop     the master's agent is stopped with SIGTERM
  pause    the master's agent is frozen with SIGSTOP, then thawed

Examples:
  cargo xtask lab                                    a crash, then a crash and a return
  cargo xtask lab cut --interval 10ms                a cut cable, at the shortest interval
  cargo xtask lab return --agents keepalived,vipd    vipd takes over from keepalived
  cargo xtask lab return --no-preempt                the old master returns as a backup
  cargo xtask lab stop --vrrp-version 2              VRRPv2, once a second
  cargo xtask lab cut --interval 10ms --repeat 9 --compare vipd,keepalived")]
pub(crate) struct Args {
    /// What happens to the master: crash, return, cut, stop or pause [default: crash return]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Programs on node 1 and node 2: vipd or keepalived
    #[arg(long, value_name = "PREFERRED,BACKUP", default_value = "vipd,vipd")]
    agents: Pair,
    /// Advertisement interval: 10ms to 40950ms in steps of 10 ms; whole seconds in VRRPv2 [default: 100ms, or 1s in
    /// VRRPv2]
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    interval: Option<Duration>,
    /// VRRP version: 2 or 3
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_version)]
    vrrp_version: Version,
    /// Leave the address with the new master when the preferred node returns
    #[arg(long)]
    no_preempt: bool,
    /// Play each scenario so many times and print least, median and greatest
    #[arg(long, value_name = "ROUNDS", default_value = "1", conflicts_with = "agents", value_parser = parse_rounds)]
    repeat: usize,
    /// Programs to hold against each other, in turn, each on both nodes; goes with --repeat [default: vipd]
    #[arg(long, value_name = "PROGRAMS", value_delimiter = ',', conflicts_with = "agents")]
    compare: Vec<Program>,
}

/// A program by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Program {
    Vipd,
    Keepalived,
}

/// The programs of the two nodes.
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
                .map_err(|_| anyhow!("there is no agent {name:?}: it is vipd or keepalived"))
        };
        match text.split(',').collect::<Vec<_>>()[..] {
            [preferred, backup] => Ok(Self { preferred: program(preferred)?, backup: program(backup)? }),
            _ => bail!("two agents with a comma between them, the preferred node's first: vipd,keepalived"),
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    // What can be wrong with the question is said before the build.
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

    let scenarios = if args.scenarios.is_empty() { &USUAL[..] } else { &args.scenarios };
    let mut failed = Vec::new();
    for &scenario in scenarios {
        let result = if is_comparison(args) {
            let kinds: Vec<_> = programs.iter().map(|program| program.kind(&vipd)).collect();
            repeat(scenario, &setup, &kinds, args.repeat)
        } else {
            play(scenario, &setup)
        };
        // One failure says nothing about the next scenario.
        if let Err(reason) = result {
            say(format_args!("{scenario} FAILED: {reason:#}"));
            failed.push(scenario.name());
        }
    }
    ensure!(failed.is_empty(), "scenarios failed: {}", failed.join(", "));
    Ok(())
}

fn play(scenario: Scenario, setup: &Setup) -> Result<()> {
    say(format_args!("{scenario}: {}", scenario.summary()));
    let outcome = scenario.play_watched(setup, &mut process::clocked("lab"))?;
    print(|out| {
        writeln!(out)?;
        story::tell(&outcome, out)?;
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
        story::tell_comparison(&series, out)?;
        writeln!(out)
    })
}

fn print(tell: impl FnOnce(&mut anstream::Stdout) -> io::Result<()>) -> Result<()> {
    tell(&mut anstream::stdout()).context("cannot write to standard output")
}

fn is_comparison(args: &Args) -> bool {
    args.repeat > 1 || !args.compare.is_empty()
}

/// The programs that will run.
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
        "keepalived was asked for and is not on the PATH: `cargo xtask setup --tests` installs it (Debian's package \
         keepalived)"
    );
    Ok(())
}

fn parse_version(text: &str) -> Result<Version> {
    match text {
        "2" => Ok(Version::V2),
        "3" => Ok(Version::V3),
        _ => bail!("VRRP has versions 2 and 3"),
    }
}

fn parse_rounds(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => bail!("a number of rounds, 1 or more"),
    }
}

/// `10ms`, `2s`.
fn parse_interval(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    match (number.parse(), unit) {
        (Ok(number), "ms") => Ok(Duration::from_millis(number)),
        (Ok(number), "s") => Ok(Duration::from_secs(number)),
        _ => bail!("a whole number with its unit: 10ms, 100ms, 1s"),
    }
}

/// The interval asked for, or the version's usual one; refused where the version's advert has no room for it.
fn interval(version: Version, asked: Option<Duration>) -> Result<Duration> {
    let (usual, step, most, rule) = match version {
        Version::V2 => (1000, 1000, 255, "whole seconds, 1s to 255s"),
        Version::V3 => (100, 10, 4095, "steps of 10 ms, 10ms to 40950ms"),
    };
    let (usual, step) = (Duration::from_millis(usual), Duration::from_millis(step));
    let interval = asked.unwrap_or(usual);
    let fits =
        interval >= step && interval <= step * most && interval.as_millis().is_multiple_of(step.as_millis());
    ensure!(
        fits,
        "--interval {}ms is not an interval of VRRPv{}, which counts in {rule}",
        interval.as_millis(),
        version.number()
    );
    Ok(interval)
}

fn say(message: impl std::fmt::Display) {
    process::say("lab", message);
}

#[cfg(test)]
mod tests;
