//! Missing capabilities and privileges, of the agent and of doctor itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vipd_tests::agent::{Agent, AgentKind};
use vipd_tests::binary::vipd_binary;
use vipd_tests::control::wait_for_state;
use vipd_tests::lab::Lab;
use vipd_tests::routers::start_agent;

use crate::{ONE, TIMEOUT, doctor_at_once, doctor_below, instance};

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn missing_privileges_of_doctor_are_named() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start_agent(&lab, ONE, &[instance()]).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    // Doctor may read the build directory, but not connect to the control socket.
    let unprivileged = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=-all,+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    ];
    let diagnosis = doctor_below(&lab, &unprivileged);
    assert!(diagnosis.evidence("agent-not-queried").contains("permission denied on the control socket"));
    assert!(diagnosis.evidence("not-observed").contains("CAP_NET_RAW is missing"));
    doctor_at_once(&lab).lacks(&["agent-not-queried", "not-observed"]);

    agent.stop().unwrap();
    let without = ["setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin"];
    assert!(doctor_below(&lab, &without).evidence("cannot-run-agent").contains("lacks CAP_BPF"));
    let shifted = ["unshare", "--time", "--monotonic", "100"];
    assert!(doctor_below(&lab, &shifted).evidence("cannot-run-agent").contains("is offset by 100 s"));
    doctor_at_once(&lab).lacks(&["cannot-run-agent"]);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ordinary_scheduling_and_unlocked_memory_are_named() {
    let lab = Lab::new(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let wrapper = directory.path().join("vipd");
    let binary = vipd_binary().unwrap();
    let script = format!(
        "#!/bin/sh\nulimit -l 64\nexec setpriv --bounding-set=-sys_nice,-ipc_lock --inh-caps=-sys_nice,-ipc_lock \
         {} \"$@\"\n",
        binary.display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut agent = Agent::new(&lab, ONE, AgentKind::Vipd(wrapper), &[instance()]).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let diagnosis = doctor_at_once(&lab);
    assert!(diagnosis.evidence("not-real-time").contains("has policy 0, not SCHED_FIFO"));
    assert!(diagnosis.evidence("memory-not-locked").contains("VmLck is 0 kB"));
}
