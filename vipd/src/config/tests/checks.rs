//! Rules for `[[script]]`, `[[process]]`, `[[file]]` and `track`.

use std::net::Ipv4Addr;

use super::*;
use crate::config::machine::Machine;
use crate::config::track::{Process, ProcessMatch, Script, Track, Tracked, TrackedFile, TrackedRoute};

const CHECKS: &str = "[[script]]\nname = \"web\"\ncommand = [\"/usr/bin/true\"]\n\
                      [[process]]\nname = \"web\"\nexecutable = \"/usr/sbin/web\"\n\
                      [[file]]\nname = \"manual\"\npath = \"/etc/vipd/weight\"\n";

/// Returns the tracked objects of a valid instance in a file with [`CHECKS`].
fn tracked(track: &str) -> Vec<Track> {
    let config = Config::parse(&(with(&format!("track = [{track}]")) + CHECKS), "f");
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    config.instances[0].track.clone()
}

#[test]
fn checks_have_defaults() {
    let config = Config::parse(&(with("") + CHECKS), "f").expect("valid");
    let script = Script {
        name: "web".to_owned(),
        command: vec!["/usr/bin/true".to_owned()],
        interval: 1_000_000_000,
        timeout: 1_000_000_000,
        rise: 1,
        fall: 1,
        user: None,
        initially_up: true,
    };
    let process = Process {
        name: "web".to_owned(),
        matches: ProcessMatch::Executable("/usr/sbin/web".into()),
        quorum: 1,
        terminate_delay: 0,
    };
    let file = TrackedFile { name: "manual".to_owned(), path: "/etc/vipd/weight".into() };
    assert_eq!(config.scripts, [Arc::new(script)]);
    assert_eq!(config.processes, [Arc::new(process)]);
    assert_eq!(config.files, [Arc::new(file)]);
}

#[test]
fn optional_keys_of_checks_override_the_defaults() {
    let source = "[[script]]\nname = \"s\"\ncommand = [\"/bin/x\", \"\", \"a b\"]\ninterval = \"5s\"\nrise = 2\nfall = 3\n\
                  user = \"root\"\ninitially = \"down\"\n\
                  [[process]]\nname = \"p\"\ncomm = \"web\"\nquorum = 4\nterminate_delay = \"2s\"\n";
    let config = Config::parse(&(with("") + source), "f").unwrap_or_else(|problems| panic!("{problems}"));
    let script = &config.scripts[0];
    assert_eq!(script.command, ["/bin/x", "", "a b"]);
    assert_eq!((script.interval, script.timeout), (5_000_000_000, 5_000_000_000), "timeout is the interval");
    assert_eq!((script.rise, script.fall, script.initially_up), (2, 3, false));
    assert_eq!(script.user.as_ref().map(|user| (user.uid, user.gid)), Some((0, 0)));
    let process = &config.processes[0];
    assert_eq!(process.matches, ProcessMatch::Comm("web".to_owned()));
    assert_eq!((process.quorum, process.terminate_delay), (4, 2_000_000_000));
}

#[test]
fn each_kind_of_object_can_be_tracked() {
    let all = tracked(
        "{ interface = \"eth2\" }, { script = \"web\", weight = -60 }, { process = \"web\", weight = 20 }, \
         { file = \"manual\" }, { file = \"manual\", weight = -2 }, { route = \"default\" }, { route = \"10.0.0.0/8\" }",
    );
    let weights: Vec<_> = all.iter().map(|track| track.weight).collect();
    assert_eq!(weights, [None, Some(-60), Some(20), Some(1), Some(-2), None, None]);
    assert_eq!(all[0].object, Tracked::Interface("eth2".to_owned()));
    assert!(matches!(&all[1].object, Tracked::Script(script) if script.name == "web"));
    assert!(matches!(&all[2].object, Tracked::Process(process) if process.quorum == 1));
    assert!(matches!(&all[3].object, Tracked::File(file) if file.name == "manual"));
    assert_eq!(all[5].object, Tracked::Route(TrackedRoute::Default));
    let network = Ipv4Addr::new(10, 0, 0, 0).into();
    assert_eq!(all[6].object, Tracked::Route(TrackedRoute::Prefix(network, 8)));
}

