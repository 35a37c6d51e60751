//! Tests of the program's arguments, output and exit codes.

mod documents;
mod terminal;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

fn vipd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vipd"));
    command.args(arguments).env_remove("VIPD_RUNTIME_DIR").env_remove("VIPD_LOG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    vipd(arguments).output().expect("vipd starts")
}

#[track_caller]
fn assert_output(output: &Output, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr);
    assert_eq!(output.status.code(), Some(code));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Replies to every request on a control socket with the same line.
fn reply_with(line: &'static str) -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    let listener = UnixListener::bind(directory.path().join("control.sock")).expect("bind");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("accept"));
            stream.read_line(&mut String::new()).expect("request");
            stream.get_mut().write_all(line.as_bytes()).expect("reply");
        }
    });
    directory
}

const STATS: &str = "{\"global\":{\"checksum-errors\":0,\"version-errors\":0,\"vrid-errors\":0,\"ip-ttl-errors\":0,\
    \"vipd:fragments-passed\":0,\"vipd:destination-passed\":0,\"vipd:unparsable-passed\":0,\"vipd:ring-full\":0,\
    \"vipd:events-dropped\":0,\"vipd:netlink-overruns\":0,\"vipd:engine-wakeups\":0,\"vipd:fifo-dropped\":0},\"instances\":[]}\n";

#[test]
fn check_accepts_a_valid_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("good.toml");
    // With `fence` on, `check` would print another warning on a machine without a BPF file system.
    let instance = "fence = \"off\"\n[[instance]]\nname = \"VI_1\"\ninterface = \"vipd-missing\"\nvrid = 51\n\
                    virtual_addresses = [\"192.0.2.10/24\"]\n";
    fs::write(&path, instance).expect("write");
    let expected = format!(
        "{}: ok, 1 instance, 1 warning\n\
         NAME  INTERFACE     VRID  VERSION  PRIO  INTERVAL  PREEMPT  ADDRESSES\n\
         VI_1  vipd-missing    51        3   100        1s  yes      192.0.2.10/24\n",
        path.display()
    );
    let warning = format!(
        "{}:4:13: warning: interface is vipd-missing, which does not exist on this machine; the instance is in fault \
         until it exists\n",
        path.display()
    );
    assert_output(&run(&["check", "-c", text(&path)]), 0, &expected, &warning);
}

#[test]
fn warnings_do_not_fail_check() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("odd.toml");
    let instance = "fence = \"off\"\n[[instance]]\nname = \"VI_1\"\ninterface = \"vipd-missing\"\nvrid = 51\n\
                    virtual_addresses = []\nvirtual_addresses_excluded = [\"192.0.2.10/24\"]\ndown_after_adverts = 5\n";
    fs::write(&path, instance).expect("write");
    let name = text(&path);
    let output = run(&["check", "-c", name]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let heads: Vec<&str> = stderr.lines().filter_map(|line| line.split(';').next()).collect();
    assert_eq!(
        heads,
        [
            format!("{name}:4:13: warning: interface is vipd-missing, which does not exist on this machine"),
            format!("{name}:6:21: warning: virtual_addresses is empty"),
            format!("{name}:8:22: warning: down_after_adverts is 5"),
        ]
    );
    let expected = format!(
        "{name}: ok, 1 instance, 3 warnings\n\
         NAME  INTERFACE     VRID  VERSION  PRIO  INTERVAL  PREEMPT  ADDRESSES\n\
         VI_1  vipd-missing    51        3   100        1s  yes      192.0.2.10/24\n"
    );
    assert_output(&output, 0, &expected, &stderr);
}

#[test]
fn check_accepts_the_examples() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let entries = |directory: &Path| {
        fs::read_dir(directory).expect("examples").map(|entry| entry.expect("entry").path())
    };
    let (directories, mut files): (Vec<_>, Vec<_>) = entries(&examples).partition(|path| path.is_dir());
    files.extend(directories.iter().flat_map(|directory| entries(directory)));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut checked = Vec::new();
    for path in files {
        let output = run(&["check", "-c", text(&path)]);
        // This machine may lack the examples' interfaces and a BPF file system.
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            let expected =
                [" which does not exist on this machine; ", ": VIPs are not fenced if all processes "];
            assert!(expected.iter().any(|expected| line.contains(expected)), "{line}");
        }
        assert_eq!(output.status.code(), Some(0));
        let name = path.strip_prefix(&examples).expect("an example");
        checked.push(name.to_string_lossy().into_owned());
    }
    checked.sort();
    assert_eq!(
        checked,
        [
            "containerlab/node1.toml",
            "containerlab/node2.toml",
            "dual-stack.toml",
            "kubernetes/vipd.toml",
            "routes.toml",
            "sync-group.toml",
            "tracking.toml",
            "unicast.toml",
            "vipd.toml",
            "virtual-mac.toml"
        ]
    );
}

