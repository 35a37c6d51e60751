//! The scenarios: what they measure, for which programs, how often and for how long.

use std::env;
use std::fmt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::figure::{Figure, thousands};
use crate::measure::takeover::Cuts;
use crate::measure::{
    commands, flood, floors, foreign, many, owners, reload, signed, steady, takeover, upgrade,
};
use crate::metric::Metric;
use crate::subject::{Subject, Who};

/// The shortest interval of VRRPv3.
const FAST: Duration = Duration::from_millis(10);
/// VRIDs per interface.
pub(crate) const ALL: u8 = 255;
/// Numbers of virtual routers in [`Scenario::Backup`], for 2,500 to 25,500 adverts per second.
pub(crate) const COUNTS: [u8; 4] = [25, 51, 102, ALL];
/// Number of reloads in [`Scenario::Reload`].
const RELOADS: u32 = 100;
/// Number of upgrades of each agent in [`Scenario::Upgrade`].
const UPGRADES: u32 = 100;
/// Largest number of virtual routers in [`Scenario::Many`].
pub(crate) const MOST: u32 = 4080;

/// A group of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// 25, 51, 102 and 255 virtual routers in Backup at 10 ms
    Backup,
    /// 255 virtual routers in Backup at 100 ms
    Slow,
    /// CPU of the whole machine with 255 virtual routers in Backup at 10 ms
    Machine,
    /// 255 virtual routers in Master at 10 ms
    Master,
    /// Repeated link cuts at the master of one virtual router at 10 ms
    One,
    /// Repeated link cuts at the master of one virtual router with 100 addresses at 10 ms
    Addresses,
    /// One link cut with 255 virtual routers at 10 ms
    Cut,
    /// A pair of routers at 10 ms under floods of invalid and low-priority adverts
    Flood,
    /// 255 virtual routers with signed adverts at 10 ms, in Master and in Backup; vipd only
    Signed,
    /// A pair of routers with signed adverts at 10 ms under floods of forged adverts; vipd only
    Forged,
    /// 100 reloads of a master with 255 virtual routers at 10 ms
    Reload,
    /// 100 upgrades each of a master and a backup with 255 virtual routers at 10 ms; vipd only
    Upgrade,
    /// One link cut with 255 virtual routers at 10 ms, each with a notification command
    Notify,
    /// 255 virtual routers in Master at 10 ms, tracking a check that hangs
    Check,
    /// Which node answers for the VIP after a signal to the master, at 10 ms, 100 ms and 1 s
    Owners,
    /// 255 to 4,080 virtual routers on up to 16 interfaces at 100 ms
    Many,
    /// TCP throughput and round trips of the node, with and without an agent
    Foreign,
    /// Time that the XDP program and the fence at egress take per frame; vipd only
    Xdp,
    /// Only the system calls that a master needs, without an agent
    Floors,
}

/// Requested numbers of runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    /// Runs of each scenario except [`Scenario::Owners`].
    pub(crate) each: u32,
    /// Runs of [`Scenario::Owners`]. Each run includes every fault once at each interval.
    pub(crate) faults: u32,
}

/// Number and duration of the measurements in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Duration of a measurement without state changes.
    length: Duration,
    /// Duration of the flood at each rate.
    flood: Duration,
    /// Flood rates in adverts per second; `None` is as many as one thread can send.
    rates: &'static [Option<u32>],
    /// Numbers of link cuts: with one address, and with 100 addresses.
    cuts: (u32, u32),
    /// The only fault and interval to play, as a point of [`Scenario::Owners`]; all if `None`.
    only: Option<u32>,
    /// Whether the run is short (`--quick`).
    quick: bool,
}

impl Effort {
    /// Effort for reports.
    pub(crate) const FULL: Self = Self {
        length: Duration::from_secs(3),
        flood: Duration::from_secs(6),
        rates: &flood::RATES,
        cuts: (10, 4),
        only: None,
        quick: false,
    };
    /// Effort for a single short run (`--quick`).
    pub(crate) const QUICK: Self = Self {
        length: Duration::from_millis(1500),
        flood: Duration::from_secs(2),
        rates: &[Some(4_000), Some(30_000), Some(120_000), None],
        cuts: (6, 2),
        only: None,
        quick: true,
    };

