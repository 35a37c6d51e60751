//! State changes are reported to followers of `vipd events`, to commands and to the FIFO.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::control::{Reply, reload, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to the agent and requests its events.
fn events(agent: &Agent, follow: bool) -> BufReader<UnixStream> {
    let connect = || UnixStream::connect(Agent::control_socket()).context("connecting");
    let mut stream = agent.host().run(connect).expect("connect");
    stream.set_read_timeout(Some(TIMEOUT)).expect("set the timeout");
    writeln!(stream, "{{\"command\":\"events\",\"follow\":{follow}}}").expect("send the request");
    BufReader::new(stream)
}

/// Parses the remaining events, until the agent closes the connection.
fn read_all(stream: BufReader<UnixStream>) -> Vec<Reply> {
    let parse = |line: String| Reply(serde_json::from_str::<Value>(&line).expect("an event"));
    stream.lines().map(|line| parse(line.expect("a line"))).collect()
}

/// Returns the new state of each state change of an instance.
fn states<'a>(events: &'a [Reply], instance: &str) -> Vec<&'a str> {
    let changes = events.iter().filter(|event| event.text("event") == "state-changed");
    changes.filter(|event| event.text("instance") == instance).map(|event| event.text("to")).collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn follower_receives_every_state_change_until_the_agent_stops() {
    let lab = Lab::new(1).expect("create the lab");
    let instance = Instance { priority: 200, interval: Duration::from_millis(100), ..Instance::default() };
    let name = instance.name.clone();
    let mut agent =
        Agent::new(&lab, NODE, vipd().expect("vipd binary"), &[instance]).expect("create the agent");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("node 1 is master");
    let follower = events(&agent, true);
    lab.cut(NODE).expect("cut the node's link");
    wait_for(&agent, "fault", TIMEOUT, |status| status.text("state") == "fault").expect("fault");
    lab.reconnect(NODE).expect("reconnect the node's link");
    wait_for_state(&agent, "master", TIMEOUT).expect("node 1 is master again");

    let kept = read_all(events(&agent, false));
    let kept_states = states(&kept, &name);
    assert!(kept_states.ends_with(&["backup", "master", "fault", "backup", "master"]), "{kept_states:?}");
    for event in &kept {
        assert!(event.text("time").ends_with('Z'), "{event:?}");
    }
    let timeout = kept.iter().find(|event| event.text("reason") == "master-timeout").expect("a timeout");
    assert!(timeout.number("late-ns").is_ok(), "{timeout:?}");

    assert!(agent.stop().expect("stop the agent").success());
    let received = read_all(follower);
    assert_eq!(received[..kept.len()], kept[..], "the follower receives the same events");
    // The agent may exit before it has sent the last change to the follower.
    let later = states(&received[kept.len()..], &name);
    assert!(later.is_empty() || later == ["initialize"], "{later:?}");
}

/// A script that appends its arguments and environment to a file in the script's own directory.
struct Recorder {
    directory: TempDir,
}

impl Recorder {
    /// Creates a script whose first lines are `prologue`.
    fn new(prologue: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out").display().to_string();
        let script = format!(
            "#!/bin/sh\n{prologue}\necho \"$* / $VIPD_INSTANCE $VIPD_STATE $VIPD_PREVIOUS_STATE $VIPD_REASON\" >>{out}\n"
        );
        let path = directory.path().join("notify");
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
        Self { directory }
    }

    fn path(&self) -> String {
        self.directory.path().join("notify").display().to_string()
    }

    /// Returns the recorded lines.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, what: &str, is_met: impl Fn(&[String]) -> bool) -> Vec<String> {
        wait_until(what, TIMEOUT, || is_met(&self.lines())).unwrap_or_else(|error| {
            panic!("{error:#}: {:?}", self.lines());
        });
        self.lines()
    }
}

/// Returns a configuration of instances with VRIDs 1 to `count`, each with the additional lines
/// `more`.
fn configuration(count: u8, priority: u8, more: &str) -> String {
    let instance = |vrid: u8| {
        format!(
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.{vrid}.1\"]\n{more}\n"
        )
    };
    (1..=count).map(instance).collect()
}

