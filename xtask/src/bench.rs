//! `cargo xtask bench`: builds vipd and runs the bench, a separate program in `tests/bench`.

use anyhow::Result;

use crate::setup;
use crate::support::process::run as run_command;
use crate::support::{agent, privilege, workspace};

/// Compare CPU cost and latency of vipd with keepalived or another build of vipd; needs root
///
/// `cargo xtask bench --help` lists the scenarios and options.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments for the benchmark: scenarios, `--quick`, `--runs N`, `--faults N`, `--only FAULT`,
    /// `--check`, `--markdown FILE`, `--json FILE`, `--vipd OLD`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs `cargo xtask bench`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["run", "--quiet", "--locked", "--release", "--package", "vipd-bench", "--"]);
    cargo.args(&args.arguments);
    if !args.arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        privilege::require("the bench", "cargo xtask bench")?;
        setup::tests()?;
        cargo.env("VIPD_BIN", agent::build("bench")?);
    }
    run_command(&mut cargo)
}
