//! Selection of the source address of a node's own connections.

use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::command::{address_line, run};
use vipd_tests::control::wait_for_state;
use vipd_tests::lab::Lab;
use vipd_tests::station::{Station, VIP6, VIP6_LINK_LOCAL};
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);
/// An address with a longer common prefix with VIP6 (127 bits) than with the node's own address, so
/// rule 8 of RFC 6724 prefers VIP6 as the source.
const NEIGHBOR_OF_VIP6: &str = "fd00:122::51";

/// Returns the source address of a new connection while this VIP is on the interface.
fn source_with(virtual_address: &str) -> String {
    let lab = Lab::new(1).unwrap();
    let host = lab.host(ONE).unwrap();
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\n\
         virtual_addresses = [\"{VIP6_LINK_LOCAL}/64\", {virtual_address}]\n"
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    try_wait_until("the VIP to be added", TIMEOUT, || Ok(address_line(host, VIP6.into())?.is_some()))
        .unwrap();
    let route = run(host, "ip", &["-6", "route", "get", NEIGHBOR_OF_VIP6]).unwrap();
    let source = route.split(" src ").nth(1).and_then(|rest| rest.split_whitespace().next());
    source.expect("source address").to_owned()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn preferred_controls_ipv6_source_selection() {
    for (preferred, source) in [(true, VIP6), (false, ONE.ipv6())] {
        let entry = format!("{{ address = \"{VIP6}/128\", preferred = {preferred} }}");
        assert_eq!(source_with(&entry), source.to_string(), "{entry}");
    }
}

/// Like keepalived, vipd assumes that a /128 VIP identifies a service rather than the node.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ipv6_vip_with_prefix_128_is_not_a_source_by_default() {
    assert_eq!(source_with(&format!("\"{VIP6}/128\"")), ONE.ipv6().to_string());
}
