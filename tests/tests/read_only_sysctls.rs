//! `virtual_mac = true` with a read-only /proc/sys, as in most containers.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::mount::{MountFlags, mount_bind, mount_remount};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::command::{ping, run};
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::{Mac, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);
const VIRTUAL_MAC: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);
/// Sysctls that a container runtime can preset.
const DEFAULTS: [(&str, u32); 5] = [
    ("ipv4/conf/default/arp_ignore", 1),
    ("ipv4/conf/default/arp_announce", 2),
    ("ipv4/conf/default/rp_filter", 2),
    ("ipv6/conf/default/disable_ipv6", 1),
    ("ipv4/conf/eth1/arp_announce", 2),
];

/// Sets the sysctls of a node and makes them read-only.
fn restrict(lab: &Lab, arp_ignore: u32) {
    lab.host(ONE).unwrap().run(move || {
        let write = |name: &str, value: u32| {
            std::fs::write(format!("/proc/sys/net/{name}"), value.to_string()).expect("write the sysctl");
        };
        // Write the interface's own value first: from then on, the interface does not follow the
        // default.
        write("ipv4/conf/eth1/arp_ignore", arp_ignore);
        for (name, value) in DEFAULTS {
            write(name, value);
        }
        mount_bind("/proc/sys", "/proc/sys").expect("bind mount");
        mount_remount("/proc/sys", MountFlags::BIND | MountFlags::RDONLY, "").expect("remount read-only");
    });
}

fn instance() -> Instance {
    Instance { interval: Duration::from_millis(100), virtual_mac: true, ..Instance::default() }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn virtual_mac_works_with_correct_read_only_sysctls() {
    let lab = Lab::new(1).unwrap();
    restrict(&lab, 1);
    let capture = lab.capture().unwrap();
    let start = WallTime::now();
    let mut agent = Agent::new(&lab, ONE, vipd().expect("vipd binary"), &[instance()]).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let client = lab.host(Station::Client).unwrap();
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, VIP.into())).unwrap();
    let macs = capture
        .filter_map(start, |frame| frame.arp().filter(|arp| arp.sender == VIP).map(|arp| arp.sender_mac));
    assert!(!macs.is_empty() && macs.iter().all(|mac| *mac == VIRTUAL_MAC), "{macs:?}");
}

/// The second interface is needed because the agent exits if the first attempt to open its only
/// interface fails.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn wrong_read_only_sysctl_is_a_fault_without_arp_replies() {
    let lab = Lab::new(1).unwrap();
    let host = lab.host(ONE).unwrap();
    run(host, "ip", &["link", "add", "eth2", "type", "veth", "peer", "name", "eth3"]).unwrap();
    for arguments in ["link set eth2 up", "link set eth3 up", "address add 198.51.100.1/24 dev eth2"] {
        run(host, "ip", &arguments.split(' ').collect::<Vec<_>>()).unwrap();
    }
    restrict(&lab, 0);
    let capture = lab.capture().unwrap();
    let start = WallTime::now();
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\n\
         virtual_mac = true\nvirtual_addresses = [\"{VIP}/24\"]\n\
         [[instance]]\nname = \"VI_2\"\ninterface = \"eth2\"\nvrid = 52\nadvert_interval = \"100ms\"\n\
         virtual_addresses = [\"198.51.100.2/24\"]\n"
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration).unwrap();
    agent.start().unwrap();
    try_wait_until("the other instance to be master", TIMEOUT, || {
        Ok(control::status(&agent)?.iter().any(|instance| instance.text("state") == "master"))
    })
    .unwrap();
    // Wait long enough for a second attempt to create the macvlan.
    thread::sleep(Duration::from_secs(6));
    let all = control::status(&agent).unwrap();
    let faults: Vec<_> = all.iter().filter(|instance| instance.text("state") == "fault").collect();
    assert_eq!(faults.len(), 1, "{all:?}");
    let reason = faults[0].text("vipd:fault-reason");
    assert!(reason.contains("net.ipv4.conf.eth1.arp_ignore is 0, must be 1"), "{reason}");
    let client = lab.host(Station::Client).unwrap();
    assert!(!ping(client, IpAddr::from(VIP)).unwrap(), "{VIP} answered a ping");
    let answers = capture.filter_map(start, |frame| frame.arp().filter(|arp| arp.sender == VIP));
    assert!(answers.is_empty(), "{answers:?}");
    // Each attempt creates a macvlan and deletes it, so a macvlan may exist for a moment.
    try_wait_until("no incomplete macvlan to remain", TIMEOUT, || {
        Ok(!run(host, "ip", &["-o", "-d", "link"])?.contains("macvlan"))
    })
    .unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn failed_macvlan_is_a_fault_of_its_router_alone() {
    let lab = Lab::new(1).unwrap();
    restrict(&lab, 0);
    let capture = lab.capture().unwrap();
    let start = WallTime::now();
    let other = Ipv4Addr::new(192, 168, 122, 60);
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\n\
         virtual_mac = true\nvirtual_addresses = [\"{VIP}/24\"]\n\
         [[instance]]\nname = \"VI_2\"\ninterface = \"eth1\"\nvrid = 52\nadvert_interval = \"100ms\"\n\
         virtual_addresses = [\"{other}/24\"]\n"
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration).unwrap();
    agent.start().unwrap();
    let states = || -> Result<[String; 2]> {
        let all = control::status(&agent)?;
        Ok(["VI_1", "VI_2"].map(|name| {
            let found = all.iter().find(|instance| instance.text("name") == name);
            found.map_or_else(String::new, |instance| instance.text("state").to_owned())
        }))
    };
    let wait_for_states =
        |wanted: [&str; 2]| try_wait_until(&format!("{wanted:?}"), TIMEOUT, || Ok(states()? == wanted));
    wait_for_states(["fault", "master"]).unwrap();
    let client = lab.host(Station::Client).unwrap();
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, other.into())).unwrap();
    let all = control::status(&agent).unwrap();
    let reasons: Vec<_> = all.iter().map(|instance| instance.text("vipd:fault-reason")).collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("VI_1")
            && reason.contains("net.ipv4.conf.eth1.arp_ignore is 0, must be 1")),
        "{reasons:?}"
    );
    let answers = capture.filter_map(start, |frame| frame.arp().filter(|arp| arp.sender == VIP));
    assert!(answers.is_empty(), "{answers:?}");
    // Creating the macvlan must be retried while the other router keeps running.
    lab.host(ONE).unwrap().run(|| {
        mount_remount("/proc/sys", MountFlags::BIND, "").expect("remount writable");
    });
    wait_for_states(["master", "master"]).unwrap();
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, VIP.into())).unwrap();
    let failures = agent.log().iter().filter(|line| line.text.contains("arp_ignore")).count();
    assert_eq!(failures, 1, "the failure must be logged once");
    let (_, counters) = control::stats(&agent).unwrap();
    for instance in &counters {
        assert_eq!(instance.number("master-transitions").unwrap(), 1, "the router was interrupted");
    }
}
