//! Learned intervals, tie-break, address owner, and split brain.

use std::time::Duration;

use anyhow::Result;
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::arp::neighbor;
use vipd_tests::capture::Capture;
use vipd_tests::control::{counter, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::probe::Prober;
use vipd_tests::routers::{addresses, has_address, start_agent};
use vipd_tests::station::{Mac, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(100);

fn router(priority: u8) -> Instance {
    Instance { priority, interval: INTERVAL, ..Instance::default() }
}

/// Returns a router with an interval of one second, so that an agent can be suspended for less than
/// three intervals.
fn slow(priority: u8) -> Instance {
    Instance { priority, ..Instance::default() }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_adopts_the_interval_of_the_master() -> TestResult {
    let lab = Lab::new(2)?;
    let slow = Instance { interval: Duration::from_millis(300), ..router(200) };
    let master = start_agent(&lab, ONE, &[slow])?;
    wait_for_state(&master, "master", TIMEOUT)?;
    let backup = start_agent(&lab, TWO, &[router(100)])?;
    let status = wait_for(&backup, "the master's interval", TIMEOUT, |status| {
        status.text("state") == "backup"
            && status
                .number("vipd:active-advertise-interval-ns")
                .is_ok_and(|interval| interval == 300_000_000)
    })?;
    assert_eq!(
        status.number("vipd:advertise-interval-ns")?,
        100_000_000,
        "the configured interval must not change"
    );
    assert_eq!(status.address("last-adv-source"), Some(ONE.ipv4().into()));
    // RFC 9568: Skew_Time is (256 - priority) / 256 of the learned interval.
    assert_eq!(status.number("vipd:master-down-interval-ns")?, 3 * 300_000_000 + 182_812_500);
    assert_eq!(status.number("master-down-interval")?, 108);
    assert_eq!(status.number("skew-time")?, 182_812);
    let transitions = counter(&backup, "master-transitions")?;
    try_wait_until("ten adverts to be counted as interval mismatches", TIMEOUT, || {
        Ok(counter(&backup, "interval-errors")? >= 10)
    })?;
    assert_eq!(
        counter(&backup, "master-transitions")?,
        transitions,
        "the backup took over after three of its own intervals"
    );
    wait_for_state(&backup, "backup", TIMEOUT)?;
    Ok(())
}

/// Isolates node 1 until both nodes are master, then ends the isolation so that `receiver` receives
/// an advert from `sender` before sending one itself. Returns the time at which the isolation
/// ended.
fn split_and_heal(lab: &Lab, (receiver, sender): (&Agent, &Agent), capture: &Capture) -> Result<WallTime> {
    lab.isolate(ONE)?;
    wait_for_state(receiver, "master", TIMEOUT)?;
    wait_for_state(sender, "master", TIMEOUT)?;
    wait_for_mac(lab.host(Station::Client)?, TWO.mac())?;
    // A new master announces its VIP in two bursts. Any later announcement is a reaction to the
    // other master.
    try_wait_until("both masters to have sent both bursts", TIMEOUT, || {
        let announced = |agent| Ok::<_, anyhow::Error>(counter(agent, "vipd:gratuitous-arp-sent")? >= 10);
        Ok(announced(receiver)? && announced(sender)?)
    })?;
    // The receiver is suspended for less than three intervals: after a longer stall, it would
    // yield.
    receiver.pause()?;
    let healed = WallTime::now();
    lab.rejoin(ONE)?;
    let advert = wait_until("an advert from the sender", TIMEOUT, || {
        capture.has(healed, |frame| frame.from == sender.station() && frame.advert().is_some())
    });
    receiver.resume()?;
    advert.map(|()| healed)
}

fn wait_for_mac(client: &vipd_tests::namespace::Namespace, mac: Mac) -> Result<()> {
    try_wait_until(&format!("the client to resolve {VIP} to {mac}"), TIMEOUT, || {
        Ok(neighbor(client, VIP)?.is_some_and(|entry| entry.mac == Some(mac)))
    })
}

fn check_reannouncement(agent: &Agent, capture: &Capture, healed: WallTime) -> Result<()> {
    let logged = |text: &str| agent.log().iter().any(|line| line.time >= healed && line.text.contains(text));
    wait_until("the announcement to be logged", TIMEOUT, || logged("announced again"))?;
    let station = agent.station();
    wait_until("a gratuitous ARP after the split", TIMEOUT, || {
        capture.has(healed, |frame| {
            frame.from == station
                && frame.gratuitous_arp(VIP).is_some_and(|arp| arp.sender_mac == station.mac())
        })
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn split_brain_heals_when_the_winner_receives_first() -> TestResult {
    check_split_brain_healing(true)?;
    Ok(())
}

/// The loser yields at the winner's first advert. The winner can detect the split brain only from
/// the last advert that the loser sends when it yields.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn split_brain_heals_when_the_loser_receives_first() -> TestResult {
    check_split_brain_healing(false)?;
    Ok(())
}

fn check_split_brain_healing(winner_receives_first: bool) -> Result<()> {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let winner = start_agent(&lab, ONE, &[slow(200)])?;
    wait_for_state(&winner, "master", TIMEOUT)?;
    let loser = start_agent(&lab, TWO, &[slow(100)])?;
    wait_for_state(&loser, "backup", TIMEOUT)?;
    let client = lab.host(Station::Client)?;
    let ping = Prober::start(client, VIP, Duration::from_millis(20))?;
    wait_for_mac(client, ONE.mac())?;

    let order = if winner_receives_first { (&winner, &loser) } else { (&loser, &winner) };
    let healed = split_and_heal(&lab, order, &capture)?;
    wait_for_state(&loser, "backup", TIMEOUT)?;
    check_reannouncement(&winner, &capture, healed)?;
    wait_for_mac(client, ONE.mac())?;
    wait_until("replies from the winner", TIMEOUT, || {
        capture.has(healed, |frame| {
            frame.from == ONE
                && frame.echo().is_some_and(|echo| echo.reply && echo.identifier == ping.identifier())
        })
    })?;
    wait_for_state(&winner, "master", TIMEOUT)?;
    assert_eq!(counter(&winner, "master-transitions")?, 1, "the winner yielded");
    assert!(counter(&winner, "vipd:losing-adverts-rcvd")? > 0);
    assert!(counter(&winner, "vipd:assert-adverts-sent")? > 0);
    assert!(!has_address(lab.host(TWO)?, VIP)?);
    ping.stop()?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn tie_break_prefers_the_higher_address() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let lower = start_agent(&lab, ONE, &[slow(100)])?;
    wait_for_state(&lower, "master", TIMEOUT)?;
    let higher = start_agent(&lab, TWO, &[slow(100)])?;
    wait_for_state(&higher, "backup", TIMEOUT)?;
    let start = WallTime::now();
    wait_until("four adverts", TIMEOUT, || {
        capture.filter_map(start, |frame| frame.advert().filter(|_| frame.from == ONE)).len() >= 4
    })?;
    wait_for_state(&higher, "backup", TIMEOUT)?;
    let client = lab.host(Station::Client)?;
    let ping = Prober::start(client, VIP, Duration::from_millis(20))?;
    wait_for_mac(client, ONE.mac())?;

    // If both routers are master, the tie-break decides.
    let healed = split_and_heal(&lab, (&higher, &lower), &capture)?;
    let status = wait_for_state(&lower, "backup", TIMEOUT)?;
    assert_eq!(status.text("vipd:last-transition-reason"), "higher-priority-advert");
    wait_for_state(&higher, "master", TIMEOUT)?;
    assert_eq!(counter(&higher, "master-transitions")?, 1, "the winner yielded");
    check_reannouncement(&higher, &capture, healed)?;
    wait_for_mac(client, TWO.mac())?;
    ping.stop()?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn owner_becomes_master_immediately_and_keeps_its_address() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let own = ONE.ipv4();
    let standby = start_agent(&lab, TWO, &[Instance { addresses: vec![own.into()], ..router(254) }])?;
    wait_for_state(&standby, "master", TIMEOUT)?;
    assert!(has_address(lab.host(TWO)?, own)?);

    let start = WallTime::now();
    let owner = Instance { addresses: vec![own.into()], preempt: false, ..router(255) };
    let mut owner = start_agent(&lab, ONE, &[owner])?;
    let status = wait_for_state(&owner, "master", TIMEOUT)?;
    assert_eq!(status.text("vipd:last-transition-reason"), "startup", "must not wait for a timer");
    assert_eq!(status.address("vipd:primary-address"), Some(own.into()));
    let adverts = capture.filter_map(start, |frame| frame.advert().filter(|_| frame.from == ONE));
    assert!(!adverts.is_empty());
    assert!(adverts.iter().all(|advert| advert.source == own && advert.priority == 255), "{adverts:?}");
    wait_for_state(&standby, "backup", TIMEOUT)?;
    try_wait_until("the address to be removed from the standby", TIMEOUT, || {
        Ok(!has_address(lab.host(TWO)?, own)?)
    })?;

    let stopped = WallTime::now();
    assert!(owner.stop()?.success());
    assert_eq!(addresses(lab.host(ONE)?)?, [own], "the owner keeps its address");
    assert!(
        capture.has(stopped, |frame| frame.from == ONE && frame.advert().is_some_and(|a| a.priority == 0)),
        "no priority-0 advert on shutdown"
    );
    wait_for_state(&standby, "master", TIMEOUT)?;
    Ok(())
}
