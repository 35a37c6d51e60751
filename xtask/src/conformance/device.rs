//! `cargo xtask conformance --device`: checks a router that is reachable through an interface.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vipd_tests::conformance::device::{Declaration, Device, Progress};
use vipd_tests::conformance::table::{Row, Verdict};
use vipd_tests::conformance::{Program, Scenario, items, render};
use vipd_tests::protocol::Version;

use super::report;
use crate::lab::{parse_interval, parse_version};
use crate::support::{privilege, process};

/// The device's configuration, as declared on the command line.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Device under test")]
pub(super) struct DeviceArgs {
    /// Interface on the device's segment; the options below describe the device
    #[arg(long, value_name = "INTERFACE", requires_all = ["vrid", "address", "source"])]
    device: Option<String>,
    /// Virtual router ID of the device
    #[arg(long, value_name = "N", requires = "device", value_parser = clap::value_parser!(u8).range(1..))]
    vrid: Option<u8>,
    /// A virtual address; may be given several times, in the order in which the device's adverts
    /// list the addresses
    #[arg(long, value_name = "ADDRESS", requires = "device")]
    address: Vec<IpAddr>,
    /// Source address for the tool's adverts: an unused address of the segment; give one below the
    /// device's own address and one above it
    #[arg(long, value_name = "ADDRESS", requires = "device")]
    source: Vec<IpAddr>,
    /// VRRP version: 2 or 3
    #[arg(long, value_name = "N", requires = "device", default_value = "3", value_parser = parse_version)]
    vrrp_version: Version,
    /// Priority; 255 for the address owner
    #[arg(
        long, value_name = "N", requires = "device", default_value = "100",
        value_parser = clap::value_parser!(u8).range(1..)
    )]
    priority: u8,
    /// Advert interval, 200ms or longer
    #[arg(long, value_name = "TIME", requires = "device", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// The device's own address; checks that the device sends from this address
    #[arg(long, value_name = "ADDRESS", requires = "device")]
    primary: Option<IpAddr>,
    /// The device has preemption off
    #[arg(long, requires = "device")]
    no_preempt: bool,
    /// As master, the device accepts no packets for its virtual addresses
    #[arg(long, requires = "device")]
    no_accept: bool,
}

impl DeviceArgs {
    /// Returns the declaration, or `None` if no device is to be tested.
    pub(super) fn declaration(&self) -> Result<Option<Declaration>> {
        let Some(interface) = self.device.clone() else { return Ok(None) };
        let Some(vrid) = self.vrid else { bail!("--device needs --vrid") };
        Ok(Some(Declaration {
            interface,
            vrid,
            version: self.vrrp_version,
            priority: self.priority,
            interval: self.interval,
            addresses: self.address.clone(),
            sources: self.source.clone(),
            primary: self.primary,
            preempt: !self.no_preempt,
            accept: !self.no_accept,
        }))
    }
}

/// URL of the published scenarios. Relative links to them would work only in reports inside the
/// repository.
const SCENARIOS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/tests/conformance");

