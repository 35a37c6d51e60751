//! Signed adverts: takeover after a kill, rotation of keys, introduction and removal in sweeps,
//! upgrade, floods, replays, and secrecy of keys.

mod floods;
mod memory;
mod replays;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::capture::Capture;
use vipd_tests::control::{self, reload, wait_for, wait_for_state};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::process::output;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

type TestResult = Result<()>;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the rules of `hmac` with keys of these IDs.
fn hmac(keys: &[u8], active: u8, mode: &str) -> String {
    let key = |id: &u8| format!("{{ id = {id}, hex = \"{}\" }}", format!("{id:02x}5a").repeat(16));
    let keys = keys.iter().map(key).collect::<Vec<_>>().join(", ");
    format!("[instance.hmac]\nkeys = [{keys}]\nactive = {active}\nmode = \"{mode}\"\n")
}

fn configuration(priority: u8, settings: &str, hmac: &str) -> String {
    let interval = if settings.starts_with("version = 2") { "1s" } else { "100ms" };
    format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = {priority}\n\
         advert_interval = \"{interval}\"\ngarp = {{ delay = \"0s\" }}\nvirtual_addresses = [\"10.0.0.1\"]\n{settings}\n{hmac}"
    )
}

fn start(lab: &Lab, station: Station, text: String) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, station, vipd()?, text)?;
    agent.run_below_init();
    agent.start()?;
    Ok(agent)
}

/// Starts a master on node 1, and a backup on node 2 that follows it.
fn pair(lab: &Lab, settings: [&str; 2], hmac: &str) -> Result<(Agent, Agent)> {
    let master = start(lab, ONE, configuration(200, settings[0], hmac))?;
    wait_for_state(&master, "master", TIMEOUT)?;
    let backup = start(lab, TWO, configuration(100, settings[1], hmac))?;
    wait_for_followed(&backup)?;
    Ok((master, backup))
}

fn wait_for_followed(backup: &Agent) -> TestResult {
    wait_for(backup, "node 1's adverts", TIMEOUT, |status| {
        status.address("last-adv-source") == Some(ONE.ipv4().into()) && status.text("state") == "backup"
    })?;
    Ok(())
}

/// Waits for ten adverts of node 1 that the backup has verified with a key.
fn wait_for_adverts(backup: &Agent, key: u8) -> TestResult {
    wait_for(backup, &format!("adverts with key {key}"), TIMEOUT, |status| {
        status.0["vipd:peers"][0]["key-id"] == key
    })?;
    let received = control::counter(backup, "advertisement-rcvd")?;
    try_wait_until("ten adverts", TIMEOUT, || {
        Ok(control::counter(backup, "advertisement-rcvd")? >= received + 10)
    })
}

/// Checks that the agent has refused no advert because of its trailer or the lack of one, and that
/// no advert was lost to a rate limit or a full ring. Each such advert is counted by one of these
/// counters.
fn assert_nothing_is_refused(agent: &Agent) -> TestResult {
    let (global, instances) = control::stats(agent)?;
    assert_eq!(global.number("vipd:ring-full")?, 0);
    let refusals = ["missing", "malformed", "unknown-key", "failures", "stale", "replayed"];
    let refusals = refusals.map(|reason| format!("vipd:hmac-{reason}"));
    for instance in instances {
        for name in refusals.iter().map(String::as_str).chain(["vipd:rate-limited", "packet-length-errors"]) {
            assert_eq!(instance.number(name)?, 0, "{name}: {:#?}", agent.log());
        }
    }
    Ok(())
}

/// Kills the agent, but not its guardian.
fn kill_alone(agent: &mut Agent) -> TestResult {
    let main = agent.processes().first().copied().context("the agent does not run")?;
    let main = Pid::from_raw(main.try_into()?).context("not a process")?;
    kill_process(main, Signal::KILL)?;
    agent.abandon()
}

