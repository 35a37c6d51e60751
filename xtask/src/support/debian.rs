//! Packages of Debian and its derivatives.

use anyhow::{Result, bail};

use super::privilege;
use super::process::{ask, program, progress, run};

/// Returns the packages that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &&str| {
        let mut query = program("dpkg-query");
        let status = ask(query.args(["--show", "--showformat=${db:Status-Status}"]).arg(package));
        status.is_some_and(|status| status == "installed")
    };
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Returns whether `package` is in apt's current package lists.
pub(crate) fn offers(package: &str) -> bool {
    let policy = ask(program("apt-cache").args(["policy", package])).unwrap_or_default();
    policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
}

/// Returns whether this machine has apt.
pub(crate) fn has_apt() -> bool {
    ask(program("apt-get").arg("--version")).is_some()
}

/// Fetches apt's package lists, which are missing in new containers.
pub(crate) fn update(verb: &str) -> Result<()> {
    progress(verb, "fetching apt's package lists");
    run(program("apt-get").args(["update", "--quiet"]))
}

/// Prints the names of the missing packages and installs them.
pub(crate) fn install(verb: &str, packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    let list = packages.join(", ");
    if missing.is_empty() {
        progress(verb, format_args!("Debian packages are installed: {list}"));
        return Ok(());
    }
    let names = missing.join(" ");
    if !has_apt() {
        bail!(
            "missing Debian packages: {names}; there is no apt-get, so install them with this system's package manager"
        );
    }
    if !privilege::is_root()? {
        bail!("missing Debian packages: {names}; run `sudo apt-get install {names}`");
    }
    update(verb)?;
    progress(verb, format_args!("installing Debian packages: {names}"));
    let mut apt = program("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt.args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(missing))
}

/// Returns the version of an installed package.
pub(crate) fn version(package: &str) -> Result<String> {
    let mut query = program("dpkg-query");
    match ask(query.args(["--show", "--showformat=${Version}"]).arg(package)) {
        Some(version) => Ok(version),
        None => bail!("{package} is not installed; run `cargo xtask setup --tests`"),
    }
}
