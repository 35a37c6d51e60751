//! Routers that cannot send or receive adverts do not become master, and recover on their own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::command;
use vipd_tests::configuration::{Family, XdpMode};
use vipd_tests::control::{counter, status, wait_for, wait_for_state};
use vipd_tests::foreign_program::{ForeignProgram, Kind};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::Namespace;
use vipd_tests::protocol::Version;
use vipd_tests::routers::{start_agent, wait_for_backup_of};
use vipd_tests::station::{INTERFACE, Station};
use vipd_tests::time::WallTime;
use vipd_tests::tun::Tun;
use vipd_tests::wait::{try_wait_until, wait_until};
use vipd_witness::Advert;

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

fn has_advert(capture: &Capture, since: WallTime, from: Station) -> bool {
    capture.has(since, |frame| frame.claims_mastership(from))
}

/// Returns the ID of the BPF link that attaches vipd's program to a node's interface, in any mode.
fn bpf_link(host: &Namespace) -> Result<u64> {
    let interface: serde_json::Value =
        serde_json::from_str(&run(host, &format!("ip -j -d link show dev {INTERFACE}"))?)?;
    let xdp = interface[0]["xdp"]["prog"]["id"].as_u64();
    let program = match xdp {
        Some(program) => program,
        None => host.run(|| tc_program(INTERFACE))?,
    };
    let links: serde_json::Value = serde_json::from_str(&run(host, "bpftool -j link show")?)?;
    let found = links.as_array().into_iter().flatten().find(|link| link["prog_id"] == program);
    found.and_then(|link| link["id"].as_u64()).with_context(|| format!("no BPF link in {links}"))
}

