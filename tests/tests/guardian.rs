//! The guardian: what it does when the agent is killed or crashes, and that it does nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::command::run;
use vipd_tests::configuration::Family;
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::routers;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_secs(1);

fn instance(vrid: u8, priority: u8) -> Instance {
    Instance {
        name: format!("VI_{vrid}"),
        vrid,
        priority,
        interval: INTERVAL,
        addresses: vec![address(vrid).into()],
        ..Instance::default()
    }
}

fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, vrid, 1)
}

/// Starts an agent whose guardian outlives it.
fn start(lab: &Lab, station: Station, instances: &[Instance]) -> Agent {
    let mut agent =
        Agent::new(lab, station, vipd().expect("vipd binary"), instances).expect("create the agent");
    agent.run_below_init();
    agent.start().expect("start the agent");
    wait_until("the guardian to watch", TIMEOUT, || guardian(&agent).is_some()).expect("guarded");
    agent
}

/// Returns the process ID of the agent itself.
fn main_process(agent: &Agent) -> Pid {
    let pid = agent.processes().first().copied().expect("running");
    Pid::from_raw(i32::try_from(pid).expect("a process ID")).expect("not 0")
}

/// Returns the process ID of the running agent's guardian.
fn guardian(agent: &Agent) -> Option<Pid> {
    let is_guardian = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "vipd-guardian\n")
    };
    Pid::from_raw(i32::try_from(agent.processes().into_iter().find(is_guardian)?).ok()?)
}

/// Ends the agent by a signal that its guardian does not receive.
fn kill_alone(agent: &mut Agent, signal: Signal) {
    let process = main_process(agent);
    kill_process(process, signal).expect("send the signal");
    wait_for_end(process);
    agent.abandon().expect("running");
}

fn exists(process: Pid) -> bool {
    fs::exists(format!("/proc/{}", process.as_raw_nonzero())).expect("procfs")
}

fn wait_for_end(process: Pid) {
    wait_until("the process to end", TIMEOUT, || !exists(process)).expect("ended");
}

/// Returns the VRIDs and priorities of the adverts of a station, in order.
fn adverts(capture: &Capture, station: Station, since: WallTime) -> Vec<(u8, u8)> {
    capture.filter_map(since, |frame| {
        let advert = frame.advert().filter(|_| frame.from == station)?;
        Some((advert.vrid, advert.priority))
    })
}

fn addresses(node: &Namespace) -> Vec<Ipv4Addr> {
    routers::addresses(node).expect("list the addresses")
}

fn host(lab: &Lab, station: Station) -> &Namespace {
    lab.host(station).expect("lab host")
}

/// Starts a master of VRIDs 1 to `count` on node 1, and a backup on node 2.
fn pair(lab: &Lab, count: u8) -> (Agent, Agent) {
    let instances = |priority| (1..=count).map(|vrid| instance(vrid, priority)).collect::<Vec<_>>();
    let master = start(lab, ONE, &instances(200));
    wait_until("node 1 to be master of all instances", TIMEOUT, || {
        addresses(host(lab, ONE)).len() == 1 + usize::from(count)
    })
    .expect("master");
    let backup = start(lab, TWO, &instances(100));
    routers::wait_for_backup_of(&backup, ONE.ipv4()).expect("backup");
    (master, backup)
}

