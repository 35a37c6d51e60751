//! Finds or installs the toolchain for the eBPF object, or installs the packages that the tests
//! need (`cargo xtask setup`).

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::dist;
use crate::support::process::{ask, program, run as run_command};
use crate::support::toolchain::{Compiler, LINKER_VERSION, LLVM_MAJOR, Linker, NIGHTLY, Toolchain, prepend};
use crate::support::{debian, privilege, process, workspace};

/// Debian packages of a compiler with `core` for the BPF target, and of the compiler's clippy,
/// which `cargo xtask lint` uses.
const COMPILER_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];
/// Debian package with LLVM's library and headers, needed to build bpf-linker.
const LLVM_PACKAGE: &str = "llvm-22-dev";
/// Debian packages of programs that the tests run. `prometheus` includes promtool.
const TEST_PACKAGES: [&str; 12] = [
    "keepalived",
    "frr",
    "iproute2",
    "iputils-ping",
    "bpftool",
    "procps",
    "tshark",
    "prometheus",
    "chromium",
    dist::PACKAGES[0],
    dist::PACKAGES[1],
    dist::PACKAGES[2],
];

/// Find or install the toolchain for the eBPF object
///
/// Only needed to change vipd-ebpf, vipd-common, or the dependencies or build settings of the eBPF
/// object. Building vipd requires only stable Rust.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install the packages that the tests need, instead of the toolchain
    #[arg(long)]
    tests: bool,
}

/// Runs `cargo xtask setup`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.tests { tests() } else { toolchain() }
}

/// Installs the packages that the tests need.
pub(crate) fn tests() -> Result<()> {
    debian::install("setup", &TEST_PACKAGES)
}

fn toolchain() -> Result<()> {
    match Compiler::find() {
        Ok(compiler) => {
            progress(format_args!("found the compiler: {compiler}"));
            add_clippy(&compiler)?;
        }
        Err(reason) => {
            progress(format_args!("no compiler for the BPF target: {reason}"));
            install_compiler()?;
        }
    }
    match Linker::find() {
        Ok(linker) => progress(format_args!("found the linker: {linker}")),
        Err(reason) => {
            progress(format_args!("no linker: {reason}"));
            install_linker()?;
        }
    }
    Toolchain::find().context("the installed toolchain is not usable")?;
    progress("ready: `cargo xtask ebpf` builds the eBPF object");
    Ok(())
}

/// Installs clippy for Debian's compiler if clippy is missing and this process is root. Clippy is
/// optional.
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
        progress("this distribution has no Rust compiler with the BPF target; trying rustup");
    }
    if ask(program("rustup").arg("--version")).is_some() {
        progress(format_args!("installing {NIGHTLY} and rust-src with rustup"));
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
    let not_root = if root { "" } else { "; installing Debian's packages requires root" };
    format!(
        "no compiler for the BPF target was installed{not_root}. Run one of:\n  \
         sudo apt-get install {}\n  \
         rustup toolchain install {NIGHTLY} --profile minimal --component rust-src,clippy",
        COMPILER_PACKAGES.join(" ")
    )
}

fn install_linker() -> Result<()> {
    let prefix = llvm_prefix()?;
    progress(format_args!(
        "building bpf-linker {LINKER_VERSION} with the LLVM in {}; takes about a minute",
        prefix.display()
    ));
    let mut cargo = workspace::cargo();
    // Build outside the workspace, so that the workspace's toolchain file and cargo configuration
    // do not apply to bpf-linker.
    cargo.current_dir(env::temp_dir());
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--force", "--no-default-features"]);
    cargo.arg(format!("--features=llvm-{LLVM_MAJOR}"));
    cargo.env("PATH", prepend(&[prefix.join("bin")])).env("LLVM_PREFIX", prefix);
    run_command(&mut cargo)
}

/// Returns the prefix of an LLVM installation with headers. Installs Debian's package if there is
/// no such installation.
fn llvm_prefix() -> Result<PathBuf> {
    let given = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let prefix = given.unwrap_or_else(|| format!("/usr/lib/llvm-{LLVM_MAJOR}").into());
    if !has_llvm(&prefix) {
        progress(format_args!("no LLVM {LLVM_MAJOR} with headers in {}", prefix.display()));
        debian::install("setup", &[LLVM_PACKAGE]).with_context(|| {
            format!("bpf-linker needs LLVM {LLVM_MAJOR}; install it and set LLVM_PREFIX to its prefix")
        })?;
    }
    if !has_llvm(&prefix) {
        bail!(
            "{} has no bin/llvm-config of LLVM {LLVM_MAJOR}; set LLVM_PREFIX to its prefix",
            prefix.display()
        );
    }
    Ok(prefix)
}

fn has_llvm(prefix: &Path) -> bool {
    let version = ask(program(prefix.join("bin/llvm-config")).arg("--version"));
    version.is_some_and(|version| version.split('.').next() == Some(LLVM_MAJOR))
}

fn progress(message: impl std::fmt::Display) {
    process::progress("setup", message);
}
