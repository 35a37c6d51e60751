//! `cargo xtask lab`: failures of a master, played in a lab of network namespaces.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use vipd_tests::agent::AgentKind;
use vipd_tests::compare::compare;
use vipd_tests::protocol::Version;
use vipd_tests::scenario::{Outcome, Scenario, Setup};
use vipd_tests::story;

use crate::support::agent;
use crate::support::privilege;
use crate::support::process::say;

const EXAMPLES: &str = "Examples:
  cargo xtask lab                                  case A (crash) and case B (return), vipd alone
  cargo xtask lab crash --agents keepalived,vipd   vipd takes over from keepalived
  cargo xtask lab cut --interval 10ms              at the shortest interval there is
  cargo xtask lab pause --no-preempt               a frozen master comes back and leaves the new one alone
  cargo xtask lab cut --interval 10ms --repeat 20 --compare vipd,keepalived
                                                   both agents, in turn, with medians";

/// Play failures of a master in a lab of network namespaces; needs root
///
/// Two nodes and a client on a bridge, nothing of it on the host. Node 1 is preferred (priority 200), node 2 has
/// priority 100, the client pings the virtual address each millisecond. Shown are the ping, the client's ARP table,
/// the agents' log lines, and the times: t0 last advert of the old master, t1 first advert of the new one, t2 its first
/// gratuitous ARP, t3 its first answer.
#[derive(Arguments)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What happens to the master: crash, return, cut, stop, pause
    #[arg(value_name = "SCENARIO", default_values = ["crash", "return"])]
    scenarios: Vec<Scenario>,
    /// Agent of the preferred node and of the other: vipd or keepalived
    #[arg(long, value_name = "PREFERRED,BACKUP", default_value = "vipd,vipd", value_parser = pair)]
    agents: (Kind, Kind),
    /// Advertisement interval
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = interval)]
    interval: Duration,
    /// VRRP version: 2 or 3
    #[arg(long, value_name = "N", default_value = "3", value_parser = version)]
    vrrp_version: Version,
    /// The preferred node does not take over from a living master
    #[arg(long)]
    no_preempt: bool,
    /// Play each scenario so many times with each agent of --compare on both nodes, and print medians
    #[arg(long, value_name = "N", requires = "compare")]
    repeat: Option<usize>,
    /// Agents to compare, in turn
    #[arg(
        long,
        value_name = "AGENT,…",
        value_delimiter = ',',
        requires = "repeat",
        conflicts_with = "agents"
    )]
    compare: Vec<Kind>,
}

/// Name of an agent on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vipd,
    Keepalived,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "vipd" => Ok(Self::Vipd),
            "keepalived" => Ok(Self::Keepalived),
            _ => bail!("there is no agent {name:?}: it is vipd or keepalived"),
        }
    }
}

impl Kind {
    fn agent(self, vipd: &Path) -> AgentKind {
        match self {
            Self::Vipd => AgentKind::Vipd(vipd.to_owned()),
            Self::Keepalived => AgentKind::Keepalived,
        }
    }
}

/// `vipd,keepalived`.
fn pair(text: &str) -> Result<(Kind, Kind)> {
    let (preferred, backup) = text
        .split_once(',')
        .with_context(|| format!("{text:?} is one agent; name two, such as keepalived,vipd"))?;
    Ok((preferred.parse()?, backup.parse()?))
}

/// `10ms`, `1s`, `1.5s`; whether the wire can say it, the agents tell.
fn interval(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or_default(), 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    interval.filter(|interval| !interval.is_zero()).with_context(|| {
        format!("{text:?} is no interval: write a number and its unit, such as 10ms, 100ms or 1s")
    })
}

fn version(text: &str) -> Result<Version> {
    match text {
        "2" => Ok(Version::V2),
        "3" => Ok(Version::V3),
        _ => bail!("there is no VRRP version {text:?} here: it is 2 or 3"),
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    privilege::require("cargo xtask lab")?;
    let vipd = agent::build("lab")?;
    let (preferred, backup) = args.agents;
    let setup = Setup {
        interval: args.interval,
        version: args.vrrp_version,
        preempt: !args.no_preempt,
        ..Setup::new(preferred.agent(&vipd), backup.agent(&vipd))
    };
    for scenario in &args.scenarios {
        match args.repeat {
            None => {
                play(*scenario, &setup)?;
            }
            Some(rounds) => {
                let kinds: Vec<_> = args.compare.iter().map(|kind| kind.agent(&vipd)).collect();
                let all = compare(*scenario, &setup, &kinds, rounds, |round, outcome| {
                    say("lab", format_args!("round {round} of {rounds}: {}", outcome.setup.preferred));
                })?;
                println!(
                    "{scenario}: {}; VRRPv{} every {} ms\n",
                    scenario.summary(),
                    setup.version.number(),
                    setup.interval.as_millis()
                );
                story::tell_comparison(&all, &mut anstream::stdout())?;
                println!();
            }
        }
    }
    Ok(())
}

/// Plays one scenario and tells its story.
pub(crate) fn play(scenario: Scenario, setup: &Setup) -> Result<Outcome> {
    say("lab", format_args!("{scenario}: {} …", scenario.summary()));
    let outcome = scenario.play(setup)?;
    println!();
    story::tell(&outcome, &mut anstream::stdout())?;
    println!();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from([&["lab"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn nothing_said_is_cases_a_and_b_with_vipd() {
        let args = parse(&[]).expect("valid");
        assert_eq!(args.scenarios, [Scenario::Crash, Scenario::Return]);
        assert_eq!(args.agents, (Kind::Vipd, Kind::Vipd));
        assert_eq!(args.interval, Duration::from_millis(100));
    }

    #[test]
    fn all_that_is_said_is_heard() {
        let args = parse(&[
            "cut",
            "--agents",
            "keepalived,vipd",
            "--interval",
            "1.5s",
            "--vrrp-version",
            "2",
            "--no-preempt",
        ])
        .expect("valid");
        assert_eq!(args.scenarios, [Scenario::Cut]);
        assert_eq!(args.agents, (Kind::Keepalived, Kind::Vipd));
        assert_eq!(args.interval, Duration::from_millis(1500));
        assert_eq!(args.vrrp_version, Version::V2);
        assert!(args.no_preempt);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, complaint) in [
            (vec!["explode"], "no scenario \"explode\""),
            (vec!["--agents", "vipd"], "name two"),
            (vec!["--agents", "vipd,bird"], "no agent \"bird\""),
            (vec!["--interval", "10"], "\"10\" is no interval"),
            (vec!["--interval", "0ms"], "\"0ms\" is no interval"),
            (vec!["--vrrp-version", "4"], "no VRRP version \"4\""),
            (vec!["--repeat", "20"], "--compare"),
        ] {
            let error = parse(&words).err().expect("refused").to_string();
            assert!(error.contains(complaint), "{words:?}: {error}");
        }
    }
}
