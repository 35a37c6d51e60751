//! Reactions to interfaces and addresses that are changed externally.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::capture::Capture;
use vipd_tests::control::{self, counter, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::routers::{has_address, start_pair, start_router};
use vipd_tests::station::{INTERFACE, PREFIX, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
/// An address in another subnet. The kernel keeps it when the node's primary address is removed.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn adverts_from(capture: &Capture, start: WallTime, source: Ipv4Addr) -> Result<()> {
    wait_until(&format!("adverts from {source}"), TIMEOUT, || {
        capture.has(start, |frame| frame.advert().is_some_and(|a| a.source == source && a.priority > 0))
    })
}

/// Waits until `first` is in Fault for this reason and `second` is master.
fn check_fault(first: &Agent, reason: &str, second: &Agent) -> Result<()> {
    wait_for(first, &format!("to be in Fault: {reason}"), TIMEOUT, |status| {
        status.text("state") == "fault" && status.text("vipd:fault-reason").contains(reason)
    })?;
    wait_for_state(second, "master", TIMEOUT)?;
    Ok(())
}

/// Waits until `first` has returned to Backup and then preempted `second`.
fn check_return(first: &Agent, second: &Agent) -> Result<()> {
    let status = wait_for_state(first, "master", TIMEOUT)?;
    assert_eq!(
        status.text("vipd:last-transition-reason"),
        "lower-priority-master",
        "expected to preempt from Backup"
    );
    wait_for_state(second, "backup", TIMEOUT)?;
    try_wait_until("the VIP to be on node 1 only", TIMEOUT, || {
        Ok(has_address(first.host(), VIP)? && !has_address(second.host(), VIP)?)
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn externally_removed_vip_is_restored_and_announced() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let (master, backup) = start_pair(&lab)?;
    for round in 1..=3 {
        let deleted = WallTime::now();
        lab.host(ONE)?.run(|| links::remove_address(INTERFACE, VIP, PREFIX))?;
        try_wait_until("the address to be restored", TIMEOUT, || has_address(master.host(), VIP))?;
        wait_until("a gratuitous ARP", TIMEOUT, || {
            capture.has(deleted, |frame| frame.from == ONE && frame.gratuitous_arp(VIP).is_some())
        })?;
        try_wait_until("the restoration to be counted", TIMEOUT, || {
            Ok(counter(&master, "vipd:addresses-restored")? >= round)
        })?;
        assert_eq!(
            counter(&master, "vipd:addresses-restored")?,
            round,
            "restorations are counted once per removal"
        );
    }
    wait_for_state(&master, "master", TIMEOUT)?;
    assert_eq!(counter(&master, "master-transitions")?, 1);
    assert_eq!(counter(&backup, "master-transitions")?, 0);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn interface_down_is_a_fault_until_up() -> TestResult {
    let lab = Lab::new(2)?;
    let (one, two) = start_pair(&lab)?;
    lab.host(ONE)?.run(|| links::set_down(INTERFACE))?;
    check_fault(&one, "down", &two)?;
    assert!(!has_address(lab.host(ONE)?, VIP)?, "a router in Fault must not have the VIP");
    lab.host(ONE)?.run(|| links::set_up(INTERFACE))?;
    check_return(&one, &two)?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn carrier_loss_is_a_fault_until_restored() -> TestResult {
    let lab = Lab::new(2)?;
    let (one, two) = start_pair(&lab)?;
    lab.cut(ONE)?;
    check_fault(&one, "carrier", &two)?;
    assert!(!has_address(lab.host(ONE)?, VIP)?);
    lab.reconnect(ONE)?;
    check_return(&one, &two)?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn recreated_interface_is_used_again() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let (one, two) = start_pair(&lab)?;
    let index = || lab.host(ONE)?.run(|| links::index(INTERFACE));
    let (old, sent) = (index()?, counter(&one, "advertisement-sent")?);
    lab.unplug(ONE)?;
    check_fault(&one, "does not exist", &two)?;
    let plugged = WallTime::now();
    lab.plug(ONE)?;
    assert_ne!(index()?, old, "the interface index must be new");
    check_return(&one, &two)?;
    adverts_from(&capture, plugged, ONE.ipv4())?;
    assert!(counter(&one, "advertisement-sent")? > sent, "the counters were reset");
    assert_eq!(counter(&one, "master-transitions")?, 2);

    // The backup must also receive adverts on its recreated interface.
    let received = counter(&two, "advertisement-rcvd")?;
    lab.unplug(TWO)?;
    wait_for_state(&two, "fault", TIMEOUT)?;
    lab.plug(TWO)?;
    wait_for_state(&two, "backup", TIMEOUT)?;
    try_wait_until("more adverts to be counted", TIMEOUT, || {
        Ok(counter(&two, "advertisement-rcvd")? >= received + 5)
    })?;
    wait_for_state(&two, "backup", TIMEOUT)?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn interface_without_primary_address_is_a_fault() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let (one, two) = start_pair(&lab)?;
    let start = WallTime::now();
    lab.host(ONE)?.run(|| links::remove_address(INTERFACE, ONE.ipv4(), PREFIX))?;
    check_fault(&one, "no IPv4 address", &two)?;
    assert_eq!(control::status(&one)?[0].address("vipd:primary-address"), None);
    assert!(!has_address(lab.host(ONE)?, VIP)?);
    wait_until("a priority-0 advert", TIMEOUT, || {
        capture.has(start, |frame| frame.from == ONE && frame.advert().is_some_and(|a| a.priority == 0))
    })?;

    let added = WallTime::now();
    lab.host(ONE)?.run(|| links::add_address(INTERFACE, OTHER, PREFIX))?;
    check_return(&one, &two)?;
    adverts_from(&capture, added, OTHER)?;
    let others = |frame: &vipd_tests::frame::Frame| {
        frame.from == ONE && frame.advert().is_some_and(|advert| advert.source != OTHER)
    };
    assert!(!capture.has(added, others));
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn new_primary_address_is_used_as_source_without_state_change() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let (one, two) = start_pair(&lab)?;
    let changed = WallTime::now();
    lab.host(ONE)?.run(|| {
        links::add_address(INTERFACE, OTHER, PREFIX)?;
        // Removing the primary address also removes the VIP, which is a secondary address of the
        // same subnet.
        links::remove_address(INTERFACE, ONE.ipv4(), PREFIX)
    })?;
    adverts_from(&capture, changed, OTHER)?;
    try_wait_until("the VIP to be restored", TIMEOUT, || has_address(one.host(), VIP))?;
    wait_for(&two, "to follow the master's new address", TIMEOUT, |status| {
        status.address("last-adv-source") == Some(OTHER.into())
    })?;
    wait_for(&one, "the new primary address", TIMEOUT, |status| {
        status.address("vipd:primary-address") == Some(OTHER.into())
    })?;
    wait_for_state(&one, "master", TIMEOUT)?;
    assert_eq!(counter(&one, "master-transitions")?, 1);
    assert_eq!(counter(&two, "master-transitions")?, 0);
    Ok(())
}

/// Returns the number of notifications dropped on all netlink sockets in the network namespace of
/// the calling thread.
fn lost_notifications() -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/netlink")?;
    let mut lines = table.lines();
    let header = lines.next().context("no header line")?;
    let column = header.split_whitespace().position(|name| name == "Drops").context("no column `Drops`")?;
    lines
        .map(|line| {
            Ok(line.split_whitespace().nth(column).context("no value in column `Drops`")?.parse::<u64>()?)
        })
        .sum()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn netlink_overrun_triggers_resync() -> TestResult {
    let lab = Lab::new(1)?;
    let capture = lab.capture()?;
    let agent = start_router(&lab, ONE, 200)?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    assert_eq!(control::stats(&agent)?.0.number("vipd:netlink-overruns")?, 0);

    agent.pause()?;
    lab.host(ONE)?.run(|| {
        let noise = Ipv4Addr::new(10, 1, 2, 3);
        for _ in 0..50_000 {
            links::add_address(INTERFACE, noise, 32)?;
            links::remove_address(INTERFACE, noise, 32)?;
            if lost_notifications()? > 0 {
                // The agent receives no notifications of these two changes.
                links::add_address(INTERFACE, OTHER, PREFIX)?;
                return links::remove_address(INTERFACE, ONE.ipv4(), PREFIX);
            }
        }
        anyhow::bail!("100,000 changes did not overrun the agent's socket")
    })?;
    assert!(
        !has_address(lab.host(ONE)?, VIP)?,
        "the kernel removes the VIP with the primary address of its subnet"
    );
    let resumed = WallTime::now();
    agent.resume()?;

    try_wait_until("the overrun to be counted", TIMEOUT, || {
        Ok(control::stats(&agent)?.0.number("vipd:netlink-overruns")? >= 1)
    })?;
    try_wait_until("the VIP to be restored", TIMEOUT, || has_address(agent.host(), VIP))?;
    adverts_from(&capture, resumed, OTHER)?;
    let status = wait_for_state(&agent, "master", TIMEOUT)?;
    assert_eq!(status.address("vipd:primary-address"), Some(OTHER.into()));
    wait_until("the overrun to be logged", TIMEOUT, || {
        agent.log().iter().any(|line| line.text.contains("notifications were lost"))
    })?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn mtu_change_is_ignored_and_rename_is_a_fault() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let (one, two) = start_pair(&lab)?;
    let changed = WallTime::now();
    lab.host(ONE)?.run(|| links::set_mtu(INTERFACE, 1400))?;
    wait_until("ten adverts", TIMEOUT, || {
        capture.filter_map(changed, |frame| frame.advert().filter(|_| frame.from == ONE)).len() >= 10
    })?;
    assert_eq!(counter(&one, "master-transitions")?, 1);
    assert_eq!(counter(&two, "master-transitions")?, 0);

    lab.host(ONE)?.run(|| {
        links::set_down(INTERFACE)?;
        links::rename(INTERFACE, "other0")
    })?;
    wait_for(&one, "to report a missing interface", TIMEOUT, |status| {
        status.text("vipd:fault-reason").contains("does not exist")
    })?;
    wait_for_state(&two, "master", TIMEOUT)?;
    assert!(
        !lab.host(ONE)?.run(|| links::addresses("other0"))?.contains(&VIP),
        "the VIP is still on the renamed interface"
    );
    lab.host(ONE)?.run(|| {
        links::rename("other0", INTERFACE)?;
        links::set_up(INTERFACE)
    })?;
    check_return(&one, &two)?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_is_removed_from_a_renamed_interface() -> TestResult {
    let lab = Lab::new(2)?;
    let (one, two) = start_pair(&lab)?;
    // Since Linux 6.2, an interface can be renamed while it is up.
    let renamed = lab.host(ONE)?.run(|| links::rename(INTERFACE, "other0"));
    renamed.context("renaming an interface that is up (needs Linux 6.2)")?;
    check_fault(&one, "does not exist", &two)?;
    try_wait_until("the address to be removed from the renamed interface", TIMEOUT, || {
        Ok(!lab.host(ONE)?.run(|| links::addresses("other0"))?.contains(&VIP))
    })?;
    lab.host(ONE)?.run(|| links::rename("other0", INTERFACE))?;
    check_return(&one, &two)?;
    Ok(())
}
