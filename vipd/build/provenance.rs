//! Checks whether the committed eBPF object matches the sources.
//!
//! vipd's build script, which rejects a stale object, and `cargo xtask ebpf`, which builds the
//! object, both include this file. The file is not a crate, because the build script must also work
//! in the published package, outside the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The committed object, relative to the root of the workspace.
pub(crate) const OBJECT: &str = "vipd-ebpf/vipd.bpf.o";
/// The record of the sources and tools used to build the object, relative to the root of the
/// workspace.
pub(crate) const PROVENANCE: &str = "vipd-ebpf/vipd.bpf.toml";
/// Remedy for a stale object. Most error messages below end with it.
const REMEDY: &str = "run `cargo xtask ebpf` and commit the files it writes";

/// The workspace manifest, which sets the profile, the edition, and the features of the packages
/// compiled into the object.
const WORKSPACE_MANIFEST: &str = "Cargo.toml";
/// The lock file, which sets the versions of the packages compiled into the object.
const LOCK: &str = "Cargo.lock";
/// Manifests that are hashed in full.
const MANIFESTS: [&str; 2] = ["vipd-common/Cargo.toml", "vipd-ebpf/Cargo.toml"];
/// Directories whose `.rs` files are hashed.
const SOURCES: [&str; 2] = ["vipd-common/src", "vipd-ebpf/src"];

/// Checks the committed object.
///
/// # Errors
/// Returns an error if the object is stale or a file cannot be read. The error includes the remedy,
/// if there is one.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let provenance = read_text(&root.join(PROVENANCE))?;
    let recorded = |key| {
        value(&provenance, key).ok_or_else(|| format!("{PROVENANCE} has no line `{key} = \"…\"`; {REMEDY}"))
    };

    let object = read(&root.join(OBJECT))?;
    let (found, expected) = (sha256(&object), recorded("object-sha256")?);
    if found != expected {
        return Err(format!("{OBJECT} has SHA-256 {found}, but {PROVENANCE} records {expected}; {REMEDY}"));
    }

    let packages = packages(&provenance);
    let lock = read_text(&root.join(LOCK))?;
    for package in &packages {
        let (name, version) = package.split_once(' ').unwrap_or((package, ""));
        if !lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")) {
            return Err(format!(
                "{OBJECT} was compiled with {name} {version}, which is no longer in {LOCK}; {REMEDY}"
            ));
        }
    }

    let (found, expected) = (source_sha256(root, &packages)?, recorded("source-sha256")?);
    if found != expected {
        return Err(format!(
            "{OBJECT} is stale: its sources and build settings have hash {found}, but had hash {expected} when the \
             object was built; {REMEDY}"
        ));
    }
    Ok(())
}

/// Hashes all sources of the object in the workspace.
///
/// `packages` lists the dependencies compiled into the object, as `name version`. Of the workspace
/// manifest, only the lines that affect the object are hashed, so that a new dependency of the
/// agent does not make the object stale.
pub(crate) fn source_sha256(root: &Path, packages: &[String]) -> Result<String, String> {
    let mut files: Vec<PathBuf> = MANIFESTS.iter().map(|path| root.join(path)).collect();
    for folder in SOURCES {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();

    let mut hash = Sha256::new();
    // A terminator after each name and a length before the content of each file ensure that
    // different trees never produce the same byte stream.
    let mut feed = |name: &str, content: &[u8]| {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    };
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        feed(&name, &read(file)?);
    }
    let manifest = relevant_lines(&read_text(&root.join(WORKSPACE_MANIFEST))?, packages);
    feed(WORKSPACE_MANIFEST, manifest.as_bytes());
    for package in packages {
        feed("package", package.as_bytes());
    }
    Ok(hex(&hash.finalize()))
}

/// Returns the SHA-256 hash in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the lines of the workspace manifest that affect the object: the release profile, the
/// edition, and the declarations of the packages compiled into it.
fn relevant_lines(manifest: &str, packages: &[String]) -> String {
    let compiled_in = |key: &str| packages.iter().any(|package| package.split(' ').next() == Some(key));
    let mut section = "";
    let mut relevant = String::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        let is_relevant = match section {
            "[workspace.package]" => key == "edition",
            "[workspace.dependencies]" => compiled_in(key),
            _ => section.starts_with("[profile.release"),
        };
        if is_relevant {
            relevant.push_str(line);
            relevant.push('\n');
        }
    }
    relevant
}

/// Returns the value of a line `key = "value"` in the provenance file.
fn value<'a>(provenance: &'a str, key: &str) -> Option<&'a str> {
    provenance.lines().find_map(|line| {
        let (found, value) = line.split_once(" = ")?;
        (found == key).then(|| value.trim_matches('"'))
    })
}

/// Returns the entries of the package list, each as `name version`.
pub(crate) fn packages(provenance: &str) -> Vec<String> {
    let entry = |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix("\",")?.to_owned());
    provenance.lines().filter_map(entry).collect()
}

/// Adds every `.rs` file below `folder` to `files`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error| format!("cannot list {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}; {REMEDY}", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}; {REMEDY}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
