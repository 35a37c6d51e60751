//! The kernel side counts to the packet, each wrong advert by its reason, and passes on what is not vipd's.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::capture::Capture;
use vipd_tests::craft::{Advert, Checksum};
use vipd_tests::frame::Frame;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::vipd;
use vipd_tests::wait::wait_until;

const LISTENER: Station = Station::Node(1);
const SPEAKER: Station = Station::Node(2);

/// VRID `vrid` at the longest interval VRRPv3 has, with an address of its own: between the adverts of a test and its
/// questions nobody becomes impatient.
fn backup(vrid: u8) -> Instance {
    Instance {
        name: format!("VI_{vrid}"),
        vrid,
        version: Version::V3,
        priority: 100,
        interval: Duration::from_millis(40_950),
        addresses: vec![address(vrid)],
        ..Instance::default()
    }
}

fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, vrid, 1)
}

/// What the master of `vrid` sends.
fn advert(version: Version, vrid: u8) -> Advert {
    let interval = match version {
        Version::V2 => 40,
        Version::V3 => 4095,
    };
    Advert { addresses: vec![address(vrid)], interval, ..Advert::new(version, vrid, 200, SPEAKER) }
}

/// How many of `total` frames sent in turn from `kinds` kinds are of kind `index`.
fn share(total: usize, kinds: usize, index: usize) -> u64 {
    (total / kinds + usize::from(index < total % kinds)) as u64
}

fn rcvd(stats: &Value, vrid: u8) -> u64 {
    vipd::counter(stats, vrid, "advertisement-rcvd").expect("a counter")
}

#[test]
fn two_hundred_thousand_adverts_over_255_vrids_are_counted_to_the_packet() {
    const TOTAL: usize = 200_000;
    let lab = Lab::new(2).expect("a lab");
    let all: Vec<_> = (1..=255).map(backup).collect();
    let mut agent = Agent::new(&lab, LISTENER, vipd::kind(), &all).expect("an agent");
    vipd::start(&mut agent).expect("it starts");
    let injector = Injector::open(lab.host(SPEAKER).expect("a host")).expect("an injector");
    let frames: Vec<_> = (1..=255).map(|vrid| advert(Version::V3, vrid).frame()).collect();
    injector.pace(&frames, TOTAL, Duration::from_secs(8)).expect("all sent");

    // The last frames may still be on their way up; the counters never run ahead.
    wait_until("every advert to be counted", Duration::from_secs(10), || {
        let stats = vipd::stats(&agent).expect("stats");
        (1..=255).map(|vrid| rcvd(&stats, vrid)).sum::<u64>() >= TOTAL as u64
    })
    .expect("counted");
    let stats = vipd::stats(&agent).expect("stats");
    for vrid in 1..=255 {
        assert_eq!(rcvd(&stats, vrid), share(TOTAL, 255, usize::from(vrid) - 1), "VRID {vrid}");
        assert_eq!(vipd::counter(&stats, vrid, "master-transitions").expect("a counter"), 0, "VRID {vrid}");
    }
    assert_eq!(stats["global"]["vrid-errors"], 0);
    agent.stop().expect("it stops in good order");
}