#[test]
fn invalid_tracked_objects_are_rejected() {
    let row = |track: &str| problems(&(with(&format!("track = [{track}]")) + CHECKS));
    for (track, expected) in [
        (
            "{ script = \"mail\" }",
            "6:21: script \"mail\" is not defined; defined names: web; add a `[[script]]` with that name",
        ),
        (
            "{ weight = 5 }",
            "6:10: a tracked object has 0 of the keys interface, script, process, file and route; it must have \
             exactly one of them; use e.g. `{ interface = \"eth2\", weight = -50 }`",
        ),
        (
            "{ script = \"web\", file = \"manual\" }",
            "6:10: a tracked object has 2 of the keys interface, script, process, file and route; it must have \
             exactly one of them; use e.g. `{ interface = \"eth2\", weight = -50 }`",
        ),
        (
            "{ script = \"web\", weight = 254 }",
            "6:37: weight is 254; it must be an integer from -253 to 253; choose another number",
        ),
        (
            "{ route = \"10.0.0.1/8\" }",
            "6:20: route is \"10.0.0.1/8\", which has host bits set; it must be \"default\" or a network with its \
             prefix length; use \"10.0.0.0/8\"",
        ),
        (
            "{ route = \"10.0.0.0\" }",
            "6:20: route is \"10.0.0.0\"; it must be \"default\" or a network with its prefix length; use e.g. \
             \"10.0.0.0/8\" or \"2001:db8::/32\"",
        ),
        (
            "\"web\"",
            "6:10: a tracked object is a string; it must be a table; use e.g. `{ interface = \"eth2\", weight = -50 }`",
        ),
    ] {
        assert_eq!(row(track), expected, "\n{track}");
    }
}

#[test]
fn weights_without_effect_cause_a_warning() {
    for (line, expected) in [
        (
            "track = [{ interface = \"eth2\", weight = 0 }]",
            "6:41: weight is 0 and has no effect; without a weight, failure causes a fault, and a file has weight 1",
        ),
        (
            "priority = 255\ntrack = [{ interface = \"eth2\", weight = 5 }]",
            "7:41: weight has no effect, because the priority of an address owner is always 255",
        ),
        ("track = [{ interface = \"eth2\", weight = 5 }]", ""),
        (
            "priority = 1\ntrack = [{ interface = \"eth2\", weight = -5 }, { interface = \"eth3\" }]",
            "7:41: weight has no effect, because the priority is 1 already; effective priorities are 1 to 254; change \
             the priority",
        ),
        (
            "priority = 254\ntrack = [{ interface = \"eth2\", weight = 5 }, { interface = \"eth3\", weight = 0 }]",
            "7:41: weight has no effect, because the priority is 254 already; effective priorities are 1 to 254; \
             change the priority\n\
             7:77: weight is 0 and has no effect; without a weight, failure causes a fault, and a file has weight 1",
        ),
        (
            "priority = 1\ntrack = [{ interface = \"eth2\", weight = -5 }, { interface = \"eth3\", weight = 5 }]",
            "",
        ),
        (
            "priority = 1\ntrack = [{ interface = \"eth2\", weight = -5 }, { file = \"manual\" }]\n[[file]]\nname = \"manual\"\npath = \"/etc/x\"",
            "",
        ),
    ] {
        assert_eq!(warnings(line), expected, "\n{line}");
    }
}

#[test]
fn invalid_checks_are_rejected() {
    let row = |check: &str| problems(&(with("") + check));
    for (check, expected) in [
        (
            "[[script]]\nname = \"a\"\ncommand = [\"pgrep\"]\n",
            "9:11: command is [\"pgrep\", …]; it must be an array of strings: the absolute path of an executable, and \
             its arguments; begin with the absolute path of the executable; there is no shell that would search for it",
        ),
        (
            "[[script]]\nname = \"a\"\ncommand = []\n",
            "9:11: command is empty; it must be an array of strings: the absolute path of an executable, and its \
             arguments; use e.g. `command = [\"/usr/bin/pgrep\", \"-x\", \"haproxy\"]`",
        ),
        (
            "[[script]]\nname = \"a\"\ncommand = [\"/bin/x\"]\nuser = \"no-such-user\"\nrise = 0\n",
            "10:8: user is \"no-such-user\", which is not a user of this system; create the user, or specify an existing one\n\
             11:8: rise is 0; it must be an integer from 1 to 255; choose another number",
        ),
        (
            "[[script]]\nname = \"a\"\ncommand = [\"/bin/x\"]\n[[script]]\nname = \"a\"\ncommand = [\"/bin/y\"]\n",
            "11:8: script \"a\" is already defined at line 8, column 8; names must be unique; rename one of them",
        ),
        (
            "[[process]]\nname = \"a\"\n",
            "7:1: executable and comm are both missing; add e.g. `executable = \"/usr/sbin/haproxy\"`",
        ),
        (
            "[[process]]\nname = \"a\"\nexecutable = \"/x\"\ncomm = \"x\"\n",
            "10:8: comm and executable are mutually exclusive; remove one of them",
        ),
        (
            "[[process]]\nname = \"a\"\ncomm = \"a-very-long-name\"\n",
            "9:8: comm is \"a-very-long-name\"; it must be a string of 1 to 15 bytes without `/`, line feeds and \
             null bytes; use the first 15 bytes of the name, or `executable`",
        ),
        (
            "[[file]]\nname = \"a\"\npath = \"weight\"\n",
            "9:8: path is \"weight\"; it must be an absolute path; begin it with `/`",
        ),
    ] {
        assert_eq!(row(check), expected, "\n{check}");
    }
}

