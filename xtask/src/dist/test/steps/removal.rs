//! Removal of the package, with and without its configuration.

use anyhow::{Result, ensure};
use vipd_tests::control;
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

use super::restart::is_priority_zero;
use super::{TIMEOUT, install_number};
use crate::dist::test::Test;

/// Lists the files that must be the same before the installation and after the purge: all except
/// logs, caches, and the records of dpkg, apt, systemd, podman and the tools that change users.
const SNAPSHOT: &str = "find / -xdev -mindepth 1 \
    -not -path '/var/log/*' -not -path '/var/cache/*' -not -path '/var/lib/dpkg/*' -not -path '/var/lib/apt/*' \
    -not -path '/var/lib/systemd/*' -not -path '/var/lib/containers/*' \
    -not -path '/etc/*-' -not -path /etc/.pwd.lock | sort";

/// Records the files of the system, for the comparison after the purge.
pub(super) fn record_files(test: &Test) -> Result<()> {
    test.machine.run(&format!("{SNAPSHOT} >/tmp/before")).map(drop)
}

pub(super) fn remove(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let start = WallTime::now();
    machine.run("apt-get remove --yes --quiet vipd")?;
    control::wait_for_state(&test.peer, "master", TIMEOUT)?;
    ensure!(test.capture.has(start, is_priority_zero), "no priority-0 advert");
    ensure!(!test.has_vip()?, "the VIP remains");
    machine.expect("pgrep -c vipd || true", "0")?;
    for gone in ["/usr/bin/vipd", "/lib/systemd/system/vipd.service", "/sys/fs/bpf/vipd"] {
        machine.run(&format!("test ! -e {gone}"))?;
    }
    machine.run("test -e /etc/vipd/vipd.toml -a -e /etc/default/vipd")?;
    machine.run("getent passwd vipd").map(drop)
}

pub(super) fn install_again(test: &Test) -> Result<()> {
    install_number(test, 4)?;
    test.machine.expect("stat --format=%U:%G:%a /etc/vipd", "root:vipd:2750")?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    Ok(())
}

pub(super) fn purge(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run("apt-get purge --yes --quiet vipd")?;
    control::wait_for_state(&test.peer, "master", TIMEOUT)?;
    machine.run("systemctl enable --now keepalived")?;
    try_wait_until("keepalived to be master again", TIMEOUT, || test.has_vip())?;
    machine.expect(&format!("{SNAPSHOT} | diff /tmp/before - || true"), "")?;
    machine.expect("grep vipd /etc/passwd /etc/group /etc/shadow || true", "")?;
    machine.expect("find /var/lib/systemd /var/lib/dpkg/info /run /sys/fs/bpf -name '*vipd*'", "")?;
    machine.expect("dpkg --list vipd 2>/dev/null || echo unknown", "unknown")?;
    machine.run("systemctl disable --now keepalived").map(drop)
}
