//! The steps of the test, each with what must be true afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use vipd_tests::control;
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

use super::Test;
use super::machine::PACKAGES;
use crate::dist::progress;

/// How long a state change may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);
/// Number of packages, each with a higher version than the one before.
pub(super) const VERSIONS: u32 = 5;
/// Longest interval between two adverts of a master with an interval of 100 ms whose agent is
/// replaced. A backup of priority 100 takes over after 360 ms.
const LONGEST_GAP: f64 = 150.0;

/// Files that exist before the installation, and may differ after the purge: logs, caches, and the
/// records of dpkg, apt, systemd and the tools that change users.
const SNAPSHOT: &str = "find / -xdev -mindepth 1 \
    -not -path '/var/log/*' -not -path '/var/cache/*' -not -path '/var/lib/dpkg/*' -not -path '/var/lib/apt/*' \
    -not -path '/var/lib/systemd/*' -not -path '/etc/*-' -not -path /etc/.pwd.lock | sort";

/// The configuration that a newcomer has.
const KEEPALIVED: &str = "
global_defs {
    vrrp_version 3
}
vrrp_instance VI_1 {
    state BACKUP
    interface eth1
    virtual_router_id 51
    priority 150
    advert_int 0.1
    virtual_ipaddress {
        192.168.122.50/24
    }
}
";

type Step = fn(&Test) -> Result<()>;

/// All steps, in order.
pub(super) const ALL: [(&str, Step); 10] = [
    ("install", install),
    ("shells load the completions", completions),
    ("import, check, start", import_and_start),
    ("upgrade: no transition, no late advert", upgrade),
    ("upgrade with an invalid configuration: the old agent continues", upgrade_with_errors),
    ("upgrade of an agent that cannot be replaced: restart", upgrade_by_restart),
    ("remove: handover, configuration remains", remove),
    ("install again: starts with the configuration", install_again),
    ("purge: nothing remains", purge),
    ("static tarball in /usr/local", tarball),
];

/// Installs the package with this number, and returns the output.
fn install_number(test: &Test, number: u32) -> Result<String> {
    test.machine.run(&format!("apt-get install --yes --quiet {PACKAGES}/vipd-{number}.deb"))
}

fn install(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run(&format!("{SNAPSHOT} >/tmp/before"))?;
    install_number(test, 1)?;
    machine.expect("stat --format=%U:%G:%a /etc/vipd", "root:vipd:2750")?;
    machine.expect("getent passwd vipd | cut -d: -f6,7", "/:/usr/sbin/nologin")?;
    machine.expect("systemctl is-enabled vipd", "enabled")?;
    // There is no configuration: the service is not started, and has not failed.
    machine.expect("systemctl is-active vipd || true", "inactive")?;
    machine.expect("systemctl show --property=ConditionResult --value vipd", "no")?;
    machine.expect(
        "dpkg-query --show --showformat='${Conffiles}' vipd | grep -o '/[^ ]*'",
        "/etc/default/vipd",
    )?;
    machine.run("dpkg --verify vipd && systemd-analyze verify --man=no vipd.service")?;
    Ok(())
}

fn completions(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let bash = "bash -c '. /usr/share/bash-completion/completions/vipd; COMP_WORDS=(vipd upg) COMP_CWORD=1; \
                _vipd vipd upg vipd; echo ${COMPREPLY[@]}'";
    machine.expect(bash, "upgrade")?;
    machine.expect("HOME=/tmp zsh -c 'autoload -U compinit; compinit; echo $_comps[vipd]'", "_vipd")?;
    let fish = machine.line("HOME=/tmp fish -c \"complete --do-complete 'vipd upg'\"")?;
    ensure!(fish.starts_with("upgrade\t"), "fish completes `vipd upg` with `{fish}`");
    Ok(())
}

fn import_and_start(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run(&format!(
        "mkdir /etc/keepalived; cat >/etc/keepalived/keepalived.conf <<'END'{KEEPALIVED}END"
    ))?;
    machine.run("vipd import /etc/keepalived/keepalived.conf -o /etc/vipd/vipd.toml")?;
    machine.expect("stat --format=%U:%G:%a /etc/vipd/vipd.toml", "root:vipd:640")?;
    machine.run("vipd check")?;
    machine.run("systemctl start vipd")?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    machine.expect("ps -o user= -p $(systemctl show --property=MainPID --value vipd)", "vipd")?;
    ensure!(test.has_vip()?, "the master does not have the VIP");
    Ok(())
}

