//! Adverts and neighbors on the segment.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::wait_for_state;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::station::{INTERFACE, VIP};
use vipd_witness::{Advert, Checksum, Mac, Version};

use crate::{Diagnosis, ONE, TIMEOUT, TWO, doctor, run};

/// Runs doctor while node 2 sends these frames repeatedly, with a `pause` after each round.
pub(super) fn doctor_during(lab: &Lab, frames: &[Vec<u8>], pause: Duration) -> Diagnosis {
    let injector = Injector::open(lab.host(TWO).unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                injector.send_all(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
                thread::sleep(pause);
            }
        });
        let diagnosis = doctor(lab);
        stop.store(true, Ordering::Relaxed);
        diagnosis
    })
}

/// Configuration of node 1: instances that node 2 disturbs with its adverts.
const WIRE: &str = r#"
[[instance]]
name = "VI_1"
interface = "eth1"
vrid = 51
priority = 150
advert_interval = "100ms"
virtual_addresses = ["192.168.122.50/24"]

[[instance]]
name = "V6"
interface = "eth1"
vrid = 52
priority = 150
advert_interval = "100ms"
virtual_addresses = ["fe80::50/64", "fd00:122::50/64"]

[[instance]]
name = "PASS"
interface = "eth1"
vrid = 53
version = 2
priority = 150
advert_interval = "1s"
auth_pass = "secret"
virtual_addresses = ["192.168.122.53/24"]

[[instance]]
name = "OWNER"
interface = "eth1"
vrid = 54
priority = 255
advert_interval = "100ms"
virtual_addresses = ["192.168.122.54/24"]

[[instance]]
name = "UNICAST"
interface = "eth1"
vrid = 55
priority = 150
advert_interval = "100ms"
unicast_source = "192.168.122.11"
unicast_peers = ["192.168.122.99"]
virtual_addresses = ["192.168.122.55/24"]
"#;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn troubles_on_the_wire_are_named() {
    let lab = Lab::new(2).unwrap();
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), WIRE.to_owned()).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();

    let base = Advert { interval: 10, ..TWO.advert(Version::V3, 51, 100) };
    // Most adverts have their own source address, and thus their own router.
    let from = |host: u8, advert: Advert| Advert { source: [192, 168, 122, host].into(), ..advert };
    let vip = |host: u8| vec![Ipv4Addr::new(192, 168, 122, host).into()];
    let v2 =
        Advert { addresses: vip(53), authentication: *b"geheim\0\0", ..TWO.advert(Version::V2, 53, 100) };
    let unicast = |vrid: u8| Advert {
        destination: ONE.ipv4().into(),
        destination_mac: ONE.mac(),
        vrid,
        ..base.clone()
    };
    let v6 = Advert {
        source_mac: TWO.mac(),
        interval: 10,
        addresses: vec![Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, 0x50).into()],
        ..Advert::new(Version::V3, 52, 100, TWO.link_local())
    };
    let twin = Advert { source_mac: Mac([2, 0, 0, 0, 0, 0x77]), ..base.clone() };
    let owner = Advert { vrid: 54, priority: 255, addresses: vip(54), ..base.clone() };
    let cases: &[(&str, &str, Advert)] = &[
        ("two-masters", "192.168.122.12: VRRPv3, priority 100", base.clone()),
        ("duplicate-source", "192.168.122.12 is used by 02:00:00:00:00:02, 02:00:00:00:00:77", twin),
        ("version-mismatch", "received: VRRPv2", from(101, TWO.advert(Version::V2, 51, 100))),
        (
            "checksum-form",
            "received: rfc9568",
            from(102, Advert { checksum: Checksum::Message, ..base.clone() }),
        ),
        (
            "checksum-wrong",
            "no checksum form matches",
            from(103, Advert { corrupt: vec![22], ..base.clone() }),
        ),
        ("interval-mismatch", "received: 300ms", from(104, Advert { interval: 30, ..base.clone() })),
        (
            "address-list-mismatch",
            "received: 192.168.122.50, 192.168.122.60",
            from(105, Advert { addresses: [vip(50), vip(60)].concat(), ..base.clone() }),
        ),
        (
            "vrid-conflict",
            "received: 192.168.122.60",
            from(106, Advert { addresses: vip(60), ..base.clone() }),
        ),
        ("ttl-too-low", "received: TTL 64", from(107, Advert { ttl: 64, ..base.clone() })),
        ("transport-mismatch", "destination 192.168.122.11", from(108, unicast(51))),
        ("equal-priority", "192.168.122.109", from(109, Advert { priority: 150, ..base.clone() })),
        ("malformed-adverts", "unknown VRRP type", from(110, Advert { kind: 2, ..base.clone() })),
        (
            "foreign-vrid",
            "VRID 77 (IPv4) from 192.168.122.111",
            from(111, Advert { vrid: 77, ..base.clone() }),
        ),
        ("first-not-link-local", "fd00:122::50", v6),
        ("authentication-mismatch", "password mismatch", from(112, Advert { interval: 0x0101, ..v2 })),
        ("two-owners", "priority 255", from(113, owner.clone())),
        ("unknown-peer", "unicast_peers here: 192.168.122.99", from(114, unicast(55))),
    ];
    let frames: Vec<_> = cases.iter().map(|(_, _, advert)| advert.frame()).collect();
    let diagnosis = doctor_during(&lab, &frames, Duration::from_millis(100));
    for (check, evidence, _) in cases {
        diagnosis.names_with(check, evidence);
    }

    let slow = Advert { priority: 200, ..base.clone() }.frame();
    let tagged = Advert { tags: vec![(0x8100, 7)], ..owner.clone() }.frame();
    let diagnosis = doctor_during(&lab, &[slow, tagged], Duration::from_millis(250));
    diagnosis.names_with("irregular-adverts", "the advertised interval is 100ms");
    diagnosis.names_with("vlan-tagged", "192.168.122.12 in VLAN 7");
    let often = Advert { interval: 100, ..base.clone() }.frame();
    let flood = vec![owner.frame(); 64];
    let diagnosis = doctor_during(&lab, &[vec![often], flood].concat(), Duration::from_millis(20));
    diagnosis.names_with("advert-flood", "the advertised interval is 1s");
    diagnosis.names_with("errors-increase", "vipd:rate-limited went from ");

    lab.host(TWO).unwrap().run(|| links::add_address(INTERFACE, VIP, 24)).unwrap();
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("duplicate-vip").contains("02:00:00:00:00:02 answered for 192.168.122.50"));
    assert!(diagnosis.evidence("peer-unreachable").contains("192.168.122.99"));
    diagnosis.names_with("configuration-warning", "password is sent in plain text");
    assert_eq!(diagnosis.code, Some(1));
    // Node 2 sends no more adverts.
    let all = cases.iter().map(|(check, ..)| *check);
    let all = all.chain(["irregular-adverts", "vlan-tagged", "advert-flood", "errors-increase"]);
    diagnosis.lacks(&all.collect::<Vec<_>>());

    for line in ["ip address del 192.168.122.50/24 dev eth1", "ip address add 192.168.122.99/24 dev eth1"] {
        run(&lab, TWO, line);
    }
    doctor(&lab).lacks(&["duplicate-vip", "peer-unreachable"]);
}
