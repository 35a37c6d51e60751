//! `cargo xtask ebpf`: makes the committed eBPF object and says what it was made of.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::provenance::{self, OBJECT, PROVENANCE};
use crate::support::process::{self, output};
use crate::support::toolchain::{TARGET, Toolchain};
use crate::support::workspace;

/// Name of vipd-ebpf's program, before it is `vipd.bpf.o`.
const PROGRAM: &str = "vipd";

/// Rebuild the committed eBPF object and its provenance
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only say whether the committed object belongs to the sources; exit 1 if not
    #[arg(long, conflicts_with = "out")]
    check: bool,
    /// Write the object here and leave the committed one alone
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    if args.check {
        provenance::check(root).map_err(|message| anyhow!(message))?;
        say(format_args!("{OBJECT} is current"));
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
    say(format_args!("wrote {PROVENANCE}: commit both"));
    provenance::check(root).map_err(|message| anyhow!(message))
}

/// Builds the object into `out`.
pub(crate) fn build(toolchain: &Toolchain, out: &Path) -> Result<()> {
    let root = workspace::root();
    say(format_args!("building with {} and {}", toolchain.compiler, toolchain.linker));
    let mut cargo = toolchain.cargo("build", root);
    cargo.args(["--package", "vipd-ebpf", "--bin", PROGRAM, "--release", "--locked"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    // Another compiler than the host's: sharing its folder would rebuild the world at every change of hands.
    cargo.arg("--target-dir").arg(workspace::target().join("ebpf"));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, root).join("\x1f"));
    let object = built_program(&output(cargo.stdin(Stdio::null()))?)?;

    let folder = out.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Not `copy`: it would carry the linker's executable bit along.
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    fs::write(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    say(format_args!(
        "wrote {}: {} bytes, SHA-256 {}",
        out.display(),
        bytes.len(),
        provenance::sha256(&bytes)
    ));
    Ok(())
}

/// The flags of every crate in the object; cargo's own configuration does not add to them.
fn flags(toolchain: &Toolchain, root: &Path) -> Vec<String> {
    // XDP does not depend on the host: one architecture for all, or the object would differ by where it is built.
    let mut flags = vec!["--cfg=bpf_target_arch=\"x86_64\"".to_owned()];
    // BTF is made of debug information, which names files: by the same names wherever they lie.
    flags.extend(["-Cdebuginfo=2", "-Clink-arg=--btf"].map(str::to_owned));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let places = [(Some(root.to_owned()), "/vipd"), (cargo_home, "/cargo")];
    let sysroot = (Some(toolchain.compiler.sysroot.clone()), "/rust");
    for (place, name) in places.into_iter().chain([sysroot]) {
        flags.extend(place.map(|place| format!("--remap-path-prefix={}={name}", place.display())));
    }
    flags
}

/// The object, from cargo's messages about the build.
fn built_program(messages: &str) -> Result<PathBuf> {
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("cargo said `{line}`"))?;
        if message["target"]["name"] == PROGRAM
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no program {PROGRAM} of vipd-ebpf for {TARGET}")
}

/// The `name version` of the packages of the object, sorted, from `cargo tree --prefix depth`.
///
/// Path packages are left out: their sources are hashed. Macros are in, what they are made with (`syn` and the like)
/// is not: it changes with the agent's dependencies and does not show in the object.
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

/// The text of the provenance file; [`provenance::check`] reads it.
fn describe(toolchain: &Toolchain, root: &Path) -> Result<String> {
    let mut cargo = toolchain.cargo("tree", root);
    cargo.args(["--package", "vipd-ebpf", "--edges", "normal", "--prefix", "depth", "--locked"]);
    let packages = compiled_in(&output(&mut cargo)?);
    let object = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    let source = provenance::source_sha256(root, &packages).map_err(|message| anyhow!(message))?;
    let Toolchain { compiler, linker } = toolchain;
    let mut text = String::from(
        "# What vipd.bpf.o was made of and with: written by `cargo xtask ebpf`, read by vipd's build script.\n",
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

fn say(message: impl std::fmt::Display) {
    process::say("ebpf", message);
}

#[cfg(test)]
mod tests {
    use super::compiled_in;

    #[test]
    fn packages_of_the_object() {
        let tree = "0vipd-ebpf v0.1.0 (/home/me/vipd/vipd-ebpf)\n1aya-ebpf v0.2.1\n2aya-ebpf-macros v0.2.0 (proc-macro)\n\
                    3syn v2.0.1\n4unicode-ident v1.0.0\n2aya-ebpf-cty v0.3.0\n1vipd-common v0.1.0 (/home/me/vipd/vipd-common)\n\
                    2bytemuck v1.25.2\n1aya-ebpf v0.2.1 (*)\n";
        let expected = ["aya-ebpf 0.2.1", "aya-ebpf-cty 0.3.0", "aya-ebpf-macros 0.2.0", "bytemuck 1.25.2"];
        assert_eq!(compiled_in(tree), expected);
    }
}
