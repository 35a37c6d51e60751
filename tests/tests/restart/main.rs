//! A restart by systemd: an agent leaves its state in the descriptor store, and the next process
//! continues with it.

mod adverts;
mod before_stop;
mod commands;
mod keys;
mod service;

use std::fmt::Write as _;
use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};
use rustix::process::Signal;
use service::{KEY_FILE, Service};
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::command::{ping, run};
use vipd_tests::control::{self, counter, reload, stats, status, wait_for_state};
use vipd_tests::frame::Frame;
use vipd_tests::hmac::{Hmac, hex};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
/// The VIP of the instance `VI_1`.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Settings for an interval at which a restart can keep the states.
const FAST: &str = "advert_interval = \"400ms\"";

/// Settings for an interval at which backups wait for at least 9 s.
const SLOW: &str = "advert_interval = \"3s\"";
/// Settings for an interval at which backups take over before a process can be started.
const SHORT: &str = "advert_interval = \"10ms\"";
/// Setting with which packets to the VIPs are dropped.
const CLOSED: &str = "accept = false";

/// Returns a configuration with an instance for each pair of a VRID and a priority. `settings` are
/// added to each instance.
fn configuration(instances: &[(u8, u8)], settings: &str) -> String {
    let mut text = String::new();
    for (vrid, priority) in instances {
        let _ = write!(
            text,
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             garp = {{ delay = \"0s\" }}\nvirtual_addresses = [\"10.0.{vrid}.1\"]\n{settings}\n"
        );
    }
    text
}

/// Starts an ordinary agent on node 2.
fn peer(lab: &Lab, text: String) -> Agent {
    let mut agent =
        Agent::with_configuration(lab, TWO, vipd().expect("vipd binary"), text).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

fn states(agent: &Agent) -> Vec<String> {
    let all = status(agent).expect("status");
    all.iter().map(|one| one.text("state").to_owned()).collect()
}

fn counters(agent: &Agent, name: &str) -> Vec<u64> {
    let (_, instances) = stats(agent).expect("stats");
    instances.iter().map(|instance| instance.number(name).expect("a counter")).collect()
}

fn addresses(agent: &Agent) -> String {
    run(agent.host(), "ip", &["address"]).expect("list the addresses")
}

/// Returns the lifetimes in seconds of the addresses that the kernel will remove.
fn lifetimes(agent: &Agent) -> Vec<u64> {
    let found = addresses(agent);
    let words: Vec<&str> = found.split_whitespace().collect();
    let lifetimes = words.windows(2).filter(|pair| pair[0] == "valid_lft" && pair[1] != "forever");
    lifetimes.map(|pair| pair[1].trim_end_matches("sec").parse().expect("seconds")).collect()
}

/// Returns the number of priority-0 adverts since `start`.
fn priority_zero(capture: &Capture, start: WallTime) -> usize {
    capture.filter_map(start, |frame| frame.advert().filter(|advert| advert.priority == 0)).len()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_and_backup_keep_their_states_and_counters() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    // The path of the key is relative to the configuration file.
    let keys = format!("{{ id = 1, hex = \"{}\" }}, {{ id = 2, file = \"{KEY_FILE}\" }}", hex(1));
    let signed = format!("hmac = {{ keys = [{keys}], active = 1 }}");
    let own = |interval| {
        let closed = configuration(&[(3, 200)], &format!("{interval}\n{CLOSED}\n{signed}"));
        configuration(&[(1, 200), (2, 50)], interval) + &closed
    };
    let others = |interval| {
        let signed = configuration(&[(3, 50)], &format!("{interval}\nhmac = {}", Hmac::enforce()));
        configuration(&[(1, 50), (2, 200)], interval) + &signed
    };
    let mut two = peer(&lab, others(FAST));
    let mut one = Service::start(&lab, ONE, &own(FAST));
    let expected = [["master", "backup", "master"], ["backup", "master", "backup"]];
    wait_until("the expected states", TIMEOUT, || {
        [&one.agent, &two].map(states).iter().zip(expected).all(|(states, expected)| states == &expected)
    })
    .expect("reached");
    // With the slow interval, backups wait for longer than a start takes, even on a busy machine.
    // They adopt the interval from adverts.
    let reloaded = WallTime::now();
    one.configure(&own(SLOW));
    two.configure(others(SLOW)).expect("written");
    for agent in [&one.agent, &two] {
        reload(agent).expect("reloaded");
    }
    for station in [ONE, TWO] {
        let is_slow = |frame: &Frame| {
            frame.from == station && frame.advert().is_some_and(|advert| advert.interval == 300)
        };
        wait_until("an advert with the new interval", TIMEOUT, || capture.has(reloaded, is_slow))
            .expect("sent");
    }
    let agents = [&one.agent, &two].map(|agent| counters(agent, "master-transitions"));
    let (start, logged) = (WallTime::now(), one.log().len());
    for round in 0..2 {
        let sent = counters(&one.agent, "advertisement-sent");
        let received = counters(&one.agent, "advertisement-rcvd");
        one.leave().expect("the state is left");
        one.resume();
        let now = counters(&one.agent, "advertisement-sent");
        assert!(now[0] > sent[0] && now[1] == sent[1], "round {round}: {sent:?} {now:?}: {}", one.log());
        assert!(counters(&one.agent, "advertisement-rcvd")[1] >= received[1], "round {round}: {received:?}");
        // The second round restarts the successor of an upgrade, which is now the main process.
        if round == 0 {
            one.upgrade();
        }
    }
    // The next advert restarts the backup's timer.
    let sent = counter(&one.agent, "advertisement-sent").expect("a counter");
    let advances = || counter(&one.agent, "advertisement-sent").expect("a counter") > sent;
    wait_until("another advert", TIMEOUT, advances).expect("sent");
    let after = [&one.agent, &two].map(|agent| counters(agent, "master-transitions"));
    assert_eq!(after, agents, "{}", one.log());
    assert_eq!([&one.agent, &two].map(states), expected.map(|states| states.map(str::to_owned).to_vec()));
    assert_eq!(priority_zero(&capture, start), 0, "{}", one.log());
    let announced = capture.filter_map(start, |frame| frame.arp().filter(|arp| arp.sender == arp.target));
    assert_eq!(announced, [], "no VIP is announced");
    let found = addresses(&one.agent);
    let has_vips = [1, 2, 3].map(|vrid| found.contains(&format!("10.0.{vrid}.1/")));
    assert_eq!(has_vips, [true, false, true], "{found}");
    assert_eq!(lifetimes(&one.agent), Vec::<u64>::new(), "{found}");
    let log = one.log().split_off(logged);
    assert!(!log.contains(" WARN ") && !log.contains("ERROR"), "{log}");
    assert!(one.take_stored().is_none(), "a later process must not resume the state again");
}

/// Covers a stop directly after a restart. In this case, systemd does not run `ExecStop=`.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn process_stopped_before_it_has_resumed_shuts_down_cleanly() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], FAST));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    let start = WallTime::now();
    one.leave().expect("the state is left");
    assert!(addresses(&one.agent).contains("10.0.1.1/") && priority_zero(&capture, start) == 0);
    assert!(one.resume_and_stop(), "{}", one.log());
    wait_until("the priority-0 advert", TIMEOUT, || priority_zero(&capture, start) == 1).expect("sent");
    assert!(!addresses(&one.agent).contains("10.0.1.1/"), "{}", one.log());
    one.wait_for_empty_store();
    assert!(!one.log().contains("ERROR"), "{}", one.log());
}

/// A refused request to leave the state in the descriptor store has no effect. SIGTERM then shuts
/// the agent down cleanly.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn refused_restart_changes_nothing_and_stop_shuts_down_cleanly() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    // A factor of 100 does not help, because other routers may use the RFC's factor of 3.
    let short = format!("{SHORT}\ndown_after_adverts = 100");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], &short));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    let start = WallTime::now();
    let refused = one.leave().expect_err("the restart would take too long");
    assert!(refused.contains("the backups of VI_1 take over after 30 ms without adverts"), "{refused}");
    one.configure("nonsense = 1\n");
    let refused = one.leave().expect_err("the next process could not start");
    assert!(refused.contains("nonsense"), "{refused}");
    let slow = format!("fence = \"off\"\n{}", configuration(&[(1, 200)], ""));
    one.configure(&slow);
    let refused = one.leave().expect_err("the change requires an ordinary start");
    assert!(refused.contains("`fence`"), "{refused}");
    // A reload does not change how the engine is scheduled.
    one.configure(&format!("realtime = \"off\"\n{}", configuration(&[(1, 200)], "")));
    reload(&one.agent).expect("reloaded");
    let refused = one.leave().expect_err("the change requires an ordinary start");
    assert!(refused.contains("`realtime`"), "{refused}");
    assert_eq!(counter(&one.agent, "master-transitions").expect("a counter"), 1);
    assert_eq!(priority_zero(&capture, start), 0, "{}", one.log());
    one.wait_for_empty_store();
    one.stop();
    wait_until("the priority-0 advert", TIMEOUT, || priority_zero(&capture, start) == 1).expect("sent");
    assert!(!addresses(&one.agent).contains("10.0.1.1"));
}

