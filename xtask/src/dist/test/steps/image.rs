//! The container image with the static program, built and run with the commands at the top of its
//! Containerfile.

use std::fs;

use anyhow::{Context, Result};
use vipd_tests::control;

use super::TIMEOUT;
use crate::dist::test::machine::PACKAGES;
use crate::dist::test::{DIST, Test};
use crate::support::workspace;

const CONTAINERFILE: &str = "examples/container/Containerfile";
/// Beginning of a line with a command, or with the rest of one.
const COMMAND: &str = "#   ";

/// Prepares the system for podman. In this container, root may not raise resource limits, there are
/// no controllers for control groups, and overlayfs cannot use the overlayfs of the root directory.
///
/// The runtime directory of the service belongs to the user vipd; root in the container, which has
/// no capability to override permissions, could not write to it.
const SETUP: &str = r#"
rm -r /run/vipd
mkdir -p /etc/containers
cat >/etc/containers/containers.conf <<'END'
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
END
cat >/etc/containers/storage.conf <<'END'
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
"#;

pub(super) fn run(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let file = fs::read_to_string(workspace::root().join(CONTAINERFILE));
    let file = file.with_context(|| format!("cannot read {CONTAINERFILE}"))?;
    let commands: Vec<&str> = file.lines().filter_map(|line| line.strip_prefix(COMMAND)).collect();

    machine.run(SETUP)?;
    machine.run(&format!("cd {PACKAGES}/{DIST}\n{}", commands.join("\n")))?;
    test.wait_for_state("master").with_context(|| machine.run("podman logs vipd").unwrap_or_default())?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    machine.run("podman exec vipd vipd check")?;
    machine.run("podman stop vipd")?;
    control::wait_for_state(&test.peer, "master", TIMEOUT).map(drop)
}
