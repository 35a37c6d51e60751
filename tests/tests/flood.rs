//! Somebody floods the segment with valid adverts that say something new each time.

use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::ask::{self, until, until_state};
use vipd_tests::binary::vipd;
use vipd_tests::craft::Advert;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const FLOODER: Station = Station::Client;
const SOON: Duration = Duration::from_secs(20);
const ADVERTS: u64 = 40_000;
/// A sender may say this much at once, and a hundred a second after that; the flood takes less than this long.
const ALLOWED: u64 = 32 + 100 * 20;
const TOLD: &str = "says more than its interval allows";

fn started(lab: &Lab, station: Station, priority: u8) -> Result<Agent> {
    let instance = Instance { priority, interval: Duration::from_millis(100), ..Instance::default() };
    let mut agent = Agent::new(lab, station, vipd()?, &[instance])?;
    agent.start()?;
    Ok(agent)
}

#[test]
fn it_changes_nothing_and_is_counted_and_told_once() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut master = started(&lab, ONE, 200)?;
    until_state(&master, "master", SOON)?;
    let mut backup = started(&lab, TWO, 100)?;
    until(&backup, "to follow node 1", SOON, |status| {
        status.text("state") == "backup" && status.address("last-adv-source") == Some(ONE.ipv4().into())
    })?;
    let woken = |agent: &Agent| -> Result<u64> { ask::stats(agent)?.0.number("vipd:engine-wakeups") };
    let before = (woken(&master)?, woken(&backup)?, ask::count(&backup, "advertisement-rcvd")?);

    // Of the lowest priority: a master answers it, a backup that preempts waits for its own time.
    let flood = Advert { interval: 10, ..Advert::new(Version::V3, 51, 1, FLOODER) }.frame();
    let injector = Injector::open(lab.host(FLOODER)?)?;
    injector.pace(&[flood], usize::try_from(ADVERTS)?, Duration::from_secs(4))?;
    let all = |agent: &Agent, before: u64| -> Result<bool> {
        Ok(ask::count(agent, "advertisement-rcvd")? >= before + ADVERTS)
    };
    try_wait_until("all to be counted", SOON, || Ok(all(&master, 0)? && all(&backup, before.2)?))
        .with_context(|| format!("{:?} and {:?} lost", lab.lost(FLOODER, ONE), lab.lost(FLOODER, TWO)))?;

    for (agent, before) in [(&mut master, before.0), (&mut backup, before.1)] {
        let limited = ask::count(agent, "vipd:rate-limited")?;
        assert!((ADVERTS - ALLOWED..ADVERTS - 32).contains(&limited), "{limited} of {ADVERTS} were limited");
        assert_eq!(ask::count(agent, "vipd:ring-full")?, 0);
        // Each that passed may wake, and so does the master's own work.
        let woken = woken(agent)? - before;
        assert!(woken < ADVERTS / 4, "{woken} wake-ups");
        let told = |agent: &Agent| agent.log().iter().filter(|line| line.text.contains(TOLD)).count();
        try_wait_until("it to be told", SOON, || Ok(told(agent) > 0))?;
    }
    assert_eq!((ask::state(&master)?, ask::state(&backup)?), ("master".into(), "backup".into()));
    assert_eq!(ask::count(&master, "master-transitions")?, 1, "{:#?}", master.log());
    assert_eq!(ask::count(&backup, "master-transitions")?, 0, "{:#?}", backup.log());
    for agent in [&mut master, &mut backup] {
        assert!(agent.stop()?.success());
        let told: Vec<_> = agent.log().into_iter().filter(|line| line.text.contains(TOLD)).collect();
        assert_eq!(told.len(), 1, "told once: {told:#?}");
    }
    Ok(())
}
