//! Builds vipd for packages.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::support::process::{ask, program, run};
use crate::support::{remap, workspace};

/// The C library that a build is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    /// The shared library of the distribution.
    Gnu,
    /// musl, linked statically.
    Musl,
}

impl Library {
    /// Returns the target, for the architecture of this machine.
    pub(super) fn target(self) -> String {
        let library = match self {
            Self::Gnu => "gnu",
            Self::Musl => "musl",
        };
        format!("{}-unknown-linux-{library}", std::env::consts::ARCH)
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            // dh_strip finds the package's debug symbols by their build ID.
            Self::Gnu => &["-Clink-arg=-Wl,--build-id=sha1"],
            Self::Musl => &["-Ctarget-feature=+crt-static"],
        }
    }
}

/// Builds vipd in release mode and returns the path of the executable. The executable contains no
/// paths of the build machine.
pub(super) fn build(library: Library) -> Result<PathBuf> {
    let target = library.target();
    ensure_installed(&target)?;
    let mut flags: Vec<String> = library.flags().iter().map(|&flag| flag.to_owned()).collect();
    flags.extend(remap::flags(workspace::root()));
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "vipd", "--target", &target]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_INCREMENTAL", "0");
    if library == Library::Musl {
        // Keep the names of functions, for backtraces. For the Debian build, a separate package
        // contains all debug information instead.
        cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    }
    run(&mut cargo)?;
    Ok(workspace::target().join(target).join("release/vipd"))
}

/// Installs the standard library for a target with rustup, if it is missing.
fn ensure_installed(target: &str) -> Result<()> {
    let rustc = || program(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let folder = ask(rustc().args(["--print", "target-libdir", "--target", target]));
    if folder.is_some_and(|folder| PathBuf::from(folder.trim()).is_dir()) {
        return Ok(());
    }
    super::progress(format_args!("installing the standard library for {target} with rustup"));
    run(program("rustup").args(["target", "add", target]).current_dir(workspace::root()))
        .with_context(|| format!("rustc has no standard library for {target}; install it"))
}
