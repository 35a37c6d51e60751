//! Routers that cannot send or receive adverts do not become master, and recover on their own.

use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::command;
use vipd_tests::configuration::Family;
use vipd_tests::control::{counter, reload, status, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::routers::{start_agent, wait_for_backup_of};
use vipd_tests::station::{INTERFACE, Station};
use vipd_tests::time::WallTime;
use vipd_tests::tun::Tun;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

fn instance(family: Family, priority: u8) -> Instance {
    Instance { priority, interval: Duration::from_millis(100), ..Instance::of(family) }
}

fn run(host: &Namespace, line: &str) -> Result<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    command::run(host, words[0], &words[1..])
}

fn is_member(host: &Namespace, group: &'static str) -> bool {
    host.run(move || {
        ["igmp", "igmp6"].into_iter().any(|file| {
            let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            // Does not check the interface: in /proc/net/igmp, the interface is not on the same
            // line as its groups.
            table.is_ok_and(|table| table.contains(group))
        })
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn group_memberships_are_renewed_after_ipv6_is_reenabled() {
    const GROUP6: &str = "ff020000000000000000000000000012";
    let lab = Lab::new(2).unwrap();
    let (one, two) = (lab.host(ONE).unwrap(), lab.host(TWO).unwrap());
    let master = start_agent(&lab, ONE, &[instance(Family::V6, 200)]).unwrap();
    wait_for_state(&master, "master", TIMEOUT).unwrap();
    let disable = |off: u8| format!("sysctl -qw net.ipv6.conf.{INTERFACE}.disable_ipv6={off}");
    // IPv6 is also disabled while the agent starts.
    run(two, &disable(1)).unwrap();
    let backup = start_agent(&lab, TWO, &[instance(Family::V6, 100)]).unwrap();
    let wait_for_master = || wait_for_backup_of(&backup, ONE.link_local());
    for (off, on) in [
        (disable(1), disable(0)),
        (disable(1), disable(0)),
        (format!("ip link set {INTERFACE} mtu 1000"), format!("ip link set {INTERFACE} mtu 1500")),
    ] {
        run(two, &off).unwrap();
        wait_for_state(&backup, "fault", TIMEOUT).unwrap();
        run(two, &on).unwrap();
        run(two, &format!("ip address add {}/64 dev {INTERFACE} nodad", TWO.link_local())).unwrap();
        wait_for_master().with_context(|| off.clone()).unwrap();
        wait_until("membership of ff02::12", TIMEOUT, || is_member(two, GROUP6)).unwrap();
    }
    assert!(is_member(one, GROUP6));
    assert_eq!(counter(&backup, "master-transitions").unwrap(), 0);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn failed_group_join_is_a_fault_only_of_multicast_instances_of_its_family() {
    // 224.0.0.18 in /proc/net/igmp, which has the byte order of the host.
    const GROUP: &str = if cfg!(target_endian = "little") { "120000E0" } else { "E0000012" };
    let lab = Lab::new(1).unwrap();
    let node = lab.host(ONE).unwrap();
    run(node, "sysctl -qw net.ipv4.igmp_max_memberships=0").unwrap();
    let unicast = Instance {
        name: "unicast".to_owned(),
        vrid: 52,
        addresses: vec![[10, 0, 0, 52].into()],
        unicast_peers: vec![TWO.ipv4().into()],
        ..instance(Family::V4, 200)
    };
    let all = [
        Instance { name: "four".to_owned(), ..instance(Family::V4, 200) },
        Instance { name: "six".to_owned(), ..instance(Family::V6, 200) },
        unicast.clone(),
    ];
    let mut agent = start_agent(&lab, ONE, &all).unwrap();
    let wait_for_states = |agent: &Agent, expected: &[&str]| {
        try_wait_until("the expected states", TIMEOUT, || {
            Ok(status(agent)?.iter().map(|instance| instance.text("state").to_owned()).eq(expected.to_vec()))
        })
    };
    wait_for_states(&agent, &["fault", "master", "master"]).unwrap();
    let reason = status(&agent).unwrap()[0].text("vipd:fault-reason").to_owned();
    assert!(reason.contains("cannot join 224.0.0.18"), "{reason}");
    run(node, "sysctl -qw net.ipv4.igmp_max_memberships=20").unwrap();
    wait_for_states(&agent, &["master"; 3]).unwrap();
    assert!(is_member(node, GROUP));

    for (instances, is_needed) in [(&[unicast][..], false), (&all[..], true)] {
        agent.set_instances(instances).unwrap();
        reload(&agent).unwrap();
        wait_until("the membership to match", TIMEOUT, || is_member(node, GROUP) == is_needed).unwrap();
        wait_for_states(&agent, &["master"; 3][..instances.len()]).unwrap();
    }
}

/// Returns the configuration of node `number`, with a router on an interface that has no hardware
/// address.
fn tunnel(number: u8, transport: &str) -> String {
    format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"tun1\"\nvrid = 51\nadvert_interval = \"100ms\"\n\
         priority = {}\nvirtual_addresses = [\"10.99.0.50/32\"]\n{transport}",
        220 - number
    )
}

/// Connects the two nodes with a link that has no hardware addresses.
fn connect(lab: &Lab) -> Result<Tun> {
    let tun = Tun::connect("tun1", lab.host(ONE)?, lab.host(TWO)?)?;
    for number in [1, 2] {
        let peer = 3 - number;
        let address = format!("ip address add 10.99.0.{number} peer 10.99.0.{peer} dev tun1");
        run(lab.host(Station::Node(number))?, &address)?;
    }
    Ok(tun)
}

fn start_on_tunnel(lab: &Lab, number: u8, transport: &str) -> Result<Agent> {
    let configuration = tunnel(number, transport);
    let mut agent = Agent::with_configuration(lab, Station::Node(number), vipd()?, configuration)?;
    agent.start()?;
    Ok(agent)
}

/// Without this fault, both nodes would become master.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn multicast_without_hardware_address_is_a_reported_fault() {
    let lab = Lab::new(2).unwrap();
    let _tun = connect(&lab).unwrap();
    let agents = [1, 2].map(|number| start_on_tunnel(&lab, number, "").unwrap());
    for agent in &agents {
        let report = wait_for_state(agent, "fault", TIMEOUT).unwrap();
        let reason = report.text("vipd:fault-reason");
        assert!(reason.contains("tun1 has no Ethernet address"), "{reason}");
        assert!(reason.contains("unicast_peers"), "{reason}");
        assert_eq!(counter(agent, "master-transitions").unwrap(), 0);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unicast_without_hardware_address_fails_over() {
    let lab = Lab::new(2).unwrap();
    let _tun = connect(&lab).unwrap();
    let [mut one, two] = [1, 2].map(|number| {
        let peer = 3 - number;
        let transport =
            format!("unicast_source = \"10.99.0.{number}\"\nunicast_peers = [\"10.99.0.{peer}\"]\n");
        start_on_tunnel(&lab, number, &transport).unwrap()
    });
    let has_vip = |station: Station| {
        run(lab.host(station).unwrap(), "ip -o address show dev tun1").unwrap().contains(" 10.99.0.50/32")
    };
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    wait_for(&two, "to follow node 1", TIMEOUT, |status| {
        status.text("state") == "backup" && status.text("last-adv-source") == "10.99.0.1"
    })
    .unwrap();
    let received = counter(&two, "advertisement-rcvd").unwrap();
    try_wait_until("adverts from node 1", TIMEOUT, || {
        Ok(counter(&two, "advertisement-rcvd")? >= received + 10)
    })
    .unwrap();
    assert!(has_vip(ONE) && !has_vip(TWO));
    assert_eq!(status(&two).unwrap()[0].text("vipd:xdp-mode"), "tc");
    let transitions = counter(&two, "master-transitions").unwrap();
    one.kill().unwrap();
    wait_for_state(&two, "master", TIMEOUT).unwrap();
    wait_until("the VIP to be added", TIMEOUT, || has_vip(TWO)).unwrap();
    assert_eq!(counter(&two, "master-transitions").unwrap(), transitions + 1);
    for name in ["vipd:gratuitous-arp-sent", "vipd:send-errors"] {
        assert_eq!(counter(&two, name).unwrap(), 0, "{name}");
    }
    // The killed agent restarts with its stale VIP still on the interface, and preempts.
    one.start().unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    wait_until("the VIP to be removed", TIMEOUT, || !has_vip(TWO)).unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unicast_source_is_announced_on_link_up() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let unicast = |peer: Station| Instance {
        unicast_peers: vec![peer.ipv4().into()],
        preempt: false,
        ..instance(Family::V4, 100)
    };
    let one = start_agent(&lab, ONE, &[unicast(TWO)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let two = start_agent(&lab, TWO, &[unicast(ONE)]).unwrap();
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    lab.cut(TWO).unwrap();
    wait_for_state(&two, "fault", TIMEOUT).unwrap();
    let reconnected = WallTime::now();
    lab.reconnect(TWO).unwrap();
    wait_until("a gratuitous ARP for the unicast source", TIMEOUT, || {
        capture.has(reconnected, |frame| frame.from == TWO && frame.gratuitous_arp(TWO.ipv4()).is_some())
    })
    .unwrap();
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    assert_eq!(counter(&two, "master-transitions").unwrap(), 0);
}
