//! Startup and shutdown of an agent: signals, crashes, a second agent, announcements, and the field
//! names of `status` and `stats`.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::capture::Capture;
use vipd_tests::control;
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::Namespace;
use vipd_tests::process::output;
use vipd_tests::routers;
use vipd_tests::station::{INTERFACE, PREFIX, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);

fn instance(vrid: u8) -> Instance {
    Instance {
        name: format!("VI_{vrid}"),
        vrid,
        interval: Duration::from_millis(100),
        addresses: vec![address(vrid).into()],
        ..Instance::default()
    }
}

fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, vrid, 1)
}

fn host(lab: &Lab) -> &Namespace {
    lab.host(NODE).expect("lab host")
}

fn addresses(node: &Namespace) -> Vec<Ipv4Addr> {
    routers::addresses(node).expect("list the addresses")
}

/// Starts an agent and waits until it is master of VRIDs 1 to `count`, each with `each` addresses.
fn master(lab: &Lab, count: u8, each: u8) -> Agent {
    let with_addresses = |vrid: u8| Instance {
        addresses: (1..=each).map(|last| Ipv4Addr::new(10, 0, vrid, last).into()).collect(),
        ..instance(vrid)
    };
    let instances: Vec<_> = (1..=count).map(with_addresses).collect();
    let all = 1 + usize::from(count) * usize::from(each);
    let mut agent =
        Agent::new(lab, NODE, vipd().expect("vipd binary"), &instances).expect("create the agent");
    agent.start().expect("start the agent");
    wait_until("the agent to be master of all instances", TIMEOUT, || addresses(host(lab)).len() == all)
        .expect("master");
    agent
}

/// Starts a thread that polls the addresses without a pause. Returns a flag that stops the thread,
/// and its handle. The thread returns the time at which it first found fewer than `all` addresses,
/// or `None` if it was stopped before.
fn watch_for_loss(node: &Namespace, all: usize) -> (Arc<AtomicBool>, thread::JoinHandle<Option<WallTime>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (node, stopped) = (node.clone(), Arc::clone(&stop));
    let watcher = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if addresses(&node).len() < all {
                return Some(WallTime::now());
            }
        }
        None
    });
    (stop, watcher)
}

