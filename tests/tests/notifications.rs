//! State changes are reported to followers of `vipd events`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::control::{Reply, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;

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
    // The last change is sent unless the agent ends first.
    let later = states(&received[kept.len()..], &name);
    assert!(later.is_empty() || later == ["initialize"], "{later:?}");
}
