//! Every advert is counted exactly once, and all other packets are passed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::configuration::XdpMode;
use vipd_tests::control::{self, Reply};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::tap::Tap;
use vipd_tests::wait::try_wait_until;
use vipd_witness::{Advert, Checksum};

const NODE: Station = Station::Node(1);
const SENDER: Station = Station::Client;
const TIMEOUT: Duration = Duration::from_secs(20);
/// Long enough that no scheduling delay lasts three intervals and causes a takeover.
const INTERVAL: Duration = Duration::from_secs(10);

fn instance(vrid: u8, version: Version) -> Instance {
    Instance {
        name: format!("VI_{vrid}"),
        vrid,
        version,
        // The lowest priority has the longest Skew_Time, which delays the takeover after a
        // priority-0 advert.
        priority: 1,
        interval: INTERVAL,
        addresses: vec![address(vrid).into()],
        ..Instance::default()
    }
}

fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, vrid, 0, 1)
}

/// Returns an advert that matches the configuration of the instance.
fn advert(vrid: u8, version: Version) -> Advert {
    let interval = match version {
        Version::V2 => 10,
        Version::V3 => 1000,
    };
    Advert { interval, addresses: vec![address(vrid).into()], ..SENDER.advert(version, vrid, 200) }
}

fn all_in_backup(agent: &Agent) -> Result<bool> {
    Ok(control::status(agent)?.iter().all(|status| status.text("state") == "backup"))
}

/// Checks that no instance has ever been master, no advert was lost, and the log has at most
/// `lines` lines.
fn check_undisturbed(agent: &Agent, global: &Reply, instances: &[Reply], lines: usize) -> Result<()> {
    assert!(all_in_backup(agent)?, "{:#?}", agent.log());
    for statistics in instances {
        for name in ["master-transitions", "advertisement-sent", "vipd:ring-full", "vipd:gratuitous-arp-sent"]
        {
            assert_eq!(statistics.number(name)?, 0, "{name}");
        }
    }
    assert_eq!(global.number("vipd:ring-full")?, 0);
    let log = agent.log();
    assert!(log.len() <= lines, "{} log lines, expected at most {lines}: {log:#?}", log.len());
    Ok(())
}