fn start(lab: &Lab, station: Station, text: String) -> Agent {
    let program = vipd().expect("vipd binary");
    let mut agent = Agent::with_configuration(lab, station, program, text).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn commands_run_in_order_with_arguments_and_environment() {
    let lab = Lab::new(1).expect("create the lab");
    let recorder = Recorder::new("");
    let script = recorder.path();
    let more = format!(
        "[instance.notify]\nmaster = [\"{script}\", \"own\", \"a b\"]\nany = [\"{script}\"]\nuser = \"root\"\n"
    );
    let mut agent = start(&lab, NODE, configuration(1, 150, &more));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    recorder.wait_for("the command for Master", |lines| lines.len() >= 3);
    lab.cut(NODE).expect("cut the node's link");
    recorder.wait_for("the command for Fault", |lines| lines.iter().any(|line| line.contains("FAULT")));
    agent.stop().expect("stop the agent");
    let lines = recorder.lines();
    let expected = [
        "own a b / VI_1 master backup master-timeout",
        "INSTANCE VI_1 MASTER 150 / VI_1 master backup master-timeout",
        "INSTANCE VI_1 FAULT 150 / VI_1 fault master interface-down",
        "INSTANCE VI_1 STOP 150 / VI_1 stop fault shutdown",
    ];
    let from_master = lines.iter().position(|line| line == expected[0]).expect("the command for Master");
    assert!(lines[0].starts_with("INSTANCE VI_1 ") && from_master >= 1, "{lines:?}");
    assert_eq!(lines[from_master..], expected, "the command for `stop` runs before the agent exits");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn commands_run_as_their_user_without_capabilities() {
    let lab = Lab::new(1).expect("create the lab");
    let recorder = Recorder::new("set -- $(id -un) $(id -gn) $(grep CapEff /proc/self/status)");
    // `nobody` must be able to execute the command, which appends to the file.
    let directory = recorder.directory.path();
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("accessible");
    fs::write(directory.join("out"), "").expect("created");
    fs::set_permissions(directory.join("out"), Permissions::from_mode(0o666)).expect("writable");
    let more = format!("[instance.notify]\nmaster = [\"{}\"]\nuser = \"nobody\"\n", recorder.path());
    let _agent = start(&lab, NODE, configuration(1, 150, &more));
    let lines = recorder.wait_for("the command for Master", |lines| !lines.is_empty());
    assert_eq!(lines, ["nobody nogroup CapEff: 0000000000000000 / VI_1 master backup master-timeout"]);
}

/// A reload that does not change the state runs no command. The new command runs from the next
/// state change on.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_without_a_state_change_runs_no_command() {
    let lab = Lab::new(1).expect("create the lab");
    let [old, new] = [Recorder::new(""), Recorder::new("")];
    let with = |recorder: &Recorder| {
        configuration(1, 150, &format!("notify = {{ any = [\"{}\"] }}", recorder.path()))
    };
    let mut agent = start(&lab, NODE, with(&old));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let before =
        old.wait_for("the command for Master", |lines| lines.iter().any(|line| line.contains("MASTER")));
    agent.configure(with(&new)).expect("configured");
    assert_eq!(reload(&agent).expect("reloaded"), ["VI_1: notify changed"]);
    agent.stop().expect("stop the agent");
    assert_eq!(old.lines(), before);
    assert_eq!(new.lines(), ["INSTANCE VI_1 STOP 150 / VI_1 stop master shutdown"]);
}

/// A hanging command is killed with its children, and a missing command is reported. Neither delays
/// adverts or later notifications.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn hanging_and_missing_commands_delay_nothing() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("capture");
    // The duration is unique on this machine, so that the test can find its `sleep` processes.
    let duration = format!("1000.{}", std::process::id());
    let hanging =
        Recorder::new(&format!("sleep {duration} & [ \"$VIPD_STATE\" = stop ] || sleep {duration}"));
    let script = hanging.path();
    let more = format!(
        "[instance.notify]\nbackup = [\"/no/such/command\"]\nany = [\"{script}\"]\ntimeout = \"500ms\"\n"
    );
    let mut agent = start(&lab, NODE, configuration(1, 150, &more));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let since = WallTime::now();
    wait_until("both failures to be logged", TIMEOUT, || {
        let log = agent.log();
        let has = |text: &str| log.iter().any(|line| line.text.contains(text));
        has("/no/such/command") && has("`any` failed: timed out")
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", agent.log()));
    wait_until("the master to advertise", TIMEOUT, || {
        capture.filter_map(since, vipd_tests::frame::Frame::advert).len() >= 10
    })
    .expect("adverts");
    wait_until("the command and its child to be killed", TIMEOUT, || !is_slept_for(&duration))
        .expect("killed");
    agent.stop().expect("stop the agent");
}

/// Returns whether a `sleep` of this duration is running on this machine.
fn is_slept_for(duration: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("read /proc").flatten();
    let mut commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.any(|command| command == format!("sleep\0{duration}\0").as_bytes())
}

/// All routers of a node fail over simultaneously. Every command runs, and the commands of each
/// instance run in order.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn no_notification_is_lost_in_a_mass_failover() {
    const COUNT: u8 = 100;
    let lab = Lab::new(2).expect("create the lab");
    let recorder = Recorder::new("");
    let more = format!("notify = {{ any = [\"{}\"] }}", recorder.path());
    let mut master = start(&lab, NODE, configuration(COUNT, 200, ""));
    let backup = start(&lab, Station::Node(2), configuration(COUNT, 100, &more));
    let of = |lines: &[String], vrid: u8| -> Vec<String> {
        let prefix = format!("INSTANCE VI_{vrid} ");
        let own = lines.iter().filter_map(|line| line.strip_prefix(&prefix));
        own.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    let all_end_with = |lines: &[String], state: &str| {
        (1..=COUNT).all(|vrid| of(lines, vrid).last().is_some_and(|last| last == state))
    };
    recorder.wait_for("all backups to be notified", |lines| all_end_with(lines, "BACKUP"));
    master.stop().expect("stop the master");
    let lines = recorder.wait_for("all masters to be notified", |lines| all_end_with(lines, "MASTER"));
    for vrid in 1..=COUNT {
        let states = of(&lines, vrid);
        assert!(states.ends_with(&["BACKUP".to_owned(), "MASTER".to_owned()]), "VI_{vrid}: {states:?}");
    }
    let mut dropping = backup;
    dropping.stop().expect("stop the backup");
}

/// A reload that adds many instances takes several turns of the engine, which reports faults of
/// these instances before the reload is complete.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn faults_of_instances_added_by_a_reload_are_notified() {
    // The BPF maps of an agent that starts with one instance have room for 64.
    const COUNT: u8 = 60;
    let lab = Lab::new(1).expect("create the lab");
    let recorder = Recorder::new("");
    let more =
        format!("track = [{{ interface = \"missing0\" }}]\nnotify = {{ any = [\"{}\"] }}", recorder.path());
    let mut agent = start(&lab, NODE, configuration(1, 150, ""));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let all = configuration(COUNT, 150, &more);
    agent.configure(all).expect("configured");
    reload(&agent).expect("reloaded");
    let lines = recorder.wait_for("all faults to be notified", |lines| lines.len() >= COUNT.into());
    for vrid in 1..=COUNT {
        let fault = format!("INSTANCE VI_{vrid} FAULT ");
        assert_eq!(lines.iter().filter(|line| line.starts_with(&fault)).count(), 1, "{fault}: {lines:#?}");
    }
    agent.stop().expect("stop the agent");
}

/// The FIFO receives lines in keepalived's format.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn fifo_receives_a_line_for_each_change() {
    let lab = Lab::new(1).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("fifo");
    let text = format!("notify = {{ fifo = \"{}\" }}\n{}", path.display(), configuration(1, 150, ""));
    let mut agent = start(&lab, NODE, text);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let reader = BufReader::new(File::open(&path).expect("open the FIFO"));
    agent.stop().expect("stop the agent");
    let lines: Vec<_> = reader.lines().map(|line| line.expect("a line")).collect();
    assert!(
        lines
            .ends_with(&["INSTANCE \"VI_1\" MASTER 150".to_owned(), "INSTANCE \"VI_1\" STOP 150".to_owned()]),
        "{lines:?}"
    );
}