    /// Restricts [`Scenario::Owners`] to the point `only`; `None` plays all points.
    pub(crate) const fn playing(self, only: Option<u32>) -> Self {
        Self { only, ..self }
    }
}

impl Scenario {
    /// Returns the columns of the scenario. A run omits columns for which it has no program.
    pub(crate) fn who(self) -> &'static [Who] {
        match self {
            Self::Xdp | Self::Upgrade | Self::Signed | Self::Forged => &[Who::Vipd],
            Self::Floors => &[Who::Kernel],
            Self::Backup | Self::Machine | Self::Flood | Self::Foreign => {
                &[Who::Vipd, Who::Native, Who::Generic, Who::Other, Who::Keepalived]
            }
            _ => &[Who::Vipd, Who::Other, Who::Keepalived],
        }
    }

    /// Returns the number of runs of a column. Long scenarios, and the columns of native and
    /// generic XDP in every scenario, have at most two or three runs.
    pub(crate) fn runs(self, who: Who, asked: Runs) -> u32 {
        match (self, who) {
            (Self::Owners, _) => asked.faults,
            (_, Who::Native | Who::Generic) | (Self::Many, _) => asked.each.min(2),
            (
                Self::Flood
                | Self::Forged
                | Self::Xdp
                | Self::Reload
                | Self::Upgrade
                | Self::Notify
                | Self::Check,
                _,
            ) => asked.each.min(3),
            _ => asked.each,
        }
    }

    /// Returns the approximate duration of one run of one column.
    pub(crate) fn expected(self, effort: Effort) -> Duration {
        let (full, quick) = match self {
            Self::Backup => (20, 14),
            Self::Slow => (5, 4),
            Self::Machine => (12, 8),
            Self::Master => (12, 10),
            Self::One => (22, 13),
            Self::Addresses => (11, 6),
            Self::Cut => (18, 18),
            Self::Flood | Self::Forged => (66, 28),
            Self::Reload => (20, 18),
            Self::Upgrade => (75, 75),
            Self::Notify => (28, 28),
            Self::Signed | Self::Check => (16, 14),
            Self::Owners => (12, 12),
            Self::Many => (20, 16),
            Self::Foreign => (26, 14),
            Self::Xdp => (8, 8),
            Self::Floors => (6, 4),
        };
        Duration::from_secs(if effort.quick { quick } else { full })
    }

    /// Performs one run for one column.
    pub(crate) fn measure(self, subject: &Subject, effort: Effort) -> Result<Vec<Figure>> {
        let length = effort.length;
        let seconds = Duration::from_secs;
        let short = |count| Cuts { count, settled: seconds(1), watched: FAST * 50 };
        // These times are long enough to include the repeated announcements of the old and the new
        // master.
        let long = Cuts { count: 1, settled: seconds(7), watched: seconds(6) };
        match self {
            Self::Backup => steady::backups(subject, &COUNTS, FAST, length),
            Self::Slow => steady::backup(subject, ALL, FAST * 10, length),
            Self::Machine => steady::machine(subject, ALL, FAST, length),
            Self::Master => steady::master(subject, ALL, FAST, length),
            Self::One => takeover::of_many_routers(subject, 1, FAST, short(effort.cuts.0)),
            Self::Addresses => takeover::of_many_addresses(subject, 100, FAST, short(effort.cuts.1)),
            Self::Cut => takeover::of_many_routers(subject, ALL, FAST, long),
            Self::Flood => flood::pair(subject, flood::Kind::Invalid, FAST, effort.rates, effort.flood),
            Self::Forged => flood::pair(subject, flood::Kind::Forged, FAST, effort.rates, effort.flood),
            Self::Signed => signed::pair(subject, ALL, FAST, length),
            Self::Reload => reload::master(subject, ALL, FAST, RELOADS),
            Self::Upgrade => upgrade::pair(subject, ALL, FAST, UPGRADES),
            Self::Notify => commands::notifications(subject, ALL, FAST),
            Self::Check => commands::hanging_check(subject, ALL, FAST, length * 2),
            Self::Owners => owners::of_faults(subject, effort.only),
            Self::Many => many::routers(subject, FAST * 10, length),
            Self::Foreign => foreign::traffic(subject, length / 3),
            Self::Xdp => xdp_program(),
            Self::Floors => floors::all(ALL, FAST, length),
        }
    }

    /// Compiles the benchmark that the scenario `xdp` runs, so that compilation does not disturb
    /// measurements.
    pub(crate) fn prepare(self) -> Result<()> {
        if self != Self::Xdp {
            return Ok(());
        }
        let status = xdp_bench("--no-run").status().context("cannot start cargo")?;
        ensure!(status.success(), "cannot compile the benchmark of the XDP program: {status}");
        Ok(())
    }

    /// Returns the name of a point of the scenario's sweep.
    pub(crate) fn point_name(self, point: u32) -> String {
        match (self, point) {
            (Self::Flood | Self::Forged, 0) => "unlimited".to_owned(),
            (Self::Owners, point) => owners::point_name(point),
            (Self::Flood | Self::Forged, rate) => format!("{}/s", thousands(rate)),
            (_, count) => format!("{} virtual routers", thousands(count)),
        }
    }

    /// Returns the key used in JSON and on the command line.
    pub(crate) fn key(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup at 10 ms",
            Self::Slow => "backup, 255 virtual routers at 100 ms",
            Self::Machine => "whole machine, 255 virtual routers in Backup at 10 ms",
            Self::Master => "master, 255 virtual routers at 10 ms",
            Self::One => "link cut, 1 virtual router at 10 ms",
            Self::Addresses => "link cut, 1 virtual router with 100 addresses at 10 ms",
            Self::Cut => "link cut, 255 virtual routers at 10 ms",
            Self::Flood => "flood against a pair of routers at 10 ms",
            Self::Signed => "255 virtual routers with signed adverts at 10 ms",
            Self::Forged => "flood of forged adverts against a pair of routers with signed adverts at 10 ms",
            Self::Reload => "100 reloads of a master, 255 virtual routers at 10 ms",
            Self::Upgrade => "100 upgrades of a master and of a backup, 255 virtual routers at 10 ms",
            Self::Notify => "link cut, 255 virtual routers at 10 ms with a notification command each",
            Self::Check => "master, 255 virtual routers at 10 ms, with a check that hangs",
            Self::Owners => "signals to the master's processes",
            Self::Many => "up to 4,080 virtual routers at 100 ms",
            Self::Foreign => "TCP traffic into the node",
            Self::Xdp => "XDP program",
            Self::Floors => "floors: system calls alone",
        })
    }
}