fn upgrade(test: &Test) -> Result<()> {
    let (process, transitions) = (test.process()?, test.transitions()?);
    let entered = "systemctl show --property=ActiveEnterTimestampMonotonic,NRestarts vipd";
    let before = test.machine.line(entered)?;
    let start = WallTime::now();
    let output = install_number(test, 2)?;
    ensure!(output.contains("handed over to process "), "{output}");
    ensure!(test.process()? != process, "the process is still {process}: {output}");
    test.machine.expect(entered, &before)?;
    test.machine.expect(
        "test /proc/$(systemctl show --property=MainPID --value vipd)/exe -ef /usr/bin/vipd && echo new",
        "new",
    )?;
    test.wait_for_state("master")?;
    ensure!(
        test.transitions()? == transitions,
        "transitions: {transitions:?}, now {:?}",
        test.transitions()?
    );
    let gap = test.longest_gap(start)?;
    ensure!(gap < LONGEST_GAP, "{gap:.1} ms between two adverts");
    progress(format_args!("longest interval between two adverts: {gap:.1} ms"));
    Ok(())
}

fn upgrade_with_errors(test: &Test) -> Result<()> {
    let (process, transitions) = (test.process()?, test.transitions()?);
    test.machine
        .run("cp --preserve=all /etc/vipd/vipd.toml /root && echo 'vrid = 300' >>/etc/vipd/vipd.toml")?;
    let output = install_number(test, 3)?;
    ensure!(output.contains("the agent of the old version continues"), "{output}");
    ensure!(test.process()? == process, "another process runs: {output}");
    ensure!(
        test.transitions()? == transitions,
        "transitions: {transitions:?}, now {:?}",
        test.transitions()?
    );
    test.machine.run("cp --preserve=all /root/vipd.toml /etc/vipd && vipd upgrade")?;
    ensure!(
        test.transitions()? == transitions,
        "transitions: {transitions:?}, now {:?}",
        test.transitions()?
    );
    Ok(())
}

fn upgrade_by_restart(test: &Test) -> Result<()> {
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
    let output = install_number(test, 4)?;
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

fn remove(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let start = WallTime::now();
    machine.run("apt-get remove --yes --quiet vipd")?;
    control::wait_for_state(&test.peer, "master", TIMEOUT)?;
    let handed_over = |frame: &vipd_tests::frame::Frame| {
        frame.from == super::ONE && frame.advert().is_some_and(|advert| advert.priority == 0)
    };
    ensure!(test.capture.has(start, handed_over), "no priority-0 advert");
    ensure!(!test.has_vip()?, "the VIP remains");
    machine.expect("pgrep -c vipd || true", "0")?;
    for gone in ["/usr/bin/vipd", "/lib/systemd/system/vipd.service", "/sys/fs/bpf/vipd"] {
        machine.run(&format!("test ! -e {gone}"))?;
    }
    machine.run("test -e /etc/vipd/vipd.toml -a -e /etc/default/vipd")?;
    machine.run("getent passwd vipd")?;
    Ok(())
}

fn install_again(test: &Test) -> Result<()> {
    install_number(test, 5)?;
    test.machine.expect("stat --format=%U:%G:%a /etc/vipd", "root:vipd:2750")?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    Ok(())
}

fn purge(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run("apt-get purge --yes --quiet vipd")?;
    control::wait_for_state(&test.peer, "master", TIMEOUT)?;
    machine.run("rm -r /etc/keepalived /root/vipd.toml")?;
    machine.expect(&format!("{SNAPSHOT} | diff /tmp/before - || true"), "")?;
    machine.expect("grep vipd /etc/passwd /etc/group /etc/shadow || true", "")?;
    machine.expect("find /var/lib/systemd /var/lib/dpkg/info /run /sys/fs/bpf -name '*vipd*'", "")?;
    machine.expect("dpkg --list vipd 2>/dev/null || echo unknown", "unknown")?;
    Ok(())
}

fn tarball(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run(&format!("tar -xf {PACKAGES}/vipd.tar.gz -C /usr/local --strip-components=1"))?;
    machine.expect("ldd /usr/local/bin/vipd 2>&1 | sed 's/^[[:space:]]*//'", "statically linked")?;
    machine.run("systemd-sysusers && install -d -o root -g vipd -m 2750 /etc/vipd")?;
    machine
        .run(&format!("cat >/etc/vipd/vipd.toml <<'END'{}END", super::BACKUP.replace("100\n", "150\n")))?;
    machine.run("vipd check && systemctl daemon-reload && systemctl enable --now vipd")?;
    test.wait_for_state("master")?;
    let backup = || Ok(control::state(&test.peer)? == "backup");
    try_wait_until("node 2 to be backup", TIMEOUT, backup)?;
    let transitions = test.transitions()?;
    machine.run("vipd upgrade")?;
    ensure!(
        test.transitions()? == transitions,
        "transitions: {transitions:?}, now {:?}",
        test.transitions()?
    );
    Ok(())
}
