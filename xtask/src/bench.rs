//! `cargo xtask bench`: what vipd costs and how fast it is, beside keepalived.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::agent::AgentKind;
use vipd_tests::bench::{Figure, flood, steady, takeover};

use crate::setup;
use crate::support::process::say;
use crate::support::{agent, privilege};

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
  cargo xtask bench                     everything, five runs
  cargo xtask bench backup master       what adverts cost who hears and who sends them
  cargo xtask bench flood --runs 1")]
pub(crate) struct Args {
    /// What is measured [default: everything]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// Runs of each
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Another program instead of the vipd of this checkout, to hold a change against what was before
    #[arg(long, value_name = "FILE")]
    vipd: Option<std::path::PathBuf>,
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
}

impl Scenario {
    const EVERYTHING: [Self; 7] =
        [Self::Backup, Self::Slow, Self::Master, Self::One, Self::Addresses, Self::Cut, Self::Flood];

    fn measure(self, kind: &AgentKind) -> Result<Vec<Figure>> {
        let length = Duration::from_secs(5);
        match self {
            Self::Backup => steady::backup(kind, ALL, FAST, length),
            Self::Slow => steady::backup(kind, ALL, FAST * 10, length),
            Self::Master => steady::master(kind, ALL, FAST, length),
            Self::One => takeover::of_many_routers(kind, 1, FAST),
            Self::Addresses => takeover::of_many_addresses(kind, 100, FAST),
            Self::Cut => takeover::of_many_routers(kind, ALL, FAST),
            Self::Flood => flood::pair(kind, FAST, 0, length),
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
    let scenarios = if args.scenarios.is_empty() { &Scenario::EVERYTHING[..] } else { &args.scenarios };
    println!("{:<44}  {:>20}  {:>20}", format!("medians of {} runs", args.runs), "vipd", "keepalived");
    for scenario in scenarios {
        let mut runs: [Vec<Vec<Figure>>; 2] = Default::default();
        for run in 1..=args.runs {
            for (kind, figures) in kinds.iter().zip(&mut runs) {
                say("bench", format_args!("{scenario}: {kind}, run {run} of {}", args.runs));
                figures.push(scenario.measure(kind).with_context(|| format!("{scenario}: {kind}"))?);
            }
        }
        println!("{scenario}");
        let [vipd, keepalived] = runs.map(|runs| medians(&runs));
        for (ours, theirs) in vipd.iter().zip(&keepalived) {
            let (ours_value, theirs_value) = (shown(ours), shown(theirs));
            println!("  {:<42}  {ours_value:>20}  {theirs_value:>20}", ours.name);
        }
    }
    Ok(())
}

/// The middle of each figure over all runs.
fn medians(runs: &[Vec<Figure>]) -> Vec<Figure> {
    let Some(first) = runs.first() else { return Vec::new() };
    let middle = |(index, figure): (usize, &Figure)| {
        let mut values: Vec<_> = runs.iter().filter_map(|run| Some(run.get(index)?.value)).collect();
        values.sort_by(f64::total_cmp);
        Figure { value: values[values.len() / 2], ..figure.clone() }
    };
    first.iter().enumerate().map(middle).collect()
}

fn shown(figure: &Figure) -> String {
    let digits = if figure.unit.is_empty() { 0 } else { 3 };
    format!("{:.digits$} {}", figure.value, figure.unit).trim_end().to_owned()
}
