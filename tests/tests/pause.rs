//! Agents that are suspended (SIGSTOP) until after their deadlines and then resumed (SIGCONT).

use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::control::{counter, state};
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::routers::has_address;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const PREFERRED: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// A master and its backup. Fields are dropped in order: the agents before the lab they run in.
struct Pair {
    preferred: Agent,
    backup: Agent,
    capture: Capture,
    start: WallTime,
    _lab: Lab,
}

impl Pair {
    /// Starts an agent that becomes master on node 1, and an agent that stays backup on node 2.
    fn start(interval: Duration, preempt: bool) -> Result<Self> {
        let lab = Lab::new(2)?;
        let capture = lab.capture()?;
        let start = WallTime::now();
        let agent = |station, priority| {
            let instance = Instance { priority, interval, preempt, ..Instance::default() };
            Agent::new(&lab, station, vipd()?, &[instance])
        };
        let (mut preferred, mut backup) = (agent(PREFERRED, 200)?, agent(BACKUP, 100)?);
        preferred.start()?;
        wait_until("node 1 to be master", TIMEOUT, || {
            capture.has(start, |frame| frame.claims_mastership(PREFERRED))
        })?;
        backup.start()?;
        try_wait_until("node 2 to be backup", TIMEOUT, || Ok(state(&backup)? == "backup"))?;
        Ok(Self { preferred, backup, capture, start, _lab: lab })
    }

    /// Suspends the master, and waits until the backup has taken over and announced the VIP.
    fn pause_until_replaced(&self) -> Result<()> {
        let paused = WallTime::now();
        self.preferred.pause()?;
        wait_until("node 2 to take over", TIMEOUT, || {
            self.capture.has(paused, |frame| frame.claims_mastership(BACKUP))
                && self.capture.has(paused, |frame| announces(frame, BACKUP))
        })
    }

    fn count(&self, since: WallTime, wanted: impl Fn(&Frame) -> bool) -> usize {
        self.capture.filter_map(since, |frame| wanted(frame).then_some(())).len()
    }

    fn wait_for_adverts(&self, station: Station, since: WallTime, adverts: usize) -> Result<()> {
        wait_until(&format!("{adverts} adverts from {station}"), TIMEOUT, || {
            self.count(since, |frame| frame.claims_mastership(station)) >= adverts
        })
    }
}

fn announces(frame: &Frame, station: Station) -> bool {
    frame.from == station && frame.gratuitous_arp(VIP).is_some()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_master_without_preemption_becomes_a_silent_backup() -> TestResult {
    let pair = Pair::start(Duration::from_millis(100), false)?;
    pair.pause_until_replaced()?;
    assert!(has_address(pair.preferred.host(), VIP)?, "the VIP stays on the node of a suspended agent");

    let resumed = WallTime::now();
    pair.preferred.resume()?;
    try_wait_until("node 1 to be backup", TIMEOUT, || Ok(state(&pair.preferred)? == "backup"))?;
    try_wait_until("the address to be removed from node 1", TIMEOUT, || {
        Ok(!has_address(pair.preferred.host(), VIP)?)
    })?;
    pair.wait_for_adverts(BACKUP, resumed, 30)?;

    let asserted =
        pair.count(resumed, |frame| frame.claims_mastership(PREFERRED) || announces(frame, PREFERRED));
    assert_eq!(asserted, 0, "the resumed master advertised or announced although another router is master");
    assert_eq!(state(&pair.preferred)?, "backup");
    assert_eq!(state(&pair.backup)?, "master");
    assert_eq!(counter(&pair.preferred, "vipd:stalls")?, 1);
    assert_eq!(counter(&pair.preferred, "master-transitions")?, 1);
    assert!(
        has_address(pair.backup.host(), VIP)? && !has_address(pair.preferred.host(), VIP)?,
        "only node 2 has the VIP"
    );
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_master_with_preemption_yields_before_preempting() -> TestResult {
    // The interval is long enough to observe the absence of the VIP on a busy machine.
    let pair = Pair::start(Duration::from_millis(500), true)?;
    pair.pause_until_replaced()?;

    let resumed = WallTime::now();
    pair.preferred.resume()?;
    try_wait_until("the address to be removed from node 1", TIMEOUT, || {
        Ok(!has_address(pair.preferred.host(), VIP)?)
    })?;
    let yielded = WallTime::now();
    try_wait_until("the address to be added to node 1", TIMEOUT, || has_address(pair.preferred.host(), VIP))?;
    try_wait_until("the address to be removed from node 2", TIMEOUT, || {
        Ok(!has_address(pair.backup.host(), VIP)?)
    })?;
    wait_until("an announcement from node 1", TIMEOUT, || {
        pair.capture.has(yielded, |frame| announces(frame, PREFERRED))
    })?;

    let first = |wanted: &dyn Fn(&Frame) -> bool| {
        let found = pair.capture.filter_map(resumed, |frame| wanted(frame).then_some(frame.time));
        found.first().copied().context("no such frame")
    };
    let advert = first(&|frame| frame.claims_mastership(PREFERRED))?;
    let announcement = first(&|frame| announces(frame, PREFERRED))?;
    assert!(yielded < advert, "an advert was sent before the VIP was removed");
    assert!(advert < announcement, "announced before the first advert");
    pair.wait_for_adverts(PREFERRED, advert, 4)?;
    let crossed = pair.count(announcement, |frame| frame.claims_mastership(BACKUP));
    // The last advert of node 2 may arrive after the announcement.
    assert!(crossed <= 1, "{crossed} adverts from node 2 after the announcement");
    assert_eq!(counter(&pair.preferred, "vipd:stalls")?, 1);
    assert_eq!(counter(&pair.preferred, "master-transitions")?, 2);
    assert_eq!(state(&pair.backup)?, "backup");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_backup_processes_queued_adverts_before_timers() -> TestResult {
    let pair = Pair::start(Duration::from_millis(100), true)?;
    for _ in 0..5 {
        let paused = WallTime::now();
        pair.backup.pause()?;
        // Ten adverts take much longer than the three intervals plus Skew_Time after which the
        // master-down timer fires.
        pair.wait_for_adverts(PREFERRED, paused, 10)?;
        let resumed = WallTime::now();
        pair.backup.resume()?;
        pair.wait_for_adverts(PREFERRED, resumed, 5)?;
        assert_eq!(state(&pair.backup)?, "backup");
    }
    let unexpected =
        pair.count(pair.start, |frame| frame.claims_mastership(BACKUP) || announces(frame, BACKUP));
    assert_eq!(unexpected, 0, "the backup acted as master although the master was running");
    assert_eq!(counter(&pair.backup, "master-transitions")?, 0);
    assert_eq!(counter(&pair.preferred, "vipd:losing-adverts-rcvd")?, 0);
    Ok(())
}