/// Returns the ID of the only TC ingress program on an interface in this network namespace. Debian
/// 12's `bpftool` does not show it.
fn tc_program(interface: &str) -> Result<u64> {
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress)?;
    programs.first().map(|program| program.id().into()).context("no program at TC ingress")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_with_detached_xdp_link_recovers_without_takeover() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start_agent(&lab, ONE, &[instance(Family::V4, 200)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let two = start_agent(&lab, TWO, &[instance(Family::V4, 100)]).unwrap();
    let node = lab.host(TWO).unwrap();
    let report = wait_for_state(&two, "backup", TIMEOUT).unwrap();
    let mode = report.text("vipd:xdp-mode");
    for round in 1..=3 {
        wait_for_backup_of(&two, ONE.ipv4()).unwrap();
        let detached = WallTime::now();
        run(node, &format!("bpftool link detach id {}", bpf_link(node).unwrap())).unwrap();
        let received = counter(&two, "advertisement-rcvd").unwrap();
        try_wait_until("adverts to be received again", TIMEOUT, || {
            Ok(counter(&two, "advertisement-rcvd")? >= received + 10)
        })
        .unwrap();
        assert!(!has_advert(&capture, detached, TWO), "round {round}: the backup became a second master");
    }
    assert_eq!(counter(&two, "master-transitions").unwrap(), 0);
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    assert_eq!(status(&two).unwrap()[0].text("vipd:xdp-mode"), mode);
    wait_until("the detachment to be logged", TIMEOUT, || {
        two.log().iter().any(|line| line.text.contains("BPF program detached"))
    })
    .unwrap();
    assert_eq!(counter(&one, "master-transitions").unwrap(), 1);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_with_detached_xdp_link_recovers_without_state_change() {
    let lab = Lab::new(1).unwrap();
    // The program must be attached again within a master-down interval.
    let slow = Instance { interval: Duration::from_secs(1), ..instance(Family::V4, 200) };
    let one = start_agent(&lab, ONE, &[slow]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let node = lab.host(ONE).unwrap();
    let old = bpf_link(node).unwrap();
    run(node, &format!("bpftool link detach id {old}")).unwrap();
    try_wait_until("a new BPF link", TIMEOUT, || Ok(bpf_link(node).is_ok_and(|link| link != old))).unwrap();
    wait_for(&one, "the new link to be in use", TIMEOUT, |status| !status.text("vipd:xdp-mode").is_empty())
        .unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    assert_eq!(counter(&one, "master-transitions").unwrap(), 1);
}

/// A program that another application attaches before vipd's drops all adverts. The backup must
/// detect this instead of electing itself, and receive adverts again although the other program
/// stays.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_behind_a_foreign_tc_program_recovers_without_takeover() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start_agent(&lab, ONE, &[instance(Family::V4, 200)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let mut two = Agent::new(&lab, TWO, vipd().unwrap(), &[instance(Family::V4, 100)]).unwrap();
    // `auto`, whatever mode the tests run in.
    two.set_xdp_mode(XdpMode::Auto).unwrap();
    two.start().unwrap();
    wait_for_backup_of(&two, ONE.ipv4()).unwrap();
    let node = lab.host(TWO).unwrap();
    let hidden = WallTime::now();
    let programs: Vec<_> = (1..=3)
        .map(|_| {
            let program = ForeignProgram::attach(node, INTERFACE, Kind::DroppingTc).unwrap();
            let received = counter(&two, "advertisement-rcvd").unwrap();
            try_wait_until("adverts to be received again", TIMEOUT, || {
                Ok(counter(&two, "advertisement-rcvd")? >= received + 10)
            })
            .unwrap();
            program
        })
        .collect();
    assert!(!has_advert(&capture, hidden, TWO), "the backup became a second master");
    assert_eq!(counter(&two, "master-transitions").unwrap(), 0);
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    wait_until("the cause to be logged", TIMEOUT, || {
        two.log().iter().any(|line| line.text.contains("another program was attached before vipd's"))
    })
    .unwrap();
    drop(programs);
}

/// Another application attaches its program in front of vipd's whenever vipd's is the first, and
/// drops all adverts. The pauses between vipd's attachments grow, and the backup is in Fault in the
/// meantime.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn competing_tc_program_is_displaced_with_growing_pauses() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start_agent(&lab, ONE, &[instance(Family::V4, 200)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let mut two = Agent::new(&lab, TWO, vipd().unwrap(), &[instance(Family::V4, 100)]).unwrap();
    two.set_xdp_mode(XdpMode::Auto).unwrap();
    two.start().unwrap();
    wait_for_backup_of(&two, ONE.ipv4()).unwrap();
    let node = lab.host(TWO).unwrap();
    let hidden = WallTime::now();
    let (rounds, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut competitor: Option<ForeignProgram> = None;
            while !is_over.load(Ordering::Relaxed) {
                let first = node.run(|| tc_program(INTERFACE)).unwrap();
                if competitor.as_ref().is_none_or(|competitor| u64::from(competitor.id()) != first) {
                    competitor = Some(ForeignProgram::attach(node, INTERFACE, Kind::DroppingTc).unwrap());
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let start = Instant::now();
        let displaced = wait_until("the other program to be displaced three times", TIMEOUT, || {
            rounds.load(Ordering::Relaxed) >= 4
        });
        // The first at once, then after 1 s and 2 s.
        let elapsed = start.elapsed();
        let in_fault = wait_for(&two, "fault", TIMEOUT, |status| {
            status.text("vipd:fault-reason").contains("another program was attached before vipd's")
        });
        is_over.store(true, Ordering::Relaxed);
        displaced.unwrap();
        in_fault.unwrap();
        assert!(elapsed >= Duration::from_secs(3), "{elapsed:?}");
    });
    let lines: Vec<_> = two.log().into_iter().map(|line| line.text).collect();
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("another program was attached")).collect();
    let has_pause = |line: &String| line.contains("attaching it again after 1 to 60 s");
    assert!(!has_pause(lines[0]) && has_pause(lines[1]), "{lines:?}");
    wait_for_state(&two, "backup", Duration::from_secs(90)).unwrap();
    wait_for_backup_of(&two, ONE.ipv4()).unwrap();
    assert!(!has_advert(&capture, hidden, TWO), "the backup became a second master");
    assert_eq!(counter(&two, "master-transitions").unwrap(), 0);
}

/// Reopening a link, here to create a macvlan, must not detach the BPF program: adverts that arrive
/// in the meantime are received.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn xdp_link_is_kept_and_no_advert_is_lost_when_an_interface_is_reopened() {
    const ROUNDS: usize = 5;
    const ADVERTS: usize = 200;
    let lab = Lab::new(2).unwrap();
    let node = lab.host(ONE).unwrap();
    let configured =
        Instance { virtual_mac: true, interval: Duration::from_secs(1), ..instance(Family::V4, 100) };
    let agent = start_agent(&lab, ONE, &[configured]).unwrap();
    let injector = Injector::open(lab.host(TWO).unwrap()).unwrap();
    let follows = TWO.ipv4().to_string();
    let master = Advert { interval: 4_000, ..TWO.advert(Version::V3, 51, 200) }.frame();
    wait_for(&agent, "to follow node 2", TIMEOUT, |status| {
        let sent = injector.send(&master);
        sent.is_ok() && status.text("state") == "backup" && status.text("last-adv-source") == follows
    })
    .unwrap();
    let link = bpf_link(node).unwrap();
    let before = counter(&agent, "advertisement-rcvd").unwrap();
    let macvlan = || node.run(|| links::index("vrrp4-51"));
    for round in 1..=ROUNDS {
        let deleted = macvlan().unwrap();
        std::thread::scope(|scope| {
            let adverts = scope.spawn(|| {
                injector.send_paced(std::slice::from_ref(&master), ADVERTS, Duration::from_millis(400))
            });
            run(node, "ip link delete vrrp4-51").unwrap();
            try_wait_until("a new macvlan", TIMEOUT, || Ok(macvlan().is_ok_and(|index| index != deleted)))
                .unwrap();
            adverts.join().unwrap().unwrap();
        });
        assert_eq!(bpf_link(node).unwrap(), link, "round {round}");
    }
    let sent = (ROUNDS * ADVERTS) as u64;
    wait_until("all adverts", TIMEOUT, || counter(&agent, "advertisement-rcvd").unwrap() >= before + sent)
        .unwrap();
    assert_eq!(counter(&agent, "master-transitions").unwrap(), 0);
}

