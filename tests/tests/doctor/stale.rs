//! Changed sysctls of a virtual MAC, and stale objects of a killed agent.

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::wait_for_state;
use vipd_tests::lab::Lab;

use crate::{ONE, TIMEOUT, doctor_at_once, run};

const CONFIGURATION: &str = r#"
[[instance]]
name = "VI_1"
interface = "eth1"
vrid = 51
advert_interval = "100ms"
virtual_mac = true
virtual_addresses = ["192.168.122.50/24"]
routes = [{ to = "198.51.100.0/24", dev = "eth1" }]

[[instance]]
name = "VI_2"
interface = "eth1"
vrid = 52
advert_interval = "100ms"
virtual_mac = true
virtual_addresses = ["192.168.122.52/24"]

[[instance]]
name = "V6"
interface = "eth1"
vrid = 53
advert_interval = "100ms"
virtual_mac = true
virtual_addresses = ["fe80::53/64"]
"#;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn changed_sysctls_and_stale_objects_are_named_until_remedied() {
    let lab = Lab::new(1).unwrap();
    run(&lab, ONE, "sysctl -w net.ipv4.conf.eth1.forwarding=0");
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), CONFIGURATION.to_owned()).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    doctor_at_once(&lab).lacks(&["sysctl-changed", "stale-macvlans", "stale-routes", "stale-programs"]);
    for (sysctl, wrong, right) in [
        ("net.ipv4.conf.eth1.arp_ignore", 0, 1),
        ("net.ipv4.conf.vrrp4-51.forwarding", 1, 0),
        ("net.ipv6.conf.vrrp4-51.disable_ipv6", 0, 1),
        ("net.ipv6.conf.vrrp6-53.accept_ra", 1, 0),
    ] {
        run(&lab, ONE, &format!("sysctl -w {sysctl}={wrong}"));
        let diagnosis = doctor_at_once(&lab);
        // The trouble is named once, although eth1 has two virtual MACs of IPv4.
        let found = diagnosis.names().into_iter().filter(|name| *name == "sysctl-changed").count();
        let evidence = format!("{sysctl} is {wrong}, must be {right}");
        assert_eq!((found, diagnosis.evidence("sysctl-changed")), (1, evidence.as_str()));
        diagnosis.apply(&lab, "sysctl-changed", 0);
    }
    doctor_at_once(&lab).lacks(&["sysctl-changed"]);

    agent.kill().unwrap();
    let diagnosis = doctor_at_once(&lab);
    assert_eq!(diagnosis.code, Some(1));
    let directory = Agent::runtime_dir().to_str().unwrap();
    for (check, evidence) in [
        ("agent-not-running", "no agent is running"),
        ("stale-addresses", "192.168.122.50/24"),
        ("stale-routes", "route 198.51.100.0/24 "),
        ("stale-macvlans", directory),
        ("stale-programs", directory),
    ] {
        diagnosis.names_with(check, evidence);
    }
    diagnosis.apply(&lab, "stale-addresses", 0);
    doctor_at_once(&lab).lacks(&["stale-addresses", "stale-routes", "stale-macvlans", "stale-programs"]);
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    doctor_at_once(&lab).lacks(&["agent-not-running"]);
}
