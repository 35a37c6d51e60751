//! Unsigned and replayed adverts, also after a reload.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use vipd_tests::links;
use vipd_tests::station::{INTERFACE, PREFIX};
use vipd_witness::{Advert, Trailer};

use super::*;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unsigned_and_replayed_adverts_have_no_effect() -> TestResult {
    let lab = Lab::new(3)?;
    let (master, backup) = pair(&lab, [""; 2], &hmac(&[1], 1, "enforce"))?;
    let injector = Injector::open(lab.host(Station::Node(3))?)?;
    let capture = lab.capture()?;
    let since = WallTime::now();
    try_wait_until("an advert of the master", TIMEOUT, || Ok(!priorities(&capture, ONE, since).is_empty()))?;
    for station in [ONE, TWO, Station::Node(3)] {
        for priority in [0, 255] {
            injector.send(&station.advert(Version::V3, 51, priority).frame())?;
        }
    }
    let recorded = capture.filter_map(since, |frame| frame.advert().map(|_| frame.bytes.clone()));
    let recorded = recorded.first().context("recorded")?;
    for _ in 0..20 {
        injector.send(recorded)?;
    }
    for agent in [&master, &backup] {
        try_wait_until("unsigned adverts", TIMEOUT, || {
            Ok(control::counter(agent, "vipd:hmac-missing")? == 6)
        })?;
    }
    try_wait_until("replays", TIMEOUT, || Ok(control::counter(&backup, "vipd:hmac-replayed")? == 20))?;
    wait_for_adverts(&backup, 1)?;
    assert_eq!(control::state(&master)?, "master");
    assert_eq!(control::counter(&backup, "master-transitions")?, 0);
    assert_eq!(control::counter(&master, "master-transitions")?, 1);
    Ok(())
}

/// Returns the rules of `hmac` with a window in which no replay of a test is stale.
fn with_long_window() -> String {
    hmac(&[1], 1, "enforce").replace("mode", "window = \"300s\"\nmode")
}

/// Replays adverts to an agent, which has accepted none since its instance was started, and checks
/// that it refuses all of them and becomes or stays master.
fn assert_are_refused(replays: &[Vec<u8>], agent: &Agent, injector: &Injector) -> TestResult {
    for frame in replays {
        injector.send(frame)?;
    }
    let replayed = u64::try_from(replays.len())?;
    try_wait_until("replays", TIMEOUT, || Ok(control::counter(agent, "vipd:hmac-replayed")? >= replayed))?;
    wait_for_state(agent, "master", TIMEOUT)?;
    assert_eq!(control::counter(agent, "advertisement-rcvd")?, 0);
    Ok(())
}

/// A reload that changes `accept` starts the instance again. The replays would keep it in Backup.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn instance_that_a_reload_starts_again_refuses_replays() -> TestResult {
    let lab = Lab::new(3)?;
    let rules = with_long_window();
    let (mut dead, mut agent) = pair(&lab, [""; 2], &rules)?;
    let injector = Injector::open(lab.host(Station::Node(3))?)?;
    let (capture, since) = (lab.capture()?, WallTime::now());
    wait_for_adverts(&agent, 1)?;
    dead.kill()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let recorded = capture.filter_map(since, |frame| {
        frame.advert().filter(|advert| frame.from == ONE && advert.priority == 200)?;
        Some(frame.bytes.clone())
    });
    assert!(recorded.len() >= 10, "{} adverts", recorded.len());
    agent.configure(configuration(100, "accept = false", &rules))?;
    reload(&agent)?;
    wait_for(&agent, "the start", TIMEOUT, |status| status.text("state") != "initialize")?;
    assert_are_refused(&recorded, &agent, &injector)
}

/// If an agent did not recognize these replays, it would follow its own adverts as a backup.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn own_adverts_from_the_source_before_a_reload_are_replays() -> TestResult {
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
    let lab = Lab::new(2)?;
    lab.host(ONE)?.run(|| links::add_address(INTERFACE, OTHER, PREFIX))?;
    let rules = with_long_window();
    let mut agent = start(&lab, ONE, configuration(200, "", &rules))?;
    let (capture, since) = (lab.capture()?, WallTime::now());
    let recorded = || capture.filter_map(since, |frame| frame.advert().map(|_| frame.bytes.clone()));
    try_wait_until("ten adverts", TIMEOUT, || Ok(recorded().len() >= 10))?;
    agent.configure(configuration(200, &format!("source = \"{OTHER}\""), &rules))?;
    reload(&agent)?;
    wait_for(&agent, "the new source", TIMEOUT, |status| {
        status.address("vipd:primary-address") == Some(OTHER.into())
    })?;
    let injector = Injector::open(lab.host(TWO)?)?;
    let own = |frame: &vipd_tests::frame::Frame| {
        frame.advert().filter(|advert| advert.source == ONE.ipv4() && advert.priority == 200)?;
        Some(frame.bytes.clone())
    };
    let replays = capture.filter_map(since, own);
    assert_are_refused(&replays, &agent, &injector)
}

/// With `monotonic`, a stored sequence never expires. Here, the sender starts again with a lower
/// one.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn sequences_are_forgotten_when_a_reload_removes_the_keys() -> TestResult {
    let lab = Lab::new(2)?;
    let rules = hmac(&[1], 1, "enforce").replace("mode", "anti_replay = \"monotonic\"\nmode");
    let mut agent = start(&lab, ONE, configuration(100, "", &rules))?;
    let injector = Injector::open(lab.host(TWO)?)?;
    let send = |sequence| {
        let signed = Some(Trailer { sequence, ..Trailer::new(&[1, 0x5a].repeat(16), 1) });
        injector.send(&Advert { signed, ..TWO.advert(Version::V3, 51, 200) }.frame())
    };
    let received = |agent: &Agent| control::counter(agent, "advertisement-rcvd");
    wait_for(&agent, "the start", TIMEOUT, |status| status.text("state") != "initialize")?;
    send(1_000)?;
    try_wait_until("the first advert", TIMEOUT, || Ok(received(&agent)? == 1))?;
    send(1)?;
    try_wait_until("a replay", TIMEOUT, || Ok(control::counter(&agent, "vipd:hmac-replayed")? == 1))?;
    for rules in ["", &rules] {
        agent.configure(configuration(100, "", rules))?;
        reload(&agent)?;
    }
    let before = received(&agent)?;
    // The advert is sent repeatedly, because the BPF program may expect no trailer for a moment
    // after the reload.
    try_wait_until("the advert that was a replay", TIMEOUT, || {
        send(1)?;
        Ok(received(&agent)? > before)
    })
}
