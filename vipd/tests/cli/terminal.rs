//! Output on a terminal, and `--color`.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use vipd_tests::pty::Pty;

use super::{reply_with, run, text, vipd};

/// Start of an ANSI sequence.
const ESCAPE: &str = "\u{1b}[";

/// Runs vipd on a terminal with this number of columns. Returns vipd's output, with `\n` as the
/// line ending.
fn run_on_terminal(columns: u16, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let Pty { mut emulator, terminal } = Pty::open(24, columns).expect("a pseudoterminal");
    let mut command = vipd(arguments);
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm").envs(environment.iter().copied());
    let copy = terminal.try_clone().expect("duplicated");
    let mut child = command.stdout(Stdio::from(terminal)).stderr(Stdio::from(copy)).spawn().expect("starts");
    // The command holds descriptors of the terminal. Once all are closed, reading fails with EIO.
    drop(command);
    let mut output = Vec::new();
    let error = emulator.read_to_end(&mut output).expect_err("the terminal was closed");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
    child.wait().expect("ends");
    String::from_utf8(output).expect("UTF-8").replace("\r\n", "\n")
}

/// Writes a configuration with an error on line 4. Returns its directory and path.
fn invalid() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.toml");
    let source = "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\n\tvrid = 510\nvirtual_addresses = []\n";
    fs::write(&path, source).expect("written");
    let path = text(&path).to_owned();
    (directory, path)
}

#[test]
fn errors_have_a_caret_on_a_terminal() {
    let (directory, path) = invalid();
    let expected = format!(
        "{path}:4:9: vrid is 510; it must be an integer from 1 to 255; choose another number\n    4 |     vrid = \
         510\n      |            ^\nvipd: {path}: 1 problem\n"
    );
    for command in ["check", "run"] {
        let arguments = [command, "-c", &path, "--runtime-dir", text(directory.path())];
        let shown = run_on_terminal(80, &arguments, &[("NO_COLOR", "1")]);
        assert_eq!(shown, expected);
        assert_eq!(run_on_terminal(80, &[&arguments[..], &["--color", "never"]].concat(), &[]), expected);
        let colored = run_on_terminal(80, &arguments, &[]);
        assert!(colored.contains(ESCAPE) && colored.contains('^'), "{colored:?}");
    }
}

/// The agent reports the position, and the client reads the line from the file.
#[test]
fn errors_of_a_reload_have_a_caret_on_a_terminal() {
    let (_directory, path) = invalid();
    let reply =
        format!("{{\"error\":\"{path}:4:9: vrid is 510\\n{path}: 1 problem; nothing has changed\"}}\n");
    let agent = reply_with(reply.leak());
    let arguments = ["reload", "--runtime-dir", text(agent.path())];
    let summary = format!("vipd: {path}: 1 problem; nothing has changed\n");
    let shown = run_on_terminal(80, &arguments, &[("NO_COLOR", "1")]);
    let caret = "    4 |     vrid = 510\n      |            ^\n";
    assert_eq!(shown, format!("{path}:4:9: vrid is 510\n{caret}{summary}"));
    let piped = run(&arguments);
    assert_eq!(String::from_utf8_lossy(&piped.stderr), format!("{path}:4:9: vrid is 510\n{summary}"));
}