/// The commands of a sync group run once per state change of the group. The FIFO also receives
/// lines for the members, which have no commands in this test.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn group_notifies_once_for_all_members() {
    let lab = Lab::new(1).expect("create the lab");
    let recorder = Recorder::new("[ -n \"$VIPD_GROUP\" ] || echo \"no group\" >&2");
    let path = recorder.directory.path().join("fifo");
    let text = format!(
        "notify = {{ fifo = \"{}\" }}\n{}[[group]]\nname = \"gateway\"\nmembers = [\"VI_1\", \"VI_2\"]\n\
         notify = {{ any = [\"{}\"] }}\n",
        path.display(),
        configuration(2, 150, "").replace("vrid = 2\npriority = 150", "vrid = 2\npriority = 140"),
        recorder.path()
    );
    let mut agent = start(&lab, NODE, text);
    recorder.wait_for("the command for Master", |lines| lines.iter().any(|line| line.contains("MASTER")));
    let reader = BufReader::new(File::open(&path).expect("open the FIFO"));
    let follower = events(&agent, true);
    lab.cut(NODE).expect("cut the node's link");
    recorder.wait_for("the command for Fault", |lines| lines.iter().any(|line| line.contains("FAULT")));
    agent.stop().expect("stop the agent");

    let commands = recorder.lines();
    let from_master = commands.iter().position(|line| line.contains("MASTER")).expect("a master");
    // As with keepalived, a group has no priority.
    let expected = [
        "GROUP gateway MASTER 0 /  master backup master-timeout",
        "GROUP gateway FAULT 0 /  fault master interface-down",
        "GROUP gateway STOP 0 /  stop fault shutdown",
    ];
    assert_eq!(commands[from_master..], expected, "the command runs once per state");
    let lines: Vec<_> = reader.lines().map(|line| line.expect("a line")).collect();
    let of_group: Vec<_> = lines.iter().filter(|line| line.starts_with("GROUP")).collect();
    assert!(
        of_group.ends_with(&[
            &"GROUP \"gateway\" MASTER 0".to_owned(),
            &"GROUP \"gateway\" FAULT 0".to_owned(),
            &"GROUP \"gateway\" STOP 0".to_owned()
        ]),
        "{lines:?}"
    );
    for instance in ["VI_1", "VI_2"] {
        // Members advertise the lowest of their priorities.
        assert!(lines.contains(&format!("INSTANCE \"{instance}\" FAULT 140")), "{lines:?}");
    }
    let received = read_all(follower);
    let of_group = received.iter().filter(|event| event.text("event") == "group-state-changed");
    let to: Vec<_> = of_group.map(|event| (event.text("group"), event.text("to"))).collect();
    assert!(to.contains(&("gateway", "master")) && to.contains(&("gateway", "fault")), "{to:?}");
}
