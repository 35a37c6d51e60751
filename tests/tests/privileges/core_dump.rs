//! An agent or `vipd capture` with a password or a key dumps no core, and the agent's output
//! contains neither.

use std::os::unix::process::ExitStatusExt as _;

use super::*;

const PASSWORD: &str = "Hx7_wp2Q";
const KEY: &str = "6b375a7130765266336e587739734c6432744279366d4863346a477038614575";

/// Returns whether the kernel writes core dumps to the working directory. If it does not, prints
/// that the test is skipped.
fn dumps_to_working_directory() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("readable");
    let is_file = pattern.starts_with("core");
    if !is_file {
        eprintln!("skipped: core dumps do not go to the working directory ({})", pattern.trim());
    }
    is_file
}

/// Returns the core dump, if any, in `directory`, the working directory of the crashed process.
fn core_dump(node: &Namespace, directory: &Path) -> Option<Vec<u8>> {
    let directory = directory.to_owned();
    node.run(move || {
        let files = fs::read_dir(directory).expect("a directory").flatten();
        let core = files
            .map(|file| file.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core")));
        core.map(|path| fs::read(path).expect("readable"))
    })
}

/// Starts an agent, reloads it with `configuration`, and makes it crash. Returns its core dump, and
/// the output of the agent and of all commands.
fn crash(configuration: &str) -> (Option<Vec<u8>>, String) {
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    let agent = Running::start(node, true, &format!("{NO_GUARDIAN}{}", instance("VI_1", 1, "")));
    let process = format!("--pid={}", agent.child.id());
    let limit = Command::new("prlimit").args(["--core=unlimited:unlimited", &process]).status();
    assert!(limit.expect("prlimit runs").success(), "cannot raise the limit on core dumps");
    agent.wait_for("VI_1", "master");
    let directory = agent.directory.clone();
    node.run(move || {
        for (name, content) in [("password", PASSWORD.to_owned()), ("key", format!("hex:{KEY}\n"))] {
            let file = directory.join(name);
            fs::write(&file, content).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
        }
    });
    agent.write(&format!("{NO_GUARDIAN}{configuration}"));
    let mut printed = String::new();
    for arguments in [&["check"][..], &["reload"], &["status", "--json"], &["status", "VI_1"], &["stats"]] {
        printed += &agent.change(arguments);
    }
    agent.signal(Signal::ABORT);
    let directory = agent.directory.clone();
    let (status, log) = agent.wait();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{log}");
    (core_dump(node, &directory), printed + &log)
}

#[test]
#[ignore = "needs root"]
fn password_and_key_are_in_no_core_dump_and_no_output() {
    if !dumps_to_working_directory() {
        return;
    }
    // Without a password, a crash must dump core, and the core dump must contain the text of the
    // configuration; otherwise, the absence of core dumps below would prove nothing.
    let (core, printed) =
        crash(&instance("VI_1", 1, "[[file]]\nname = \"Hx7_wp2Q\"\npath = \"/dev/shm/weight\"\n"));
    let core = core.expect("a crash without a password dumps core");
    assert!(core.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()), "{printed}");
    let hmac = format!("[instance.hmac]\nkeys = [{{ id = 1, hex = \"{KEY}\" }}]");
    for setting in [
        "version = 2\nauth_pass = \"Hx7_wp2Q\"",
        "version = 2\nauth_pass_file = \"password\"",
        "[instance.hmac]\nkeys = [{ id = 1, file = \"key\" }]",
        &hmac,
    ] {
        let text = instance("VI_1", 1, setting).replace("100ms", "1s");
        let (core, printed) = crash(&text);
        assert!(core.is_none(), "{setting}: {} bytes", core.map_or(0, |core| core.len()));
        assert!(!printed.contains(PASSWORD) && !printed.contains(KEY), "{setting}: {printed}");
        assert!(!printed.contains("problem"), "{setting}: {printed}");
    }
}

/// Makes `vipd capture` crash after it has read `configuration`. Returns whether it dumps core.
fn capture_dumps(node: &Namespace, configuration: &str) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let [file, captured] = ["vipd.toml", "captured.pcapng"].map(|name| directory.path().join(name));
    fs::write(&file, configuration).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
    let mut command = Command::new("prlimit");
    command.arg("--core=unlimited:unlimited").arg(vipd_binary().expect("vipd binary"));
    command.args(["capture", INTERFACE, "-c"]).arg(&file).arg("-w").arg(&captured);
    command.args(["--seconds", "60"]);
    command.current_dir(&directory);
    let mut child = node.run(move || command.spawn()).expect("prlimit runs");
    let is_running = || fs::metadata(&captured).is_ok_and(|file| file.len() > 0);
    wait_until("the header of the capture", TIMEOUT, is_running).expect("a capture");
    let process = Pid::from_child(&child);
    kill_process(process, Signal::ABORT).expect("running");
    let status = child.wait().expect("ended");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    status.core_dumped()
}

#[test]
#[ignore = "needs root"]
fn capture_with_a_key_dumps_no_core() {
    if !dumps_to_working_directory() {
        return;
    }
    let lab = Lab::new(1).expect("create the lab");
    let node = lab.host(NODE).expect("the node");
    assert!(capture_dumps(node, &instance("VI_1", 1, "")), "a capture without a key dumps core");
    let hmac = format!("[instance.hmac]\nkeys = [{{ id = 1, hex = \"{KEY}\" }}]");
    assert!(!capture_dumps(node, &instance("VI_1", 1, &hmac)));
}
