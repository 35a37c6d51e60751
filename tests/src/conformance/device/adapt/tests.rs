//! Scenario selection and adaptation by device.

use std::collections::BTreeSet;
use std::time::Duration;

use super::adapt;
use crate::configuration::Family;
use crate::conformance::device::Declaration;
use crate::conformance::device::profile::Profile;
use crate::conformance::scenario::Moment;
use crate::conformance::segment::{Host, Segment};
use crate::conformance::{Scenario, Step, document};
use crate::protocol::Version;
use crate::station::Mac;

/// Returns a valid declaration: VRRPv3 with the default parameters and two VIPs.
pub(in crate::conformance::device) fn declaration() -> Declaration {
    let address = |last: u8| [192, 0, 2, last].into();
    Declaration {
        interface: "eth1".to_owned(),
        vrid: 51,
        version: Version::V3,
        priority: 100,
        interval: Duration::from_secs(1),
        addresses: vec![address(50), address(51)],
        sources: vec![address(11), address(13)],
        primary: None,
        preempt: true,
        accept: true,
    }
}

fn device(declaration: Declaration) -> Profile {
    let host = |last: u8| Host { mac: Mac([2, 0, 0, 0, 0, last]), address: [192, 0, 2, last].into() };
    let segment = Segment {
        lower: host(11),
        higher: host(13),
        device: host(12),
        virtual_addresses: declaration.addresses.clone(),
        message_checksum: false,
    };
    Profile { declaration, segment, virtual_mac: false, has_own_mac: true, other_vrids: BTreeSet::new() }
}

fn scenario(name: &str) -> Scenario {
    let all = document::all().expect("valid scenarios");
    all.into_iter().find(|scenario| scenario.name == name).unwrap_or_else(|| panic!("no scenario {name}"))
}

fn reason(name: &str, device: &Profile) -> String {
    adapt(&scenario(name), device).map(|_| ()).expect_err(name)
}

#[test]
fn scenarios_that_need_another_device_are_skipped_with_the_requirement() {
    let device = device(declaration());
    for (name, expected) in [
        ("c1-vrrpv2-checksum-covers-the-message", "needs a VRRPv2 router"),
        ("c2-ipv6-checksum-includes-the-pseudo-header", "needs an IPv6 router"),
        ("c4-rfc9568-checksum-sent-when-configured", "needs RFC 9568 checksums"),
        ("c6-unicast-checksum-covers-the-packet-addresses", "needs unicast peers"),
        ("f1-advert-from-primary-address-to-group", "needs --primary, the router's own address"),
        ("f6-virtual-mac", "needs the virtual router MAC"),
        ("f7-ipv4-and-ipv6-are-separate-routers", "needs two virtual routers"),
        ("m3-skew-is-not-rounded-at-priority-100", "played in virtual time only, with vipd's core"),
        ("r7-owner-stays-master", "needs the address owner"),
        ("s1-owner-starts-as-master", "needs the router to be started"),
        ("r17-vlan-tag-offloaded", "needs a segment without VLANs, because it sends tagged frames"),
        ("s2-non-owner-starts-as-backup", "needs the router to be started"),
        ("s8-backup-shuts-down-silently", "needs the router to be shut down"),
        ("s17-accept-mode-false", "needs Accept_Mode to be off"),
        ("s24-master-ignores-preempt-mode", "needs preemption to be off"),
        ("a8-every-address-is-announced", "needs 3 virtual addresses"),
    ] {
        assert_eq!(reason(name, &device), expected, "{name}");
    }
}