fn priority_zero_adverts(capture: &Capture, since: WallTime) -> Vec<(WallTime, u8)> {
    capture.filter_map(since, |frame| {
        let advert = frame.advert().filter(|advert| advert.priority == 0)?;
        Some((frame.time, advert.vrid))
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn shutdown_sends_all_priority_zero_adverts_before_removing_vips() {
    // COUNT routers with EACH addresses: together, more than the engine removes in one turn.
    const COUNT: u8 = 50;
    const EACH: u8 = 6;
    let all = 1 + usize::from(COUNT) * usize::from(EACH);
    for signal in [Signal::TERM, Signal::INT] {
        let lab = Lab::new(1).expect("create the lab");
        let capture = lab.capture().expect("start the capture");
        let mut agent = master(&lab, COUNT, EACH);
        let (stop, watcher) = watch_for_loss(host(&lab), all);
        let start = WallTime::now();
        let pid = i32::try_from(agent.pid().expect("agent is running"))
            .ok()
            .and_then(Pid::from_raw)
            .expect("process ID");
        kill_process(pid, signal).expect("send the signal");
        wait_until("the addresses to be removed", TIMEOUT, || addresses(host(&lab)) == [NODE.ipv4()])
            .expect("addresses removed");
        // `stop` sends SIGTERM, which is a second signal during shutdown and must have no effect.
        let status = agent.stop().expect("agent exits");
        assert!(status.success(), "{signal:?}: {status}");
        stop.store(true, Ordering::Relaxed);
        let first_loss = watcher.join().expect("watcher thread").expect("an address was removed");

        // The capture may lag behind the agent.
        wait_until("the priority-0 adverts to be captured", TIMEOUT, || {
            priority_zero_adverts(&capture, start).len() >= usize::from(COUNT)
        })
        .expect("priority-0 adverts");
        let adverts = priority_zero_adverts(&capture, start);
        let mut vrids: Vec<_> = adverts.iter().map(|(_, vrid)| *vrid).collect();
        vrids.sort_unstable();
        assert_eq!(vrids, (1..=COUNT).collect::<Vec<_>>(), "{signal:?}: one priority-0 advert per VRID");
        let last = adverts.iter().map(|(time, _)| *time).max().expect("priority-0 adverts");
        assert!(last < first_loss, "{signal:?}: an address was removed before the last priority-0 advert");
        let after = capture.filter_map(last, |frame| frame.advert().filter(|advert| advert.priority > 0));
        assert_eq!(after, [], "{signal:?}: an advert was sent after the last priority-0 advert");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn only_stale_vips_of_a_killed_agent_are_removed() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = master(&lab, 2, 1);
    agent.kill().expect("kill the agent");
    assert_eq!(addresses(host(&lab)).len(), 3, "the addresses of a killed agent remain");
    let foreign = Ipv4Addr::new(10, 0, 9, 9);
    host(&lab).run(move || links::add_address(INTERFACE, foreign, PREFIX)).expect("add");

    // VRID 2 is no longer configured. Its address is recognized because it is in the pinned map of
    // the killed agent's VIPs and has vipd's address protocol mark.
    let slow = Instance { interval: Duration::from_secs(10), ..instance(1) };
    let mut agent = Agent::new(&lab, NODE, vipd().expect("vipd binary"), &[slow]).expect("create the agent");
    agent.start().expect("start the agent");
    wait_until("the addresses to be removed", TIMEOUT, || addresses(host(&lab)) == [NODE.ipv4(), foreign])
        .expect("addresses removed");
    control::wait_for_state(&agent, "backup", TIMEOUT).expect("backup");
    // The log lines may arrive after the addresses have been removed.
    let logged = || agent.log().iter().filter(|line| line.text.contains("removed stale VIP")).count();
    wait_until("two lines in the log", TIMEOUT, || logged() >= 2).expect("both removals are logged");
    assert_eq!(logged(), 2, "{:#?}", agent.log());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn second_agent_on_the_same_runtime_directory_is_rejected() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let agent = master(&lab, 1, 1);
    let mut second = Command::new(vipd_binary().expect("vipd binary"));
    second.args(["run", "-c"]).arg(Agent::runtime_dir().join("vipd.toml"));
    second.arg("--runtime-dir").arg(Agent::runtime_dir());
    let rejected = output(host(&lab), second).expect("run the process");
    assert_eq!(rejected.status.code(), Some(1));
    let message = String::from_utf8_lossy(&rejected.stderr);
    assert!(message.contains("another agent") || message.contains("already"), "{message}");

    let start = WallTime::now();
    wait_until("more adverts from the first agent", TIMEOUT, || {
        capture.has(start, |frame| frame.advert().is_some())
    })
    .expect("adverts");
    assert_eq!(control::state(&agent).expect("query the agent"), "master");
    assert!(addresses(host(&lab)).contains(&address(1)));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn new_master_announces_five_times_and_again_after_five_seconds() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let instance = Instance { vrid: 51, interval: Duration::from_millis(100), ..Instance::default() };
    let mut agent =
        Agent::new(&lab, NODE, vipd().expect("vipd binary"), &[instance]).expect("create the agent");
    agent.start().expect("start the agent");
    let times = || capture.filter_map(start, |frame| frame.gratuitous_arp(VIP).map(|_| frame.time));
    wait_until("ten announcements", TIMEOUT, || times().len() >= 10).expect("announced");
    let times = times();
    assert_eq!(times.len(), 10);
    let pause = times[5].millis_since(times[4]);
    assert!((4_000.0..10_000.0).contains(&pause), "{pause} ms between the bursts");

    let adverts = || capture.filter_map(start, Frame::advert).len() as u64;
    let status = agent.stop().expect("agent exits");
    assert!(status.success());
    let sent = adverts();
    assert!(sent > 40, "{sent} adverts in five seconds at 100 ms");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn status_and_stats_field_names_are_stable() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let agent = master(&lab, 1, 1);
    let status = control::status(&agent).expect("query status");
    let instance = &status.first().expect("instance").0;
    for (name, value) in [
        ("name", "VI_1"),
        ("interface", INTERFACE),
        ("family", "ipv4"),
        ("state", "master"),
        ("vipd:xdp-mode", "tc"),
    ] {
        assert_eq!(instance[name], value, "{name}");
    }
    for (name, value) in [
        ("vrid", 1),
        ("version", 3),
        ("priority", 100),
        ("effective-priority", 100),
        // In RFC 8347, this interval is in centiseconds, and Skew_Time is in microseconds.
        ("master-down-interval", 36),
        ("skew-time", 60_937),
    ] {
        assert_eq!(instance[name], value, "{name}");
    }
    assert!(instance["last-adv-source"].is_null());
    assert_eq!(instance["virtual-addresses"], serde_json::json!(["10.0.1.1/24"]));

    let (global, each) = control::stats(&agent).expect("query statistics");
    let counter = |name: &str| each.first().expect("instance").number(name).expect("read the counter");
    for name in ["checksum-errors", "version-errors", "vrid-errors", "ip-ttl-errors"] {
        assert_eq!(global.number(name).expect("read the counter"), 0, "{name}");
    }
    for name in [
        "advertisement-rcvd",
        "interval-errors",
        "priority-zero-pkts-rcvd",
        "priority-zero-pkts-sent",
        "invalid-type-pkts-rcvd",
        "address-list-errors",
        "packet-length-errors",
    ] {
        assert_eq!(counter(name), 0, "{name}");
    }
    assert_eq!(counter("master-transitions"), 1);
    // Search the capture between two readings of the counter.
    let before = counter("advertisement-sent");
    let seen = capture.filter_map(start, Frame::advert).len() as u64;
    let after = control::counter(&agent, "advertisement-sent").expect("read the counter");
    assert!((before..=after).contains(&seen), "{before} to {after} counted, {seen} captured");
}