/// The master dies: its guardian sends a priority-0 advert for each router, after the last advert
/// of the router. The backup takes over after Skew_Time, and the VIPs of the dead agent are removed.
fn check_death(signal: Signal) {
    const COUNT: u8 = 20;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, signal);
    wait_until("the backup to take over", TIMEOUT, || {
        addresses(host(&lab, TWO)).len() == 1 + usize::from(COUNT)
    })
    .expect("taken over");
    wait_until("the VIPs of the dead agent to be removed", TIMEOUT, || {
        addresses(host(&lab, ONE)) == [ONE.ipv4()]
    })
    .expect("removed");
    wait_for_end(process);
    let sent = adverts(&capture, ONE, killed);
    let zero: Vec<u8> = sent.iter().filter(|(_, priority)| *priority == 0).map(|(vrid, _)| *vrid).collect();
    let mut all = zero.clone();
    all.sort_unstable();
    assert_eq!(all, (1..=COUNT).collect::<Vec<_>>(), "{sent:?}");
    let last = sent.iter().rposition(|(_, priority)| *priority != 0);
    assert!(last.is_none_or(|last| sent[..last].iter().all(|(_, priority)| *priority != 0)), "{sent:?}");
    let status = control::status(&backup).expect("query status");
    assert!(status.iter().all(|one| one.text("state") == "master"));
    let log = master.log();
    let lines: Vec<_> = log.iter().filter(|line| line.text.contains("guardian: ")).collect();
    assert_eq!(lines.len(), 2, "{log:#?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_master_sends_priority_zero_and_loses_its_vips_after_the_takeover() {
    check_death(Signal::KILL);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn crashed_master_sends_priority_zero_and_loses_its_vips_after_the_takeover() {
    for signal in [Signal::ABORT, Signal::SEGV, Signal::TRAP, Signal::SYS] {
        check_death(signal);
    }
}

/// Returns the descriptors of a process.
fn descriptors(process: Pid) -> Vec<String> {
    let directory = format!("/proc/{}/fd", process.as_raw_nonzero());
    let entries = fs::read_dir(directory).expect("procfs").filter_map(Result::ok);
    let mut found: Vec<String> = entries
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    found.sort();
    found
}

/// Returns the number of context switches of all threads of a process.
fn switches(process: Pid) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).expect("procfs");
    let status = tasks.filter_map(Result::ok).map(|task| fs::read_to_string(task.path().join("status")));
    let status: Vec<String> = status.collect::<Result<_, _>>().expect("procfs");
    let lines = status.iter().flat_map(|one| one.lines()).filter(|line| line.contains("ctxt_switches:"));
    lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// The guardian inherits only what it needs: the BPF program finds out by its maps whether an agent
/// runs. While the agent runs, it is never scheduled.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_is_idle_and_has_no_other_descriptors() {
    let lab = Lab::new(2).expect("create the lab");
    let (master, _backup) = pair(&lab, 3);
    let process = guardian(&master).expect("a guardian");
    let command = fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).expect("procfs");
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    assert!(command.contains(" guardian /"), "{command}");
    let found = descriptors(process);
    let count = |kind: &str| found.iter().filter(|one| one.starts_with(kind)).count();
    // Standard input, which is the socket to the agent, three sockets for adverts, and the one for
    // the next agent.
    assert_eq!(count("socket:"), 5, "{found:?}");
    assert_eq!(count("/memfd:vipd-guardian"), 1, "{found:?}");
    // A signalfd and an eventfd; the mapped array of leases needs no descriptor.
    assert_eq!(count("anon_inode:"), 2, "{found:?}");
    assert_eq!(found.len(), 10, "in addition to these, only standard output and standard error: {found:?}");
    let sent = || control::counter(&master, "advertisement-sent").expect("query statistics");
    let (before, first) = (switches(process), sent());
    wait_until("three adverts", TIMEOUT, || sent() >= first + 3).expect("sent");
    assert_eq!(switches(process), before);
}

/// A clean shutdown sends exactly one priority-0 advert for each router, and the guardian leaves.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_does_nothing_after_a_clean_shutdown() {
    const COUNT: u8 = 20;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    let process = guardian(&master).expect("a guardian");
    // As systemd does with KillMode=control-group.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::ABORT] {
        kill_process(process, signal).expect("send the signal");
    }
    let stopped = WallTime::now();
    assert!(master.stop().expect("stop the agent").success());
    assert!(!exists(process), "the agent waits for its guardian");
    wait_for_state(&backup, "master", TIMEOUT).expect("taken over");
    let sent = adverts(&capture, ONE, stopped);
    let zero: BTreeSet<u8> =
        sent.iter().filter(|(_, priority)| *priority == 0).map(|(vrid, _)| *vrid).collect();
    let count = sent.iter().filter(|(_, priority)| *priority == 0).count();
    assert_eq!((zero.len(), count), (usize::from(COUNT), usize::from(COUNT)), "{sent:?}");
    assert!(!master.log().iter().any(|line| line.text.contains("guardian: ")));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_of_a_backup_sends_nothing() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (master, mut backup) = pair(&lab, 3);
    let process = guardian(&backup).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut backup, Signal::KILL);
    wait_for_end(process);
    assert_eq!(adverts(&capture, TWO, killed), []);
    assert_eq!(control::state(&master).expect("query status"), "master");
}

