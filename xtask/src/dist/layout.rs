//! The files of a package, and their places below the prefix.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::epoch::Epoch;
use super::{crates, licenses, sbom};
use crate::support::workspace;

/// Directory of the documentation, below the prefix.
pub(super) const DOCUMENTATION: &str = "share/doc/vipd";
/// Files and directories of the repository that are installed in the directory of the
/// documentation. They keep their names, so that relative links between pages work.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs",
    "examples",
    "packaging/vipd.rules.yml",
    "packaging/vipd.dashboard.json",
];
/// Names of the completion files, and their directories below the prefix.
const COMPLETIONS: [(&str, &str); 2] =
    [("vipd", "share/bash-completion/completions"), ("vipd.fish", "share/fish/vendor_completions.d")];

/// A program to package.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) executable: PathBuf,
    /// Version in Cargo.toml.
    pub(super) version: String,
    pub(super) epoch: Epoch,
    /// Bill of materials (CycloneDX in JSON), installed as `vipd.cdx.json`.
    pub(super) components: String,
    /// Licenses of the components.
    pub(super) licenses: String,
}

impl Program {
    /// Describes an executable that was built for a target.
    pub(super) fn describe(executable: PathBuf, target: &str, epoch: Epoch) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let crates = crates::all(target)?;
        let components = sbom::render(&crates, &version, target, epoch)?;
        Ok(Self { executable, version, epoch, components, licenses: licenses::render(&crates, target)? })
    }

    /// Installs the files that all packages have. `zsh` is the directory for zsh completions,
    /// relative to `prefix`.
    pub(super) fn install(&self, prefix: &Path, zsh: &str) -> Result<()> {
        copy(&self.executable, &prefix.join("bin/vipd"), 0o755)?;
        let packaging = workspace::root().join("packaging");
        copy_all(&packaging.join("man"), &prefix.join("share/man/man1"))?;
        for (name, directory) in COMPLETIONS.into_iter().chain([("_vipd", zsh)]) {
            copy(&packaging.join("completions").join(name), &prefix.join(directory).join(name), 0o644)?;
        }
        let documentation = prefix.join(DOCUMENTATION);
        for name in DOCUMENTS {
            let (from, to) = (workspace::root().join(name), documentation.join(name));
            if from.is_dir() { copy_all(&from, &to)? } else { copy(&from, &to, 0o644)? }
        }
        write(&documentation.join("vipd.cdx.json"), &self.components)?;
        write(&documentation.join("third-party-licenses"), &self.licenses)
    }
}

/// Copies a directory with its files, which are not executable.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_all(&path, &target)? } else { copy(&path, &target, 0o644)? }
    }
    Ok(())
}

/// Copies a file, and creates its directory.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    create_parent(to)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    set_mode(to, mode)
}

/// Writes a file, and creates its directory.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    create_parent(path)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(path, 0o644)
}

/// Removes a directory of an earlier build, and creates it again.
pub(super) fn create_empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}
