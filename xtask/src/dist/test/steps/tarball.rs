//! The static program from the tarball, as docs/packages.md installs it.

use anyhow::Result;
use vipd_tests::control;

use super::TIMEOUT;
use crate::dist::test::machine::PACKAGES;
use crate::dist::test::{BACKUP, DIST, Test};

pub(super) fn run(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run(&format!(
        "tar -xf {PACKAGES}/{DIST}/{} -C /usr/local --strip-components=1",
        test.files.archive
    ))?;
    machine.expect("ldd /usr/local/bin/vipd 2>&1 | sed 's/^[[:space:]]*//'", "statically linked")?;
    machine.run("systemd-sysusers && install -d -o root -g vipd -m 2750 /etc/vipd")?;
    machine.run(&format!("cat >/etc/vipd/vipd.toml <<'END'{}END", BACKUP.replace("100\n", "150\n")))?;
    machine.run("vipd check && systemctl daemon-reload && systemctl enable --now vipd")?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    let transitions = test.transitions()?;
    machine.run("vipd upgrade")?;
    test.expect_transitions(&transitions)?;
    machine.run("systemctl disable --now vipd").map(drop)
}