/// Without a BPF file system, the fence ends with the agent.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_that_cannot_be_fenced_any_more_are_removed_at_once() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let node = host(&lab, ONE);
    node.run(|| unmount("/sys/fs/bpf", UnmountFlags::DETACH)).expect("unmount the BPF file system");
    let mut master = start(&lab, ONE, &[instance(1, 200), instance(2, 200)]);
    wait_for_all(&master, "master");
    wait_until("the VIPs", TIMEOUT, || addresses(node).len() == 3).expect("added");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_until("the VIPs to be removed", TIMEOUT, || addresses(node).len() == 1).expect("removed");
    wait_for_end(process);
    let zeros = || adverts(&capture, ONE, killed).iter().filter(|(_, priority)| *priority == 0).count();
    wait_until("the priority-0 adverts", TIMEOUT, || zeros() == 2).expect("one for each router");
}

/// If the guardian is killed, another one takes its place, and answers the death of the agent.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_guardian_is_replaced() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, 3);
    let first = guardian(&master).expect("a guardian");
    kill_process(first, Signal::KILL).expect("kill the guardian");
    wait_until("another guardian", TIMEOUT, || guardian(&master).is_some_and(|found| found != first))
        .expect("replaced");
    let log = master.log();
    assert!(log.iter().any(|line| line.text.contains("ended by signal 9")), "{log:#?}");
    wait_until("the guardian to watch", TIMEOUT, || {
        master.log().iter().filter(|line| line.text.contains("guardian started")).count() == 2
    })
    .expect("watches");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_state(&backup, "master", TIMEOUT).expect("taken over");
    let sent = adverts(&capture, ONE, killed);
    assert_eq!(sent.iter().filter(|(_, priority)| *priority == 0).count(), 3, "{sent:?}");
}

/// If the service manager kills the agent and its guardian at once, nothing is sent. The backup
/// takes over after the Active_Down_Interval.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn agent_that_is_killed_with_its_guardian_sends_nothing() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, 3);
    let process = guardian(&master).expect("a guardian");
    master.kill().expect("kill both");
    let killed = WallTime::now();
    wait_for_end(process);
    wait_for_state(&backup, "master", TIMEOUT).expect("taken over");
    assert_eq!(adverts(&capture, ONE, killed), []);
    assert_eq!(addresses(host(&lab, ONE)).len(), 4, "the VIPs stay");
}

/// An agent that starts after a crash makes the guardian leave, and removes the VIPs itself.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn restarted_agent_replaces_the_guardian() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = start(&lab, ONE, &[instance(1, 100)]);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let former = guardian(&agent).expect("a guardian");
    kill_alone(&mut agent, Signal::KILL);
    assert_eq!(addresses(host(&lab, ONE)).len(), 2, "no other router has taken over");
    agent.start().expect("start the agent again");
    wait_for_end(former);
    wait_for_state(&agent, "master", TIMEOUT).expect("master again");
    let warning = "removed stale VIP left by a previous run";
    assert!(agent.log().iter().any(|line| line.text.contains(warning)), "{:#?}", agent.log());
    assert!(agent.stop().expect("stop the agent").success());
}

/// When the service manager ends the guardian of a dead agent, the VIPs are removed, even if no
/// other router has taken over.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_that_is_asked_to_end_removes_the_vips() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = start(&lab, ONE, &[instance(1, 100)]);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let process = guardian(&agent).expect("a guardian");
    kill_alone(&mut agent, Signal::KILL);
    kill_process(process, Signal::TERM).expect("send the signal");
    wait_for_end(process);
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}