/// A kind of frame, and the counter that must count it: of the instance, or of the agent as a whole.
type Kind = (&'static str, Option<u8>, Advert);

/// Every kind of wrong advert, and of foreign packet.
fn kinds() -> Vec<Kind> {
    let v3 = || advert(Version::V3, 51);
    let v2 = || advert(Version::V2, 52);
    vec![
        ("advertisement-rcvd", Some(51), v3()),
        ("advertisement-rcvd", Some(52), v2()),
        ("vipd:ip-ttl-errors", Some(51), Advert { ttl: 254, ..v3() }),
        ("vipd:ip-header-errors", Some(51), Advert { ip_checksum: Some(0x1234), ..v3() }),
        ("vipd:version-errors", Some(51), advert(Version::V2, 51)),
        ("vipd:version-errors", Some(52), advert(Version::V3, 52)),
        ("invalid-type-pkts-rcvd", Some(51), Advert { kind: 2, ..v3() }),
        ("packet-length-errors", Some(51), Advert { count: Some(2), ..v3() }),
        ("packet-length-errors", Some(52), Advert { trailing: vec![0; 4], ..v2() }),
        ("vipd:address-count-errors", Some(51), Advert { count: Some(0), ..v3() }),
        ("vipd:checksum-errors", Some(51), Advert { checksum: Checksum::Bad, ..v3() }),
        ("vipd:checksum-errors", Some(52), Advert { checksum: Checksum::Bad, ..v2() }),
        ("vipd:interval-zero-errors", Some(51), Advert { interval: 0, ..v3() }),
        ("vipd:auth-type-mismatch", Some(52), Advert { interval: 0x0128, ..v2() }),
        ("vipd:invalid-auth-type", Some(52), Advert { interval: 0x0928, ..v2() }),
        ("vrid-errors", None, advert(Version::V3, 53)),
        ("vrid-errors", None, Advert { ttl: 1, checksum: Checksum::Bad, ..advert(Version::V2, 54) }),
        ("vipd:fragments-passed", None, Advert { fragment: 0x2000, ..v3() }),
        ("vipd:destination-passed", None, Advert { destination: LISTENER.ipv4(), ..v3() }),
    ]
}

#[test]
fn each_wrong_advert_has_its_counter_and_foreign_packets_are_passed_on() {
    const ROUNDS: usize = 1_000;
    let lab = Lab::new(2).expect("a lab");
    let two =
        [backup(51), Instance { version: Version::V2, interval: Duration::from_secs(40), ..backup(52) }];
    let mut agent = Agent::new(&lab, LISTENER, vipd::kind(), &two).expect("an agent");
    vipd::start(&mut agent).expect("it starts");
    // Behind the XDP program: whatever the kernel's stack is given.
    let behind = Capture::behind_xdp(lab.host(LISTENER).expect("a host"), LISTENER).expect("a capture");
    let start = WallTime::now();

    let kinds = kinds();
    let frames: Vec<_> = kinds.iter().map(|(_, _, advert)| advert.frame()).collect();
    let injector = Injector::open(lab.host(SPEAKER).expect("a host")).expect("an injector");
    let total = ROUNDS * frames.len();
    injector.pace(&frames, total, Duration::from_secs(2)).expect("all sent");

    let mut names: Vec<_> = kinds.iter().map(|(name, vrid, _)| (*name, *vrid)).collect();
    names.sort_unstable();
    let read = |stats: &Value, name: &str, vrid: Option<u8>| match vrid {
        Some(vrid) => vipd::counter(stats, vrid, name).expect("a counter"),
        None => stats["global"][name].as_u64().expect("a counter"),
    };
    let wanted: Vec<_> = names
        .chunk_by(|one, next| one == next)
        .map(|same| (same[0].0, same[0].1, (same.len() * ROUNDS) as u64))
        .collect();
    wait_until("every frame to be counted", Duration::from_secs(10), || {
        let stats = vipd::stats(&agent).expect("stats");
        wanted.iter().map(|(name, vrid, _)| read(&stats, name, *vrid)).sum::<u64>() >= total as u64
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", vipd::stats(&agent).expect("stats")));
    let stats = vipd::stats(&agent).expect("stats");
    for (name, vrid, count) in &wanted {
        assert_eq!(read(&stats, name, *vrid), *count, "{name} of {vrid:?}");
    }
    let sum = |name: &str| kinds.iter().filter(|(found, _, _)| *found == name).count() * ROUNDS;
    for (global, each) in [
        ("checksum-errors", "vipd:checksum-errors"),
        ("version-errors", "vipd:version-errors"),
        ("ip-ttl-errors", "vipd:ip-ttl-errors"),
    ] {
        assert_eq!(read(&stats, global, None), sum(each) as u64, "{global}");
    }

    // Passed on: the foreign ones, all of them; ours never.
    let foreign = kinds.iter().filter(|(_, vrid, _)| vrid.is_none()).count() * ROUNDS;
    let from_speaker = |frame: &Frame| frame.source_mac() == Some(SPEAKER.mac());
    let vrrp = |frame: &Frame| frame.bytes.get(23) == Some(&112) && from_speaker(frame);
    wait_until("every foreign packet to be passed on", Duration::from_secs(10), || {
        behind.since(start).iter().filter(|frame| vrrp(frame)).count() >= foreign
    })
    .expect("passed on");
    let passed = behind.since(start);
    let passed: Vec<_> = passed.iter().filter(|frame| vrrp(frame)).collect();
    assert_eq!(passed.len(), foreign, "no more than the foreign ones");
    for (place, (name, vrid, _)) in kinds.iter().enumerate() {
        let count = passed.iter().filter(|frame| frame.bytes == frames[place]).count();
        assert_eq!(count, if vrid.is_none() { ROUNDS } else { 0 }, "{name} of {vrid:?} behind XDP");
    }

    // Nothing of it made a master, and the log is short: a few lines for each kind.
    assert_eq!(vipd::state(&agent, 51).expect("a state"), "backup");
    assert_eq!(vipd::state(&agent, 52).expect("a state"), "backup");
    let log = agent.log();
    assert!(log.len() < 40, "{} lines for {} kinds", log.len(), kinds.len());
    agent.stop().expect("it stops in good order");
}
