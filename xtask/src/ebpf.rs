//! `cargo xtask ebpf`: builds the eBPF object that is committed, and its provenance file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::provenance::{self, OBJECT, PROVENANCE};
use crate::support::process::{self, output};
use crate::support::toolchain::{TARGET, Toolchain};
use crate::support::{remap, workspace};

/// Name of vipd-ebpf's binary target, whose output becomes `vipd.bpf.o`.
const PROGRAM: &str = "vipd";

/// Rebuild the committed eBPF object and its provenance file
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only check whether the committed object matches the sources; exit with status 1 if not
    #[arg(long, conflicts_with = "out")]
    check: bool,
    /// Write the object to this path instead of replacing the committed object
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

/// Runs `cargo xtask ebpf`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    if args.check {
        provenance::check(root).map_err(|message| anyhow!(message))?;
        progress(format_args!("{OBJECT} is current"));
        return Ok(());
    }

    let toolchain = Toolchain::find()?;
    if let Some(out) = &args.out {
        return build(&toolchain, out);
    }
    build(&toolchain, &root.join(OBJECT))?;
    let text = describe(&toolchain, root)?;
    let path = root.join(PROVENANCE);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    progress(format_args!("wrote {PROVENANCE}; commit both files"));
    provenance::check(root).map_err(|message| anyhow!(message))
}

/// Builds the object and writes it to `out`.
pub(crate) fn build(toolchain: &Toolchain, out: &Path) -> Result<()> {
    let root = workspace::root();
    progress(format_args!("building with {} and {}", toolchain.compiler, toolchain.linker));
    let mut cargo = toolchain.cargo("build", root);
    cargo.args(["--package", "vipd-ebpf", "--bin", PROGRAM, "--release", "--locked"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    // Use a separate folder, because sharing a folder with the host's compiler would cause full
    // rebuilds.
    cargo.arg("--target-dir").arg(workspace::target().join("ebpf"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, root).join("\x1f"));
    let object = built_program(&output(cargo.stdin(Stdio::null()))?)?;

    let folder = out.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // `fs::copy` would also copy the executable bit that the linker sets.
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    fs::write(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    progress(format_args!(
        "wrote {}: {} bytes, SHA-256 {}",
        out.display(),
        bytes.len(),
        provenance::sha256(&bytes)
    ));
    Ok(())
}

/// Returns the compiler flags for all crates in the object, which replace the flags from cargo's
/// configuration.
fn flags(toolchain: &Toolchain, root: &Path) -> Vec<String> {
    // The architecture is fixed, so that the object does not depend on the build host.
    let mut flags = vec!["--cfg=bpf_target_arch=\"x86_64\"".to_owned()];
    // BTF is generated from debug information, which contains paths. Remap the paths, so that
    // builds are reproducible.
    flags.extend(["-Cdebuginfo=2", "-Clink-arg=--btf"].map(str::to_owned));
    flags.extend(remap::flags(root));
    flags.push(remap::flag(&toolchain.compiler.sysroot, "/rust"));
    flags
}

/// Returns the path of the object from cargo's build messages.
fn built_program(messages: &str) -> Result<PathBuf> {
    for line in messages.lines() {
        let message: Value =
            serde_json::from_str(line).with_context(|| format!("unexpected output from cargo: `{line}`"))?;
        if message["target"]["name"] == PROGRAM
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo did not report an executable `{PROGRAM}` for package vipd-ebpf, target {TARGET}")
}

/// Returns the packages that are compiled into the object, as sorted `name version` strings. `tree`
/// is the output of `cargo tree --prefix depth`.
///
/// Omits path packages, because their sources are hashed. Includes macros, but not the macros'
/// dependencies (such as `syn`), which are shared with the agent and do not affect the object.
fn compiled_in(tree: &str) -> Vec<String> {
    let mut packages = BTreeSet::new();
    let mut macro_depth = usize::MAX;
    for line in tree.lines() {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        let depth = line[..digits].parse().unwrap_or(0);
        if depth > macro_depth {
            continue;
        }
        let mut words = line[digits..].split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let remark = words.next().unwrap_or_default();
        macro_depth = if remark == "(proc-macro)" { depth } else { usize::MAX };
        if !remark.starts_with("(/") {
            packages.insert(format!("{name} {}", version.trim_start_matches('v')));
        }
    }
    packages.into_iter().collect()
}

/// Returns the contents of the provenance file that [`provenance::check`] reads.
fn describe(toolchain: &Toolchain, root: &Path) -> Result<String> {
    let mut cargo = toolchain.cargo("tree", root);
    cargo.args(["--package", "vipd-ebpf", "--edges", "normal", "--prefix", "depth", "--locked"]);
    let packages = compiled_in(&output(&mut cargo)?);
    let object = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    let source = provenance::source_sha256(root, &packages).map_err(|message| anyhow!(message))?;
    let Toolchain { compiler, linker } = toolchain;
    let mut text = String::from(
        "# Sources and tools of vipd.bpf.o: written by `cargo xtask ebpf`, read by vipd's build script.\n",
    );
    let values = [
        ("source-sha256", &source),
        ("object-sha256", &provenance::sha256(&object)),
        ("rustc", &compiler.version),
        ("rustc-llvm", &compiler.llvm),
        ("bpf-linker", &linker.version),
        ("bpf-linker-llvm", &linker.llvm),
    ];
    for (key, value) in values {
        writeln!(text, "{key} = \"{value}\"")?;
    }
    text.push_str("packages = [\n");
    for package in packages {
        writeln!(text, "    \"{package}\",")?;
    }
    text.push_str("]\n");
    Ok(text)
}

fn progress(message: impl std::fmt::Display) {
    process::progress("ebpf", message);
}

#[cfg(test)]
mod tests {
    use super::compiled_in;

    #[test]
    fn packages_exclude_path_packages_and_dependencies_of_macros() {
        let tree = "0vipd-ebpf v0.1.0 (/home/me/vipd/vipd-ebpf)\n1aya-ebpf v0.2.1\n2aya-ebpf-macros v0.2.0 (proc-macro)\n\
                    3syn v2.0.1\n4unicode-ident v1.0.0\n2aya-ebpf-cty v0.3.0\n1vipd-common v0.1.0 (/home/me/vipd/vipd-common)\n\
                    2bytemuck v1.25.2\n1aya-ebpf v0.2.1 (*)\n";
        let expected = ["aya-ebpf 0.2.1", "aya-ebpf-cty 0.3.0", "aya-ebpf-macros 0.2.0", "bytemuck 1.25.2"];
        assert_eq!(compiled_in(tree), expected);
    }
}
