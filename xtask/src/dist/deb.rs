//! The Debian package, built by debhelper from `packaging/debian`.
//!
//! Uses debhelper rather than cargo-deb or plain dpkg-deb, so that the distribution's tools
//! generate the following:
//!
//! * the sections of the maintainer scripts that enable, start, stop and purge the service and
//!   create the user
//! * the dependencies on shared libraries
//! * the separate package of debug symbols
//! * the list of configuration files

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::epoch::VARIABLE;
use super::layout::{DOCUMENTATION, Program, copy, create_empty, write};
use crate::support::process::{output, program};
use crate::support::workspace;

/// Revision of the package.
const REVISION: &str = "1";
/// Directory in which packages install completions for zsh.
const ZSH: &str = "share/zsh/vendor-completions";

/// Builds the package and the one with debug symbols, and returns their paths in `out`.
pub(super) fn build(vipd: &Program, work: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let parent = work.join("deb");
    create_empty(&parent)?;
    let source = parent.join(format!("vipd-{}", vipd.version));
    prepare(vipd, &source)?;
    let mut build = program("dpkg-buildpackage");
    build.args(["--build=binary", "--no-sign"]).current_dir(&source);
    build.env(VARIABLE, vipd.epoch.0.to_string());
    // Its messages, of which there are many, matter only if it fails.
    let done = build.output().context("cannot start dpkg-buildpackage; install debhelper")?;
    if !done.status.success() {
        let text = [done.stdout, done.stderr].concat();
        bail!("dpkg-buildpackage failed: {}\n{}", done.status, String::from_utf8_lossy(&text));
    }

    let mut packages = Vec::new();
    for entry in fs::read_dir(&parent).with_context(|| format!("cannot read {}", parent.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let target = out.join(path.file_name().unwrap_or_default());
            copy(&path, &target, 0o644)?;
            packages.push(target);
        }
    }
    packages.sort();
    Ok(packages)
}

/// Prepares the source directory for dpkg-buildpackage.
fn prepare(vipd: &Program, source: &Path) -> Result<()> {
    vipd.install(&source.join("usr"), ZSH)?;
    // dh_installchangelogs compresses this file, and installs it under the name that Debian
    // requires.
    let changes = source.join("usr").join(DOCUMENTATION).join("CHANGELOG.md");
    fs::rename(&changes, source.join("CHANGELOG.md")).context("cannot move CHANGELOG.md")?;

    let packaging = workspace::root().join("packaging");
    let debian = source.join("debian");
    for entry in fs::read_dir(packaging.join("debian")).context("cannot read packaging/debian")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        copy(&path, &debian.join(name), if name == "rules" { 0o755 } else { 0o644 })?;
    }
    for name in ["vipd.service", "vipd.sysusers"] {
        copy(&packaging.join(name), &debian.join(name), 0o644)?;
    }
    write(&debian.join("changelog"), &changelog(vipd)?)
}

/// Returns the changelog of the package, which determines its version.
fn changelog(vipd: &Program) -> Result<String> {
    // A tilde sorts before the end of the version, as a hyphen does in cargo's versions.
    let version = vipd.version.replace('-', "~");
    let control = workspace::root().join("packaging/debian/control");
    let control = fs::read_to_string(&control).context("cannot read packaging/debian/control")?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    let maintainer = maintainer.context("packaging/debian/control names no maintainer")?;
    Ok(format!(
        "vipd ({version}-{REVISION}) unstable; urgency=medium\n\n  * Version {}; see changelog.gz.\n\n -- {maintainer}  {}\n",
        vipd.version,
        vipd.epoch.email()?
    ))
}

/// Checks packages with lintian. A warning is an error.
pub(super) fn check(packages: &[PathBuf]) -> Result<()> {
    let mut lintian = program("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    // The package is not uploaded to Debian, so there is no intent-to-package bug that its
    // changelog could close.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs"]);
    // In containers, lintian otherwise warns that it runs as root.
    lintian.arg("--allow-root").args(packages);
    let found = output(&mut lintian).context("the Debian package has defects")?;
    eprint!("{found}");
    Ok(())
}
