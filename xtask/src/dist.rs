//! `cargo xtask dist`: builds the packages of a release.

mod build;
mod crates;
mod deb;
mod epoch;
mod layout;
mod licenses;
mod sbom;
mod tarball;
mod test;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::provenance::sha256;
use crate::support::{debian, process, workspace};
use build::Library;
use layout::Program;

/// Debian packages of the programs that build the Debian package.
pub(crate) const PACKAGES: [&str; 3] = ["build-essential", "debhelper", "lintian"];
/// File with the SHA-256 hashes of the files that the same call of [`build_all`] has built.
const SUMS: &str = "SHA256SUMS";

/// Build the Debian package, the static tarball and their lists of components
///
/// Installs build-essential, debhelper and lintian from Debian and, with rustup, the musl target.
/// Builds vipd once for each C library, in `target/TARGET`. The time stamps in the packages are
/// `SOURCE_DATE_EPOCH`, or the time of the latest commit; the same sources and tools give identical
/// packages in any directory.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask dist           build all packages in target/dist
  cargo xtask dist --test    then install, upgrade and remove them on a Debian system with systemd")]
pub(crate) struct Args {
    /// Directory of the packages; files in it that are no longer built remain
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Afterwards, test the packages on a Debian system in the lab; needs root, and Debian's mirror
    #[arg(long)]
    test: bool,
    /// Test the packages that are in the directory, without building them
    #[arg(long, requires = "test")]
    no_build: bool,
}

/// Runs `cargo xtask dist`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = std::path::absolute(args.out.clone().unwrap_or_else(|| workspace::target().join("dist")))?;
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    if !args.no_build {
        debian::install("dist", &PACKAGES)?;
        build_all(&out)?;
    }
    if args.test { test::run(&out) } else { Ok(()) }
}

/// Builds all packages in `out`, and prints their names and sizes.
fn build_all(out: &Path) -> Result<()> {
    let mut progress = process::clocked("dist");
    let epoch = epoch::determine()?;
    let work = workspace::target().join("dist-work");
    let mut files = Vec::new();
    for library in [Library::Gnu, Library::Musl] {
        let target = library.target();
        progress(&format!("building vipd for {target}; takes some minutes"));
        let program = Program::describe(build::build(library)?, &target, epoch)?;
        match library {
            Library::Gnu => {
                progress("building the Debian package");
                let packages = deb::build(&program, &work, out)?;
                progress("checking it with lintian");
                deb::check(&packages)?;
                files.extend(packages);
            }
            Library::Musl => {
                progress("building the static tarball");
                files.push(tarball::build(&program, &work, out)?);
            }
        }
        let path = out.join(format!("vipd-{}-{target}.cdx.json", program.version));
        fs::write(&path, &program.components).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
    }
    files.sort();
    let (mut sums, mut table) = (String::new(), String::new());
    for path in &files {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().display();
        writeln!(sums, "{}  {name}", sha256(&bytes))?;
        writeln!(table, "{:8} kB  {name}", bytes.len().div_ceil(1000))?;
    }
    let path = out.join(SUMS);
    fs::write(&path, sums).with_context(|| format!("cannot write {}", path.display()))?;
    progress(&format!("built these files in {}, with their hashes in {SUMS}:", out.display()));
    print!("{table}");
    Ok(())
}

fn progress(message: impl std::fmt::Display) {
    process::progress("dist", message);
}
