//! Lack of resources: memory for the agent, or a process for the guardian.

use std::process::{Command, Stdio};

use vipd_tests::control_group::{ControlGroup, Controller};

use super::*;

/// Returns an empty control group. If the controller is not available, prints that the test is
/// skipped and returns `None`.
fn control_group(controller: Controller) -> Option<ControlGroup> {
    let group = ControlGroup::new(controller).expect("create a control group");
    if group.is_none() {
        eprintln!("skipped: the controller {controller:?} is not available for control groups");
    }
    group
}

fn number(process: Pid) -> u32 {
    u32::try_from(process.as_raw_nonzero().get()).expect("positive")
}

/// The robust mutex wakes the guardian. The kernel finds the mutex through a list in the memory of
/// the killed process, so the kernel delays reclaiming that memory (`OOM_REAPER_DELAY` in
/// `mm/oom_kill.c`).
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_killed_for_lack_of_memory_sends_priority_zero() {
    const LIMIT: u64 = 64 << 20;
    const COUNT: u8 = 3;
    let Some(group) = control_group(Controller::Memory) else { return };
    group.set_limit(Some(LIMIT)).expect("limit the memory");
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    let (process, agent) = (guardian(&master).expect("a guardian"), main_process(&master));
    // The highest OOM score adjustment makes the kernel kill the agent first. The memory is divided
    // among several `tail` processes, so that none of them has a higher score than the agent: they
    // inherit the adjustment of the tests, which may be positive.
    group.add(number(agent)).expect("move the agent");
    fs::write(format!("/proc/{}/oom_score_adj", agent.as_raw_nonzero()), "1000").expect("written");
    let killed = WallTime::now();
    let mut eater = Command::new("sh")
        .args(["-c", "echo 0 > \"$1\" && for i in 1 2 3 4; do tail /dev/zero & done && wait", "sh"])
        .arg(group.processes())
        .stdout(Stdio::null())
        .spawn()
        .expect("sh runs");
    wait_for_end(agent);
    master.abandon().expect("running");
    wait_for_all(&backup, "master");
    wait_for_end(process);
    // The kernel also kills the `tail` processes, whose memory would exceed the limit.
    eater.wait().expect("ended");
    let sent = adverts(&capture, ONE, killed);
    assert_eq!(sent.iter().filter(|(_, priority)| *priority == 0).count(), usize::from(COUNT), "{sent:?}");
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}

/// If no further process is allowed, the agent stays master and reports once that the guardian
/// cannot be started. The fence works without a guardian. Once the limit is lifted, the agent
/// starts a guardian.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_that_cannot_be_started_is_reported_and_started_later() {
    let Some(group) = control_group(Controller::Pids) else { return };
    let lab = Lab::new(1).expect("create the lab");
    let master = start(&lab, ONE, &[instance(1, 200)]);
    wait_for_all(&master, "master");
    group.add(number(main_process(&master))).expect("move the agent");
    group.set_limit(Some(1)).expect("limit the number of processes");
    let logged = |text: &str| master.log().iter().filter(|line| line.text.contains(text)).count();
    kill_process(guardian(&master).expect("a guardian"), Signal::KILL).expect("kill the guardian");
    wait_until("the failed start", TIMEOUT, || logged("cannot be started: Resource temporarily") > 0)
        .unwrap_or_else(|error| panic!("{error}: {:#?}", master.log()));
    assert_eq!(guardian(&master), None);
    let status = control::status(&master).expect("query status");
    assert_eq!((status[0].text("state"), status[0].text("vipd:fence")), ("master", "full"));
    let sent = || control::counter(&master, "advertisement-sent").expect("query statistics");
    let first = sent();
    wait_until("two adverts", TIMEOUT, || sent() >= first + 2).expect("sent");
    group.set_limit(None).expect("remove the limit");
    wait_until("another guardian", TIMEOUT, || logged("guardian started") == 2).expect("started");
    assert_eq!(logged("cannot be started"), 1, "{:#?}", master.log());
}