/// Starts 255 virtual routers, waits until all are in Backup, and returns an advert for each.
fn backups(lab: &Lab) -> Result<(Agent, Vec<Vec<u8>>)> {
    let instances: Vec<_> = (1..=255).map(|vrid| instance(vrid, Version::V3)).collect();
    let mut agent = Agent::new(lab, NODE, vipd()?, &instances)?;
    agent.start()?;
    try_wait_until("all instances to be in Backup", TIMEOUT, || all_in_backup(&agent))?;
    Ok((agent, (1..=255).map(|vrid| advert(vrid, Version::V3).frame()).collect()))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn all_adverts_of_255_routers_are_counted() -> TestResult {
    const ADVERTS: usize = 200_000;
    let lab = Lab::new(1)?;
    let (mut agent, frames) = backups(&lab)?;
    Injector::open(lab.host(SENDER)?)?.send_paced(&frames, ADVERTS, Duration::from_secs(8))?;
    let total = || -> Result<u64> {
        control::stats(&agent)?.1.iter().map(|statistics| statistics.number("advertisement-rcvd")).sum()
    };
    let sent = u64::try_from(ADVERTS)?;
    try_wait_until("all adverts to be counted", TIMEOUT, || Ok(total()? >= sent)).with_context(|| {
        format!("{:?} counted, {:?} lost on the segment", total(), lab.frames_dropped(SENDER, NODE))
    })?;

    let (global, statistics) = control::stats(&agent)?;
    for (number, statistics) in statistics.iter().enumerate() {
        // The first routers receive one more advert if the total is not a multiple of 255.
        let expected = ADVERTS / 255 + usize::from(number < ADVERTS % 255);
        assert_eq!(statistics.number("advertisement-rcvd")?, u64::try_from(expected)?, "VRID {}", number + 1);
        assert_eq!(statistics.number("vipd:checksum-rfc5798-rcvd")?, u64::try_from(expected)?);
        assert_eq!(statistics.number("interval-errors")?, 0);
        assert_eq!(statistics.number("address-list-errors")?, 0);
    }
    // Two lines per instance (state, new master), and a few for the agent.
    check_undisturbed(&agent, &global, &statistics, 255 * 2 + 20)?;
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unchanged_adverts_do_not_wake_the_engine() -> TestResult {
    const ADVERTS: usize = 51_000;
    let lab = Lab::new(1)?;
    let (mut agent, frames) = backups(&lab)?;
    let injector = Injector::open(lab.host(SENDER)?)?;
    // The first advert for each router counts as changed, because it comes from a new master.
    injector.send_paced(&frames, frames.len(), Duration::from_millis(50))?;
    let follows = |status: &Reply| status.address("last-adv-source") == Some(SENDER.ipv4().into());
    try_wait_until("all instances to follow the sender", TIMEOUT, || {
        Ok(control::status(&agent)?.iter().all(follows))
    })?;

    // Each query also wakes the engine.
    let queries = Cell::new(0);
    let wakeups = || -> Result<u64> {
        queries.set(queries.get() + 1);
        control::stats(&agent)?.0.number("vipd:engine-wakeups")
    };
    let before = wakeups()?;
    injector.send_paced(&frames, ADVERTS, Duration::from_secs(2))?;
    let total = || -> Result<u64> {
        queries.set(queries.get() + 1);
        control::stats(&agent)?.1.iter().map(|statistics| statistics.number("advertisement-rcvd")).sum()
    };
    let sent = u64::try_from(ADVERTS + frames.len())?;
    try_wait_until("all adverts to be counted", TIMEOUT, || Ok(total()? >= sent))?;
    let (global, statistics) = control::stats(&agent)?;
    let wakeups = wakeups()? - before;
    assert!(
        wakeups <= 4 * queries.get() + 200,
        "{wakeups} wake-ups, {} queries, {ADVERTS} adverts",
        queries.get()
    );
    check_undisturbed(&agent, &global, &statistics, 255 * 2 + 20)?;

    // A changed advert must still wake the engine: the next deadline is more than 30 s away.
    injector.send_paced(&[Advert { priority: 0, ..advert(7, Version::V3) }.frame()], 1, Duration::ZERO)?;
    try_wait_until("VRID 7 to be master", TIMEOUT, || {
        Ok(control::status(&agent)?[6].text("state") == "master")
    })?;
    assert!(agent.stop()?.success());
    Ok(())
}

/// The name of a counter, and a function that turns a valid advert into a packet that increments
/// this counter.
type Invalid = (&'static str, fn(Advert) -> Advert);

/// Adverts that are invalid in both versions.
const INVALID: [Invalid; 8] = [
    ("vipd:ip-ttl-errors", |advert| Advert { ttl: 254, ..advert }),
    ("vipd:checksum-errors", |advert| Advert { checksum: Checksum::Bad, ..advert }),
    ("vipd:version-errors", |advert| Advert { version: 5 - advert.version, ..advert }),
    ("invalid-type-pkts-rcvd", |advert| Advert { kind: 2, ..advert }),
    ("packet-length-errors", |advert| Advert { count: Some(2), ..advert }),
    ("vipd:address-count-errors", |advert| Advert { count: Some(0), ..advert }),
    ("vipd:interval-zero-errors", |advert| Advert { interval: 0, ..advert }),
    ("vipd:ip-header-errors", |advert| Advert { ip_checksum: Some(0x1234), ..advert }),
];
/// Adverts that are invalid in version 2 only.
const INVALID_IN_V2: [Invalid; 2] = [
    ("vipd:invalid-auth-type", |advert| Advert { interval: 0x0900 | advert.interval, ..advert }),
    ("vipd:auth-type-mismatch", |advert| Advert { interval: 0x0100 | advert.interval, ..advert }),
];
/// Packets that the BPF program passes without assigning them to a virtual router, with their
/// agent-wide counters.
const NOT_OURS: [Invalid; 4] = [
    ("vrid-errors", |advert| Advert { vrid: 200, ..advert }),
    ("vipd:fragments-passed", |advert| Advert { fragment: 0x2000, ..advert }),
    ("vipd:destination-passed", |advert| Advert {
        destination: NODE.ipv4().into(),
        destination_mac: NODE.mac(),
        ..advert
    }),
    ("vipd:unparsable-passed", |advert| Advert { total_length: Some(21), ..advert }),
];

const V3_ROUTERS: [u8; 3] = [1, 2, 3];
const V2_ROUTER: u8 = 9;

/// Frames that are sent in rounds, and the increments per round of the counters of each instance
/// (in configuration order) and of the agent.
struct Mix {
    ours: Vec<Vec<u8>>,
    not_ours: Vec<Vec<u8>>,
    instances: Vec<BTreeMap<&'static str, u64>>,
    global: BTreeMap<&'static str, u64>,
}

impl Mix {
    fn new() -> Self {
        let mut mix =
            Self { ours: Vec::new(), not_ours: Vec::new(), instances: Vec::new(), global: BTreeMap::new() };
        let routers =
            V3_ROUTERS.map(|vrid| (vrid, Version::V3)).into_iter().chain([(V2_ROUTER, Version::V2)]);
        for (vrid, version) in routers {
            let valid = advert(vrid, version);
            let mut counts = BTreeMap::from([("advertisement-rcvd", 1)]);
            if version == Version::V3 {
                // The router's last frame in the round, a valid advert, cancels the effect of the
                // priority-0 advert.
                mix.ours.push(Advert { priority: 0, ..valid.clone() }.frame());
                counts = BTreeMap::from([("advertisement-rcvd", 2), ("priority-zero-pkts-rcvd", 1)]);
            }
            let more = if version == Version::V2 { &INVALID_IN_V2[..] } else { &[] };
            for (counter, change) in INVALID.iter().chain(more) {
                mix.ours.push(change(valid.clone()).frame());
                *counts.entry(counter).or_default() += 1;
            }
            mix.ours.push(valid.frame());
            mix.instances.push(counts);
        }
        for (counter, change) in NOT_OURS {
            mix.not_ours.push(change(advert(V3_ROUTERS[0], Version::V3)).frame());
            *mix.global.entry(counter).or_default() += 1;
        }
        for counter in ["checksum-errors", "version-errors", "ip-ttl-errors"] {
            mix.global.insert(counter, u64::try_from(mix.instances.len()).unwrap_or(0));
        }
        mix
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn invalid_adverts_are_counted_by_reason_and_other_packets_pass() -> TestResult {
    /// On a busy machine, the kernel may drop frames before they reach the node.
    const ATTEMPTS: usize = 3;
    for _ in 0..ATTEMPTS {
        if send_and_check_counters()? {
            return Ok(());
        }
    }
    panic!("frames were lost on the segment in each of {ATTEMPTS} attempts");
}

/// Sends all kinds of invalid adverts, and checks the counters. Returns false if frames were lost
/// on the segment.
fn send_and_check_counters() -> TestResult<bool> {
    const ROUNDS: usize = 500;
    let lab = Lab::new(1)?;
    let mut instances: Vec<_> = V3_ROUTERS.iter().map(|vrid| instance(*vrid, Version::V3)).collect();
    instances.push(instance(V2_ROUTER, Version::V2));
    let mut agent = Agent::new(&lab, NODE, vipd()?, &instances)?;
    // The tap captures only packets that XDP passes. With TC ingress, the tap would also capture
    // packets that the program drops.
    agent.set_xdp_mode(XdpMode::Native)?;
    agent.start()?;
    try_wait_until("all instances to be in Backup", TIMEOUT, || all_in_backup(&agent))?;
    let tap = Tap::open(lab.host(NODE)?)?;

    let mix = Mix::new();
    let frames: Vec<_> = mix.ours.iter().chain(&mix.not_ours).cloned().collect();
    let count = ROUNDS * frames.len();
    assert!(count >= 20_000, "{count} frames");
    Injector::open(lab.host(SENDER)?)?.send_paced(&frames, count, Duration::from_secs(2))?;
    let rounds = u64::try_from(ROUNDS)?;
    // Each round ends with the last frame of `NOT_OURS`. Once this frame has been counted in every
    // round, all frames have been counted.
    let (last, _) = NOT_OURS[NOT_OURS.len() - 1];
    let counted = try_wait_until("the last frame to be counted", TIMEOUT, || {
        Ok(control::stats(&agent)?.0.number(last)? >= rounds)
    });
    if lab.frames_dropped(SENDER, NODE)? > 0 {
        return Ok(false);
    }
    counted?;

    let (global, statistics) = control::stats(&agent)?;
    for (counter, per_round) in &mix.global {
        assert_eq!(global.number(counter)?, per_round * rounds, "{counter}");
    }
    let reasons = INVALID.iter().chain(&INVALID_IN_V2).map(|(counter, _)| *counter);
    let all: Vec<_> = reasons.chain(["advertisement-rcvd", "priority-zero-pkts-rcvd"]).collect();
    for (number, (statistics, expected)) in statistics.iter().zip(&mix.instances).enumerate() {
        for counter in &all {
            let per_round = expected.get(counter).copied().unwrap_or(0);
            assert_eq!(statistics.number(counter)?, per_round * rounds, "{counter} of instance {number}");
        }
    }

    // Each reason is logged once per instance. Changes of the master are logged up to the log
    // limit, a burst of 20 and then two per second.
    let bound = statistics.len() * (20 + 2 * 30) + 20;
    check_undisturbed(&agent, &global, &statistics, bound)?;

    let mut passed = BTreeMap::<Vec<u8>, usize>::new();
    for frame in tap.drain()?.into_iter().filter(|frame| frames.contains(frame)) {
        *passed.entry(frame).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = mix.not_ours.iter().map(|frame| (frame.clone(), ROUNDS)).collect();
    assert_eq!(passed, expected, "exactly these frames are passed");
    assert!(agent.stop()?.success());
    Ok(true)
}