/// Plays the scenarios with the device and reports the verdicts. Fails if the device has an
/// undocumented difference from a scenario, if no scenario was played, or if the run ended early.
pub(super) fn run(
    declaration: &Declaration,
    scenarios: &[Scenario],
    programs: &[Program],
    file: Option<&Path>,
) -> Result<()> {
    let program = match programs {
        [] => Program::Device,
        [program] => *program,
        _ => bail!("found several --program options; expected the one that the device runs"),
    };
    privilege::require_packet_sockets("the conformance suite for a device", "cargo xtask conformance")?;
    let start = Instant::now();
    progress(format_args!(
        "waiting for the adverts of VRID {} on {}",
        declaration.vrid, declaration.interface
    ));
    let mut device = Device::find(declaration.clone())?;
    let (count, length) = device.plan(scenarios);
    progress(format_args!(
        "playing {count} of {} scenarios; takes about {} s",
        scenarios.len(),
        length.as_secs() + 1
    ));
    let (rows, ended) = device.play_all(scenarios, program, |progress_of: &Progress<'_>| {
        let Progress { done, all, scenario, verdict } = progress_of;
        match verdict {
            Verdict::Fails(error) | Verdict::LabError(error) | Verdict::PassesOnRetry(error) => {
                progress(format_args!("{done} of {all}  {verdict}  {}: {error:#}", scenario.name));
            }
            _ => progress(format_args!("{done} of {all}  {verdict}  {}", scenario.name)),
        }
    });
    let items = render::items_of_device(&rows, items::all()?);
    let seconds = start.elapsed().as_secs();
    let left = scenarios.len() - rows.len();
    let document = |tables: &str| Ok(document(declaration, &rows, left, tables, seconds));
    report(&rows, &items, SCENARIOS, file, document)?;
    ended.context(format!("the run ended early; scenarios left: {left}"))?;
    verdict(&rows)
}

fn verdict(rows: &[Row<'_>]) -> Result<()> {
    let with = |wanted: fn(&Verdict) -> bool| {
        let rows = rows.iter().filter(|row| row.verdicts.iter().any(|(_, verdict)| wanted(verdict)));
        rows.map(|row| row.scenario.name.as_str()).collect::<Vec<_>>()
    };
    ensure!(
        !with(is_played).is_empty(),
        "no selected scenario was played; select others, or configure the device as the reasons above require"
    );
    // A different version of the program may lack the documented difference.
    let passed = with(|verdict| matches!(verdict, Verdict::UnexpectedPass));
    if !passed.is_empty() {
        progress(format_args!("passed despite a documented difference: {}", passed.join(", ")));
    }
    let failed = with(|verdict| matches!(verdict, Verdict::Fails(_)));
    ensure!(failed.is_empty(), "scenarios that the device fails: {}", failed.join(", "));
    Ok(())
}

fn is_played(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Skipped(_) | Verdict::Unsupported)
}

/// Returns the document: a header with the device's configuration, then the tables. `left` is the
/// number of scenarios that were not played because the run ended early.
fn document(declaration: &Declaration, rows: &[Row<'_>], left: usize, tables: &str, seconds: u64) -> String {
    let Declaration { vrid, priority, interval, .. } = declaration;
    let count = |wanted: fn(&Verdict) -> bool| {
        rows.iter().filter(|row| row.verdicts.iter().any(|(_, verdict)| wanted(verdict))).count()
    };
    let addresses: Vec<_> = declaration.addresses.iter().map(IpAddr::to_string).collect();
    let left = if left == 0 { String::new() } else { format!(" The run ended early; left: {left}.") };
    format!(
        "# Conformance of a device\n\n\
         Generated by `cargo xtask conformance --device` in {seconds} s, with a router of VRID {vrid}, VRRPv{},\n\
         priority {priority}, interval {interval:?}, and the virtual addresses {}.\n\
         Scenarios played: {}; unsupported: {}; skipped: {}.{left}\n\n\
         ok: behaves as the scenario specifies. ok (2nd): the same, when played a second time. differs: behaves\n\
         differently, as is known for its program; the remark gives the reason. unexpected pass: behaves as\n\
         specified, although its program is known to differ. unsupported: its program cannot be configured as\n\
         the scenario requires. FAILS: behaves differently; the remark gives the line of the scenario and the\n\
         difference. LAB ERROR: the scenario could not be played to its end. skipped: the device lacks the\n\
         requirement in the remark.\n\n{tables}",
        declaration.version.number(),
        addresses.join(", "),
        count(is_played),
        count(|verdict| matches!(verdict, Verdict::Unsupported)),
        count(|verdict| matches!(verdict, Verdict::Skipped(_))),
    )
}

fn progress(message: impl std::fmt::Display) {
    process::progress("conformance", message);
}
