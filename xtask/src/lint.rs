//! `cargo xtask lint`: all static checks.

mod architecture;

use std::process::Command;

use anyhow::{Result, bail};

use crate::support::process::{self, ask, line, run as run_command};
use crate::support::toolchain::Toolchain;
use crate::support::workspace;

/// Arguments that select every crate except vipd-ebpf, whose code is only for the BPF target.
const HOST_CRATES: [&str; 3] = ["--workspace", "--exclude", "vipd-ebpf"];

/// Check formatting, clippy, rustdoc, licenses and module boundaries
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also check dependencies against the advisory database; needs network access
    #[arg(long)]
    advisories: bool,
}

/// Runs all checks, even if some fail.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut failed = Vec::new();
    for (name, result) in [
        ("architecture", architecture()),
        ("rustfmt", check(workspace::cargo().args(["fmt", "--all", "--check"]))),
        ("clippy", clippy()),
        ("clippy for the BPF target", clippy_for_bpf()),
        ("rustdoc", rustdoc()),
        ("cargo-deny", deny(args.advisories)),
    ] {
        if let Err(reason) = result {
            progress(format_args!("{name}: {reason:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    progress("no check failed");
    Ok(())
}

fn architecture() -> Result<()> {
    progress("checking imports, examples and file lengths");
    let report = architecture::check(workspace::root())?;
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    for violation in &report.violations {
        eprintln!("{violation}");
    }
    match report.violations.len() {
        0 => Ok(()),
        count => bail!("{count} violations"),
    }
}

fn clippy() -> Result<()> {
    let mut cargo = workspace::cargo();
    // The binaries of the fuzz targets need this feature.
    cargo.arg("clippy").args(HOST_CRATES).args(["--all-targets", "--features", "vipd-fuzz/libfuzzer"]);
    check(cargo.args(["--locked", "--", "-D", "warnings"]))
}

fn clippy_for_bpf() -> Result<()> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) if toolchain.compiler.has_clippy() => toolchain,
        Ok(toolchain) => {
            progress(format_args!(
                "vipd-ebpf NOT linted: clippy is not installed next to {}",
                toolchain.compiler.rustc.display()
            ));
            return Ok(());
        }
        Err(reason) => {
            progress(format_args!("vipd-ebpf NOT linted: {reason:#}"));
            return Ok(());
        }
    };
    let mut cargo = toolchain.cargo("clippy", workspace::root());
    cargo.args(["--package", "vipd-ebpf", "--release", "--locked"]);
    cargo.arg("--target-dir").arg(workspace::target().join("ebpf"));
    check(cargo.args(["--", "-D", "warnings"]))
}

fn rustdoc() -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.arg("doc").args(HOST_CRATES).args(["--no-deps", "--locked"]);
    check(cargo.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(advisories: bool) -> Result<()> {
    if ask(workspace::cargo().args(["deny", "--version"])).is_none() {
        bail!("cargo-deny is not installed; run `cargo install cargo-deny --locked` (takes a few minutes)");
    }
    let mut cargo = workspace::cargo();
    cargo.args(["deny", "--workspace", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    if advisories {
        cargo.arg("advisories");
    }
    check(&mut cargo)
}

fn check(command: &mut Command) -> Result<()> {
    progress(line(command));
    run_command(command)
}

fn progress(message: impl std::fmt::Display) {
    process::progress("lint", message);
}
