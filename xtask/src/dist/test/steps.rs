//! The steps of the test, each with checks of its result.

mod image;
mod newcomer;
mod removal;
mod restart;
mod tarball;
mod upgrade;

use std::time::Duration;

use anyhow::Result;

use super::Test;
use super::machine::PACKAGES;

/// Time limit for a state change.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);
/// Number of packages, each with a higher version than the one before.
pub(super) const VERSIONS: u32 = 4;

type Step = fn(&Test) -> Result<()>;

/// All steps, in order.
pub(super) const ALL: &[(&str, Step)] = &[
    ("keepalived is master", newcomer::keepalived),
    ("README: install the package", newcomer::install),
    ("shells load the completions", newcomer::completions),
    ("README: import and check", newcomer::import_and_check),
    ("README: change over; vipd is master", newcomer::change_over),
    ("upgrade: no transition, no late advert", upgrade::by_succession),
    ("restart: the state is kept; stop: the VIPs are removed", restart::restart),
    ("upgrade with an invalid configuration: the old agent continues", upgrade::with_errors),
    ("upgrade of an agent that cannot be replaced: restart", upgrade::by_restart),
    ("remove: handover, configuration remains", removal::remove),
    ("install again: starts with the configuration", removal::install_again),
    ("purge: nothing remains, and keepalived is master again", removal::purge),
    ("static tarball in /usr/local", tarball::run),
    ("container from the image", image::run),
];

/// Installs the package with this number, and returns the output.
fn install_number(test: &Test, number: u32) -> Result<String> {
    test.machine.run(&format!("apt-get install --yes --quiet {PACKAGES}/vipd-{number}.deb"))
}