/// Macvlans and the sysctls of their parent are restored after the takeover, of both families.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn macvlans_are_deleted_and_sysctls_restored_after_the_takeover() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let sysctl = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/eth1/{name}");
        host(&lab, ONE).run(move || fs::read_to_string(path)).expect("read the sysctl").trim().to_owned()
    };
    let before = [sysctl("arp_ignore"), sysctl("arp_announce")];
    let instances = |priority| {
        [Family::V4, Family::V6].map(|family| Instance {
            name: format!("VI_{family}"),
            priority,
            interval: INTERVAL,
            virtual_mac: true,
            ..Instance::of(family)
        })
    };
    let mut master = start(&lab, ONE, &instances(200));
    wait_for_all(&master, "master");
    assert_ne!([sysctl("arp_ignore"), sysctl("arp_announce")], before);
    let backup = start(&lab, TWO, &instances(100));
    wait_for_all(&backup, "backup");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    let sent = adverts(&capture, ONE, killed);
    assert_eq!(sent.iter().filter(|(_, priority)| *priority == 0).count(), 2, "{sent:?}");
    let links = run(host(&lab, ONE), "ip", &["-o", "link"]).expect("list the links");
    assert!(!links.contains("vrrp"), "{links}");
    assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], before);
}

fn wait_for_all(agent: &Agent, state: &str) {
    wait_until(&format!("{state} of all instances"), TIMEOUT, || {
        control::status(agent).is_ok_and(|all| all.iter().all(|one| one.text("state") == state))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.log()));
}

/// Priority-0 adverts to unicast peers have the same sources as the adverts before.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_master_with_unicast_peers_sends_priority_zero_to_each() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(2).expect("create the lab");
        let capture = lab.capture().expect("start the capture");
        let address = |station: Station| match family {
            Family::V4 => station.ipv4().into(),
            Family::V6 => station.ipv6().into(),
        };
        let instance = |priority, peer| Instance {
            priority,
            interval: INTERVAL,
            unicast_peers: vec![address(peer)],
            ..Instance::of(family)
        };
        let mut master = start(&lab, ONE, &[instance(200, TWO)]);
        wait_for_state(&master, "master", TIMEOUT).expect("master");
        let backup = start(&lab, TWO, &[instance(100, ONE)]);
        routers::wait_for_backup_of(&backup, address(ONE)).expect("backup");
        let process = guardian(&master).expect("a guardian");
        let killed = WallTime::now();
        kill_alone(&mut master, Signal::KILL);
        wait_for_state(&backup, "master", TIMEOUT).expect("taken over");
        wait_for_end(process);
        let sent = capture.filter_map(killed, |frame| {
            let advert = frame.advert().filter(|advert| frame.from == ONE && advert.priority == 0)?;
            Some((advert.source, advert.destination))
        });
        assert_eq!(sent, [(address(ONE), address(TWO))]);
    }
}

/// The guardian keeps up with changes of a reload.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_knows_the_routers_after_a_reload() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, mut backup) = pair(&lab, 3);
    let changed = |priority| {
        let mut all: Vec<_> = (2..=4).map(|vrid| instance(vrid, priority)).collect();
        all[0].addresses.push(Ipv4Addr::new(10, 0, 2, 2).into());
        all
    };
    for (agent, priority) in [(&mut backup, 100), (&mut master, 200)] {
        agent.set_instances(&changed(priority)).expect("write the configuration");
        control::reload(agent).expect("reload");
    }
    wait_until("node 1 to be master of all instances", TIMEOUT, || addresses(host(&lab, ONE)).len() == 5)
        .expect("master");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    let sent = capture.filter_map(killed, |frame| {
        let advert = frame.advert().filter(|advert| frame.from == ONE && advert.priority == 0)?;
        Some((advert.vrid, advert.addresses.len()))
    });
    assert_eq!(sent.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([(2, 2), (3, 1), (4, 1)]));
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn no_guardian_runs_without_a_fence() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent =
        Agent::new(&lab, ONE, vipd().expect("vipd binary"), &[instance(1, 100)]).expect("create the agent");
    agent.run_below_init();
    agent.set_option("fence", "off").expect("a vipd");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    assert_eq!(guardian(&agent), None);
    assert!(agent.stop().expect("stop the agent").success());
}

/// All virtual routers that an interface can have.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_master_of_255_routers_sends_priority_zero_for_each() {
    const COUNT: u8 = 255;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    wait_for_all(&backup, "backup");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    let zero = capture.filter_map(killed, |frame| {
        let advert = frame.advert().filter(|advert| frame.from == ONE && advert.priority == 0)?;
        Some((advert.vrid, frame.time))
    });
    let vrids: BTreeSet<u8> = zero.iter().map(|(vrid, _)| *vrid).collect();
    assert_eq!((zero.len(), vrids.len()), (255, 255));
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}
