//! VRRPv3 over IPv6: election, takeover, packet formats, and independence from IPv4.

use std::net::IpAddr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::command::{address_line, ping, run};
use vipd_tests::configuration::Family;
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::frame::{ChecksumForm, Frame};
use vipd_tests::lab::Lab;
use vipd_tests::station::{INTERFACE, Station, VIP6, VIP6_LINK_LOCAL};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

fn instance(priority: u8) -> Instance {
    Instance { priority, interval: Duration::from_millis(100), ..Instance::of(Family::V6) }
}

fn agent(lab: &Lab, station: Station, instances: &[Instance]) -> Agent {
    let mut agent =
        Agent::new(lab, station, vipd().expect("vipd binary"), instances).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

fn announced(capture: &Capture, since: WallTime, from: Station) -> bool {
    let announces = |frame: &Frame, address| frame.from == from && frame.unsolicited_na(address).is_some();
    [VIP6, VIP6_LINK_LOCAL].iter().all(|address| capture.has(since, |frame| announces(frame, *address)))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn both_vips_move_after_a_crash_and_stay_reachable() {
    let lab = Lab::new(2).expect("create the lab");
    let client = lab.host(Station::Client).expect("client host");
    let capture = lab.capture().expect("start the capture");
    let mut preferred = agent(&lab, ONE, &[instance(200)]);
    let mut backup = agent(&lab, TWO, &[instance(100)]);
    wait_for_state(&preferred, "master", TIMEOUT).expect("master");
    wait_for_state(&backup, "backup", TIMEOUT).expect("backup");
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, VIP6.into()))
        .expect("ping is answered");

    let crashed = WallTime::now();
    preferred.kill().expect("kill the agent");
    wait_for_state(&backup, "master", TIMEOUT).expect("master");
    try_wait_until("the announcement", TIMEOUT, || Ok(announced(&capture, crashed, TWO))).expect("announced");
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, VIP6.into()))
        .expect("ping is answered");

    let returned = WallTime::now();
    preferred.start().expect("restart the agent");
    wait_for_state(&preferred, "master", TIMEOUT).expect("master");
    wait_for_state(&backup, "backup", TIMEOUT).expect("backup");
    try_wait_until("the announcement", TIMEOUT, || Ok(announced(&capture, returned, ONE)))
        .expect("announced");
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, VIP6.into()))
        .expect("ping is answered");
    assert_eq!(
        control::status(&backup).expect("query the agent")[0].address("last-adv-source"),
        Some(ONE.link_local().into())
    );
    backup.stop().expect("stop the agent");
    preferred.stop().expect("stop the agent");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_and_neighbor_advertisements_match_the_rfc() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let mut agent = agent(&lab, ONE, &[instance(100)]);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    try_wait_until("the announcement", TIMEOUT, || Ok(announced(&capture, start, ONE))).expect("announced");
    agent.stop().expect("stop the agent");

    let adverts = capture.filter_map(start, Frame::advert);
    let group: IpAddr = "ff02::12".parse().expect("valid address");
    for advert in &adverts {
        assert_eq!((advert.version, advert.source, advert.destination), (3, ONE.link_local().into(), group));
        assert_eq!((advert.ttl, advert.checksum_form), (255, Some(ChecksumForm::Ipv6)));
        assert_eq!(advert.addresses, [IpAddr::from(VIP6_LINK_LOCAL), VIP6.into()], "configuration order");
    }
    assert_eq!(adverts.last().map(|advert| advert.priority), Some(0), "priority 0 on shutdown");
    for address in [VIP6, VIP6_LINK_LOCAL] {
        let announcements = capture.filter_map(start, |frame| frame.unsolicited_na(address));
        let first = announcements.first().expect("at least one");
        assert!(first.router && !first.solicited && first.override_, "R=1 S=0 O=1: {first:?}");
        assert_eq!(first.target_mac, Some(ONE.mac()));
        assert_eq!(first.source_mac, ONE.mac());
        assert_eq!((first.source, first.hop_limit), (address, 255));
        assert_eq!(first.destination, "ff02::1".parse::<std::net::Ipv6Addr>().expect("valid address"));
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_skip_duplicate_address_detection() {
    let lab = Lab::new(1).expect("create the lab");
    let agent = agent(&lab, ONE, &[instance(100)]);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let node = lab.host(ONE).expect("lab host");
    for address in [VIP6, VIP6_LINK_LOCAL] {
        try_wait_until("the VIP to be added", TIMEOUT, || Ok(address_line(node, address.into())?.is_some()))
            .expect("address present");
        let flags = address_line(node, address.into()).expect("read the flags").expect("address present");
        assert!(flags.contains("nodad") && !flags.contains("tentative"), "{address}: {flags}");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ipv4_and_ipv6_with_the_same_vrid_are_independent() {
    let lab = Lab::new(2).expect("create the lab");
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
        Ok(control::status(agent)?
            .iter()
            .map(|status| format!("{} {}", status.text("family"), status.text("state")))
            .collect())
    };
    try_wait_until("each node to be master of one instance", TIMEOUT, || {
        Ok(states(&first)? == ["ipv4 master", "ipv6 backup"]
            && states(&second)? == ["ipv4 backup", "ipv6 master"])
    })
    .expect("independent");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn missing_link_local_address_is_a_fault_until_added() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(ONE).expect("lab host");
    node.run(|| vipd_tests::links::remove_address(INTERFACE, ONE.link_local(), 64)).expect("delete");
    let agent = agent(&lab, ONE, &[instance(100)]);
    let status = wait_for_state(&agent, "fault", TIMEOUT).expect("fault");
    assert!(status.text("vipd:fault-reason").contains("link-local"), "{status:?}");
    node.run(|| vipd_tests::links::add_address(INTERFACE, ONE.link_local(), 64)).expect("add");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
}

/// While the MTU is below 1280, the interface has no IPv6, and the kernel has removed its IPv6
/// addresses.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn removals_do_not_fail_on_an_interface_that_has_lost_ipv6() {
    let lab = Lab::new(1).expect("create the lab");
    let agent = agent(&lab, ONE, &[instance(200)]);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    run(lab.host(ONE).expect("node 1"), "ip", &["link", "set", INTERFACE, "mtu", "1000"]).expect("ip");
    wait_for_state(&agent, "fault", TIMEOUT).expect("fault");
    try_wait_until("the state in the log", TIMEOUT, || {
        Ok(agent.log().iter().any(|line| line.text.contains("to=fault")))
    })
    .expect("logged");
    assert_eq!(control::counter(&agent, "vipd:address-errors").expect("a counter"), 0, "{:#?}", agent.log());
}
