//! An agent is frozen past its deadlines (SIGSTOP) and thawed (SIGCONT).
//!
//! These tests need root and a built vipd, and say so when they have not got them.

use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::ask::{count, state};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::routers::has_address;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const PREFERRED: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Fields in the order they are taken down: agents before the lab they run in.
struct Duel {
    preferred: Agent,
    backup: Agent,
    capture: Capture,
    start: WallTime,
    _lab: Lab,
}

impl Duel {
    /// Two vipds, node 1 master, node 2 following it.
    fn begin(interval: Duration, preempt: bool) -> Result<Self> {
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
        try_wait_until("node 2 to be a backup", TIMEOUT, || Ok(state(&backup)? == "backup"))?;
        Ok(Self { preferred, backup, capture, start, _lab: lab })
    }

    /// Freezes the master until the backup has taken its place and answers for the address.
    fn freeze_until_replaced(&self) -> Result<()> {
        let frozen = WallTime::now();
        self.preferred.pause()?;
        wait_until("node 2 to take over", TIMEOUT, || {
            self.capture.has(frozen, |frame| frame.claims_mastership(BACKUP))
                && self.capture.has(frozen, |frame| announces(frame, BACKUP))
        })
    }

    fn count(&self, since: WallTime, wanted: impl Fn(&Frame) -> bool) -> usize {
        self.capture.search(since, |frame| wanted(frame).then_some(())).len()
    }

    fn wait_for_adverts(&self, station: Station, since: WallTime, adverts: usize) -> Result<()> {
        wait_until(&format!("{adverts} adverts of {station}"), TIMEOUT, || {
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
    let duel = Duel::begin(Duration::from_millis(100), false)?;
    duel.freeze_until_replaced()?;
    assert!(has_address(duel.preferred.host(), VIP)?, "a frozen agent cannot have removed its address");

    let thawed = WallTime::now();
    duel.preferred.resume()?;
    try_wait_until("node 1 to be a backup", TIMEOUT, || Ok(state(&duel.preferred)? == "backup"))?;
    try_wait_until("node 1's address to go", TIMEOUT, || Ok(!has_address(duel.preferred.host(), VIP)?))?;
    duel.wait_for_adverts(BACKUP, thawed, 30)?;

    let asserted =
        duel.count(thawed, |frame| frame.claims_mastership(PREFERRED) || announces(frame, PREFERRED));
    assert_eq!(asserted, 0, "adverts and announcements of a thawed master while another lives");
    assert_eq!(state(&duel.preferred)?, "backup");
    assert_eq!(state(&duel.backup)?, "master");
    assert_eq!(count(&duel.preferred, "vipd:stalls")?, 1);
    assert_eq!(count(&duel.preferred, "master-transitions")?, 1);
    assert!(
        has_address(duel.backup.host(), VIP)? && !has_address(duel.preferred.host(), VIP)?,
        "one node has the address"
    );
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_master_with_preemption_yields_before_preempting() -> TestResult {
    // Long enough to see the address gone in the meantime, however busy the machine is.
    let duel = Duel::begin(Duration::from_millis(500), true)?;
    duel.freeze_until_replaced()?;

    let thawed = WallTime::now();
    duel.preferred.resume()?;
    try_wait_until("node 1 to yield its address", TIMEOUT, || Ok(!has_address(duel.preferred.host(), VIP)?))?;
    let yielded = WallTime::now();
    try_wait_until("node 1 to have its address again", TIMEOUT, || has_address(duel.preferred.host(), VIP))?;
    try_wait_until("node 2 to have lost it", TIMEOUT, || Ok(!has_address(duel.backup.host(), VIP)?))?;
    wait_until("node 1 to announce it", TIMEOUT, || {
        duel.capture.has(yielded, |frame| announces(frame, PREFERRED))
    })?;

    let first = |wanted: &dyn Fn(&Frame) -> bool| {
        let found = duel.capture.search(thawed, |frame| wanted(frame).then_some(frame.time));
        found.first().copied().context("it was waited for")
    };
    let advert = first(&|frame| frame.claims_mastership(PREFERRED))?;
    let announcement = first(&|frame| announces(frame, PREFERRED))?;
    assert!(yielded < advert, "an advert before the address was given up");
    assert!(advert < announcement, "announced before advertised");
    duel.wait_for_adverts(PREFERRED, advert, 4)?;
    let crossed = duel.count(announcement, |frame| frame.claims_mastership(BACKUP));
    // Its last advert, with which it yields, may cross the announcement.
    assert!(crossed <= 1, "node 2 has heard node 1 and yielded: {crossed} adverts");
    assert_eq!(count(&duel.preferred, "vipd:stalls")?, 1);
    assert_eq!(count(&duel.preferred, "master-transitions")?, 2);
    assert_eq!(state(&duel.backup)?, "backup");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_backup_processes_queued_adverts_before_timers() -> TestResult {
    let duel = Duel::begin(Duration::from_millis(100), true)?;
    for _ in 0..5 {
        let frozen = WallTime::now();
        duel.backup.pause()?;
        // Far more than the three intervals and the skew after which it would take over.
        duel.wait_for_adverts(PREFERRED, frozen, 10)?;
        let thawed = WallTime::now();
        duel.backup.resume()?;
        duel.wait_for_adverts(PREFERRED, thawed, 5)?;
        assert_eq!(state(&duel.backup)?, "backup");
    }
    let never = duel.count(duel.start, |frame| frame.claims_mastership(BACKUP) || announces(frame, BACKUP));
    assert_eq!(never, 0, "the master was alive all the time");
    assert_eq!(count(&duel.backup, "master-transitions")?, 0);
    assert_eq!(count(&duel.preferred, "vipd:losing-adverts-rcvd")?, 0);
    Ok(())
}