#[test]
fn missing_executable_is_an_error_only_if_executables_are_checked() {
    let source = with("") + "[[script]]\nname = \"a\"\ncommand = [\"/no/such/file\"]\n";
    assert!(Config::parse(&source, "f").is_ok());
    let machine = Machine { checks_executables: true, ..Machine::default() };
    let problems = Config::parse_on(&source, "f", &machine).expect_err("rejected");
    assert_eq!(
        problems.to_string(),
        "f:9:11: command: /no/such/file cannot be run: No such file or directory (os error 2)"
    );
}

/// The agent starts even if a command cannot be run, and checks the commands afterwards.
#[test]
fn commands_of_a_valid_file_can_be_checked_later() {
    let source = with("notify = { any = [\"/no/such/notify\"], stop = [\"/bin/sh\"] }")
        + "[[script]]\nname = \"a\"\ncommand = [\"/no/such/file\"]\n";
    let config = Config::parse(&source, "f").expect("valid");
    let found: Vec<String> = config.executables.check().iter().map(|problem| problem.in_file("f")).collect();
    assert_eq!(
        found,
        [
            "f:9:11: command: /no/such/file cannot be run: No such file or directory (os error 2)",
            "f:6:18: notify.any: /no/such/notify cannot be run: No such file or directory (os error 2)",
        ]
    );
}

#[test]
fn a_rejected_check_is_not_also_reported_as_undefined() {
    let source = with("track = [{ script = \"a\" }, { file = \"a\" }]")
        + "[[script]]\nname = \"a\"\ncommand = \"web\"\n[[file]]\nname = \"a\"\npath = 3\n";
    let found = problems(&source);
    let lines: Vec<_> = found.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(lines, ["9", "12"], "{found}");
}

/// Returns a file with the instances `a` and `b`, which have these priorities, followed by `more`.
fn pair(priorities: [u8; 2], more: &str) -> String {
    let instance = |name: &str, vrid: u8, priority: u8| {
        format!(
            "[[instance]]\nname = \"{name}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             virtual_addresses = [\"10.0.0.{vrid}\"]\n"
        )
    };
    instance("a", 1, priorities[0]) + &instance("b", 2, priorities[1]) + more
}

#[test]
fn members_track_the_objects_of_their_group() {
    let source = pair(
        [100; 2],
        "[[group]]\nname = \"g\"\nmembers = [\"a\", \"b\"]\ntrack = [{ interface = \"eth2\", weight = -5 }]\n",
    );
    let config = Config::parse(&source, "f").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        (config.groups[0].name.as_str(), &config.groups[0].members[..]),
        ("g", &["a", "b"].map(str::to_owned)[..])
    );
    for instance in &config.instances {
        assert_eq!(
            instance.track,
            [Track { object: Tracked::Interface("eth2".to_owned()), weight: Some(-5) }]
        );
    }
}

#[test]
fn invalid_groups_are_rejected() {
    for (group, expected) in [
        (
            "members = [\"a\"]",
            "15:11: members is an array of length 1; it must be an array of at least 2 names of instances; add another instance, \
             or remove the group",
        ),
        (
            "members = [\"a\", \"a\"]",
            "15:17: instance \"a\" is already a member at line 15, column 12; an instance can be in one group only; remove one of the entries",
        ),
        (
            "members = [\"a\", \"c\"]",
            "15:17: no instance is named \"c\"; instances are a, b; correct the name",
        ),
        (
            "members = [\"a\", \"b\"]\n[[group]]\nname = \"h\"\nmembers = [\"b\", \"a\"]",
            "18:12: instance \"b\" is already a member at line 15, column 17; an instance can be in one group only; remove one of the entries\n\
             18:17: instance \"a\" is already a member at line 15, column 12; an instance can be in one group only; remove one of the entries",
        ),
    ] {
        let source = pair([100; 2], &format!("[[group]]\nname = \"g\"\n{group}\n"));
        assert_eq!(problems(&source), expected, "\n{group}");
    }
    let mixed = pair([255, 100], "[[group]]\nname = \"g\"\nmembers = [\"a\", \"b\"]\n");
    assert_eq!(
        problems(&mixed),
        "15:11: only some members of group \"g\" have priority 255; an owner always advertises 255, not the \
         priority of the group; set 255 for all members or for none"
    );
}