/// Returns a stored descriptor whose queue contains one message.
fn stored(message: &str) -> OwnedFd {
    let (one, other) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair");
    let mut none = SendAncillaryBuffer::default();
    sendmsg(&one, &[IoSlice::new(message.as_bytes())], &mut none, SendFlags::empty()).expect("sent");
    other
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn state_that_cannot_be_continued_causes_an_ordinary_start() {
    let lab = Lab::new(1).expect("create the lab");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], FAST));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    one.kill_when_stored();
    one.configure(&configuration(&[(1, 200)], SHORT));
    let incomplete = one.take_stored().expect("the agent was killed after it had filled the queue");
    for (descriptor, reason) in [
        (incomplete, "it is incomplete"),
        (
            stored(r#"{"message":"hello","formats":[99],"version":"9.9.9"}"#),
            "vipd 9.9.9 wrote it in the formats [99]",
        ),
        (stored("nonsense"), "it is damaged"),
        (stored(r#"{"message":"ready"}"#), "it does not begin with a version"),
    ] {
        // The VIP remains, because both the agent and its guardian were killed.
        assert!(addresses(&one.agent).contains("10.0.1.1/"));
        one.set_stored(descriptor);
        let before = one.log().len();
        one.resume();
        one.wait_for_log(before, "ordinary start");
        one.wait_for_log(before, reason);
        let log = one.wait_for_log(before, "removed stale VIP");
        assert!(!log.contains("continuing"), "{log}");
        wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
        assert_eq!(counter(&one.agent, "master-transitions").expect("a counter"), 1);
        one.signal(Signal::KILL);
    }
    // A configuration with errors: the VIPs do not stay.
    one.configure(&configuration(&[(1, 200)], FAST));
    one.resume();
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    one.leave().expect("the state is left");
    assert!(addresses(&one.agent).contains("10.0.1.1/"));
    one.configure("nonsense = 1\n");
    one.fail();
    assert!(!addresses(&one.agent).contains("10.0.1.1/"), "{}", one.log());
}

/// A process that starts after a backup has taken over must yield before it preempts. If no process
/// starts at all, the kernel removes the VIPs.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn only_the_backup_owns_the_vip_if_the_next_process_is_late() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let vips = format!("virtual_addresses_excluded = [\"2001:db8::1:1/64\", \"10.1.1.1\"]\n{FAST}");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], &vips));
    run(one.agent.host(), "ip", &["address", "add", "2001:db8::11/64", "dev", "eth1", "nodad"])
        .expect("added");
    let two = peer(&lab, configuration(&[(1, 50)], &vips));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    wait_for_state(&two, "backup", TIMEOUT).expect("backup");
    wait_until("the VIPs", TIMEOUT, || addresses(&one.agent).contains("2001:db8::1:1/")).expect("added");
    let client = lab.host(Station::Client).expect("the client");
    run(client, "ip", &["route", "add", "10.0.1.1", "dev", "eth1"]).expect("added");
    one.leave().expect("the state is left");
    // Backups take over after at most four intervals; the kernel counts in whole seconds.
    let limited = lifetimes(&one.agent);
    assert!(!limited.is_empty() && limited.iter().all(|seconds| *seconds <= 3), "{limited:?}");
    wait_for_state(&two, "master", TIMEOUT).expect("takes over");
    let start = WallTime::now();
    wait_until("a reply to the client's ping", TIMEOUT, || {
        ping(client, VIP.into()).expect("ping is installed")
    })
    .expect("the backup answers");
    let answers = || {
        capture.filter_map(start, |frame| {
            let has_resolved = frame.arp().is_some_and(|arp| arp.sender == VIP && arp.target != VIP);
            let has_replied = frame.echo().is_some_and(|echo| echo.reply && echo.source == VIP);
            (has_resolved || has_replied).then_some(frame.from)
        })
    };
    wait_until("the captured reply", TIMEOUT, || !answers().is_empty()).expect("captured");
    assert!(answers().iter().all(|station| *station == TWO), "{:?} {}", answers(), addresses(&one.agent));
    let resumed = WallTime::now();
    one.resume();
    wait_for_state(&two, "backup", TIMEOUT).expect("preempted by the higher priority");
    assert!(counter(&one.agent, "vipd:stalls").expect("a counter") >= 1, "{}", one.log());
    let adverts = capture.filter_map(resumed, |frame| frame.advert().map(|_| frame.from));
    assert!(adverts.starts_with(&[TWO; 2]), "an advert of the previous master: {adverts:?}");

    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    wait_until("the VIPs", TIMEOUT, || addresses(&one.agent).contains("2001:db8::1:1/")).expect("added");
    one.leave().expect("the state is left");
    drop(one.take_stored());
    wait_until("the kernel to remove the VIPs", TIMEOUT, || {
        let found = addresses(&one.agent);
        ["10.0.1.1/", "10.1.1.1/", "2001:db8::1:1/"].iter().all(|vip| !found.contains(vip))
    })
    .expect("removed");
    assert_eq!(control::state(&two).expect("a state"), "master");
    let routes = run(one.agent.host(), "ip", &["-6", "route", "show", "dev", "eth1"]).expect("routes");
    let own = routes.lines().find(|line| line.starts_with("2001:db8::/64"));
    assert!(own.is_some_and(|route| !route.contains("expires")), "{routes}");
}

/// The kernel removes the VIP before the next process starts, but no other router takes over.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn late_process_restores_the_vip_of_a_master_without_backups() {
    let lab = Lab::new(1).expect("create the lab");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], FAST));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    one.leave().expect("the state is left");
    let has_vip = |agent: &Agent| addresses(agent).contains("10.0.1.1/");
    assert!(has_vip(&one.agent));
    wait_until("the kernel to remove the VIP", TIMEOUT, || !has_vip(&one.agent)).expect("removed");
    one.resume();
    wait_until("the VIP", TIMEOUT, || has_vip(&one.agent)).expect("restored");
    assert_eq!(states(&one.agent), ["master"]);
    assert_eq!(counter(&one.agent, "master-transitions").expect("a counter"), 1, "{}", one.log());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn state_is_left_only_if_the_vips_are_fenced() {
    let lab = Lab::new(1).expect("create the lab");
    let text = format!("fence = \"off\"\n{}", configuration(&[(1, 200)], FAST));
    let mut one = Service::start(&lab, ONE, &text);
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    let refused = one.leave().expect_err("another node might also answer for the VIP");
    assert!(refused.contains("the VIPs of VI_1 cannot be fenced while no process runs"), "{refused}");
    one.wait_for_empty_store();
    assert_eq!(states(&one.agent), ["master"], "{}", one.log());
}