#[test]
fn check_and_run_report_all_errors_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("bad.toml");
    let instance = "[[instance]]\nname = \"VI_1\"\ninterface = \"lo\"\nvrid = 256\n\
                    virtual_addresses = [\"192.0.2.10/24\"]\n";
    fs::write(&path, instance).expect("write");
    let name = text(&path);
    let expected = format!(
        "{name}:3:13: interface is \"lo\"; no other host is reachable through the loopback interface; use the interface that faces the hosts\n\
         {name}:4:8: vrid is 256; it must be an integer from 1 to 255; choose another number\n\
         vipd: {name}: 2 problems\n"
    );
    assert_output(&run(&["check", "-c", name]), 1, "", &expected);
    let runtime_dir = directory.path().join("run");
    assert_output(&run(&["run", "-c", name, "--runtime-dir", text(&runtime_dir)]), 1, "", &expected);
    assert!(!runtime_dir.exists(), "nothing is changed if the configuration is invalid");
}

#[test]
fn check_reports_invalid_routes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("vipd.toml");
    let check = |routes: &str| {
        let instance = format!(
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\n\
             virtual_addresses = [\"192.0.2.10/24\"]\nroutes = [{routes}]\n"
        );
        fs::write(&path, instance).expect("write");
        let output = run(&["check", "-c", text(&path)]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_valid, text) = check("{ to = \"10.0.0.0/8\", via = \"fe80::1\" }, { to = \"10.0.0.0/8\" }");
    assert!(!is_valid && text.contains("vipd.toml:6:38: via is fe80::1"), "{text}");
    assert!(text.contains("vipd.toml:6:51: a route has neither"), "{text}");
    let (is_valid, text) = check("{ to = \"10.0.0.0/8\", dev = \"not-there\" }");
    let warning = "vipd.toml:6:38: warning: dev is not-there, which does not exist";
    assert!(is_valid && text.contains(warning), "{text}");
}

#[test]
fn a_missing_file_is_reported_once() {
    let expected = "vipd: cannot read /nonexistent/vipd.toml: No such file or directory (os error 2); create it, or specify another file with -c FILE\n";
    assert_output(&run(&["check", "-c", "/nonexistent/vipd.toml"]), 1, "", expected);
}

#[test]
fn status_and_stats_without_an_agent_print_the_remedy() {
    let directory = tempfile::tempdir().expect("temporary directory");
    // The expected text omits the end of the line, which depends on whether other agents run on
    // this machine.
    let expected = format!(
        "vipd: no agent is running with the runtime directory {0}; start one with `sudo vipd run -c FILE --runtime-dir \
         {0}`, or ",
        directory.path().display()
    );
    for command in ["status", "stats"] {
        let option = run(&[command, "--runtime-dir", text(directory.path())]);
        let environment =
            vipd(&[command]).env("VIPD_RUNTIME_DIR", directory.path()).output().expect("vipd starts");
        for output in [option, environment] {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(stderr.starts_with(&expected) && stderr.lines().count() == 1, "{stderr}");
            assert_output(&output, 1, "", &stderr);
        }
    }
}

/// Every command that needs an agent fails in the same way if no agent is running.
#[test]
fn commands_without_an_agent_exit_with_1() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for command in [
        "status",
        "status VI_1",
        "stats",
        "stats --watch 1",
        "events",
        "events --follow",
        "reload",
        "upgrade",
        "drain",
        "undrain",
        "failover VI_1",
        "priority VI_1 reset",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--runtime-dir", text(directory.path())]).collect();
        let output = run(&words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.starts_with("vipd: no agent is running with"), "{command}: {stderr}");
        assert_output(&output, 1, "", &stderr);
    }
}

/// `status` succeeds in any state, but not for a name that does not exist.
#[test]
fn status_of_an_unknown_name_exits_with_1() {
    let directory = reply_with("{\"instances\":[]}\n");
    let run = |arguments: &[&str]| run(&[arguments, &["--runtime-dir", text(directory.path())]].concat());
    assert_eq!(run(&["status", "--json"]).status.code(), Some(0));
    let expected = "vipd: no instance or sync group is named \"VI_1\"; instances: none\n";
    assert_output(&run(&["status", "VI_1"]), 1, "", expected);
}

#[test]
fn top_requires_a_terminal() {
    let expected = "vipd: standard input and output of `vipd top` must be a terminal; use `ssh -t` to get one, or use \
                    `vipd status` or `vipd stats --watch 1`\n";
    assert_output(&run(&["top"]), 1, "", expected);
}

#[test]
fn output_to_a_pipe_has_no_colors() {
    let directory = reply_with("{\"instances\":[]}\n");
    let runtime_dir = text(directory.path());
    assert_output(&run(&["status", "--json", "--runtime-dir", runtime_dir]), 0, "{\"instances\":[]}\n", "");
    let head = "NAME  INTERFACE  VRID  STATE  PRIO  INTERVAL  MASTER-DOWN  LAST-ADVERT-FROM  XDP  SINCE  ADDRESSES\n";
    assert_output(&run(&["status", "--runtime-dir", runtime_dir]), 0, head, "");
    let directory = reply_with(STATS);
    assert_output(&run(&["stats", "--json", "--runtime-dir", text(directory.path())]), 0, STATS, "");
}