/// Runs the benchmark of the XDP program. The benchmark is part of the `vipd` package, on which
/// this package must not depend. Each line of its output consists of a metric key, a tab, and
/// nanoseconds.
fn xdp_program() -> Result<Vec<Figure>> {
    let output = xdp_bench("--quiet").stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the benchmark of the XDP program failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("the output of the XDP benchmark is not UTF-8")?;
    text.lines().map(figure).collect()
}

fn xdp_bench(option: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    cargo.args(["bench", "--locked", "--package", "vipd", "--bench", "xdp", option]);
    cargo
}

fn figure(line: &str) -> Result<Figure> {
    let (key, value) = line.split_once('\t').with_context(|| format!("no tab in {line:?}"))?;
    let metric = Metric::ALL.iter().find(|metric| metric.key() == key);
    Ok(Figure::new(*metric.with_context(|| format!("unknown metric {key:?}"))?, value.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_xdp_benchmark_is_parsed() {
        assert_eq!(figure("xdp-foreign\t24").unwrap(), Figure::new(Metric::XdpForeign, 24.0));
        assert!(figure("xdp-foreign 24").is_err() && figure("xdp\t24").is_err());
    }

    #[test]
    fn long_scenarios_have_fewer_runs() {
        let asked = Runs { each: 5, faults: 100 };
        let runs = |scenario: Scenario, who| scenario.runs(who, asked);
        assert_eq!((runs(Scenario::Flood, Who::Vipd), runs(Scenario::Flood, Who::Native)), (3, 2));
        assert_eq!((runs(Scenario::Cut, Who::Vipd), runs(Scenario::Owners, Who::Vipd)), (5, 100));
        assert_eq!(Scenario::Flood.runs(Who::Vipd, Runs { each: 1, ..asked }), 1);
    }
}
