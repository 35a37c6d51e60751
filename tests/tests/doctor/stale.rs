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
"#;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn changed_sysctls_and_stale_objects_are_named_until_remedied() {
    let lab = Lab::new(1).unwrap();
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), CONFIGURATION.to_owned()).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    doctor_at_once(&lab).lacks(&["sysctl-changed", "stale-macvlans", "stale-routes", "stale-programs"]);
    run(&lab, ONE, "sysctl -w net.ipv4.conf.eth1.arp_ignore=0");
    let diagnosis = doctor_at_once(&lab);
    assert_eq!(diagnosis.evidence("sysctl-changed"), "net.ipv4.conf.eth1.arp_ignore is 0; vipd has set 1");
    diagnosis.apply(&lab, "sysctl-changed", 0);
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
        assert!(diagnosis.evidence(check).contains(evidence), "{check}: {}", diagnosis.evidence(check));
    }
    diagnosis.apply(&lab, "stale-addresses", 0);
    doctor_at_once(&lab).lacks(&["stale-addresses", "stale-routes", "stale-macvlans", "stale-programs"]);
}
