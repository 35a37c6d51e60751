//! Whether the committed eBPF object still belongs to the sources beside it.
//!
//! Two programs ask: vipd's build script, which refuses to build with a stale object, and `cargo xtask ebpf`,
//! which makes it. They share this file, not a crate, because the build script must work inside the published
//! package, where there is no workspace.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The committed object, from the root of the workspace.
pub(crate) const OBJECT: &str = "vipd-ebpf/vipd.bpf.o";
/// What the object was made of and with, from the root of the workspace.
pub(crate) const PROVENANCE: &str = "vipd-ebpf/vipd.bpf.toml";
/// What to do about a stale object; every error below ends with it.
const REMEDY: &str = "run `cargo xtask ebpf` and commit what it writes";

/// The workspace's own manifest: profile, edition and features of the packages compiled in.
const WORKSPACE_MANIFEST: &str = "Cargo.toml";
/// Where the versions of those packages are pinned.
const LOCK: &str = "Cargo.lock";
/// Manifests that are hashed whole.
const MANIFESTS: [&str; 2] = ["vipd-common/Cargo.toml", "vipd-ebpf/Cargo.toml"];
/// Folders whose every `.rs` file is hashed.
const SOURCES: [&str; 2] = ["vipd-common/src", "vipd-ebpf/src"];

/// Says why the committed object is stale, and what to do.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let provenance = read_text(&root.join(PROVENANCE))?;
    let recorded = |key| {
        value(&provenance, key).ok_or_else(|| format!("{PROVENANCE} has no line `{key} = \"…\"`; {REMEDY}"))
    };

    let object = read(&root.join(OBJECT))?;
    let (found, expected) = (sha256(&object), recorded("object-sha256")?);
    if found != expected {
        return Err(format!(
            "{OBJECT} is not the object of {PROVENANCE}: SHA-256 {found}, recorded {expected}; {REMEDY}"
        ));
    }

    let packages = packages(&provenance);
    let lock = read_text(&root.join(LOCK))?;
    for package in &packages {
        let (name, version) = package.split_once(' ').unwrap_or((package, ""));
        if !lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")) {
            return Err(format!(
                "{OBJECT} was compiled with {name} {version}, which {LOCK} no longer has; {REMEDY}"
            ));
        }
    }

    let (found, expected) = (source_sha256(root, &packages)?, recorded("source-sha256")?);
    if found != expected {
        return Err(format!(
            "{OBJECT} is stale: the sources of vipd-ebpf and vipd-common hash to {found}, \
             it was compiled from {expected}; {REMEDY}"
        ));
    }
    Ok(())
}

/// Hashes everything of the workspace that the object is made of.
///
/// `packages` are the `name version` of the dependencies compiled in: of the workspace's manifest only the lines
/// about them count, so that a new dependency of the agent does not make the object stale.
pub(crate) fn source_sha256(root: &Path, packages: &[String]) -> Result<String, String> {
    let mut files: Vec<PathBuf> = MANIFESTS.iter().map(|path| root.join(path)).collect();
    for folder in SOURCES {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();

    let mut hash = Sha256::new();
    // Name and length are framed: no two different trees feed the hash the same bytes.
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

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The lines of the workspace's manifest that change the object: release profile, edition, and the
/// declarations of the packages compiled in.
fn relevant_lines(manifest: &str, packages: &[String]) -> String {
    let compiled_in = |key: &str| packages.iter().any(|package| package.split(' ').next() == Some(key));
    let mut section = "";
    let mut relevant = String::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        let counts = match section {
            "[workspace.package]" => key == "edition",
            "[workspace.dependencies]" => compiled_in(key),
            _ => section.starts_with("[profile.release"),
        };
        if counts {
            relevant.push_str(line);
            relevant.push('\n');
        }
    }
    relevant
}

/// The value of `key = "value"` in the provenance, which `cargo xtask ebpf` writes one key a line.
fn value<'a>(provenance: &'a str, key: &str) -> Option<&'a str> {
    provenance.lines().find_map(|line| {
        let (found, value) = line.split_once(" = ")?;
        (found == key).then(|| value.trim_matches('"'))
    })
}

/// The `name version` entries of the provenance's list of packages, one a line.
fn packages(provenance: &str) -> Vec<String> {
    let entry = |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix("\",")?.to_owned());
    provenance.lines().filter_map(entry).collect()
}

/// Adds every `.rs` file below `folder`.
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