/// A new process that fails after it has taken the state removes the VIPs.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn process_that_cannot_open_an_interface_removes_the_vips() {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(ONE).expect("the node");
    run(node, "ip", &["link", "add", "other", "type", "veth", "peer", "name", "end"]).expect("added");
    for interface in ["other", "end"] {
        run(node, "ip", &["link", "set", interface, "up"]).expect("up");
    }
    let routes = format!("{FAST}\nroutes = [{{ to = \"10.99.0.0/16\", dev = \"other\" }}]");
    let text = configuration(&[(1, 200)], &routes)
        .replace("\"10.0.1.1\"", "{ address = \"10.0.1.1\", dev = \"other\" }");
    let mut one = Service::start(&lab, ONE, &text);
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    one.leave().expect("the state is left");
    assert!(addresses(&one.agent).contains("10.0.1.1/"));
    run(one.agent.host(), "ip", &["link", "delete", "eth1"]).expect("deleted");
    one.fail();
    let (found, log) = (addresses(&one.agent), one.log());
    assert!(log.contains("cannot continue with the state of the previous process"), "{log}");
    assert!(!found.contains("10.0.1.1/"), "{found} {log}");
    let routes = run(one.agent.host(), "ip", &["route"]).expect("routes");
    assert!(!routes.contains("10.99.0.0/16"), "{routes}");
}
