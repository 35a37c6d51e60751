//! `vipd before-stop`, with a `systemctl` that prints chosen jobs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use rustix::process::Pid;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd_binary;
use vipd_tests::command::run;
use vipd_tests::control::wait_for_state;
use vipd_tests::lab::Lab;

use super::service::Service;
use super::{FAST, ONE, TIMEOUT, configuration, states};

/// Prints the present jobs, or the size of the descriptor store.
const SYSTEMCTL: &str = r#"#!/bin/sh
case $* in
'list-jobs --no-legend --plain') echo "$JOBS" ;;
'show --property=FileDescriptorStoreMax --value vipd.service') echo "$STORE" ;;
*) exit 1 ;;
esac
"#;

/// A job that restarts the service, as systemd 252 prints it.
pub(super) const RESTART: &str = "2268 vipd.service restart running";

/// Returns the arguments of `env` that run `vipd before-stop vipd.service`. `jobs` and `store` are
/// the output of `systemctl`, which is created in `directory`, and `process` is the main process of
/// the service.
pub(super) fn arguments(
    directory: &Path,
    process: Option<Pid>,
    jobs: &str,
    store: u8,
) -> Result<Vec<String>> {
    let systemctl = directory.join("systemctl");
    fs::write(&systemctl, SYSTEMCTL)?;
    fs::set_permissions(&systemctl, Permissions::from_mode(0o755))?;
    let mut all = vec![
        "--unset=MAINPID".to_owned(),
        format!("PATH={}:/usr/bin:/bin", directory.display()),
        format!("VIPD_RUNTIME_DIR={}", Agent::runtime_dir().display()),
        format!("JOBS={jobs}"),
        format!("STORE={store}"),
    ];
    all.extend(process.map(|process| format!("MAINPID={}", process.as_raw_nonzero())));
    all.extend([vipd_binary()?.display().to_string(), "before-stop".to_owned(), "vipd.service".to_owned()]);
    Ok(all)
}

/// Runs the command with these [`arguments`].
fn before_stop(service: &Service, process: Option<Pid>, jobs: &str, store: u8) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let arguments = arguments(directory.path(), process, jobs, store)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(service.agent.host(), "env", &arguments)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn state_is_left_only_if_the_service_of_the_agent_is_being_restarted() {
    let lab = Lab::new(1).expect("create the lab");
    let mut one = Service::start(&lab, ONE, &configuration(&[(1, 200)], FAST));
    wait_for_state(&one.agent, "master", TIMEOUT).expect("master");
    let main = one.main_process();
    for (process, jobs, store) in [
        (None, RESTART, 1),
        (Some(main), "2268 vipd.service stop running", 1),
        (Some(main), "2268 other.service restart running", 1),
        (Some(main), RESTART, 0),
    ] {
        assert_eq!(before_stop(&one, process, jobs, store).expect("does nothing"), "", "{process:?} {jobs}");
    }
    // The service belongs to another agent, and its unit does not set that agent's runtime
    // directory.
    let refused = before_stop(&one, Some(Pid::INIT), RESTART, 1).expect_err("another process");
    assert!(
        format!("{refused:#}").contains("process 1 is being restarted, but this agent is"),
        "{refused:#}"
    );
    assert!(one.take_stored().is_none() && states(&one.agent) == ["master"], "{}", one.log());
    assert_eq!(one.main_process(), main);

    // After an upgrade, the successor is the main process.
    one.upgrade();
    let successor = one.main_process();
    assert_ne!(successor, main);
    before_stop(&one, Some(main), RESTART, 1).expect_err("the predecessor");
    before_stop(&one, Some(successor), RESTART, 1).expect("the state is left");
    one.wait_for_end();
    one.resume();
    assert_eq!(states(&one.agent), ["master"]);
    one.wait_for_log(0, "continuing with the state of the previous process");
}
