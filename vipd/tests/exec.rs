//! Tests of `vipd exec`, which replaces itself with a configured command.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

/// Runs a command through `vipd exec` as `user`, or as the current user if `user` is empty.
fn exec(user: &str, argv: &[&str]) -> Output {
    let parent = std::process::id().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vipd"));
    command.args(["exec", &parent, user]).args(argv).stdin(Stdio::null());
    command.output().expect("vipd starts")
}

#[track_caller]
fn assert_output(output: &Output, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert_eq!(output.status.code(), Some(code), "{}", output.status);
}

#[test]
fn command_receives_its_arguments_unchanged() {
    let output = exec("", &["/usr/bin/printf", "%s\n", "a b", "", "$HOME", "--help"]);
    assert_output(&output, 0, "a b\n\n$HOME\n--help\n", "");
}

#[test]
fn command_leads_a_session() {
    let script = "set -- $(cat /proc/$$/stat); test \"$5 $6\" = \"$$ $$\"";
    assert_output(&exec("", &["/bin/sh", "-c", script]), 0, "", "");
}

#[test]
fn signals_are_neither_blocked_nor_ignored() {
    let output = exec("", &["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (name, mask) = line.split_once(":\t").expect("a line of /proc/self/status");
        let mask = u64::from_str_radix(mask, 16).expect("a mask");
        assert_eq!(mask, 0, "{name}: {mask:x}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn descriptors_are_not_inherited() {
    let vipd = env!("CARGO_BIN_EXE_vipd");
    let script = format!("exec 9</dev/null; {vipd} exec $$ '' /bin/ls /proc/self/fd; true");
    let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
    // Descriptor 3 is the directory that `ls` reads.
    assert_output(&output, 0, "0\n1\n2\n3\n", "");
}

#[test]
fn soft_limit_on_open_files_is_at_most_1024() {
    let output = exec("", &["/bin/sh", "-c", "test $(ulimit -Sn) -le 1024"]);
    assert_output(&output, 0, "", "");
}

#[test]
fn error_names_a_command_that_cannot_be_run() {
    let output = exec("", &["/nonexistent", "argument"]);
    assert_output(&output, 126, "", "/nonexistent cannot be run: No such file or directory (os error 2)\n");
    let output = exec("no-such-user", &["/bin/true"]);
    assert_output(&output, 126, "", "user no-such-user does not exist or cannot be looked up\n");
}

#[test]
fn command_does_not_start_after_the_agent_has_ended() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vipd"));
    let output = command.args(["exec", "1", "", "/bin/true"]).output().expect("vipd starts");
    assert_output(&output, 126, "", "the agent has ended\n");
}

#[test]
fn exit_status_reports_the_signal_that_killed_the_command() {
    let output = exec("", &["/bin/sh", "-c", "kill -TERM $$"]);
    assert_eq!(output.status.signal(), Some(15));
}

#[test]
fn exec_is_not_in_the_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_vipd")).arg("--help").output().expect("vipd starts");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(!help.contains("exec"), "{help}");
}

#[test]
#[ignore = "needs CAP_SETUID and CAP_SETGID"]
fn command_runs_as_another_user_without_privileges() {
    let script = "id -un; id -gn; id -Gn; echo $USER $LOGNAME $HOME; grep ^Cap[PEA] /proc/self/status";
    let output = exec("daemon", &["/bin/sh", "-c", script]);
    let none = "0000000000000000";
    let expected = format!(
        "daemon\ndaemon\ndaemon\ndaemon daemon /usr/sbin\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\n"
    );
    assert_output(&output, 0, &expected, "");
    let output = exec("1", &["/usr/bin/id", "-un"]);
    assert_output(&output, 0, "daemon\n", "");
}
