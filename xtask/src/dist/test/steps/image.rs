//! The image of the static program, by the commands in the head of its Containerfile.

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

/// Configuration of podman without systemd as its parent, in a container: root there may not raise
/// resource limits, and its control group has no controllers. The storage cannot use overlayfs on the
/// overlayfs of this system.
///
/// The runtime directory of the service belongs to the user vipd, and is not writable for root in the
/// container, which has no capability to override permissions.
const SETUP: &str = r#"
rm -r /run/vipd
mkdir -p /etc/containers /var/lib/containers
mount -t tmpfs tmpfs /var/lib/containers
cat >/etc/containers/containers.conf <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
END
"#;

pub(super) fn run(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let text = fs::read_to_string(workspace::root().join(CONTAINERFILE));
    let text = text.with_context(|| format!("cannot read {CONTAINERFILE}"))?;
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(COMMAND)).collect();

    machine.run(SETUP)?;
    machine.run(&format!("cd {PACKAGES}/{DIST}\n{}", commands.join("\n")))?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    machine.run("podman exec vipd vipd check")?;
    machine.run("podman stop vipd")?;
    control::wait_for_state(&test.peer, "master", TIMEOUT).map(drop)
}
