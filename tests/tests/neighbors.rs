//! Unicast adverts and the kernel's neighbor resolution, which repeats a request once a second.

use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::ask::{count, state, until_state};
use vipd_tests::binary::vipd;
use vipd_tests::command::text;
use vipd_tests::lab::Lab;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const STRONG: Station = Station::Node(1);
const WEAK: Station = Station::Node(2);
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

/// Has a node's kernel probe its neighbors after a second instead of after half a minute.
fn shorten_neighbor_timers(lab: &Lab, station: Station) {
    let directory = "/proc/sys/net/ipv4/neigh/eth1";
    lab.host(station).unwrap().run(move || {
        std::fs::write(format!("{directory}/base_reachable_time_ms"), "1000").unwrap();
        std::fs::write(format!("{directory}/delay_first_probe_time"), "1").unwrap();
    });
}

/// Waits until a node's kernel no longer knows the MAC address of another.
fn until_unresolved(lab: &Lab, station: Station, neighbor: Station) {
    try_wait_until("the neighbor entry to fail", TIMEOUT, || {
        let entry = text(lab.host(station)?, "ip", &["neighbour", "show", &neighbor.ipv4().to_string()])?;
        Ok(entry.contains("INCOMPLETE") || entry.contains("FAILED"))
    })
    .unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn higher_priority_node_waits_for_preempt_delay_after_link_recovery() {
    let lab = Lab::new(2).unwrap();
    shorten_neighbor_timers(&lab, WEAK);
    let strong = agent(&lab, STRONG, WEAK, 200);
    until_state(&strong, "master", TIMEOUT).unwrap();
    let weak = agent(&lab, WEAK, STRONG, 100);
    until_state(&weak, "backup", TIMEOUT).unwrap();
    for round in 1..=3 {
        lab.cut(STRONG).unwrap();
        until_state(&strong, "fault", TIMEOUT).unwrap();
        until_state(&weak, "master", TIMEOUT).unwrap();
        until_unresolved(&lab, WEAK, STRONG);

        let before = count(&strong, "advertisement-rcvd").unwrap();
        lab.mend(STRONG).unwrap();
        wait_until("adverts of the weaker node", TIMEOUT, || {
            count(&strong, "advertisement-rcvd").unwrap() >= before + 20
        })
        .unwrap();
        assert_eq!(state(&strong).unwrap(), "backup", "round {round}");
        assert_eq!(count(&strong, "master-transitions").unwrap(), 1, "round {round}");
        assert_eq!(state(&weak).unwrap(), "master", "round {round}");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_to_an_unresolved_peer_send_arp_requests() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    shorten_neighbor_timers(&lab, WEAK);
    let node = agent(&lab, WEAK, STRONG, 100);
    until_state(&node, "master", TIMEOUT).unwrap();
    let requests = |since: WallTime| {
        let broadcast = capture.search(since, |frame| {
            frame
                .arp()
                .filter(|arp| frame.from == WEAK && arp.target == STRONG.ipv4() && frame.bytes[0] == 0xff)
        });
        broadcast.len() as u64
    };
    let adverts = |more: u64| {
        let before = count(&node, "advertisement-sent").unwrap();
        wait_until("adverts", TIMEOUT, || count(&node, "advertisement-sent").unwrap() >= before + more)
            .unwrap();
    };
    // The peer exists and answers, without an agent.
    adverts(10);
    let resolved = WallTime::now();
    adverts(20);
    assert_eq!(requests(resolved), 0, "the peer's MAC address is known");

    lab.cut(STRONG).unwrap();
    until_unresolved(&lab, WEAK, STRONG);
    let unresolved = WallTime::now();
    adverts(30);
    // The kernel's own are one a second.
    assert!(requests(unresolved) >= 15, "{} requests beside 30 adverts", requests(unresolved));
}
