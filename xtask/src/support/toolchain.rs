//! Finds a compiler and a linker for the BPF target on this machine.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, anyhow, bail};

use super::process::{ask, program};

/// The BPF target for little-endian machines. The same object works on x86-64 and aarch64.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// Major version of LLVM that the compiler and the linker must both use, because bitcode is not
/// compatible between major versions.
pub(crate) const LLVM_MAJOR: &str = "22";
/// Version of bpf-linker. Other versions may produce a different object.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// A nightly toolchain with LLVM [`LLVM_MAJOR`].
pub(crate) const NIGHTLY: &str = "nightly-2026-04-01";

/// A rustc that can compile for the BPF target, and the cargo that belongs to it.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) sysroot: PathBuf,
    /// Whether `core` must be compiled from rust-src, as with nightly. Debian's `core` is
    /// precompiled.
    pub(crate) build_std: bool,
    /// First line of `rustc -vV`.
    pub(crate) version: String,
    /// Version of LLVM that the compiler uses.
    pub(crate) llvm: String,
}

/// A bpf-linker executable.
#[derive(Debug)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    /// Version of LLVM with which bpf-linker is linked.
    pub(crate) llvm: String,
}

/// A compiler and a linker with the same major version of LLVM.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: Linker,
}

impl Toolchain {
    /// Finds a toolchain on this machine.
    ///
    /// # Errors
    /// Returns an error if a tool is missing or has the wrong version.
    pub(crate) fn find() -> Result<Self> {
        let missing = |tool: &str, reason: Error| anyhow!("no {tool}: {reason:#}; run `cargo xtask setup`");
        let compiler = Compiler::find().map_err(|reason| missing("compiler for the BPF target", reason))?;
        let linker = Linker::find().map_err(|reason| missing("linker for the BPF target", reason))?;
        Ok(Self { compiler, linker })
    }

    /// Returns a `cargo VERB` command that runs in `folder`, with this toolchain and for the BPF
    /// target.
    pub(crate) fn cargo(&self, verb: &str, folder: &Path) -> Command {
        let compiler = &self.compiler;
        let mut cargo = program(&compiler.cargo);
        cargo.current_dir(folder).arg(verb).args(["--target", TARGET]);
        // aya-ebpf and the BPF program (crate `vipd`) use unstable features, which RUSTC_BOOTSTRAP
        // enables on a stable compiler.
        cargo.env("RUSTC", &compiler.rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf,vipd");
        if compiler.build_std && verb != "tree" {
            cargo.args(["-Z", "build-std=core"]);
        }
        // cargo finds subcommands (clippy) and the linker on PATH. Search the compiler's folder
        // first.
        let folders =
            [&compiler.cargo, &self.linker.path].map(|tool| tool.parent().unwrap_or(tool).to_owned());
        cargo.env("PATH", prepend(&folders));
        // Inherited settings would override this toolchain.
        for variable in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTFLAGS"]
        {
            cargo.env_remove(variable);
        }
        cargo
    }
}

impl Compiler {
    /// Finds the first compiler with `core` for the BPF target and LLVM [`LLVM_MAJOR`].
    ///
    /// # Errors
    /// Returns an error that lists each candidate and the reason why it was rejected.
    pub(crate) fn find() -> Result<Self> {
        let mut rejected = Vec::new();
        for candidate in [Some(PathBuf::from("/usr/bin/rustc")), rustup(NIGHTLY), rustup("nightly")] {
            let Some(rustc) = candidate.filter(|rustc| rustc.exists()) else { continue };
            match Self::examine(rustc) {
                Ok(compiler) => return Ok(compiler),
                Err(reason) => rejected.push(reason.to_string()),
            }
        }
        if rejected.is_empty() {
            bail!("neither Debian's rustc nor a nightly toolchain of rustup is installed");
        }
        bail!("{}", rejected.join("; "))
    }

    fn examine(rustc: PathBuf) -> Result<Self> {
        let name = rustc.display();
        let verbose = ask(program(&rustc).arg("-vV")).with_context(|| format!("{name} cannot be run"))?;
        let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("unknown");
        if major(llvm) != LLVM_MAJOR {
            bail!("{name} uses LLVM {llvm}; bpf-linker {LINKER_VERSION} requires LLVM {LLVM_MAJOR}");
        }
        let sysroot = ask(program(&rustc).args(["--print", "sysroot"]))
            .with_context(|| format!("{name} failed to print its sysroot"))?;
        let sysroot = PathBuf::from(sysroot.trim());
        let compiled = sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir();
        let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file();
        if !compiled && !source {
            bail!("{name} has neither a compiled core for {TARGET} nor the rust-src component");
        }
        let version = verbose.lines().next().unwrap_or_default().to_owned();
        let (cargo, llvm) = (rustc.with_file_name("cargo"), llvm.to_owned());
        Ok(Self { rustc, cargo, sysroot, build_std: !compiled, version, llvm })
    }

