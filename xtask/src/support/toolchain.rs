//! The compiler and the linker for the BPF target, as they are on this machine.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, anyhow, bail};

use super::process::{ask, program};

/// The BPF target of little-endian machines: one object serves x86-64 and aarch64.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// LLVM's bitcode is not stable between majors: compiler and linker must agree on this one.
pub(crate) const LLVM_MAJOR: &str = "22";
/// The linker; its command line and output are part of what makes the object.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// A nightly whose LLVM is [`LLVM_MAJOR`].
pub(crate) const NIGHTLY: &str = "nightly-2026-04-01";

/// A rustc that can compile for the BPF target, and the cargo beside it.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// Its cargo.
    pub(crate) cargo: PathBuf,
    /// Where its libraries are.
    pub(crate) sysroot: PathBuf,
    /// Whether `core` must be compiled from rust-src: nightly's way. Debian has it compiled.
    pub(crate) build_std: bool,
    /// First line of its version.
    pub(crate) version: String,
    /// Version of its LLVM.
    pub(crate) llvm: String,
}

/// A bpf-linker.
#[derive(Debug)]
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// Its version.
    pub(crate) version: String,
    /// Version of the LLVM it is linked with.
    pub(crate) llvm: String,
}

/// A compiler and a linker that fit.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) compiler: Compiler,
    /// The linker.
    pub(crate) linker: Linker,
}

impl Toolchain {
    /// The toolchain of this machine.
    ///
    /// # Errors
    /// Says what is missing or does not fit, and that `cargo xtask setup` installs it.
    pub(crate) fn find() -> Result<Self> {
        let missing = |what: &str, reason: Error| anyhow!("no {what}: {reason:#}; run `cargo xtask setup`");
        let compiler = Compiler::find().map_err(|reason| missing("compiler for the BPF target", reason))?;
        let linker = Linker::find().map_err(|reason| missing("linker for the BPF target", reason))?;
        Ok(Self { compiler, linker })
    }

    /// This toolchain's cargo with a verb of its own, in `folder`, for the BPF target.
    pub(crate) fn cargo(&self, verb: &str, folder: &Path) -> Command {
        let compiler = &self.compiler;
        let mut cargo = program(&compiler.cargo);
        cargo.current_dir(folder).arg(verb).args(["--target", TARGET]);
        // aya-ebpf's one unstable feature, for this crate alone, on a compiler that is not a nightly.
        cargo.env("RUSTC", &compiler.rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf,vipd");
        if compiler.build_std && verb != "tree" {
            cargo.args(["-Z", "build-std=core"]);
        }
        // Compiler first: a verb of cargo's (clippy) is looked for beside it. Then the linker, by its name.
        let folders =
            [&compiler.cargo, &self.linker.path].map(|tool| tool.parent().unwrap_or(tool).to_owned());
        cargo.env("PATH", prepend(&folders));
        // A wrapper or another cargo's choice of toolchain would come between.
        for variable in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO", "RUSTFLAGS"]
        {
            cargo.env_remove(variable);
        }
        cargo
    }
}

impl Compiler {
    /// The first compiler that has a `core` for the BPF target and the LLVM that the linker reads.
    ///
    /// # Errors
    /// Names every candidate and why it will not do.
    pub(crate) fn find() -> Result<Self> {
        let mut refused = Vec::new();
        for candidate in [Some(PathBuf::from("/usr/bin/rustc")), rustup(NIGHTLY), rustup("nightly")] {
            let Some(rustc) = candidate.filter(|rustc| rustc.exists()) else { continue };
            match Self::examine(rustc) {
                Ok(compiler) => return Ok(compiler),
                Err(reason) => refused.push(reason.to_string()),
            }
        }
        if refused.is_empty() {
            bail!("neither Debian's rustc nor a nightly of rustup is installed");
        }
        bail!("{}", refused.join("; "))
    }

