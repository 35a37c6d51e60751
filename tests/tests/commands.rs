//! Scripts and notification commands do not inherit the agent's scheduling, signal mask, ignored
//! signals or OOM score. An agent that is the init process reaps the orphans of its scripts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::wait_for_state;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Appends a line to `$0.out`: the nice value, real-time priority, scheduling policy, masks of
/// blocked and ignored signals, and adjustment of the out-of-memory score.
const SCRIPT: &str = "set -- $(cut -d ' ' -f 19,40,41 /proc/self/stat) $(grep -E '^Sig(Blk|Ign)' /proc/self/status) \
                      $(cat /proc/self/oom_score_adj)\necho \"$1 $2 $3 $5 $7 $8\" >>\"$0.out\"\n";

fn write_script(path: &Path) -> String {
    fs::write(path, format!("#!/bin/sh\n{SCRIPT}")).expect("written");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("executable");
    path.display().to_string()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path.with_extension("out")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{program} {arguments:?}");
}

/// The agent may run with a negative nice value, `CPUSchedulingPolicy=fifo` and
/// `OOMScoreAdjust=-1000`. Its commands must not inherit these settings: a script in a loop would
/// delay the agent, and the out-of-memory killer would spare a script that leaks memory.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn commands_have_ordinary_scheduling_signals_and_oom_score() {
    let lab = Lab::new(1).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let [check, notify] = ["check", "notify"].map(|name| directory.path().join(name));
    let text = format!(
        "[[script]]\nname = \"check\"\ncommand = [\"{}\"]\ninterval = \"100ms\"\ntimeout = \"20s\"\n\
         [[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\nadvert_interval = \"100ms\"\n\
         virtual_addresses = [\"10.0.1.1\"]\ntrack = [{{ script = \"check\", weight = -1 }}]\n\
         notify = {{ fault = [\"{}\"] }}\n",
        write_script(&check),
        write_script(&notify)
    );
    let mut agent =
        Agent::with_configuration(&lab, NODE, vipd().expect("vipd binary"), text).expect("create the agent");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let pid = agent.pid().expect("it runs").to_string();
    // All threads are changed, because commands inherit the scheduling of the thread that starts
    // them.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten();
    let threads: Vec<_> = threads.map(|thread| thread.file_name().into_string().expect("an ID")).collect();
    let arguments = ["-n", "-7", "-p"].into_iter().chain(threads.iter().map(String::as_str));
    run("renice", &arguments.collect::<Vec<_>>());
    run("chrt", &["--all-tasks", "--fifo", "--pid", "7", &pid]);
    let score = format!("/proc/{pid}/oom_score_adj");
    // Without CAP_SYS_RESOURCE, the score cannot be set below its initial value.
    fs::write(&score, "-1000").or_else(|_| fs::write(&score, "300")).expect("changed");
    let before = lines(&check).len();
    // The first run may have started before these changes.
    wait_until("two runs of the script", TIMEOUT, || lines(&check).len() >= before + 2).expect("it runs");
    lab.cut(NODE).expect("cut the node's link");
    wait_until("the notification", TIMEOUT, || !lines(&notify).is_empty()).expect("it runs");
    for path in [&check, &notify] {
        let line = lines(path).pop().expect("a line");
        let [nice, real_time, policy, blocked, ignored, oom] = *line.split(' ').collect::<Vec<_>>() else {
            panic!("not six words: {line}");
        };
        assert_eq!([nice, real_time, policy, oom], ["0"; 4], "{line}");
        for mask in [blocked, ignored] {
            let mask = u64::from_str_radix(mask, 16).expect("a mask");
            assert_eq!(mask, 0, "{line}");
        }
    }
    agent.stop().expect("stop the agent");
}

/// Returns the number of child processes that have exited and have not been reaped.
fn zombies(parent: u32) -> usize {
    let processes = fs::read_dir("/proc").expect("read /proc").flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let zombie = format!(" Z {parent} ");
    stats.filter(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(&zombie))).count()
}

/// The agent is the init process of its PID namespace, as in many containers, and must reap the
/// orphaned processes of its scripts.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn init_process_reaps_orphans_of_scripts() {
    let lab = Lab::new(1).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let [check, flag] = ["check", "flag"].map(|name| directory.path().join(name));
    write_script(&check);
    let leaving = format!("#!/bin/sh\nif [ ! -e {} ]; then sleep 0.2 & fi\n{SCRIPT}", flag.display());
    fs::write(&check, leaving).expect("written");
    let text = format!(
        "[[script]]\nname = \"check\"\ncommand = [\"{}\"]\ninterval = \"100ms\"\ntimeout = \"20s\"\n\
         [[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"10.0.1.1\"]\n\
         track = [{{ script = \"check\", weight = -1 }}]\n",
        check.display()
    );
    let mut agent =
        Agent::with_configuration(&lab, NODE, vipd().expect("vipd binary"), text).expect("create the agent");
    agent.start().expect("start the agent");
    wait_until("ten runs of the script", TIMEOUT, || lines(&check).len() >= 10).expect("it runs");
    fs::write(&flag, "").expect("written");
    let pid = agent.pid().expect("it runs");
    wait_until("all child processes to be reaped", TIMEOUT, || zombies(pid) == 0)
        .unwrap_or_else(|error| panic!("{error}: {} zombies", zombies(pid)));
    let last = lines(&check).pop().expect("a line");
    assert!(last.starts_with("0 "), "{last}");
    let status = vipd_tests::control::status(&agent).expect("status");
    assert_eq!(status[0].0["vipd:track"][0]["detail"], "succeeded", "the script's exit status is not lost");
    agent.stop().expect("stop the agent");
}
