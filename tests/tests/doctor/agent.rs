//! Troubles of the agent, its guardian and its fence.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::wait_for_state;
use vipd_tests::foreign_program::{ForeignProgram, Kind};
use vipd_tests::lab::Lab;
use vipd_tests::routers::start_agent;
use vipd_tests::station::INTERFACE;
use vipd_tests::wait::wait_until;

use crate::{
    ONE, TIMEOUT, configuration, doctor, doctor_at_once, doctor_below, doctor_for, instance, run,
    wait_until_gone, write,
};

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn troubles_of_the_agent_are_named() {
    let lab = Lab::new(1).unwrap();
    let mut agent = Agent::new(&lab, ONE, vipd().unwrap(), &[instance()]).unwrap();
    agent.set_option("realtime", "off").unwrap();
    agent.set_option("fence", "off").unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let changed = write(
        &lab,
        "changed.toml",
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"200ms\"\n\
         virtual_addresses = [\"192.168.122.50/24\"]\n",
    );
    let diagnosis = doctor_for(&lab, &changed, "0.1");
    assert!(diagnosis.evidence("configuration-not-applied").contains("VI_1: interval 100ms in the agent"));
    let broken = write(&lab, "broken.toml", "[[instance]]\nname = \"VI_1\"\n");
    assert!(doctor_for(&lab, &broken, "0.1").evidence("configuration-invalid").contains("broken.toml:1:"));
    let diagnosis = doctor_for(&lab, &configuration(), "0.5");
    assert!(diagnosis.evidence("not-real-time").contains("SCHED_FIFO"));
    assert!(diagnosis.evidence("fence-off").contains("fence"));
    diagnosis.lacks(&["configuration-not-applied", "configuration-invalid"]);
    assert_eq!(diagnosis.code, Some(0), "{:#?}", diagnosis.findings);

    let diagnosis = doctor_below(&lab, &["unshare", "--net"]);
    assert!(diagnosis.evidence("agent-elsewhere").contains(", this command in net:["));

    agent.pause().unwrap();
    let diagnosis = doctor_for(&lab, &configuration(), "0.5");
    assert!(diagnosis.evidence("agent-silent").contains("is stopped (state T)"));
    assert!(diagnosis.evidence("no-master").contains("no master of this VRID on eth1"));
    diagnosis.apply(&lab, "agent-silent", 0);
    wait_until_gone(&lab, "agent-silent");
    // Also resumes the guardian, which was suspended with the agent.
    agent.resume().unwrap();

    lab.cut(ONE).unwrap();
    wait_for_state(&agent, "fault", TIMEOUT).unwrap();
    let diagnosis = doctor_at_once(&lab);
    assert!(diagnosis.evidence("instance-fault").contains("eth1"), "{:#?}", diagnosis.findings);
    assert_eq!(diagnosis.code, Some(1));
    lab.reconnect(ONE).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();

    let filter = ForeignProgram::attach(lab.host(ONE).unwrap(), INTERFACE, Kind::DroppingEgress).unwrap();
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("adverts-not-sent").contains("eth1 transmitted none"));
    drop(filter);
    doctor(&lab).lacks(&["adverts-not-sent", "no-master", "instance-fault", "agent-elsewhere"]);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn missing_fence_and_guardian_are_named_until_they_are_back() {
    let lab = Lab::new(1).unwrap();
    run(&lab, ONE, "umount /sys/fs/bpf");
    let mut agent = start_agent(&lab, ONE, &[instance()]).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let diagnosis = doctor_at_once(&lab);
    assert!(diagnosis.evidence("fence-incomplete").contains("fence level process on eth1"));
    diagnosis.apply(&lab, "fence-incomplete", 0);
    agent.stop().unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    doctor_at_once(&lab).lacks(&["fence-incomplete", "guardian-missing"]);

    // The agent replaces a guardian after a delay that doubles each time, so after several kills,
    // doctor runs while none exists.
    wait_until("a report of the missing guardian", TIMEOUT, || {
        let is_guardian = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "vipd-guardian\n")
        };
        for guardian in agent.processes().into_iter().filter(is_guardian) {
            let guardian = Pid::from_raw(i32::try_from(guardian).unwrap()).unwrap();
            // The guardian may have ended already.
            let _ = kill_process(guardian, Signal::KILL);
        }
        doctor_at_once(&lab).names().contains(&"guardian-missing")
    })
    .unwrap();
    wait_until_gone(&lab, "guardian-missing");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn disabled_ipv6_is_named_until_it_is_enabled() {
    let lab = Lab::new(1).unwrap();
    run(&lab, ONE, "ip link add eth9 type veth peer name peer9");
    run(&lab, ONE, "ip link set peer9 up");
    run(&lab, ONE, "ip link set eth9 up");
    run(&lab, ONE, "sysctl -w net.ipv6.conf.eth9.disable_ipv6=1");
    let text = "[[instance]]\nname = \"V6\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\n\
                virtual_addresses = [\"fe80::50/64\", { address = \"fd00:9::50/64\", dev = \"eth9\" }]\n";
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), text.to_owned()).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let diagnosis = doctor_at_once(&lab);
    assert!(diagnosis.evidence("missing-addresses").contains("fd00:9::50/64"));
    assert!(diagnosis.evidence("ipv6-disabled").contains("net.ipv6.conf.eth9.disable_ipv6 is 1"));
    diagnosis.apply(&lab, "ipv6-disabled", 0);
    wait_until_gone(&lab, "missing-addresses");
    doctor_at_once(&lab).lacks(&["ipv6-disabled"]);
}
