//! From keepalived to the running package, with the commands of README's section Install.

use std::fs;

use anyhow::{Context, Result, anyhow, ensure};
use vipd_tests::control;
use vipd_tests::markdown::Document;
use vipd_tests::wait::try_wait_until;

use super::TIMEOUT;
use crate::dist::test::Test;
use crate::dist::test::machine::PACKAGES;
use crate::support::workspace;

/// Heading of the section with the commands.
const SECTION: &str = "\n## Install\n";
/// Beginning of the next section.
const NEXT_SECTION: &str = "\n## ";

/// The configuration of the master. Only VRRPv3 has an `advert_int` below one second.
const KEEPALIVED: &str = "
global_defs {
    router_id node1
    vrrp_version 3
    enable_script_security
    script_user nobody
}

vrrp_script maintenance {
    script \"/usr/bin/test ! -e /etc/keepalived/maintenance\"
    interval 1
    weight -100
}

vrrp_instance VI_1 {
    state MASTER
    interface eth1
    virtual_router_id 51
    priority 150
    advert_int 0.1
    virtual_ipaddress {
        192.168.122.50/24
    }
    track_script {
        maintenance
    }
}
";

/// Returns the four commands: install the package, import the configuration, check it, change over.
fn commands(test: &Test) -> Result<[String; 4]> {
    let readme = fs::read_to_string(workspace::root().join("README.md")).context("cannot read README.md")?;
    let section = readme.split_once(SECTION).map(|(_, rest)| rest).unwrap_or_default();
    let section = section.split(NEXT_SECTION).next().unwrap_or_default();
    let code = Document::parse("README.md".into(), section.to_owned()).code;
    let block = code.into_iter().find(|code| code.language.as_deref() == Some("sh"));
    let block = block.with_context(|| format!("README.md has no commands below `{}`", SECTION.trim()))?.text;
    // README names the package for amd64.
    let lines: Vec<String> =
        block.lines().map(|line| line.replace("amd64", &test.files.architecture)).collect();
    <[String; 4]>::try_from(lines)
        .map_err(|lines| anyhow!("README.md has {} installation commands; expected 4", lines.len()))
}

/// Sets up the initial state, in which keepalived is master.
pub(super) fn keepalived(test: &Test) -> Result<()> {
    let machine = &test.machine;
    machine.run(&format!("cat >/etc/keepalived/keepalived.conf <<'END'{KEEPALIVED}END"))?;
    machine.run("systemctl start keepalived")?;
    try_wait_until("keepalived to be master", TIMEOUT, || test.has_vip())?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    super::removal::record_files(test)
}

pub(super) fn install(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let [install, ..] = commands(test)?;
    machine.run(&format!("cd {PACKAGES}\n{install}"))?;
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
    machine.expect("systemctl is-active keepalived", "active")
}

pub(super) fn completions(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let bash = "bash -c '. /usr/share/bash-completion/completions/vipd; COMP_WORDS=(vipd upg) COMP_CWORD=1; \
                _vipd vipd upg vipd; echo ${COMPREPLY[@]}'";
    machine.expect(bash, "upgrade")?;
    machine.expect("HOME=/tmp zsh -c 'autoload -U compinit; compinit; echo $_comps[vipd]'", "_vipd")?;
    let fish = machine.line("HOME=/tmp fish -c \"complete --do-complete 'vipd upg'\"")?;
    ensure!(fish.starts_with("upgrade\t"), "fish completes `vipd upg` with `{fish}`");
    Ok(())
}

pub(super) fn import_and_check(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let [_, import, check, _] = commands(test)?;
    machine.run(&import)?;
    machine.expect("stat --format=%U:%G:%a /etc/vipd/vipd.toml", "root:vipd:640")?;
    let checked = machine.run(&check)?;
    ensure!(checked.contains("/etc/vipd/vipd.toml: ok, 1 instance\n"), "{checked}");
    Ok(())
}

pub(super) fn change_over(test: &Test) -> Result<()> {
    let machine = &test.machine;
    let [.., change_over] = commands(test)?;
    machine.run(&change_over)?;
    test.wait_for_state("master")?;
    control::wait_for_state(&test.peer, "backup", TIMEOUT)?;
    ensure!(test.has_vip()?, "the master does not have the VIP");
    let status = machine.run("vipd status")?;
    let shown = ["VI_1", "master", "192.168.122.50/24"];
    let row = status.lines().find(|line| shown.iter().all(|part| line.contains(part)));
    ensure!(row.is_some(), "no master with the VIP in:\n{status}");
    machine.expect("systemctl is-active keepalived || true", "inactive")?;
    machine.expect("systemctl is-enabled keepalived || true", "disabled")?;
    machine.expect("ps -o user= -p $(systemctl show --property=MainPID --value vipd)", "vipd")
}
