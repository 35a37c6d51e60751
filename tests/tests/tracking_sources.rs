//! A tracked route moves mastership, and a tracked interface changes the priority.

use std::process::Command;
use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::{status, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

fn start(lab: &Lab, station: Station, priority: u8, track: &str) -> Agent {
    let text = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\npriority = {priority}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.1.1\"]\ntrack = [{track}]\n"
    );
    let program = vipd().expect("vipd binary");
    let mut agent = Agent::with_configuration(lab, station, program, text).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

/// Runs iproute2 on node 1.
fn ip(lab: &Lab, text: &str) {
    let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let host = lab.host(ONE).expect("node 1");
    let status = host.run(move || Command::new("ip").args(&arguments).status());
    assert!(status.expect("run ip").success(), "ip {text}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn loss_of_the_uplink_or_of_its_route_moves_mastership() {
    let lab = Lab::new(2).expect("create the lab");
    for command in [
        "link add uplink0 type veth peer name uplink1",
        "link set uplink1 up",
        "link set uplink0 up",
        "address add 192.0.2.2/24 dev uplink0",
        "route add default via 192.0.2.1",
    ] {
        ip(&lab, command);
    }
    let one = start(&lab, ONE, 200, "{ route = \"default\", weight = -100 }");
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 is master");
    let two = start(&lab, TWO, 150, "");
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    for (lost, detail, returned) in [
        ("route del default", "is not in the main table", "route add default via 192.0.2.1"),
        ("link set uplink1 down", "has no next hop with a carrier", "link set uplink1 up"),
    ] {
        ip(&lab, lost);
        wait_for_state(&two, "master", TIMEOUT).expect("node 2 takes over");
        wait_for_state(&one, "backup", TIMEOUT).expect("node 1 is backup");
        let shown = &status(&one).expect("status")[0].0;
        assert_eq!(shown["effective-priority"], 100);
        let object = &shown["vipd:track"][0];
        assert_eq!((&object["kind"], &object["name"]), (&"route".into(), &"default".into()));
        assert_eq!(object["detail"], detail);
        ip(&lab, returned);
        wait_for_state(&one, "master", TIMEOUT).expect("node 1 preempts");
        wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn tracked_interface_is_identified_by_its_name() {
    let lab = Lab::new(1).expect("create the lab");
    let agent = start(&lab, ONE, 200, "{ interface = \"uplink0\", weight = -100 }");
    let wait_for_priority = |priority: u64| {
        wait_for(&agent, &format!("priority {priority}"), TIMEOUT, |status| {
            status.number("effective-priority").is_ok_and(|found| found == priority)
        })
        .unwrap_or_else(|error| panic!("{error:#}: {:?}", status(&agent)));
    };
    wait_for_priority(100);
    for (command, priority) in [
        ("link add uplink0 type veth peer name uplink1", 100),
        ("link set uplink0 up", 100),
        ("link set uplink1 up", 200),
        ("link set uplink1 down", 100),
        ("link set uplink1 up", 200),
        ("link set uplink0 name renamed", 100),
        ("link set renamed name uplink0", 200),
        ("link delete uplink0", 100),
        ("link add uplink0 type veth peer name uplink1", 100),
        ("link set uplink1 up", 100),
        ("link set uplink0 up", 200),
    ] {
        ip(&lab, command);
        wait_for_priority(priority);
    }
}
