//! A restart that waits for notification commands.

use std::fs::File;
use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};
use serde_json::json;
use vipd_tests::control::{change, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::wait::wait_until;

use super::before_stop::{RESTART, arguments};
use super::service::Service;
use super::{FAST, ONE, TIMEOUT, addresses, configuration};

/// A stop that replaces the restart is a clean shutdown, which does not wait for the restart.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn signals_are_handled_while_a_restart_waits_for_commands() {
    let lab = Lab::new(1).expect("create the lab");
    let directory = tempfile::tempdir().expect("a directory");
    let end = directory.path().join("end");
    let script = format!("until test -e {}; do sleep 0.01; done", end.display());
    let settings = format!("{FAST}\nnotify = {{ any = [\"/bin/sh\", \"-c\", \"{script}\"] }}");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], &settings));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    let main = one.main_process();
    // `vipd before-stop` runs in a process of its own, because the test process sends its requests
    // to a host one after the other.
    let mut command = Command::new("env");
    command.args(arguments(directory.path(), Some(main), RESTART, 1).expect("arguments"));
    command.stderr(Stdio::piped());
    let mut restart = one.agent.host().run(move || command.spawn()).expect("started");
    wait_until("the restart to begin", TIMEOUT, || {
        let undrain = change(&one.agent, &json!({ "command": "undrain", "instances": [] }));
        undrain.is_err_and(|refused| format!("{refused:#}").contains("being replaced"))
            || restart.try_wait().is_ok_and(|ended| ended.is_some())
    })
    .expect("begun");
    kill_process(main, Signal::TERM).expect("sent");
    let refused = restart.wait_with_output().expect("ended");
    let refused = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.contains("the agent is stopping"), "{refused}: {}", one.log());
    assert!(one.take_stored().is_none() && !addresses(&one.agent).contains("10.0.1.1/"), "{}", one.log());
    File::create(&end).expect("created");
    one.wait_for_end();
}
