//! Puts the eBPF object where `include_bytes_aligned!` finds it: `$OUT_DIR/vipd.bpf.o`.
//!
//! The object is committed, so that building vipd takes stable Rust alone. In the workspace a stale one stops the
//! build; the published package has no kernel sources to compare it with, only the object.

#[path = "build/provenance.rs"]
mod provenance;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names another object to put in, as the tests do with the one they have just rebuilt.
const OBJECT_VARIABLE: &str = "VIPD_EBPF_OBJECT";
/// In the workspace a link to the committed object; in the published package the object itself.
const PACKAGED: &str = "vipd.bpf.o";
/// Files and folders of the workspace that decide whether the committed object is stale.
const INPUTS: [&str; 4] = ["Cargo.toml", "Cargo.lock", "vipd-common", "vipd-ebpf"];

fn main() {
    if let Err(message) = place_object() {
        // This alone fails the build; an exit code on top would have cargo print all that was said before.
        println!("cargo::error={message}");
    }
}

fn place_object() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let package = folder("CARGO_MANIFEST_DIR")?;
    let workspace = package.join("..");

    let object = if let Some(other) = env::var_os(OBJECT_VARIABLE) {
        PathBuf::from(other)
    } else {
        if workspace.join("vipd-ebpf/src").is_dir() {
            for input in INPUTS {
                rerun_if_changed(&workspace.join(input));
            }
            provenance::check(&workspace)?;
        }
        package.join(PACKAGED)
    };
    rerun_if_changed(&object);

    let placed = folder("OUT_DIR")?.join(PACKAGED);
    fs::copy(&object, &placed)
        .map(drop)
        .map_err(|error| format!("cannot copy {} to {}: {error}", object.display(), placed.display()))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}
