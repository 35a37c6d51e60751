//! `cargo xtask conformance --device`: checks a router that is reachable by an interface.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use vipd_tests::conformance::device::{Declaration, Device, Progress};
use vipd_tests::conformance::table::{Row, Verdict};
use vipd_tests::conformance::{Program, Scenario, items, render};
use vipd_tests::protocol::Version;

use super::report;
use crate::lab::{parse_interval, parse_version};
use crate::support::{privilege, process};

/// The device's configuration, as declared on the command line.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "A device")]
pub(super) struct DeviceArgs {
    /// Interface on the device's segment; the options below describe the device
    #[arg(long, value_name = "INTERFACE", requires_all = ["vrid", "address", "source"])]
    device: Option<String>,
    /// VRID
    #[arg(long, value_name = "N", requires = "device", value_parser = clap::value_parser!(u8).range(1..))]
    vrid: Option<u8>,
    /// A virtual address; may be given several times, in the order of the device's adverts
    #[arg(long, value_name = "ADDRESS", requires = "device")]
    address: Vec<IpAddr>,
    /// An unused address of the segment to send from; give one below the device's own address and
    /// one above it
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
    /// Advertisement interval, 200ms or longer
    #[arg(long, value_name = "TIME", requires = "device", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// The device's own address, to check that it sends from it
    #[arg(long, value_name = "ADDRESS", requires = "device")]
    primary: Option<IpAddr>,
    /// Preemption is off
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

/// Plays the scenarios with the device and reports the verdicts. Fails if the device has an undocumented
/// deviation from a scenario, or conforms despite a documented deviation of its program.
pub(super) fn run(
    declaration: &Declaration,
    scenarios: &[Scenario],
    programs: &[Program],
    file: Option<&Path>,
) -> Result<()> {
    let program = match programs {
        [] => Program::Device,
        [program] => *program,
        _ => bail!("found several --program; expected the one that the device runs"),
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
    let rows = device.play_all(scenarios, program, |progress_of: &Progress<'_>| {
        let Progress { done, all, scenario, verdict } = progress_of;
        match verdict {
            Verdict::Fails(error) | Verdict::PassesOnRetry(error) => {
                progress(format_args!("{done} of {all}  {verdict}  {}: {error:#}", scenario.name));
            }
            _ => progress(format_args!("{done} of {all}  {verdict}  {}", scenario.name)),
        }
    })?;
    let items = render::items_of_device(&rows, items::all()?);
    let seconds = start.elapsed().as_secs();
    report(&rows, &items, file, |tables| Ok(document(declaration, &rows, tables, seconds)))?;
    verdict(&rows)
}

fn verdict(rows: &[Row<'_>]) -> Result<()> {
    let with = |wanted: fn(&Verdict) -> bool| {
        let rows = rows.iter().filter(|row| row.verdicts.iter().any(|(_, verdict)| wanted(verdict)));
        rows.map(|row| row.scenario.name.as_str()).collect::<Vec<_>>()
    };
    let failed = with(|verdict| matches!(verdict, Verdict::Fails(_)));
    let passed = with(|verdict| matches!(verdict, Verdict::UnexpectedPass));
    ensure!(failed.is_empty(), "scenarios that the device fails: {}", failed.join(", "));
    ensure!(
        passed.is_empty(),
        "scenarios that the device passes despite a documented difference: {}",
        passed.join(", ")
    );
    Ok(())
}

/// Returns the document: a header with the device's configuration, then the tables.
fn document(declaration: &Declaration, rows: &[Row<'_>], tables: &str, seconds: u64) -> String {
    let Declaration { vrid, priority, interval, .. } = declaration;
    let skipped =
        |row: &&Row<'_>| row.verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Skipped(_)));
    let skipped = rows.iter().filter(skipped).count();
    let addresses: Vec<_> = declaration.addresses.iter().map(IpAddr::to_string).collect();
    format!(
        "# Conformance of a device\n\n\
         Generated by `cargo xtask conformance --device` in {seconds} s, with a router of VRID {vrid}, VRRPv{},\n\
         priority {priority}, interval {interval:?}, and the virtual addresses {}.\n\
         Scenarios played: {}; skipped: {skipped}.\n\n\
         ok: behaves as the scenario specifies. differs: behaves differently, as is known for its program; the\n\
         remark gives the reason. FAILS: behaves differently; the remark gives the line of the scenario and the\n\
         difference. skipped: the device does not have what the remark names.\n\n{tables}",
        declaration.version.number(),
        addresses.join(", "),
        rows.len() - skipped,
    )
}

fn progress(message: impl std::fmt::Display) {
    process::progress("conformance", message);
}
