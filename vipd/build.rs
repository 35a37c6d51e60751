//! Copies the eBPF object to `$OUT_DIR/vipd.bpf.o`, for `include_bytes_aligned!`.
//!
//! The object is committed, so that building vipd requires only stable Rust. In the workspace, a
//! stale object fails the build. The published package contains the object but not its sources, so
//! the check is skipped there.

#[path = "build/provenance.rs"]
mod provenance;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Environment variable with the path of another object to embed, such as an object rebuilt by the
/// tests. The build then does not check for a stale object.
const OBJECT_VARIABLE: &str = "VIPD_EBPF_OBJECT";
/// In the workspace, a symbolic link to the committed object; in the published package, the object
/// itself.
const PACKAGED: &str = "vipd.bpf.o";
/// Files and directories of the workspace that the committed object depends on.
const INPUTS: [&str; 4] = ["Cargo.toml", "Cargo.lock", "vipd-common", "vipd-ebpf"];

fn main() {
    if let Err(message) = place_object() {
        // `cargo::error` fails the build. If this program exited with an error instead, cargo would
        // also print all of its output.
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
