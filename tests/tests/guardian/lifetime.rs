//! The guardian of a running agent, and events that end the guardian: a clean shutdown of the
//! agent, SIGKILL, SIGTERM after the agent's death, or the start of the next agent.

use super::*;

/// Returns the targets of the links in `/proc/PID/fd`, sorted.
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

/// The guardian inherits only the descriptors that it needs. If it inherited a program array, the
/// BPF program would keep dropping adverts after the agent's death, as if the agent were still
/// running. As long as the agent runs and the guardian receives no signal, the guardian is not
/// scheduled.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_is_idle_and_has_only_the_descriptors_it_needs() {
    let lab = Lab::new(2).expect("create the lab");
    let (master, _backup) = pair(&lab, 3);
    let process = guardian(&master).expect("a guardian");
    let command = fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).expect("procfs");
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    assert!(command.contains(" guardian /"), "{command}");
    let found = descriptors(process);
    let count = |kind: &str| found.iter().filter(|one| one.starts_with(kind)).count();
    // The socket to the agent (standard input), three sockets for adverts, and the listening socket
    // for the next agent.
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

/// At a clean shutdown, exactly one priority-0 advert is sent for each router, and the guardian
/// exits.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_does_nothing_after_a_clean_shutdown() {
    const COUNT: u8 = 20;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    let process = guardian(&master).expect("a guardian");
    // systemd also sends the agent's signals to its guardian (KillMode=control-group).
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

/// If the guardian is killed, the agent starts another guardian, which sends the priority-0 adverts
/// when the agent dies.
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
    wait_until("the guardian to watch the agent", TIMEOUT, || {
        master.log().iter().filter(|line| line.text.contains("guardian started")).count() == 2
    })
    .expect("watches");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_state(&backup, "master", TIMEOUT).expect("taken over");
    let sent = adverts(&capture, ONE, killed);
    assert_eq!(sent.iter().filter(|(_, priority)| *priority == 0).count(), 3, "{sent:?}");
}

/// If the agent and its guardian are killed together, no priority-0 advert is sent. The backup
/// takes over only after the Active_Down_Interval.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn agent_killed_with_its_guardian_sends_nothing() {
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

/// An agent that starts after a crash makes the dead agent's guardian exit, and removes the VIPs
/// itself.
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

/// When the service manager sends SIGTERM to the guardian of a dead agent, the guardian removes the
/// VIPs even if no other router has taken over.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_that_receives_sigterm_removes_the_vips() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = start(&lab, ONE, &[instance(1, 100)]);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let process = guardian(&agent).expect("a guardian");
    kill_alone(&mut agent, Signal::KILL);
    kill_process(process, Signal::TERM).expect("send the signal");
    wait_for_end(process);
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
