//! Tracked interfaces, with the kernel's notifications.

use std::process::Command;
use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::{status, wait_for};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;

const ONE: Station = Station::Node(1);
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