#[test]
fn errors_and_invalid_replies_from_the_agent_are_reported() {
    let directory = reply_with("{\"error\":\"the engine is busy\"}\n");
    let expected = "vipd: the agent refused the request: the engine is busy\n";
    assert_output(&run(&["status", "--runtime-dir", text(directory.path())]), 1, "", expected);
    let directory = reply_with("hello\n");
    let output = run(&["stats", "--runtime-dir", text(directory.path())]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("unexpected reply"), "{stderr}");
}

#[test]
fn watch_exits_without_error_on_a_closed_pipe() {
    let directory = reply_with(STATS);
    let mut child = vipd(&["stats", "--json", "--watch", "0.01", "--runtime-dir", text(directory.path())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vipd starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    for _ in 0..2 {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("read");
        assert_eq!(line, STATS);
    }
    drop(stdout);
    assert_output(&child.wait_with_output().expect("ends"), 0, "", "");
}

#[test]
fn watch_separates_reports_in_a_pipe() {
    let directory = reply_with(STATS);
    let mut child = vipd(&["stats", "--watch", "0.01", "--runtime-dir", text(directory.path())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("vipd starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let lines: Vec<String> = stdout.lines().take(3).collect::<Result<_, _>>().expect("read");
    let head = "NAME  INTERFACE  VRID  RCVD  SENT  MASTER  PRIO0-RCVD  PRIO0-SENT  ERRORS";
    assert_eq!(lines, [head, "", head]);
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn an_invalid_command_line_exits_with_2() {
    for arguments in [
        &["stats", "--json", "--prometheus"][..],
        &["status", "--vrid", "1"],
        &["status", "--color", "red"],
        &["failover"],
        &["priority", "VI_1", "255"],
        &["reboot"],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["help", "check"], &["check", "--help"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_has_examples() {
    let output = run(&["stats", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("vipd stats --watch 1"));
}

#[test]
fn run_rejects_an_invalid_log_level() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("good.toml");
    let instance = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\n\
                    virtual_addresses = [\"192.0.2.10/24\"]\n";
    fs::write(&path, instance).expect("write");
    let output = vipd(&["run", "-c", text(&path), "--runtime-dir", text(directory.path())])
        .env("VIPD_LOG", "=loud=")
        .output()
        .expect("vipd starts");
    let expected = "vipd: VIPD_LOG is \"=loud=\"; it must be a level such as `debug`, or a filter such as `info,vipd=trace`\n";
    assert_output(&output, 1, "", expected);
}

#[test]
fn import_translates_and_reports() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (from, to) = (directory.path().join("keepalived.conf"), directory.path().join("vipd.toml"));
    let instance = "vrrp_instance VI_1 {\n    interface eth0\n    virtual_router_id 51\n    virtual_ipaddress { 192.0.2.10/24 }\n";
    let expected = |comments: &str| {
        format!(
            "# Translated from {} by `vipd import`.\n{comments}\n[[instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvrid = 51\n\
             version = 2\npriority = 100\nvirtual_addresses = [\"192.0.2.10/24\"]\n",
            from.display()
        )
    };
    fs::write(&from, format!("{instance}    track_src_ip\n}}\n")).expect("write");
    let note = format!(
        "{}:5: note: `track_src_ip` is not needed: an instance is always in Fault while its interface does not have the source \
         address\n",
        from.display()
    );
    assert_output(&run(&["import", text(&from)]), 0, &expected(""), &note);
    assert_output(&run(&["import", text(&from), "-o", text(&to)]), 0, "", &note);
    assert_eq!(fs::read_to_string(&to).expect("written"), expected(""));

    let refused =
        format!("vipd: {} exists; specify another file, or --force to overwrite it\n", to.display());
    assert_output(&run(&["import", text(&from), "-o", text(&to)]), 1, "", &refused);
    assert_output(&run(&["import", text(&from), "-o", text(&to), "--force"]), 0, "", &note);

    fs::write(&from, format!("{instance}}}\nvirtual_server 192.0.2.10 80 {{\n}}\n")).expect("write");
    let output = run(&["import", text(&from)]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with(&format!("{}:6: attention: `virtual_server` is not translated", from.display())),
        "{stderr}"
    );
    assert!(stderr.ends_with("vipd: 1 setting needs attention\n"), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("# ATTENTION "), "{output:?}");

    let missing = directory.path().join("missing.conf");
    let error = format!(
        "vipd: cannot read {}: No such file or directory (os error 2); specify keepalived's configuration file\n",
        missing.display()
    );
    assert_output(&run(&["import", text(&missing)]), 1, "", &error);
}
