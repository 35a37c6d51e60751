//! VRRPv3 over IPv6: election and takeover, what is on the wire, and IPv4 beside it.

use std::net::IpAddr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::ask::{self, until_state};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::command::{address_flags, ping, succeeds};
use vipd_tests::configuration::Family;
use vipd_tests::frame::{ChecksumForm, Frame};
use vipd_tests::lab::Lab;
use vipd_tests::station::{Mac, Station, VIP6, VIP6_LINK_LOCAL};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const SOON: Duration = Duration::from_secs(20);

fn instance(priority: u8) -> Instance {
    Instance { priority, interval: Duration::from_millis(100), ..Instance::of(Family::V6) }
}

fn agent(lab: &Lab, station: Station, instances: &[Instance]) -> Agent {
    let mut agent = Agent::new(lab, station, vipd().expect("a vipd"), instances).expect("an agent");
    agent.start().expect("it starts");
    agent
}

fn announced(capture: &Capture, since: WallTime, from: Station) -> bool {
    let says = |frame: &Frame, address| frame.from == from && frame.unsolicited_na(address).is_some();
    [VIP6, VIP6_LINK_LOCAL].iter().all(|address| capture.has(since, |frame| says(frame, *address)))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_crash_moves_both_addresses_and_the_client_follows() {
    let lab = Lab::new(2).expect("a lab");
    let client = lab.host(Station::Client).expect("a client");
    let capture = lab.capture().expect("a capture");
    let mut preferred = agent(&lab, ONE, &[instance(200)]);
    let mut backup = agent(&lab, TWO, &[instance(100)]);
    until_state(&preferred, "master", SOON).expect("master");
    until_state(&backup, "backup", SOON).expect("backup");
    succeeds("the client's ping", SOON, || ping(client, VIP6.into())).expect("an answer");

    let crashed = WallTime::now();
    preferred.kill().expect("killed");
    until_state(&backup, "master", SOON).expect("master");
    succeeds("the announcement", SOON, || Ok(announced(&capture, crashed, TWO))).expect("announced");
    succeeds("the client's ping", SOON, || ping(client, VIP6.into())).expect("an answer");

    let returned = WallTime::now();
    preferred.start().expect("it starts again");
    until_state(&preferred, "master", SOON).expect("master");
    until_state(&backup, "backup", SOON).expect("backup");
    succeeds("the announcement", SOON, || Ok(announced(&capture, returned, ONE))).expect("announced");
    succeeds("the client's ping", SOON, || ping(client, VIP6.into())).expect("an answer");
    assert_eq!(
        ask::status(&backup).expect("it answers")[0].address("last-adv-source"),
        Some(ONE.link_local().into())
    );
    backup.stop().expect("it stops");
    preferred.stop().expect("it stops");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_and_neighbor_advertisements_are_as_the_rfc_draws_them() {
    let lab = Lab::new(1).expect("a lab");
    let capture = lab.capture().expect("a capture");
    let start = WallTime::now();
    let mut agent = agent(&lab, ONE, &[instance(100)]);
    until_state(&agent, "master", SOON).expect("master");
    succeeds("the announcement", SOON, || Ok(announced(&capture, start, ONE))).expect("announced");
    agent.stop().expect("it stops");

    let adverts = capture.search(start, Frame::advert);
    let group: IpAddr = "ff02::12".parse().expect("an address");
    for advert in &adverts {
        assert_eq!((advert.version, advert.source, advert.destination), (3, ONE.link_local().into(), group));
        assert_eq!((advert.ttl, advert.checksum_form), (255, Some(ChecksumForm::Ipv6)));
        assert_eq!(advert.addresses, [IpAddr::from(VIP6_LINK_LOCAL), VIP6.into()], "the configured order");
    }
    assert_eq!(adverts.last().map(|advert| advert.priority), Some(0), "it gives the mastership up");
    for address in [VIP6, VIP6_LINK_LOCAL] {
        let said = capture.search(start, |frame| frame.unsolicited_na(address));
        let first = said.first().expect("one at least");
        assert!(first.router && !first.solicited && first.override_, "R=1 S=0 O=1: {first:?}");
        assert_eq!(first.target_mac, Some(ONE.mac()));
        assert_eq!(first.source_mac, ONE.mac());
        assert_eq!((first.source, first.hop_limit), (address, 255));
        assert_eq!(first.destination, "ff02::1".parse::<std::net::Ipv6Addr>().expect("an address"));
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn the_addresses_need_no_duplicate_address_detection() {
    let lab = Lab::new(1).expect("a lab");
    let agent = agent(&lab, ONE, &[instance(100)]);
    until_state(&agent, "master", SOON).expect("master");
    let node = lab.host(ONE).expect("a host");
    for address in [VIP6, VIP6_LINK_LOCAL] {
        succeeds("the address", SOON, || Ok(address_flags(node, address.into())?.is_some())).expect("there");
        let flags = address_flags(node, address.into()).expect("flags").expect("there");
        assert!(flags.contains("nodad") && !flags.contains("tentative"), "{address}: {flags}");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ipv4_and_ipv6_with_one_vrid_are_independent() {
    let lab = Lab::new(2).expect("a lab");
    let four = |priority| Instance {
        name: "V4".to_owned(),
        priority,
        interval: Duration::from_millis(100),
        ..Instance::default()
    };
    let six = |priority| Instance { name: "V6".to_owned(), ..instance(priority) };
    let first = agent(&lab, ONE, &[four(200), six(100)]);
    let second = agent(&lab, TWO, &[four(100), six(200)]);
    let states = |agent: &Agent| -> anyhow::Result<Vec<String>> {
        Ok(ask::status(agent)?
            .iter()
            .map(|status| format!("{} {}", status.text("family"), status.text("state")))
            .collect())
    };
    try_wait_until("each to be master of one", SOON, || {
        Ok(states(&first)? == ["ipv4 master", "ipv6 backup"]
            && states(&second)? == ["ipv4 backup", "ipv6 master"])
    })
    .expect("independent");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn an_interface_without_a_link_local_address_is_a_fault_that_ends_with_one() {
    let lab = Lab::new(1).expect("a lab");
    let node = lab.host(ONE).expect("a host");
    node.run(|| vipd_tests::links::del_address(vipd_tests::station::INTERFACE, ONE.link_local(), 64))
        .expect("deleted");
    let agent = agent(&lab, ONE, &[instance(100)]);
    let status = until_state(&agent, "fault", SOON).expect("fault");
    assert!(status.text("vipd:fault-reason").contains("link-local"), "{status:?}");
    node.run(|| vipd_tests::links::add_address(vipd_tests::station::INTERFACE, ONE.link_local(), 64))
        .expect("added");
    until_state(&agent, "master", SOON).expect("master");
    assert_ne!(ONE.mac(), Mac::BROADCAST);
}
