//! Random, malformed and unusual frames change no state, and every advert among them is counted.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::control;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::random::Random;
use vipd_tests::routers::start_pair;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;
use vipd_witness::internet_checksum;

const ONE: Station = Station::Node(1);
const SENDER: Station = Station::Client;
const TIMEOUT: Duration = Duration::from_secs(20);
const FRAMES: usize = 60_000;
/// Seed of the frame generator. [`SEED_VARIABLE`] overrides it.
const SEED: u64 = 0x7669_7064;
const SEED_VARIABLE: &str = "VIPD_TEST_SEED";

/// Draws random values for the bytes and fields of frames.
struct Generator(Random);

impl Generator {
    fn byte(&mut self) -> u8 {
        self.0.bits().to_be_bytes()[0]
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Returns a number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn some_bytes(&mut self) -> Vec<u8> {
        let length = self.below(64);
        self.bytes(length)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }
}

/// Returns a frame of random bytes. The source MAC belongs to no station, so the switch does not
/// relearn the port of a station.
fn noise(random: &mut Generator) -> Vec<u8> {
    let length = 14 + random.below(1501);
    let mut frame = random.bytes(length);
    frame[6..12].copy_from_slice(&[2, 0xff, 0, 0, 0, 1]);
    if random.one_in(2) {
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
    }
    frame
}

/// Returns an advert with a few random fields. Its priority is lower than that of every router and
/// never 0, so that it does not change any router's state even if it is valid.
fn unusual(random: &mut Generator) -> Vec<u8> {
    let version = if random.one_in(4) { Version::V2 } else { Version::V3 };
    let mut advert = SENDER.advert(version, 51, 1 + random.byte() % 50);
    for _ in 0..=random.below(3) {
        match random.below(14) {
            0 => advert.ttl = random.byte(),
            1 => advert.version = random.byte() & 0xf,
            2 => advert.kind = random.byte() & 0xf,
            3 => advert.vrid = random.byte(),
            4 => advert.count = Some(random.byte()),
            5 => advert.interval = if random.one_in(2) { 0 } else { random.word() },
            6 => advert.fragment = random.word(),
            7 => advert.total_length = Some(random.word()),
            8 => advert.ip_checksum = Some(random.word()),
            9 => advert.options = vec![random.byte(); 4 * random.below(11)],
            10 => advert.trailing = random.some_bytes(),
            11 => advert.padding = random.some_bytes(),
            12 => advert.addresses = vec![[10, 0, 0, random.byte()].into(); random.below(256)],
            _ => advert.tags = vec![(0x8100, random.word() & 0x0fff); 1 + random.below(3)],
        }
    }
    let mut frame = advert.frame();
    frame.truncate(1514);
    frame
}

/// Returns an advert with a flipped bit after the Ethernet addresses, sometimes also truncated. The
/// IPv4 checksum is often recomputed, so that the message is also parsed. The VRRP checksum is
/// never recomputed, so an advert with a mutated priority is never valid.
fn corrupted(random: &mut Generator) -> Vec<u8> {
    let mut frame = SENDER.advert(Version::V3, 51, 50).frame();
    let position = 12 + random.below(frame.len() - 12);
    frame[position] ^= 1 << random.below(8);
    if random.one_in(3) {
        frame.truncate(14 + random.below(frame.len() - 13));
    }
    if random.one_in(2) && frame.len() >= 34 {
        frame[24..26].fill(0);
        let checksum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

fn hostile(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Generator(Random::new(seed));
    let generators = [noise, unusual, corrupted];
    (0..FRAMES).map(|number| generators[number % generators.len()](&mut random)).collect()
}

/// Returns whether the BPF program counts a frame, that is, whether it is IPv4 with protocol 112.
/// Returns `None` for a tagged frame: whether the program sees the tag depends on the program's
/// mode and on VLAN offload.
fn counted(frame: &[u8]) -> Option<bool> {
    match frame.get(12..14)? {
        [0x81, 0x00] | [0x88, 0xa8] => None,
        [0x08, 0x00] => Some(frame.get(23) == Some(&112)),
        _ => Some(false),
    }
}

/// Agent-wide counters. Each advert increments exactly one counter of this list or of
/// [`PER_INSTANCE`].
const GLOBAL: [&str; 4] =
    ["vrid-errors", "vipd:fragments-passed", "vipd:destination-passed", "vipd:unparsable-passed"];
/// Counters of an instance.
const PER_INSTANCE: [&str; 11] = [
    "advertisement-rcvd",
    "invalid-type-pkts-rcvd",
    "packet-length-errors",
    "vipd:checksum-errors",
    "vipd:version-errors",
    "vipd:ip-ttl-errors",
    "vipd:ip-header-errors",
    "vipd:address-count-errors",
    "vipd:interval-zero-errors",
    "vipd:invalid-auth-type",
    "vipd:auth-type-mismatch",
];

fn counters(agent: &Agent) -> Result<BTreeMap<&'static str, u64>> {
    let (global, instances) = control::stats(agent)?;
    let statistics = instances.first().context("no instance")?;
    let global_values = GLOBAL.iter().map(|name| Ok((*name, global.number(name)?)));
    global_values.chain(PER_INSTANCE.iter().map(|name| Ok((*name, statistics.number(name)?)))).collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn arbitrary_frames_change_no_state_and_are_all_counted() -> TestResult {
    let seed = match env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{SEED_VARIABLE} must be a number"))?,
        Err(_) => SEED,
    };
    // The test harness prints this only if the test fails.
    println!("to repeat this run: {SEED_VARIABLE}={seed}");
    let frames = hostile(seed);
    let untagged = frames.iter().filter(|frame| counted(frame) == Some(true)).count() as u64;
    let tagged = frames.iter().filter(|frame| counted(frame).is_none()).count() as u64;
    assert!(
        untagged > 20_000 && tagged > 500,
        "{untagged} untagged and {tagged} tagged adverts are too few to be meaningful"
    );

    let lab = Lab::new(2)?;
    let (mut master, mut backup) = start_pair(&lab)?;
    let before = control::counter(&backup, "master-transitions")?;

    let injector = Injector::open(lab.host(SENDER)?)?;
    injector.send_paced(&frames, frames.len(), Duration::from_secs(4))?;
    // The master receives no other adverts, so its counters cover only the injected frames.
    let total = || -> Result<u64> { Ok(counters(&master)?.values().sum()) };
    try_wait_until("all untagged adverts to be counted", TIMEOUT, || Ok(total()? >= untagged)).with_context(
        || match (counters(&master), lab.frames_dropped(SENDER, ONE)) {
            (Ok(counted), Ok(lost)) => format!("counted: {counted:?}; frames lost: {lost}"),
            (Err(error), _) | (_, Err(error)) => format!("{error:#}"),
        },
    )?;
    assert_eq!(lab.frames_dropped(SENDER, ONE)?, 0, "frames were lost on the segment");
    let found = counters(&master)?;
    let sum: u64 = found.values().sum();
    assert!(
        (untagged..=untagged + tagged).contains(&sum),
        "{sum} counted, expected {untagged} to {}: {found:?}",
        untagged + tagged
    );
    for (name, value) in &found {
        assert!(*value > 0 || name.contains("auth"), "{name} was never counted");
    }

    assert_eq!(control::status(&master)?[0].text("state"), "master");
    assert_eq!(control::status(&backup)?[0].text("state"), "backup");
    assert_eq!(control::counter(&master, "master-transitions")?, 1, "{:#?}", master.log());
    assert_eq!(control::counter(&backup, "master-transitions")?, before, "{:#?}", backup.log());
    for agent in [&mut master, &mut backup] {
        // The log limit of an instance is a burst of 20 and then two per second. The agent logs a
        // few more lines.
        let log = agent.log();
        assert!(log.len() <= 20 + 2 * 60 + 20, "{} log lines: {log:#?}", log.len());
        assert!(agent.stop()?.success());
    }
    Ok(())
}
