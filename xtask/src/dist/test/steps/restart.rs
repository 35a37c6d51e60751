//! The step that restarts and stops the service with systemd.

use anyhow::{Context as _, Result, ensure};
use vipd_tests::control;
use vipd_tests::frame::Frame;
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

use super::TIMEOUT;
use crate::dist::progress;
use crate::dist::test::{ONE, Test};

/// Commands that restart the service or replace the agent, in order.
const RESTARTS: [&str; 4] =
    ["systemctl restart vipd", "systemctl try-restart vipd", "vipd upgrade", "systemctl restart vipd"];

/// Checks that restarts of the service keep the states, and that a stop removes the VIPs.
pub(super) fn restart(test: &Test) -> Result<()> {
    let machine = &test.machine;
    // At the interval of the other steps, backups take over sooner than an agent can be started.
    machine.run(
        "cp --preserve=all /etc/vipd/vipd.toml /root
        sed -i 's/^advert_interval = .*/advert_interval = \"1s\"/' /etc/vipd/vipd.toml
        grep -q '^advert_interval = \"1s\"' /etc/vipd/vipd.toml
        systemctl reload vipd",
    )?;
    let adverts = |since| test.capture.filter_map(since, |frame| advert(frame).map(|_| frame.time));
    let reloaded = WallTime::now();
    try_wait_until("an advert with the new interval", TIMEOUT, || {
        let is_slow = |frame: &Frame| advert(frame).is_some_and(|advert| advert.interval == 100);
        Ok(test.capture.has(reloaded, is_slow))
    })?;
    let (start, transitions) = (WallTime::now(), test.transitions()?);
    for command in RESTARTS {
        let process = test.process()?;
        machine.run(command)?;
        ensure!(test.process()? != process, "{command}: the process is still {process}");
        test.expect_transitions(&transitions).context(command)?;
        ensure!(test.has_vip()?, "{command}: the VIP is missing");
    }
    let continued = "journalctl --unit vipd | grep -c 'continuing with the state of the previous process'";
    machine.expect(continued, "3")?;
    // A backup that had missed adverts would have taken over within this time.
    let last = adverts(start).len();
    try_wait_until("further adverts", TIMEOUT, || Ok(adverts(start).len() > last + 4))?;
    test.expect_transitions(&transitions)?;
    ensure!(control::state(&test.peer)? == "backup", "node 2 has taken over");
    ensure!(!test.capture.has(start, is_priority_zero), "node 1 sent a priority-0 advert");
    let gap = test.longest_gap(start)?;
    progress(format_args!("longest interval between two adverts: {gap:.1} ms"));
    machine.expect("ip address show dev eth1 | grep -c 'valid_lft [0-9]' || true", "0")?;

    fail_to_start(test)?;

    let stopped = WallTime::now();
    machine.run("systemctl stop vipd")?;
    ensure!(!test.has_vip()?, "the VIP remains after a stop");
    try_wait_until("the priority-0 advert", TIMEOUT, || Ok(test.capture.has(stopped, is_priority_zero)))?;
    control::wait_for_state(&test.peer, "master", TIMEOUT)?;
    machine.run("mv /root/vipd.toml /etc/vipd && systemctl start vipd")?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    Ok(())
}

/// Restarts the service while its next process cannot be started: node 2 takes over, and the kernel
/// removes the VIP. Then lets the process start.
fn fail_to_start(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run(
        "mkdir /etc/systemd/system/vipd.service.d
        printf '[Service]\\nExecStartPre=/bin/false\\n' >/etc/systemd/system/vipd.service.d/test.conf
        systemctl daemon-reload
        ! systemctl restart vipd",
    )?;
    control::wait_for_state(&test.peer, "master", TIMEOUT)?;
    try_wait_until("the kernel to remove the VIP", TIMEOUT, || Ok(!test.has_vip()?))?;
    machine.run("rm -r /etc/systemd/system/vipd.service.d && systemctl daemon-reload")?;
    // systemd starts the service again. The process yields to node 2, and then preempts it.
    test.wait_for_state("master")?;
    machine.expect("journalctl --unit vipd | grep -c 'from=master to=backup reason=stalled'", "1")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    ensure!(test.has_vip()?, "the VIP is missing");
    Ok(())
}

/// Returns the advert in a frame from node 1.
fn advert(frame: &Frame) -> Option<vipd_tests::frame::Advert> {
    frame.advert().filter(|_| frame.from == ONE)
}

/// Returns whether a frame is a priority-0 advert from node 1.
pub(super) fn is_priority_zero(frame: &Frame) -> bool {
    advert(frame).is_some_and(|advert| advert.priority == 0)
}