    /// Returns whether the same toolchain has clippy.
    pub(crate) fn has_clippy(&self) -> bool {
        self.rustc.with_file_name("clippy-driver").exists()
    }
}

impl Linker {
    /// Finds the first bpf-linker on PATH or in cargo's bin directory, and checks its version.
    ///
    /// # Errors
    /// Returns an error if bpf-linker is missing, cannot be run, has the wrong version, or is not
    /// linked with LLVM [`LLVM_MAJOR`].
    pub(crate) fn find() -> Result<Self> {
        let path = folders()
            .into_iter()
            .map(|folder| folder.join("bpf-linker"))
            .find(|path| path.is_file())
            .context("bpf-linker is neither on PATH nor in cargo's bin directory")?;
        let name = path.display();
        let output = ask(program(&path).arg("--version")).with_context(|| format!("{name} cannot be run"))?;
        let version = output.trim().trim_start_matches("bpf-linker ").to_owned();
        if version != LINKER_VERSION {
            bail!("{name} has version {version}; vipd's object requires {LINKER_VERSION}");
        }
        let binary = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        let llvm =
            linked_llvm(&binary).with_context(|| format!("cannot determine the LLVM version of {name}"))?;
        if major(&llvm) != LLVM_MAJOR {
            bail!("{name} is linked with LLVM {llvm}; the compiler's bitcode requires LLVM {LLVM_MAJOR}");
        }
        Ok(Self { path, version, llvm })
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = if self.build_std { "core from rust-src" } else { "compiled core" };
        write!(f, "{}: {}, LLVM {}, {core}", self.rustc.display(), self.version, self.llvm)
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, LLVM {}", self.path.display(), self.version, self.llvm)
    }
}

/// Returns PATH with `folders` prepended.
pub(crate) fn prepend(folders: &[PathBuf]) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(env::split_paths(&path));
    env::join_paths(all).unwrap_or(path)
}

/// Returns the folders on PATH, followed by cargo's bin directory, which may be missing from root's
/// PATH.
pub(crate) fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&path).chain(cargo_home.map(|home| home.join("bin"))).collect()
}

/// Returns the rustc of a rustup toolchain, if it is installed.
fn rustup(toolchain: &str) -> Option<PathBuf> {
    let mut which = program("rustup");
    // Prevents rustup from installing a missing toolchain.
    which.env("RUSTUP_AUTO_INSTALL", "0").args(["which", "rustc", "--toolchain", toolchain]);
    ask(&mut which).map(|path| PathBuf::from(path.trim()))
}

/// Finds the LLVM version with which a binary is linked, because bpf-linker has no option to print
/// it. In a dynamically linked binary, the version is in the name of the shared library. In a
/// statically linked binary, it is in the producer string for bitcode.
fn linked_llvm(binary: &[u8]) -> Option<String> {
    [&b"libLLVM.so."[..], b"libLLVM-", b"LLVM"].into_iter().find_map(|mark| {
        let starts = (0..binary.len()).filter(|at| binary[*at..].starts_with(mark));
        starts.map(|at| version_at(&binary[at + mark.len()..])).find(|version| version.contains('.'))
    })
}

/// Returns the leading digits and dots of `bytes`.
fn version_at(bytes: &[u8]) -> String {
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let text: String = bytes.iter().copied().take_while(is_version).map(char::from).collect();
    text.trim_matches('.').to_owned()
}

/// Returns the number before the first dot.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::linked_llvm;

    #[test]
    fn llvm_version_is_found_in_a_dynamically_linked_linker() {
        assert_eq!(linked_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0").as_deref(), Some("22.1"));
    }

    #[test]
    fn llvm_version_is_found_in_a_statically_linked_linker() {
        assert_eq!(linked_llvm(b"\0LLVM IR\0LLVM22.1.8\0").as_deref(), Some("22.1.8"));
    }

    #[test]
    fn binary_without_llvm_has_no_version() {
        assert_eq!(linked_llvm(b"#!/bin/sh\nLLVM\n"), None);
    }
}
