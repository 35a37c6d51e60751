//! Unicast adverts and the kernel's neighbor resolution, which repeats a request once a second.

use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::command::run;
use vipd_tests::control::{counter, state, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const HIGHER: Station = Station::Node(1);
const LOWER: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

fn agent(lab: &Lab, station: Station, peer: Station, priority: u8) -> Agent {
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = {priority}\n\
         advert_interval = \"100ms\"\npreempt_delay = \"30s\"\nunicast_source = \"{}\"\n\
         unicast_peers = [{{ address = \"{}\" }}]\nvirtual_addresses = [\"{VIP}/24\"]\n",
        station.ipv4(),
        peer.ipv4()
    );
    let mut agent =
        Agent::with_configuration(lab, station, vipd().expect("vipd binary"), configuration).unwrap();
    agent.start().unwrap();
    agent
}

/// Makes a node's kernel probe its neighbors after one second instead of half a minute.
fn shorten_neighbor_timers(lab: &Lab, station: Station) {
    let directory = "/proc/sys/net/ipv4/neigh/eth1";
    lab.host(station).unwrap().run(move || {
        std::fs::write(format!("{directory}/base_reachable_time_ms"), "1000").unwrap();
        std::fs::write(format!("{directory}/delay_first_probe_time"), "1").unwrap();
    });
}

/// Waits until a node's neighbor entry for another node is incomplete or failed.
fn until_unresolved(lab: &Lab, station: Station, neighbor: Station) {
    try_wait_until("the neighbor entry to fail", TIMEOUT, || {
        let entry = run(lab.host(station)?, "ip", &["neighbor", "show", &neighbor.ipv4().to_string()])?;
        Ok(entry.contains("INCOMPLETE") || entry.contains("FAILED"))
    })
    .unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn higher_priority_node_waits_for_preempt_delay_after_link_recovery() {
    let lab = Lab::new(2).unwrap();
    shorten_neighbor_timers(&lab, LOWER);
    let higher = agent(&lab, HIGHER, LOWER, 200);
    wait_for_state(&higher, "master", TIMEOUT).unwrap();
    let lower = agent(&lab, LOWER, HIGHER, 100);
    wait_for_state(&lower, "backup", TIMEOUT).unwrap();
    for round in 1..=3 {
        lab.cut(HIGHER).unwrap();
        wait_for_state(&higher, "fault", TIMEOUT).unwrap();
        wait_for_state(&lower, "master", TIMEOUT).unwrap();
        until_unresolved(&lab, LOWER, HIGHER);

        let before = counter(&higher, "advertisement-rcvd").unwrap();
        lab.reconnect(HIGHER).unwrap();
        wait_until("adverts from the lower-priority node", TIMEOUT, || {
            counter(&higher, "advertisement-rcvd").unwrap() >= before + 20
        })
        .unwrap();
        assert_eq!(state(&higher).unwrap(), "backup", "round {round}");
        assert_eq!(counter(&higher, "master-transitions").unwrap(), 1, "round {round}");
        assert_eq!(state(&lower).unwrap(), "master", "round {round}");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_to_an_unresolved_peer_send_arp_requests() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    shorten_neighbor_timers(&lab, LOWER);
    let node = agent(&lab, LOWER, HIGHER, 100);
    wait_for_state(&node, "master", TIMEOUT).unwrap();
    let requests = |since: WallTime| {
        let broadcast = capture.filter_map(since, |frame| {
            frame
                .arp()
                .filter(|arp| frame.from == LOWER && arp.target == HIGHER.ipv4() && frame.bytes[0] == 0xff)
        });
        broadcast.len() as u64
    };
    let adverts = |more: u64| {
        let before = counter(&node, "advertisement-sent").unwrap();
        wait_until("adverts", TIMEOUT, || counter(&node, "advertisement-sent").unwrap() >= before + more)
            .unwrap();
    };
    // The peer answers ARP but runs no agent.
    adverts(10);
    let resolved = WallTime::now();
    adverts(20);
    assert_eq!(requests(resolved), 0, "the peer's MAC address is resolved");

    lab.cut(HIGHER).unwrap();
    until_unresolved(&lab, LOWER, HIGHER);
    let unresolved = WallTime::now();
    adverts(30);
    // The kernel by itself repeats a request once per second.
    assert!(requests(unresolved) >= 15, "{} requests for 30 adverts", requests(unresolved));
}
