//! The archive with the static program, for every distribution.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::{DOCUMENTATION, Program, copy, create_empty, write};
use crate::support::process::{program, run};
use crate::support::workspace;

/// Directory of zsh completions, relative to the prefix. If the prefix is /usr/local, it is in
/// zsh's default search path.
const ZSH: &str = "share/zsh/site-functions";

/// Builds the archive in `out`, and returns its path.
pub(super) fn build(vipd: &Program, work: &Path, out: &Path) -> Result<PathBuf> {
    let work = work.join("tarball");
    create_empty(&work)?;
    let name = format!("vipd-{}-{}-linux-musl", vipd.version, std::env::consts::ARCH);
    let prefix = work.join(&name);
    vipd.install(&prefix, ZSH)?;
    let root = workspace::root();
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root.join(license), &prefix.join(DOCUMENTATION).join(license), 0o644)?;
    }
    let packaging = root.join("packaging");
    copy(&packaging.join("vipd.sysusers"), &prefix.join("lib/sysusers.d/vipd.conf"), 0o644)?;
    let unit = fs::read_to_string(packaging.join("vipd.service")).context("cannot read vipd.service")?;
    let unit = unit.replace("/usr/bin/vipd ", "/usr/local/bin/vipd ");
    write(&prefix.join("lib/systemd/system/vipd.service"), &unit)?;

    let archive = out.join(format!("{name}.tar.gz"));
    let mut tar = program("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    tar.arg(format!("--mtime=@{}", vipd.epoch.0)).arg("--use-compress-program=gzip --no-name --best");
    tar.arg("--file").arg(&archive).arg("--directory").arg(&work).arg(&name);
    run(&mut tar)?;
    Ok(archive)
}