fn is_member(host: &Namespace, group: &'static str) -> bool {
    host.run(move || {
        ["igmp", "igmp6"].into_iter().any(|file| {
            let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            // Does not check the interface: in /proc/net/igmp, it is not on the same line as its
            // groups.
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
    // IPv6 is disabled at the start as well.
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
fn failed_group_join_is_a_fault_of_its_family_only() {
    let lab = Lab::new(1).unwrap();
    let node = lab.host(ONE).unwrap();
    run(node, "sysctl -qw net.ipv4.igmp_max_memberships=0").unwrap();
    let both = [
        Instance { name: "four".to_owned(), ..instance(Family::V4, 200) },
        Instance { name: "six".to_owned(), ..instance(Family::V6, 200) },
    ];
    let agent = start_agent(&lab, ONE, &both).unwrap();
    let wait_for_states = |expected: [&str; 2]| {
        try_wait_until("the expected states", TIMEOUT, || {
            Ok(status(&agent)?.iter().map(|instance| instance.text("state").to_owned()).eq(expected))
        })
    };
    wait_for_states(["fault", "master"]).unwrap();
    let reason = status(&agent).unwrap()[0].text("vipd:fault-reason").to_owned();
    assert!(reason.contains("cannot join 224.0.0.18"), "{reason}");
    run(node, "sysctl -qw net.ipv4.igmp_max_memberships=20").unwrap();
    wait_for_states(["master", "master"]).unwrap();
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

/// Without this fault both nodes would become master.
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
