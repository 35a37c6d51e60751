//! A flood of valid adverts from a low-priority router is rate limited and changes no state.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::control;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::routers::start_pair;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;
use vipd_witness::Advert;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const FLOODER: Station = Station::Client;
const TIMEOUT: Duration = Duration::from_secs(20);
const ADVERTS: u64 = 40_000;
/// Adverts that are accepted back to back from one sender.
const BURST: u64 = 32;
/// Adverts that are accepted per second after the burst, plus the master's own adverts and a
/// margin.
const PER_SECOND: u64 = 400 + 100;
const LIMIT_LOGGED: &str = "rate limited: over 400 adverts/s";

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn flood_changes_no_state_and_is_logged_once() -> TestResult {
    // A master answers adverts of the lowest priority, and a backup with preemption ignores them.
    check_flood(&Advert { interval: 10, ..FLOODER.advert(Version::V3, 51, 1) })?;
    Ok(())
}

/// The forged adverts have the master's source address and a long interval. The backup must not
/// adopt the interval, and the rate limit must not drop the master's own adverts.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn flood_with_forged_master_source_changes_no_state() -> TestResult {
    let forged = FLOODER.advert(Version::V3, 51, 1);
    check_flood(&Advert { interval: 4095, source: ONE.ipv4().into(), ..forged })?;
    Ok(())
}

/// Floods a healthy pair of routers with this advert.
fn check_flood(advert: &Advert) -> Result<()> {
    let lab = Lab::new(2)?;
    let (mut master, mut backup) = start_pair(&lab)?;
    let wakeups = |agent: &Agent| -> Result<u64> { control::stats(agent)?.0.number("vipd:engine-wakeups") };
    let before = (wakeups(&master)?, wakeups(&backup)?, control::counter(&backup, "advertisement-rcvd")?);

    let (begin, injector) = (Instant::now(), Injector::open(lab.host(FLOODER)?)?);
    injector.send_paced(&[advert.frame()], usize::try_from(ADVERTS)?, Duration::from_secs(4))?;
    let queries = Cell::new(0);
    let all = |agent: &Agent, before: u64| -> Result<bool> {
        queries.set(queries.get() + 1);
        Ok(control::counter(agent, "advertisement-rcvd")? >= before + ADVERTS)
    };
    try_wait_until("all adverts to be counted", TIMEOUT, || Ok(all(&master, 0)? && all(&backup, before.2)?))
        .with_context(|| match (lab.frames_dropped(FLOODER, ONE), lab.frames_dropped(FLOODER, TWO)) {
            (Ok(one), Ok(two)) => format!("frames lost: {one} to node 1, {two} to node 2"),
            (Err(error), _) | (_, Err(error)) => format!("{error:#}"),
        })?;

    let max_accepted = BURST + PER_SECOND * (begin.elapsed().as_secs() + 1);
    for (agent, before) in [(&mut master, before.0), (&mut backup, before.1)] {
        let limited = control::counter(agent, "vipd:rate-limited")?;
        assert!(
            (ADVERTS - max_accepted..ADVERTS - BURST).contains(&limited),
            "{limited} of {ADVERTS} adverts were rate limited"
        );
        assert_eq!(control::counter(agent, "vipd:ring-full")?, 0);
        let wakeups = wakeups(agent)? - before;
        assert!(
            wakeups <= max_accepted + 4 * queries.get(),
            "{wakeups} wake-ups for at most {max_accepted} accepted adverts"
        );
        let logged =
            |agent: &Agent| agent.log().iter().filter(|line| line.text.contains(LIMIT_LOGGED)).count();
        try_wait_until("the limit to be logged", TIMEOUT, || Ok(logged(agent) > 0))?;
    }
    assert_eq!((control::state(&master)?, control::state(&backup)?), ("master".into(), "backup".into()));
    assert_eq!(control::counter(&master, "master-transitions")?, 1, "{:#?}", master.log());
    assert_eq!(control::counter(&backup, "master-transitions")?, 0, "{:#?}", backup.log());
    for agent in [&mut master, &mut backup] {
        assert!(agent.stop()?.success());
        let logged: Vec<_> =
            agent.log().into_iter().filter(|line| line.text.contains(LIMIT_LOGGED)).collect();
        assert_eq!(logged.len(), 1, "expected one line: {logged:#?}");
    }
    Ok(())
}
