//! What is measured, with whom, how often and for how long.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vipd_tests::agent::AgentKind;
use vipd_tests::bench::takeover::Cuts;
use vipd_tests::bench::{Figure, flood, floors, many, steady, takeover};

use crate::support::workspace;

/// The shortest interval of VRRPv3.
const FAST: Duration = Duration::from_millis(10);
/// How many virtual routers an interface can have.
const ALL: u8 = 255;
/// How many are in Backup in the sweep: 2,500 to 25,500 adverts a second.
const COUNTS: [u8; 4] = [25, 51, 102, ALL];

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scenario {
    /// 25, 51, 102 and 255 virtual routers in Backup at 10 ms
    Backup,
    /// 255 virtual routers in Backup at 100 ms: a tenth of the adverts
    Slow,
    /// What 255 virtual routers in Backup at 10 ms take of all the machine
    Machine,
    /// 255 virtual routers in Master at 10 ms
    Master,
    /// The cable of a master of one virtual router at 10 ms is cut, many times
    One,
    /// The same with 100 addresses
    Addresses,
    /// The same with 255 virtual routers
    Cut,
    /// A healthy pair at 10 ms under junk of several rates
    Flood,
    /// 255 to 4,080 virtual routers on up to 16 interfaces at 100 ms
    Many,
    /// What the XDP program costs a frame; vipd alone
    Xdp,
    /// What the kernel alone takes for the work of a master
    Floors,
}

/// Who was measured: a column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// vipd.
    Vipd,
    /// keepalived.
    Keepalived,
    /// Nobody: the kernel alone.
    Kernel,
}

impl Who {
    fn kind(self, vipd: &Path) -> AgentKind {
        match self {
            Self::Vipd | Self::Kernel => AgentKind::Vipd(vipd.to_owned()),
            Self::Keepalived => AgentKind::Keepalived,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vipd => "vipd",
            Self::Keepalived => "keepalived",
            Self::Kernel => "kernel",
        })
    }
}

/// How long a run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Of a steady state.
    length: Duration,
    /// Of each rate of junk.
    junk: Duration,
    /// These rates.
    rates: &'static [Option<u32>],
    /// Takeovers of one virtual router, and of one with 100 addresses.
    cuts: (u32, u32),
    /// Whether everything is there only to be looked at.
    quick: bool,
}

impl Effort {
    /// What a report is made of.
    pub(super) const FULL: Self = Self {
        length: Duration::from_secs(3),
        junk: Duration::from_secs(6),
        rates: &flood::RATES,
        cuts: (10, 4),
        quick: false,
    };
    /// Something to look at.
    pub(super) const QUICK: Self = Self {
        length: Duration::from_millis(1500),
        junk: Duration::from_secs(2),
        rates: &[Some(4_000), Some(30_000), Some(120_000), None],
        cuts: (6, 2),
        quick: true,
    };
}

impl Scenario {
    /// Its columns.
    pub(super) fn who(self) -> &'static [Who] {
        match self {
            Self::Xdp => &[Who::Vipd],
            Self::Floors => &[Who::Kernel],
            _ => &[Who::Vipd, Who::Keepalived],
        }
    }

    /// More runs than these would take long and say nothing new.
    pub(super) fn runs(self, asked: u32) -> u32 {
        match self {
            Self::Flood | Self::Xdp => asked.min(3),
            Self::Many => asked.min(2),
            _ => asked,
        }
    }

    /// About how long a run of one column takes.
    pub(super) fn expected(self, effort: Effort) -> Duration {
        let (full, quick) = match self {
            Self::Backup => (20, 14),
            Self::Slow => (5, 4),
            Self::Machine => (12, 8),
            Self::Master => (12, 10),
            Self::One => (22, 13),
            Self::Addresses => (11, 6),
            Self::Cut => (18, 18),
            Self::Flood => (66, 28),
            Self::Many => (20, 16),
            Self::Xdp => (8, 8),
            Self::Floors => (6, 4),
        };
        Duration::from_secs(if effort.quick { quick } else { full })
    }

    /// One run of one column.
    pub(super) fn measure(self, who: Who, vipd: &Path, effort: Effort) -> Result<Vec<Figure>> {
        let kind = &who.kind(vipd);
        let length = effort.length;
        let seconds = Duration::from_secs;
        let shortly = |count| Cuts { count, settled: seconds(1), watched: FAST * 50 };
        // Until the second announcement of the old master is over, and that of the new one.
        let at_length = Cuts { count: 1, settled: seconds(7), watched: seconds(6) };
        match self {
            Self::Backup => steady::backups(kind, &COUNTS, FAST, length),
            Self::Slow => steady::backup(kind, ALL, FAST * 10, length),
            Self::Machine => steady::machine(kind, ALL, FAST, length),
            Self::Master => steady::master(kind, ALL, FAST, length),
            Self::One => takeover::of_many_routers(kind, 1, FAST, shortly(effort.cuts.0)),
            Self::Addresses => takeover::of_many_addresses(kind, 100, FAST, shortly(effort.cuts.1)),
            Self::Cut => takeover::of_many_routers(kind, ALL, FAST, at_length),
            Self::Flood => flood::pair(kind, FAST, effort.rates, effort.junk),
            Self::Many => many::routers(kind, FAST * 10, length),
            Self::Xdp => in_xdp(),
            Self::Floors => floors::all(ALL, FAST, length),
        }
    }

    /// Compiles what a measurement runs, so that it is not measured.
    pub(super) fn prepare(self) -> Result<()> {
        if self != Self::Xdp {
            return Ok(());
        }
        let status = xdp_bench("--no-run").status().context("cannot run cargo")?;
        ensure!(status.success(), "the bench of the XDP program does not compile: {status}");
        Ok(())
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup at 10 ms",
            Self::Slow => "backup, 255 virtual routers at 100 ms",
            Self::Machine => "all the machine, 255 virtual routers in Backup at 10 ms",
            Self::Master => "master, 255 virtual routers at 10 ms",
            Self::One => "cut, 1 virtual router at 10 ms",
            Self::Addresses => "cut, 1 virtual router with 100 addresses at 10 ms",
            Self::Cut => "cut, 255 virtual routers at 10 ms",
            Self::Flood => "junk against a pair at 10 ms",
            Self::Many => "up to 4,080 virtual routers at 100 ms",
            Self::Xdp => "the XDP program",
            Self::Floors => "the floors: the kernel alone",
        })
    }
}

/// The bench of the program itself, which knows the `vipd` crate (see main.rs): cargo builds and runs it. A line is what was
/// measured, a tab, and nanoseconds.
fn in_xdp() -> Result<Vec<Figure>> {
    let output = xdp_bench("--quiet").stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the bench of the XDP program failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("the bench says no text")?;
    text.lines().map(figure).collect()
}

fn xdp_bench(option: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "--locked", "--package", "vipd", "--bench", "xdp", option]);
    cargo
}

fn figure(line: &str) -> Result<Figure> {
    let (name, value) = line.split_once('\t').with_context(|| format!("{line:?} is no figure"))?;
    Ok(Figure::new(name, "ns", value.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_xdp_bench_is_a_figure() {
        assert_eq!(figure("a foreign packet\t24").unwrap(), Figure::new("a foreign packet", "ns", 24.0));
        assert!(figure("a foreign packet 24").is_err());
    }

    #[test]
    fn a_sweep_ends_with_what_the_targets_ask_for() {
        assert_eq!(COUNTS.last(), Some(&ALL));
        assert_eq!((Scenario::Flood.runs(5), Scenario::Flood.runs(1), Scenario::Cut.runs(5)), (3, 1, 5));
    }
}
