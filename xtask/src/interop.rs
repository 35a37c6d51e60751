//! `cargo xtask interop`: vipd beside keepalived and FRR in every combination.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use vipd_tests::agent::AgentKind;
use vipd_tests::interop::table::{self, Row};
use vipd_tests::interop::{Cell, Peer};

use crate::setup;
use crate::support::process;
use crate::support::{agent, debian, privilege};

/// Play every combination with keepalived and FRR in private labs and print the table; needs root
///
/// Version, family, multicast or unicast, virtual MAC or the interface's, and who is preferred: in each, an election, a
/// crash, a return, a release by priority 0, and another return, read from a capture. Nothing on the host changes.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask interop                               all combinations
  cargo xtask interop --peer frr                    those with FRR's vrrpd
  cargo xtask interop --markdown docs/interop.md    the table as a document, with versions")]
pub(crate) struct Args {
    /// Only this peer
    #[arg(long)]
    peer: Option<Name>,
    /// Write the table to this file as well
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// A peer by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Keepalived,
    Frr,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    privilege::require("the matrix", "cargo xtask interop")?;
    setup::tests()?;
    agent::build("interop")?;
    let mut cells = Cell::all();
    let peer = args.peer.map(|name| match name {
        Name::Keepalived => Peer::Keepalived,
        Name::Frr => Peer::Frr,
    });
    cells.retain(|cell| peer.is_none_or(|peer| cell.peer == peer));
    let rows = play(&cells);
    let text = table::markdown(&rows);
    println!("{text}");
    if let Some(path) = &args.markdown {
        fs::write(path, document(&rows, &text)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    verdict(&rows)
}

/// Plays every combination with the vipd that was built, as a step of the test suite.
pub(crate) fn everything() -> Result<()> {
    verdict(&play(&Cell::all()))
}

fn play(cells: &[Cell]) -> Vec<Row> {
    let start = Instant::now();
    let vipd = AgentKind::Vipd(agent::path());
    let rows = table::play_all(cells, &vipd, |cell, verdict| match &verdict.failure {
        None => process::say("interop", format_args!("ok      {cell}")),
        Some(failure) => process::say("interop", format_args!("FAILED  {cell}: {failure:#}")),
    });
    let played = rows.iter().filter(|row| row.verdict.is_some()).count();
    let (failed, seconds) = (failures(&rows), start.elapsed().as_secs());
    process::say("interop", format_args!("{played} combinations played, {failed} failed, {seconds} s"));
    rows
}

fn failures(rows: &[Row]) -> usize {
    rows.iter().filter(|row| !row.is_fine()).count()
}

fn verdict(rows: &[Row]) -> Result<()> {
    match failures(rows) {
        0 => Ok(()),
        failed => bail!("{failed} combinations failed"),
    }
}

/// The table with its head: versions, and how to repeat it.
fn document(rows: &[Row], table: &str) -> Result<String> {
    let played = rows.iter().filter(|row| row.verdict.is_some()).count();
    let version = |package: &str| debian::version(package);
    Ok(format!(
        "# Beside keepalived and FRR\n\n\
         Made by `cargo xtask interop --markdown docs/interop.md`: {played} combinations, each on a segment of its own, \
         with keepalived {} and FRR {} of Debian. VRRPv2 has an interval of 1 s, VRRPv3 of 100 ms.\n\n\
         election: the preferred router is the only one to advert, and has announced the address at the right MAC. crash: \
         it is killed with SIGKILL, and the other takes over. return: it is started again and preempts. release: it is \
         stopped, says so with priority 0, and the other takes over. return again: as before. one master: in all this, no \
         two routers were masters beyond the few adverts it takes to yield.\n\n\
         In the rows with FRR, \"MAC\" is vipd's: vrrpd always has the virtual one. keepalived 2.2.7 sends IPv6 unicast \
         adverts with a Hop Limit of 64; there vipd has `min_ttl = 64` for its peer, else it discards them and says so \
         (`ip-ttl-errors`).\n\n{table}",
        version("keepalived")?,
        version("frr")?,
    ))
}
