//! `cargo xtask simulate`: vipd's core in virtual time, by the million takeovers.

use anyhow::Result;

use crate::support::process::run as run_command;
use crate::support::workspace;

/// How many takeovers the test suite simulates.
const TAKEOVERS: u64 = 1_000_000;

/// Simulate hundreds of virtual routers on virtual LANs, with the protocol's invariants asserted all the way
///
/// Delay, reordering, loss, duplication, partition, pauses, clocks that run 1 % off, crashes and restarts, all from a seed
/// that makes the same world again. It stops at the first invariant that does not hold and shows what led there.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  cargo xtask simulate                              a million takeovers
  cargo xtask simulate --from 5000 --takeovers 10000000
  cargo xtask simulate --seed 17 --trace            one world again, with all that happens in it"
)]
pub(crate) struct Args {
    /// Passed on to the simulator: `--takeovers N`, `--from SEED`, `--seed SEED`, `--trace`, `--threads N`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    simulate(&args.arguments)
}

/// As a step of the test suite.
pub(crate) fn everything() -> Result<()> {
    simulate(&["--takeovers".to_owned(), TAKEOVERS.to_string()])
}

/// The simulator knows vipd's core, which nothing here depends on (see main.rs): cargo builds and runs it.
fn simulate(arguments: &[String]) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--locked", "--release", "--package", "vipd-simulator", "--"]).args(arguments);
    run_command(&mut cargo)
}