#[test]
fn color_option_overrides_the_environment_and_the_kind_of_output() {
    let (_directory, path) = invalid();
    let check = |color, variable: Option<&str>| {
        let mut command = vipd(&["check", "-c", &path, "--color", color]);
        for name in ["NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        let output = command.envs(variable.map(|name| (name, "1"))).output().expect("starts");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let plain = check("auto", None);
    assert!(plain.lines().count() == 2 && !plain.contains(ESCAPE), "{plain:?}");
    for (color, variable) in [("never", None), ("never", Some("CLICOLOR_FORCE")), ("auto", Some("NO_COLOR"))]
    {
        assert_eq!(check(color, variable), plain, "{color}, {variable:?}");
    }
    for (color, variable) in
        [("always", None), ("always", Some("NO_COLOR")), ("auto", Some("CLICOLOR_FORCE"))]
    {
        let colored = check(color, variable);
        // With or without colors, a pipe receives one line for the problem and one for the summary,
        // but no source line.
        assert!(
            colored.contains(ESCAPE) && colored.lines().count() == 2,
            "{color}, {variable:?}: {colored:?}"
        );
    }
}

#[test]
fn help_and_usage_errors_follow_the_color_option() {
    for arguments in [&["--help"][..], &["status", "--nonsense"]] {
        let output = |color| {
            let output = run(&[&["--color", color][..], arguments].concat());
            String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
        };
        assert!(output("always").contains(ESCAPE), "{arguments:?}");
        assert!(!output("never").contains(ESCAPE), "{arguments:?}");
        let shown = run_on_terminal(80, &[&["--color", "never"][..], arguments].concat(), &[]);
        assert!(!shown.contains(ESCAPE), "{shown:?}");
    }
}

const STATUS: &str = "{\"instances\":[{\"name\":\"VI_6\",\"interface\":\"enp129s0f0v12.7\",\"vrid\":51,\"family\":\"ipv6\",\
    \"version\":3,\"state\":\"backup\",\"priority\":100,\"effective-priority\":100,\
    \"last-adv-source\":\"fe80::a00:27ff:fe4e:66a1\",\"master-down-interval\":360,\"skew-time\":609375,\
    \"virtual-addresses\":[\"2001:db8::1/64\",\"2001:db8::2/64\"],\"accept-mode\":true,\"vipd:excluded-addresses\":[],\
    \"vipd:virtual-mac\":null,\"vipd:transport\":\"multicast\",\"vipd:authentication\":\"none\",\"vipd:checksum\":\"ipv6\",\
    \"vipd:peers\":[],\"vipd:advertise-interval-ns\":1000000000,\"vipd:active-advertise-interval-ns\":1000000000,\
    \"vipd:master-down-interval-ns\":3609375000,\"vipd:preempt\":true,\"vipd:fence\":\"full\",\"vipd:xdp-mode\":\"tc\",\
    \"vipd:primary-address\":\"fe80::1\",\"vipd:fault-reason\":null,\"vipd:last-transition-reason\":\"startup\",\
    \"vipd:last-transition-ms\":245000,\"vipd:master-down-in-ns\":null}]}\n";

/// The reply is that of an earlier version of the agent, so it lacks later fields.
#[test]
fn status_is_narrow_on_a_terminal_and_wide_in_a_pipe() {
    let directory = reply_with(STATUS);
    let arguments = ["status", "--runtime-dir", text(directory.path())];
    let shown = run_on_terminal(80, &arguments, &[("NO_COLOR", "1")]);
    assert_eq!(
        shown,
        "NAME  INTERFACE        VRID  STATE   PRIO  LAST-ADVERT-FROM          XDP  SINCE\n\
         VI_6  enp129s0f0v12.7    51  backup   100  fe80::a00:27ff:fe4e:66a1  tc   4m05s\n\
         \x20 2001:db8::1/64, 2001:db8::2/64\n\
         MASTER-DOWN and INTERVAL hidden on this terminal; see `vipd status NAME`\n"
    );
    let wide = "NAME  INTERFACE        VRID  STATE   PRIO  INTERVAL  MASTER-DOWN  LAST-ADVERT-FROM          XDP  SINCE  \
                ADDRESSES\n\
                VI_6  enp129s0f0v12.7    51  backup   100        1s       3.609s  fe80::a00:27ff:fe4e:66a1  tc   4m05s  \
                2001:db8::1/64,2001:db8::2/64\n";
    assert_eq!(run_on_terminal(200, &arguments, &[("NO_COLOR", "1")]), wide);
    assert_eq!(String::from_utf8_lossy(&run(&arguments).stdout), wide);
}
