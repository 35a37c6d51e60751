//! Floods of adverts with wrong HMACs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, ensure};
use vipd_witness::{Advert, Trailer};

use super::*;

/// Returns an advert of node 3 in the name of a station, with a wrong HMAC and a priority above
/// those of the routers. Its sequence is half a second ahead, so that the station's next adverts do
/// not make it a replay.
fn forged(named: Station) -> Vec<u8> {
    let trailer = Trailer::new(&[0xee; 32], 1);
    let signed = Some(Trailer { sequence: trailer.sequence + (1 << 31), ..trailer });
    let advert = Station::Node(3).advert(Version::V3, 51, 255);
    Advert { signed, source: named.ipv4().into(), ..advert }.frame()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn flood_of_forged_adverts_exceeds_the_budget_and_has_no_effect() -> TestResult {
    // As many as the attacker of the chaos run sends at once.
    const FLOOD: usize = 3_000;
    let lab = Lab::new(3)?;
    let (master, backup) = pair(&lab, [""; 2], &hmac(&[1], 1, "enforce"))?;
    let injector = Injector::open(lab.host(Station::Node(3))?)?;
    let counters = |agent: &Agent| -> Result<[u64; 2]> {
        Ok([control::counter(agent, "vipd:rate-limited")?, control::counter(agent, "vipd:hmac-failures")?])
    };
    for named in [ONE, TWO, Station::Node(3)] {
        for (agent, own) in [(&master, ONE), (&backup, TWO)] {
            // Adverts from the node's own address are replays.
            if named == own {
                continue;
            }
            let before = counters(agent)?;
            try_wait_until("rate-limited and wrong adverts", TIMEOUT, || {
                injector.send_all(&vec![&*forged(named); FLOOD])?;
                Ok(counters(agent)?.iter().zip(before).all(|(now, before)| *now > before))
            })
            .with_context(|| format!("{named}: {:?}, before: {before:?}", counters(agent)))?;
        }
        wait_for_adverts(&backup, 1)?;
    }
    assert_eq!(control::state(&master)?, "master");
    assert_eq!(control::counter(&master, "master-transitions")?, 1, "{:#?}", master.log());
    assert_eq!(control::counter(&backup, "master-transitions")?, 0, "{:#?}", backup.log());
    Ok(())
}

/// The budget may also drop adverts of the master, so a backup does not take over while adverts are
/// dropped.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn takeover_is_postponed_while_a_flood_exceeds_the_budget() -> TestResult {
    // Ten times the Active_Down_Interval, in milliseconds.
    const LONG: u64 = 3_610;
    let lab = Lab::new(3)?;
    let (mut master, backup) = pair(&lab, [""; 2], &hmac(&[1], 1, "enforce"))?;
    let injector = Injector::open(lab.host(Station::Node(3))?)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| -> TestResult {
            while !is_over.load(Ordering::Relaxed) {
                injector.flood(&[forged(ONE)], None, Duration::from_millis(50))?;
            }
            Ok(())
        });
        let mut play = || -> TestResult {
            let limited = || control::counter(&backup, "vipd:rate-limited");
            try_wait_until("the flood to exceed the budget", TIMEOUT, || Ok(limited()? > 0))?;
            master.kill()?;
            let status = wait_for(&backup, "a long time without a verified advert", TIMEOUT, |status| {
                status.0["vipd:peers"][0]["last-heard-ms"].as_u64() >= Some(LONG)
            })?;
            // A panic would leave the flood running.
            ensure!(status.text("state") == "backup", "{:#?}", backup.log());
            Ok(())
        };
        let result = play();
        is_over.store(true, Ordering::Relaxed);
        flood.join().expect("the flood does not panic")?;
        result
    })?;
    let status = wait_for_state(&backup, "master", TIMEOUT)?;
    assert_eq!(status.text("vipd:last-transition-reason"), "master-timeout");
    Ok(())
}
