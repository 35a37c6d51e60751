//! Unicast adverts to peers that the kernel has not resolved. The kernel repeats its own ARP
//! requests only once per second.

use std::time::Duration;

use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::command::run;
use vipd_tests::control::{counter, state, wait_for_state};
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::routers::has_address;
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
    let agent = Agent::with_configuration(lab, station, vipd().expect("vipd binary"), configuration);
    start(agent.unwrap())
}

fn keepalived(lab: &Lab, station: Station, peer: Station, priority: u8) -> Agent {
    let instance = Instance {
        priority,
        interval: Duration::from_millis(100),
        unicast_peers: vec![peer.ipv4().into()],
        ..Instance::default()
    };
    start(Agent::new(lab, station, AgentKind::Keepalived, &[instance]).unwrap())
}

fn start(mut agent: Agent) -> Agent {
    agent.start().unwrap();
    agent
}

/// Configures a node's kernel to probe its neighbors after one second instead of half a minute.
fn shorten_neighbor_timers(lab: &Lab, station: Station) {
    let directory = "/proc/sys/net/ipv4/neigh/eth1";
    lab.host(station).unwrap().run(move || {
        std::fs::write(format!("{directory}/base_reachable_time_ms"), "1000").unwrap();
        std::fs::write(format!("{directory}/delay_first_probe_time"), "1").unwrap();
    });
}

/// Waits until a node's neighbor entry for another node is incomplete or failed.
fn wait_until_unresolved(lab: &Lab, station: Station, neighbor: Station) {
    try_wait_until("the neighbor entry to fail", TIMEOUT, || {
        let entry = run(lab.host(station)?, "ip", &["neighbor", "show", &neighbor.ipv4().to_string()])?;
        Ok(entry.contains("INCOMPLETE") || entry.contains("FAILED"))
    })
    .unwrap();
}

/// Returns whether a frame is a broadcast ARP request from the lower-priority node for the address
/// of the higher-priority node.
fn is_request(frame: &Frame) -> bool {
    let is_for_higher = frame.arp().is_some_and(|arp| arp.target == HIGHER.ipv4());
    frame.from == LOWER && frame.bytes[0] == 0xff && is_for_higher
}

/// Disconnects the higher-priority node until the lower-priority node's neighbor entry for that
/// node has failed. Reconnects the higher-priority node just after an ARP request from the
/// lower-priority node, whose kernel sends the next request a second later. Adverts must arrive
/// before the higher-priority node's master-down timer fires.
fn check_preempt_delay_after_link_recovery(lower: fn(&Lab, Station, Station, u8) -> Agent) {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    shorten_neighbor_timers(&lab, LOWER);
    let higher = agent(&lab, HIGHER, LOWER, 200);
    wait_for_state(&higher, "master", TIMEOUT).unwrap();
    let _lower = lower(&lab, LOWER, HIGHER, 100);
    let has_vip = |station| has_address(lab.host(station).unwrap(), VIP).unwrap();
    for round in 1..=3 {
        lab.cut(HIGHER).unwrap();
        wait_for_state(&higher, "fault", TIMEOUT).unwrap();
        wait_until("the lower-priority node to take over", TIMEOUT, || has_vip(LOWER)).unwrap();
        wait_until_unresolved(&lab, LOWER, HIGHER);
        let unresolved = WallTime::now();
        wait_until("an ARP request", TIMEOUT, || capture.has(unresolved, is_request)).unwrap();

        let before = counter(&higher, "advertisement-rcvd").unwrap();
        lab.reconnect(HIGHER).unwrap();
        wait_until("adverts from the lower-priority node", TIMEOUT, || {
            counter(&higher, "advertisement-rcvd").unwrap() >= before + 20
        })
        .unwrap();
        assert_eq!(state(&higher).unwrap(), "backup", "round {round}");
        assert_eq!(counter(&higher, "master-transitions").unwrap(), 1, "round {round}");
        assert!(has_vip(LOWER) && !has_vip(HIGHER), "round {round}");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn higher_priority_node_waits_for_preempt_delay_after_link_recovery() {
    check_preempt_delay_after_link_recovery(agent);
}

/// keepalived does not send ARP requests for its peers. The test passes only because vipd, when its
/// link comes up, announces its own address and sends an ARP request for its peer.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn higher_priority_node_waits_for_preempt_delay_with_keepalived_as_master() {
    check_preempt_delay_after_link_recovery(keepalived);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_to_an_unresolved_peer_trigger_arp_requests() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    shorten_neighbor_timers(&lab, LOWER);
    let node = agent(&lab, LOWER, HIGHER, 100);
    wait_for_state(&node, "master", TIMEOUT).unwrap();
    let requests =
        |since: WallTime| capture.filter_map(since, |frame| is_request(frame).then_some(())).len() as u64;
    let wait_for_adverts = |more: u64| {
        let before = counter(&node, "advertisement-sent").unwrap();
        wait_until("adverts", TIMEOUT, || counter(&node, "advertisement-sent").unwrap() >= before + more)
            .unwrap();
    };
    // The peer runs no agent, but its kernel answers ARP.
    wait_for_adverts(10);
    let resolved = WallTime::now();
    wait_for_adverts(20);
    assert_eq!(requests(resolved), 0, "the peer's MAC address is resolved");

    lab.cut(HIGHER).unwrap();
    wait_until_unresolved(&lab, LOWER, HIGHER);
    let unresolved = WallTime::now();
    wait_for_adverts(30);
    // The kernel alone would send about three requests, one per second.
    assert!(requests(unresolved) >= 15, "{} requests for 30 adverts", requests(unresolved));
}
