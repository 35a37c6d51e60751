//! Routers whose BPF program is detached or displaced do not become master, and recover on their
//! own.

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
use vipd_tests::wait::{try_wait_until, wait_until};
use vipd_witness::Advert;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

fn instance(priority: u8) -> Instance {
    Instance { priority, interval: Duration::from_millis(100), ..Instance::of(Family::V4) }
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

/// Returns the ID of the first TC ingress program on an interface in this network namespace.
/// Queries the kernel, because Debian 12's `bpftool` does not show these programs.
fn tc_program(interface: &str) -> Result<u64> {
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress)?;
    programs.first().map(|program| program.id().into()).context("no program at TC ingress")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_with_detached_bpf_link_recovers_without_takeover() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start_agent(&lab, ONE, &[instance(200)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let two = start_agent(&lab, TWO, &[instance(100)]).unwrap();
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
fn master_with_detached_bpf_link_recovers_without_state_change() {
    let lab = Lab::new(1).unwrap();
    // The program must be attached again within one Active_Down_Interval.
    let slow = Instance { interval: Duration::from_secs(1), ..instance(200) };
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

/// Another application attaches a program that runs before vipd's and drops all adverts. The backup
/// must detect this instead of becoming master, and must receive adverts again while the other
/// program stays attached.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_behind_a_foreign_tc_program_recovers_without_takeover() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start_agent(&lab, ONE, &[instance(200)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let mut two = Agent::new(&lab, TWO, vipd().unwrap(), &[instance(100)]).unwrap();
    // Use `auto` even if the tests run in another mode.
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
        two.log().iter().any(|line| line.text.contains("another program now runs before vipd's"))
    })
    .unwrap();
    drop(programs);
}

/// Whenever vipd's program runs first, another application attaches a program that runs before it
/// and drops all adverts. vipd waits longer before each further attempt to run first, and the
/// backup is in Fault during these pauses.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn competing_tc_program_is_displaced_with_growing_pauses() {
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let one = start_agent(&lab, ONE, &[instance(200)]).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    let mut two = Agent::new(&lab, TWO, vipd().unwrap(), &[instance(100)]).unwrap();
    two.set_xdp_mode(XdpMode::Auto).unwrap();
    two.start().unwrap();
    wait_for_backup_of(&two, ONE.ipv4()).unwrap();
    let node = lab.host(TWO).unwrap();
    let hidden = WallTime::now();
    let (rounds, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = Instant::now();
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
        let displaced = wait_until("the other program to be displaced three times", TIMEOUT, || {
            rounds.load(Ordering::Relaxed) >= 4
        });
        // vipd displaces the other program immediately, then after a pause of 1 s, then after one
        // of 2 s: 3 s in total.
        let elapsed = start.elapsed();
        let in_fault = wait_for(&two, "fault", TIMEOUT, |status| {
            status.text("vipd:fault-reason").contains("another program runs before vipd's")
        });
        is_over.store(true, Ordering::Relaxed);
        displaced.unwrap();
        in_fault.unwrap();
        assert!(elapsed >= Duration::from_secs(3), "{elapsed:?}");
    });
    let lines: Vec<_> = two.log().into_iter().map(|line| line.text).collect();
    let lines: Vec<_> =
        lines.iter().filter(|line| line.contains("another program now runs before")).collect();
    let has_pause = |line: &String| line.contains("attaching it again after 1 to 60 s");
    assert!(!has_pause(lines[0]) && has_pause(lines[1]), "{lines:?}");
    wait_for_state(&two, "backup", Duration::from_secs(90)).unwrap();
    wait_for_backup_of(&two, ONE.ipv4()).unwrap();
    assert!(!has_advert(&capture, hidden, TWO), "the backup became a second master");
    assert_eq!(counter(&two, "master-transitions").unwrap(), 0);
}

/// Reopening a link, here to create a macvlan, must not detach the BPF program: adverts that arrive
/// while the link is reopened are received.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn no_advert_is_lost_when_an_interface_is_reopened() {
    const ROUNDS: usize = 5;
    const ADVERTS: usize = 200;
    let lab = Lab::new(2).unwrap();
    let node = lab.host(ONE).unwrap();
    let configured = Instance { virtual_mac: true, interval: Duration::from_secs(1), ..instance(100) };
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