/// Returns the priorities of the adverts that a station has sent since `since`.
fn priorities(capture: &Capture, station: Station, since: WallTime) -> Vec<u8> {
    capture.filter_map(since, |frame| Some(frame.advert().filter(|_| frame.from == station)?.priority))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_master_is_replaced_after_the_signed_priority_zero_advert_of_its_guardian() -> TestResult {
    let unicast = |own: Station, peer: Station| {
        format!("unicast_source = \"{}\"\nunicast_peers = [\"{}\"]", own.ipv4(), peer.ipv4())
    };
    let unicast = [unicast(ONE, TWO), unicast(TWO, ONE)];
    for settings in [["", ""], ["version = 2"; 2], [&*unicast[0], &unicast[1]]] {
        let lab = Lab::new(2)?;
        let (mut master, backup) = pair(&lab, settings, &hmac(&[1], 1, "enforce"))?;
        wait_for_adverts(&backup, 1)?;
        assert_nothing_is_refused(&backup)?;
        let capture = lab.capture()?;
        let killed = WallTime::now();
        kill_alone(&mut master)?;
        let status = wait_for_state(&backup, "master", TIMEOUT)?;
        assert_eq!(status.text("vipd:last-transition-reason"), "priority-zero", "{settings:?}");
        assert_eq!(priorities(&capture, ONE, killed).last(), Some(&0));
        assert_nothing_is_refused(&backup)?;
    }
    Ok(())
}

/// Returns 100 instances whose adverts are signed: 1,000 adverts per second.
fn many(priority: u8, hmac: &str) -> String {
    let instance = |vrid: u8| {
        let one = configuration(priority, "", hmac).replace("VI_1", &format!("VI_{vrid}"));
        one.replace("= 51", &format!("= {vrid}")).replace("10.0.0.1\"", &format!("10.1.{vrid}.1\""))
    };
    (1..=100).map(instance).collect()
}

/// Returns the number of adverts that the master has sent and the backup has not counted, at a
/// moment when the master sends none.
fn unreceived(master: &Agent, backup: &Agent) -> Result<u64> {
    let sum = |agent, name| -> Result<u64> {
        control::stats(agent)?.1.iter().map(|instance| instance.number(name)).sum()
    };
    let mut found = 0;
    try_wait_until("a moment between adverts", TIMEOUT, || {
        let sent = sum(master, "advertisement-sent")?;
        found = sent.saturating_sub(sum(backup, "advertisement-rcvd")?);
        Ok(sum(master, "advertisement-sent")? == sent)
    })?;
    Ok(found)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keys_are_rotated_without_a_lost_or_refused_advert() -> TestResult {
    let lab = Lab::new(2)?;
    let first = hmac(&[1], 1, "enforce");
    let mut master = start(&lab, ONE, many(200, &first))?;
    let has_states = |agent: &Agent, state: &str| {
        Ok(control::status(agent)?.iter().all(|instance| instance.text("state") == state))
    };
    try_wait_until("the masters", TIMEOUT, || has_states(&master, "master"))?;
    let mut backup = start(&lab, TWO, many(100, &first))?;
    wait_for_followed(&backup)?;
    // The number of adverts that were sent before the backup was started. The lowest of ten
    // readings is used, because an advert may be in flight during a reading.
    let mut earlier = u64::MAX;
    for _ in 0..10 {
        earlier = earlier.min(unreceived(&master, &backup)?);
    }
    let since = WallTime::now();
    let capture = lab.capture()?;
    // All routers have both keys before any router signs with the second key. No router still signs
    // with the first key when that key is removed.
    let steps: [(&[u8], u8); 3] = [(&[1, 2], 1), (&[1, 2], 2), (&[2], 2)];
    for (step, (keys, active)) in steps.into_iter().enumerate() {
        // The master is changed first in every other step.
        let mut nodes = [(&mut backup, 100), (&mut master, 200)];
        if step % 2 == 1 {
            nodes.reverse();
        }
        for (agent, priority) in nodes {
            agent.configure(many(priority, &hmac(keys, active, "enforce")))?;
            assert_eq!(reload(agent)?.len(), 100);
        }
        wait_for_adverts(&backup, active)?;
    }
    try_wait_until("no lost advert", TIMEOUT, || Ok(unreceived(&master, &backup)? == earlier))?;
    assert!(has_states(&master, "master")? && has_states(&backup, "backup")?);
    assert_nothing_is_refused(&backup)?;
    for instance in control::stats(&backup)?.1 {
        assert_eq!(instance.number("master-transitions")?, 0, "{:#?}", backup.log());
    }
    assert!(priorities(&capture, TWO, since).is_empty(), "the backup advertised");
    // An agent that missed the rotation signs with a key that the backup no longer has.
    master.configure(many(200, &first))?;
    reload(&master)?;
    try_wait_until("adverts with an unknown key", TIMEOUT, || {
        Ok(control::counter(&backup, "vipd:hmac-unknown-key")? > 0)
    })?;
    wait_for_state(&backup, "master", TIMEOUT)?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn hmac_is_introduced_in_three_sweeps_and_removed_without_a_transition() -> TestResult {
    let lab = Lab::new(2)?;
    let (mut master, mut backup) = pair(&lab, [""; 2], "")?;
    let modes = ["receive-only", "permissive", "enforce", "permissive", "receive-only"];
    let sweeps = modes.map(|mode| hmac(&[1], 1, mode)).into_iter().chain([String::new()]);
    for (sweep, rules) in sweeps.enumerate() {
        // The master is changed first in every other sweep.
        let mut nodes = [(&mut backup, 100), (&mut master, 200)];
        if sweep % 2 == 1 {
            nodes.reverse();
        }
        for (agent, priority) in nodes {
            let sent = control::counter(agent, "advertisement-sent")?;
            agent.configure(configuration(priority, "", &rules))?;
            assert_eq!(reload(agent)?, ["VI_1: hmac changed"]);
            if priority == 200 {
                try_wait_until("further adverts", TIMEOUT, || {
                    Ok(control::counter(agent, "advertisement-sent")? >= sent + 10)
                })?;
            }
        }
        wait_for_followed(&backup)?;
    }
    assert_nothing_is_refused(&backup)?;
    assert_eq!(control::counter(&backup, "master-transitions")?, 0, "{:#?}", backup.log());
    assert_eq!(control::counter(&master, "master-transitions")?, 1);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn successor_continues_the_sequences() -> TestResult {
    let lab = Lab::new(2)?;
    let (mut master, mut backup) = pair(&lab, [""; 2], &hmac(&[1], 1, "enforce"))?;
    let upgrade = |agent: &Agent| {
        let mut upgrade = Command::new(vipd_binary()?);
        upgrade.arg("--runtime-dir").arg(Agent::runtime_dir()).arg("upgrade");
        output(agent.host(), upgrade)
    };
    // The successor continues with the keys in use, then applies the file, which adds a key.
    master.configure(configuration(200, "", &hmac(&[2, 1], 1, "enforce")))?;
    backup.configure(configuration(100, "", &hmac(&[2, 1], 1, "enforce")))?;
    for agent in [&master, &backup] {
        let outcome = upgrade(agent)?;
        assert!(outcome.status.success(), "{outcome:?}: {:#?}", agent.log());
        wait_for(agent, "the key in the file", TIMEOUT, |status| {
            status.0["vipd:hmac"]["keys"].as_array().is_some_and(|keys| keys.len() == 2)
        })?;
        wait_for_adverts(&backup, 1)?;
    }
    assert_nothing_is_refused(&backup)?;
    assert_eq!(control::counter(&backup, "master-transitions")?, 0);
    assert_eq!(control::counter(&master, "master-transitions")?, 1);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn key_is_not_displayed() -> TestResult {
    let lab = Lab::new(1)?;
    let agent = start(&lab, ONE, configuration(200, "", &hmac(&[1], 1, "enforce")))?;
    let status = wait_for_state(&agent, "master", TIMEOUT)?;
    let expected = serde_json::json!({
        "mode": "enforce", "active-key": 1, "keys": [1], "anti-replay": "time", "window-ns": 5_000_000_000_u64,
    });
    assert_eq!((status.text("vipd:authentication"), &status.0["vipd:hmac"]), ("hmac", &expected));
    let key = "015a".repeat(4);
    let log = agent.log().iter().map(|line| line.text.clone()).collect::<String>();
    assert!(!status.0.to_string().contains(&key) && !log.contains(&key));
    Ok(())
}
