//! Troubles with settings and programs of the host.

use std::net::Ipv4Addr;

use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::configuration::XdpMode;
use vipd_tests::control::{reload, wait_for_state};
use vipd_tests::foreign_program::{ForeignProgram, Kind};
use vipd_tests::lab::Lab;
use vipd_tests::routers::start_agent;
use vipd_tests::station::INTERFACE;

use crate::{ONE, TIMEOUT, doctor, doctor_at_once, doctor_for, instance, run, write};

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn host_problems_are_named() {
    let lab = Lab::new(1).unwrap();
    let agent = start_agent(&lab, ONE, &[instance()]).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let daemon = Instance { name: "other".to_owned(), vrid: 99, addresses: vec![], ..instance() };
    let daemon = Instance { addresses: vec![Ipv4Addr::new(192, 168, 122, 99).into()], ..daemon };
    let mut keepalived = Agent::new(&lab, ONE, AgentKind::Keepalived, &[daemon]).unwrap();
    keepalived.start().unwrap();
    let foreign = ForeignProgram::attach(lab.host(ONE).unwrap(), INTERFACE, Kind::PassingXdp).unwrap();
    run(&lab, ONE, "ip link set eth1 multicast off");
    run(&lab, ONE, "ip address add 192.168.122.50/32 dev lo");
    run(&lab, ONE, "ip link add eth9 type veth peer name peer9");
    run(&lab, ONE, "ip link set eth9 up");
    run(&lab, ONE, "ip address add 192.168.122.19/24 dev eth9");
    let diagnosis = doctor(&lab);
    for (check, evidence) in [
        ("other-daemon", "keepalived (process"),
        ("other-xdp-program", "XDP program"),
        ("multicast-off", "MULTICAST"),
        ("vip-configured-elsewhere", "192.168.122.50 is on lo"),
        ("arp-flux", "of eth9, whose arp_ignore is 0"),
    ] {
        diagnosis.names_with(check, evidence);
    }
    assert!(diagnosis.evidence("other-xdp-program").contains(&foreign.id().to_string()));
    drop((keepalived, foreign));
    for check in ["multicast-off", "vip-configured-elsewhere", "arp-flux"] {
        diagnosis.apply(&lab, check, 0);
    }
    doctor_at_once(&lab).lacks(&[
        "other-daemon",
        "other-xdp-program",
        "multicast-off",
        "vip-configured-elsewhere",
        "arp-flux",
    ]);

    run(&lab, ONE, "ip link add br7 type bridge mcast_snooping 1");
    let bridged = write(
        &lab,
        "bridged.toml",
        "[[instance]]\nname = \"LAN\"\ninterface = \"br7\"\nvrid = 7\nvirtual_addresses = [\"192.0.2.7/24\"]\n",
    );
    let diagnosis = doctor_for(&lab, &bridged, "0.1");
    assert!(diagnosis.evidence("snooping-without-querier").contains("mcast_querier is 0"));
    diagnosis.apply(&lab, "snooping-without-querier", 0);
    doctor_for(&lab, &bridged, "0.1").lacks(&["snooping-without-querier"]);
    run(&lab, ONE, "ip link delete br7");
    let diagnosis = doctor_for(&lab, &bridged, "0.1");
    assert!(diagnosis.evidence("not-observed").contains("interface br7 does not exist"));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn costs_and_limits_of_xdp_are_named() {
    let lab = Lab::new(1).unwrap();
    let mut agent = Agent::new(&lab, ONE, vipd().unwrap(), &[instance()]).unwrap();
    agent.set_xdp_mode(XdpMode::Native).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let diagnosis = doctor_at_once(&lab);
    assert!(
        diagnosis.evidence("native-xdp-cost").contains("native mode on veth disables segmentation offload")
    );
    assert_eq!(diagnosis.code, Some(0), "{:#?}", diagnosis.findings);
    agent.stop().unwrap();

    for line in [
        "ip link add eth8 type veth peer name peer8",
        "ip link add br7 type bridge",
        "ip link set eth8 master br7 up",
        "ip link set peer8 up",
        "ip link set br7 up",
        "ip address add 192.0.2.1/24 dev br7",
    ] {
        run(&lab, ONE, line);
    }
    let bridged = "[[instance]]\nname = \"LAN\"\ninterface = \"br7\"\nvrid = 7\nadvert_interval = \"100ms\"\n\
                   virtual_addresses = [\"192.0.2.7/24\"]\n";
    agent.configure(format!("xdp = \"native\"\n{bridged}")).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    assert!(doctor_at_once(&lab).evidence("native-xdp-unused").contains("in use: tc"));
    agent.configure(bridged.to_owned()).unwrap();
    reload(&agent).unwrap();
    doctor_at_once(&lab).lacks(&["native-xdp-unused"]);
}