    fn examine(rustc: PathBuf) -> Result<Self> {
        let name = rustc.display();
        let verbose = ask(program(&rustc).arg("-vV")).with_context(|| format!("{name} does not run"))?;
        let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("unknown");
        if major(llvm) != LLVM_MAJOR {
            bail!("{name} has LLVM {llvm}, bpf-linker {LINKER_VERSION} is to read LLVM {LLVM_MAJOR}");
        }
        let sysroot = ask(program(&rustc).args(["--print", "sysroot"]))
            .with_context(|| format!("{name} does not know its sysroot"))?;
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

    /// Whether a clippy of the same compiler is beside it.
    pub(crate) fn has_clippy(&self) -> bool {
        self.rustc.with_file_name("clippy-driver").exists()
    }
}

impl Linker {
    /// The first bpf-linker on PATH or among cargo's own programs, if it is the pinned one.
    ///
    /// # Errors
    /// Says that there is none, or which version was found.
    pub(crate) fn find() -> Result<Self> {
        let path = folders()
            .into_iter()
            .map(|folder| folder.join("bpf-linker"))
            .find(|path| path.is_file())
            .context("bpf-linker is neither on PATH nor among cargo's programs")?;
        let name = path.display();
        let answer = ask(program(&path).arg("--version")).with_context(|| format!("{name} does not run"))?;
        let version = answer.trim().trim_start_matches("bpf-linker ").to_owned();
        if version != LINKER_VERSION {
            bail!("{name} is version {version}, vipd's object is linked with {LINKER_VERSION}");
        }
        let binary = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        let llvm = linked_llvm(&binary).with_context(|| format!("cannot tell the LLVM of {name}"))?;
        if major(&llvm) != LLVM_MAJOR {
            bail!("{name} is linked with LLVM {llvm}, the compiler's bitcode is LLVM {LLVM_MAJOR}'s");
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

/// PATH with `folders` before it.
pub(crate) fn prepend(folders: &[PathBuf]) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(env::split_paths(&path));
    env::join_paths(all).unwrap_or(path)
}

/// Folders of programs: PATH, then cargo's, which root's PATH may not have.
pub(crate) fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&path).chain(cargo_home.map(|home| home.join("bin"))).collect()
}

/// The rustc of a toolchain of rustup's, if it is installed.
fn rustup(toolchain: &str) -> Option<PathBuf> {
    let mut which = program("rustup");
    // Only look: without this rustup would install what it does not find.
    which.env("RUSTUP_AUTO_INSTALL", "0").args(["which", "rustc", "--toolchain", toolchain]);
    ask(&mut which).map(|path| PathBuf::from(path.trim()))
}

/// The version of LLVM in a program that does not tell it: the name of the shared library it wants, or, linked
/// statically, the producer's name that LLVM stamps on bitcode.
fn linked_llvm(binary: &[u8]) -> Option<String> {
    [&b"libLLVM.so."[..], b"libLLVM-", b"LLVM"].into_iter().find_map(|mark| {
        let starts = (0..binary.len()).filter(|at| binary[*at..].starts_with(mark));
        starts.map(|at| version_at(&binary[at + mark.len()..])).find(|version| version.contains('.'))
    })
}

/// The digits and dots that `bytes` begin with.
fn version_at(bytes: &[u8]) -> String {
    let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let text: String = bytes.iter().copied().take_while(is_version).map(char::from).collect();
    text.trim_matches('.').to_owned()
}

/// The number before the first dot.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::linked_llvm;

    #[test]
    fn llvm_of_a_linker_linked_dynamically() {
        assert_eq!(linked_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0").as_deref(), Some("22.1"));
    }

    #[test]
    fn llvm_of_a_linker_linked_statically() {
        assert_eq!(linked_llvm(b"\0LLVM IR\0LLVM22.1.8\0").as_deref(), Some("22.1.8"));
    }

    #[test]
    fn no_llvm_at_all() {
        assert_eq!(linked_llvm(b"#!/bin/sh\nLLVM\n"), None);
    }
}