#[test]
fn declared_modes_decide_which_scenarios_are_played() {
    let quiet = device(Declaration { preempt: false, accept: false, ..declaration() });
    assert!(adapt(&scenario("s24-master-ignores-preempt-mode"), &quiet).is_ok());
    assert!(adapt(&scenario("s17-accept-mode-false"), &quiet).is_ok());
    assert_eq!(reason("s12-lower-priority-master-is-preempted", &quiet), "needs preemption");
    assert_eq!(reason("s7-backup-accepts-no-packets", &quiet), "needs Accept_Mode");
    let owner = device(Declaration { priority: 255, ..declaration() });
    assert!(adapt(&scenario("r7-owner-stays-master"), &owner).is_ok());
    assert_eq!(reason("r1-ttl", &owner), "needs a router that is not the owner");
    let fast = device(Declaration { interval: Duration::from_millis(200), ..declaration() });
    assert_eq!(reason("s23-losing-advert-is-answered", &fast), "needs an interval of 1s or more");
    let v2 = device(Declaration { version: Version::V2, ..declaration() });
    assert_eq!(reason("m6-vrrpv2-skew-is-independent-of-interval", &v2), "needs an interval of 2s or more");
    assert!(adapt(&scenario("s9-master-down-vrrpv2"), &v2).is_ok());
    let slow =
        device(Declaration { version: Version::V2, interval: Duration::from_secs(3), ..declaration() });
    assert_eq!(reason("s9-master-down-vrrpv2", &slow), "needs an interval of 1s");
    let slower = device(Declaration { interval: Duration::from_secs(20), ..declaration() });
    assert!(
        reason("s11-interval-of-a-lower-priority-master", &slower)
            .contains("a scaled interval exceeds the maximum")
    );
}

#[test]
fn every_vrrpv3_scenario_for_ipv4_without_special_needs_is_played() {
    let device =
        device(Declaration { priority: 128, primary: Some([192, 0, 2, 12].into()), ..declaration() });
    let mut skipped = Vec::new();
    for scenario in document::all().expect("valid scenarios") {
        let router = scenario.routers().next().expect("a router");
        let special = router.version == Version::V2
            || router.family == Family::V6
            || router.priority == 255
            || router.preempt == Some(false)
            || router.virtual_mac
            || router.unicast
            || router.hmac.is_some()
            || !scenario.vipd_lines.is_empty()
            || scenario.lines.iter().any(|line| matches!(line.step, Step::Stop));
        if scenario.in_lab
            && !special
            && let Err(reason) = adapt(&scenario, &device)
        {
            skipped.push((scenario.name, reason));
        }
    }
    let skipped: Vec<_> = skipped.iter().map(|(name, reason)| (name.as_str(), reason.as_str())).collect();
    assert_eq!(
        skipped,
        [
            ("a8-every-address-is-announced", "needs 3 virtual addresses"),
            ("f7-ipv4-and-ipv6-are-separate-routers", "needs two virtual routers"),
            ("r17-vlan-tag-offloaded", "needs a segment without VLANs, because it sends tagged frames"),
            ("s2-non-owner-starts-as-backup", "needs the router to be started"),
        ]
    );
}

#[test]
fn parameters_are_replaced_times_are_converted_and_order_is_kept() {
    let device = device(Declaration {
        vrid: 255,
        priority: 220,
        interval: Duration::from_millis(400),
        ..declaration()
    });
    let adapted = adapt(&scenario("s10-better-of-two-masters-shuts-down"), &device).unwrap();
    let received: Vec<_> = adapted
        .lines
        .iter()
        .filter_map(|line| match &line.step {
            Step::Receive(received) => Some((received.priority, received.interval)),
            _ => None,
        })
        .collect();
    let interval = |milliseconds| Some(Duration::from_millis(milliseconds));
    assert_eq!(received, [(254, interval(800)), (253, interval(400)), (0, interval(800))]);
    let Some(Step::Expect(expected, Moment::After(time))) = adapted.lines.last().map(|line| &line.step)
    else {
        panic!("{:?}", adapted.lines.last())
    };
    // Skew_Time at priority 220.
    assert_eq!((expected.priority, *time), (Some(220), Duration::from_micros(56_250)));

    let other = adapt(&scenario("r6-vrid"), &device).unwrap();
    let vrid = other.lines.iter().find_map(|line| match &line.step {
        Step::Receive(received) => received.vrid,
        _ => None,
    });
    assert_eq!(vrid, Some(1), "255 is followed by 1");
    let crowded = Profile { other_vrids: (1..255).collect(), ..device };
    assert_eq!(reason("r6-vrid", &crowded), "needs an unused VRID");
}
