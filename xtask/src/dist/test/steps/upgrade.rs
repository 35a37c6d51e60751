//! Upgrades of the package while the agent is master.

use anyhow::{Result, ensure};
use vipd_tests::time::WallTime;

use super::install_number;
use crate::dist::progress;
use crate::dist::test::Test;

/// Maximum gap between two adverts while the agent of a master is replaced, in milliseconds. The
/// master's advert interval is 100 ms, and a backup of priority 100 takes over after 360 ms.
const LONGEST_GAP: f64 = 150.0;

pub(super) fn by_succession(test: &Test) -> Result<()> {
    let (process, transitions) = (test.process()?, test.transitions()?);
    let entered = "systemctl show --property=ActiveEnterTimestampMonotonic,NRestarts vipd";
    let before = test.machine.line(entered)?;
    let start = WallTime::now();
    let output = install_number(test, 1)?;
    ensure!(output.contains("handed over to process "), "{output}");
    ensure!(test.process()? != process, "the process is still {process}: {output}");
    test.machine.expect(entered, &before)?;
    test.machine.expect(
        "test /proc/$(systemctl show --property=MainPID --value vipd)/exe -ef /usr/bin/vipd && echo new",
        "new",
    )?;
    test.wait_for_state("master")?;
    test.expect_transitions(&transitions)?;
    let gap = test.longest_gap(start)?;
    ensure!(gap < LONGEST_GAP, "{gap:.1} ms between two adverts");
    progress(format_args!("longest interval between two adverts: {gap:.1} ms"));
    Ok(())
}

pub(super) fn with_errors(test: &Test) -> Result<()> {
    let (process, transitions) = (test.process()?, test.transitions()?);
    test.machine
        .run("cp --preserve=all /etc/vipd/vipd.toml /root && echo 'vrid = 300' >>/etc/vipd/vipd.toml")?;
    let output = install_number(test, 2)?;
    ensure!(output.contains("the agent of the old version continues"), "{output}");
    ensure!(test.process()? == process, "another process runs: {output}");
    test.expect_transitions(&transitions)?;
    test.machine.run("cp --preserve=all /root/vipd.toml /etc/vipd && vipd upgrade && rm /root/vipd.toml")?;
    test.expect_transitions(&transitions)
}

pub(super) fn by_restart(test: &Test) -> Result<()> {
    let machine = &test.machine;
    // `vipd upgrade` does not find this agent.
    machine.run(
        "mkdir /etc/systemd/system/vipd.service.d
        printf '[Service]\\nRuntimeDirectory=vipd-other\\nEnvironment=VIPD_RUNTIME_DIR=/run/vipd-other\\n' \
            >/etc/systemd/system/vipd.service.d/test.conf
        systemctl daemon-reload
        systemctl restart vipd",
    )?;
    let process = test.process()?;
    let output = install_number(test, 3)?;
    ensure!(output.contains("restarting the service"), "{output}");
    ensure!(test.process()? != process, "the process is still {process}: {output}");
    machine.expect("systemctl is-active vipd", "active")?;
    machine.run(
        "rm -r /etc/systemd/system/vipd.service.d
        systemctl daemon-reload
        systemctl restart vipd
        rm -r /run/vipd-other",
    )?;
    test.wait_for_state("master")
}
