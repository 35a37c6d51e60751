//! `cargo xtask setup`: finds or installs what builds the eBPF object, or what the tests need.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::support::process::{ask, program, run as run_command};
use crate::support::toolchain::{Compiler, LINKER_VERSION, LLVM_MAJOR, Linker, NIGHTLY, Toolchain, prepend};
use crate::support::{debian, privilege, process, workspace};

/// Debian's compiler with `core` for the BPF target; its clippy, for `cargo xtask lint`.
const COMPILER_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];
/// LLVM's library and headers, which bpf-linker is built with.
const LLVM_PACKAGE: &str = "llvm-22-dev";
/// Programs that the tests run vipd against.
const TEST_PACKAGES: [&str; 4] = ["keepalived", "frr", "iproute2", "iputils-ping"];

/// Find or install the toolchain that builds the eBPF object
///
/// Building vipd takes stable Rust alone: only who changes vipd-ebpf or vipd-common needs this.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what the tests need instead
    #[arg(long)]
    tests: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.tests { tests() } else { toolchain() }
}

/// Installs what the tests need.
pub(crate) fn tests() -> Result<()> {
    debian::install("setup", &TEST_PACKAGES)
}

fn toolchain() -> Result<()> {
    match Compiler::find() {
        Ok(compiler) => {
            say(format_args!("found the compiler: {compiler}"));
            add_clippy(&compiler)?;
        }
        Err(reason) => {
            say(format_args!("no compiler for the BPF target: {reason}"));
            install_compiler()?;
        }
    }
    match Linker::find() {
        Ok(linker) => say(format_args!("found the linker: {linker}")),
        Err(reason) => {
            say(format_args!("no linker: {reason}"));
            install_linker()?;
        }
    }
    Toolchain::find().context("installed, and still not usable")?;
    say("ready: `cargo xtask ebpf` builds the eBPF object");
    Ok(())
}

/// Debian's compiler may have come without its clippy; that is no reason to fail.
fn add_clippy(compiler: &Compiler) -> Result<()> {
    let debian = compiler.rustc == Path::new("/usr/bin/rustc");
    if compiler.has_clippy() || !debian || !privilege::is_root()? {
        return Ok(());
    }
    debian::install("setup", &COMPILER_PACKAGES)
}

fn install_compiler() -> Result<()> {
    let root = privilege::is_root()?;
    if root && debian::has_apt() {
        if !COMPILER_PACKAGES.iter().all(|package| debian::offers(package)) {
            debian::update("setup")?;
        }
        if COMPILER_PACKAGES.iter().all(|package| debian::offers(package)) {
            return debian::install("setup", &COMPILER_PACKAGES);
        }
        say("this distribution has no Rust with the BPF target; trying rustup");
    }
    if ask(program("rustup").arg("--version")).is_some() {
        say(format_args!("installing {NIGHTLY} with rust-src by rustup"));
        let mut rustup = program("rustup");
        rustup.args([
            "toolchain",
            "install",
            NIGHTLY,
            "--profile",
            "minimal",
            "--component",
            "rust-src,clippy",
        ]);
        return run_command(&mut rustup).with_context(|| no_compiler(root));
    }
    bail!(no_compiler(root))
}

fn no_compiler(root: bool) -> String {
    let not_root = if root { "" } else { ", and this is not root, who could install Debian's" };
    format!(
        "no compiler for the BPF target was installed{not_root}. Either of these will do:\n  \
         sudo apt-get install {}\n  \
         rustup toolchain install {NIGHTLY} --profile minimal --component rust-src,clippy",
        COMPILER_PACKAGES.join(" ")
    )
}

fn install_linker() -> Result<()> {
    let prefix = llvm_prefix()?;
    say(format_args!(
        "building bpf-linker {LINKER_VERSION} with the LLVM of {}, which takes a minute",
        prefix.display()
    ));
    let mut cargo = workspace::cargo();
    // Outside the workspace: its toolchain file and configuration are not the linker's.
    cargo.current_dir(env::temp_dir());
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--force", "--no-default-features"]);
    cargo.arg(format!("--features=llvm-{LLVM_MAJOR}"));
    cargo.env("PATH", prepend(&[prefix.join("bin")])).env("LLVM_PREFIX", prefix);
    run_command(&mut cargo)
}

/// Where LLVM is installed with its headers; installs it where Debian has it.
fn llvm_prefix() -> Result<PathBuf> {
    let given = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let prefix = given.unwrap_or_else(|| format!("/usr/lib/llvm-{LLVM_MAJOR}").into());
    if !has_llvm(&prefix) {
        say(format_args!("no LLVM {LLVM_MAJOR} with headers in {}", prefix.display()));
        debian::install("setup", &[LLVM_PACKAGE]).with_context(|| {
            format!(
                "bpf-linker is built with LLVM {LLVM_MAJOR}: install it and set LLVM_PREFIX to its folder"
            )
        })?;
    }
    if !has_llvm(&prefix) {
        bail!(
            "{} has no bin/llvm-config of LLVM {LLVM_MAJOR}; set LLVM_PREFIX to its folder",
            prefix.display()
        );
    }
    Ok(prefix)
}

fn has_llvm(prefix: &Path) -> bool {
    let version = ask(program(prefix.join("bin/llvm-config")).arg("--version"));
    version.is_some_and(|version| version.split('.').next() == Some(LLVM_MAJOR))
}

fn say(message: impl std::fmt::Display) {
    process::say("setup", message);
}
