//! `cargo xtask simulate`: simulates virtual routers in virtual time.

use anyhow::Result;

use crate::support::process::run as run_command;
use crate::support::workspace;

/// Number of takeovers that the test suite simulates: half of the simulator's default, to
/// shorten the suite.
const TAKEOVERS: u64 = 500_000;

/// Simulate hundreds of virtual routers on virtual LANs, and check the protocol's invariants
///
/// Simulates delay, reordering, loss and duplication of adverts, partitions, stalls, clock drift of
/// up to 1 %, crashes and restarts. A seed reproduces a simulation exactly. Stops when an invariant
/// is violated, and prints the events that led to it.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  cargo xtask simulate                              a million takeovers
  cargo xtask simulate --from 5000 --takeovers 10000000
  cargo xtask simulate --takeovers 1 --groups 100000
  cargo xtask simulate --seed 17 --trace            one world, with all its events"
)]
pub(crate) struct Args {
    /// Arguments for the simulator: `--takeovers N`, `--groups N`, `--from SEED`, `--seed SEED`,
    /// `--trace`, `--threads N`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs `cargo xtask simulate`.
pub(crate) fn run(args: &Args) -> Result<()> {
    simulate(&args.arguments)
}

/// Runs the simulation as a step of the test suite.
pub(crate) fn run_all() -> Result<()> {
    simulate(&["--takeovers".to_owned(), TAKEOVERS.to_string()])
}

/// Builds and runs the simulator as a separate program, because xtask must not depend on vipd (see
/// main.rs).
fn simulate(arguments: &[String]) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--locked", "--release", "--package", "vipd-simulator", "--"]).args(arguments);
    run_command(&mut cargo)
}
