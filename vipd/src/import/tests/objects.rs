//! Tracked objects, commands, rules and groups.

use super::{
    Memory, assert_row, assert_rows, assert_valid, instance, messages, settings, translate, translated,
};

#[test]
fn tracked_objects_are_translated_with_their_weights() {
    let checks = "global_defs {\nscript_user root\n}\nvrrp_script s {\nscript \"/bin/true\"\nweight -5\n}\n\
                  vrrp_track_process p {\nprocess nginx\n}\ntrack_file f {\nfile /f\n}\n";
    for (setting, expected, expected_messages) in [
        ("track_interface { eth1 }", Some("{ interface = \"eth1\" }"), vec![]),
        ("track_interface { eth1 weight 5 }", Some("{ interface = \"eth1\", weight = 5 }"), vec![]),
        ("track_interface { eth1 weight 0 }", Some("{ interface = \"eth1\" }"), vec![]),
        (
            "track_interface { eth1 weight -300 }",
            Some("{ interface = \"eth1\", weight = -253 }"),
            vec!["attention: `weight` is -300"],
        ),
        ("track_interface { eth1 weight 5 reverse }", None, vec!["attention: `reverse` is not translated"]),
        ("track_script { s }", Some("{ script = \"s\", weight = -5 }"), vec![]),
        ("track_script { s weight 7 }", Some("{ script = \"s\", weight = 7 }"), vec![]),
        ("track_script { s weight 0 }", Some("{ script = \"s\" }"), vec![]),
        ("track_script { t }", None, vec!["attention: no script is named \"t\""]),
        ("track_process { p }", Some("{ process = \"p\" }"), vec![]),
        ("track_file { f }", Some("{ file = \"f\", weight = 1 }"), vec![]),
        ("track_file { f weight 0 }", None, vec!["attention: a file with weight 0 is not translated"]),
        (
            "priority 255\ntrack_script { s }",
            None,
            vec![
                "note: \"s\" is not tracked: keepalived ignores it, too, because its instance is an address owner",
            ],
        ),
        (
            "priority 255\ntrack_file { f }",
            None,
            vec![
                "note: the weight of \"f\" is left out",
                "attention: a file with weight 0 is not translated",
            ],
        ),
        (
            "priority 255\ntrack_file { f weight 2 }",
            None,
            vec!["note: \"f\" is not tracked: keepalived ignores it, too"],
        ),
        ("track_interface { eth0 weight 5 }", None, vec!["note: \"eth0\" is left out"]),
    ] {
        let translation = translated(&format!("{checks}{}", instance(setting)));
        let found = settings(&translation).into_iter().find_map(|line| line.strip_prefix("track = "));
        let expected = expected.map(|element| format!("[{element}]"));
        assert_eq!(found, expected.as_deref(), "{setting}");
        let messages = messages(&translation);
        assert_eq!(messages.len(), expected_messages.len(), "{setting}: {messages:#?}");
        for (message, expected) in messages.iter().zip(expected_messages) {
            assert!(message.contains(expected), "{message}");
        }
    }
}

#[test]
fn commands_are_split_and_begin_with_an_absolute_path() {
    let base = "global_defs {\nscript_user root\n}\nvrrp_script s {\nSETTING\n}\n";
    for (setting, expected, expected_messages) in [
        ("script \"/bin/true a 'b c'\"", "[\"/bin/true\", \"a\", \"b c\"]", vec![]),
        ("script /bin/true", "[\"/bin/true\"]", vec![]),
        ("script \"/bin/true a | b\"", "[\"/bin/true\", \"a\", \"|\", \"b\"]", vec![]),
        (
            "script /bin/true a 'b c'",
            "[\"/bin/true\"]",
            vec!["attention: `a b c` is left out: keepalived ignores it, too"],
        ),
        ("script \"/bin/true 'a b' c\\\\ d\"", "[\"/bin/true\", \"a b\", \"c d\"]", vec![]),
        (
            "script \"pgrep -x a\"",
            "[\"/usr/bin/pgrep\", \"-x\", \"a\"]",
            vec!["note: the command \"pgrep\" becomes /usr/bin/pgrep"],
        ),
        (
            "script \"nothing -x\"",
            "[\"/usr/bin/env\", \"nothing\", \"-x\"]",
            vec!["attention: the program \"nothing\" is not installed"],
        ),
        (
            "script \"</dev/tcp/127.0.0.1/80\"",
            "[\"/bin/sh\", \"-c\", \"</dev/tcp/127.0.0.1/80\"]",
            vec!["note: \"</dev/tcp/127.0.0.1/80\" runs with /bin/sh -c"],
        ),
    ] {
        let text = base.replace("SETTING", setting) + &instance("");
        let translation = translated(&text);
        let found = settings(&translation).into_iter().find_map(|line| line.strip_prefix("command = "));
        assert_eq!(found, Some(expected), "{setting}");
        let messages = messages(&translation);
        assert_eq!(messages.len(), expected_messages.len(), "{setting}: {messages:#?}");
        for (message, expected) in messages.iter().zip(expected_messages) {
            assert!(message.contains(expected), "{message}");
        }
    }
}

#[test]
fn notification_commands_are_translated_with_their_user() {
    let header = "global_defs {\nscript_user root\n}\n";
    let row = |setting: &str, expected: &[&str], messages: &[&str]| {
        assert_row(&format!("{header}{}", instance(setting)), expected, messages);
    };
    row(
        "notify_master \"/bin/echo 'a b' c\" nobody\nnotify /bin/echo nobody",
        &[
            "[instance.notify]",
            "master = [\"/bin/echo\", \"a b\", \"c\"]",
            "any = [\"/bin/echo\"]",
            "user = \"nobody\"",
        ],
        &[],
    );
    row(
        "notify \"/bin/echo a\"\nnotify \"/bin/echo b\"",
        &["[instance.notify]", "any = [\"/bin/echo\", \"a\"]", "user = \"root\""],
        &["attention: the second `notify` is left out"],
    );
    row(
        "notify_stop \"/bin/echo a\"",
        &["[instance.notify]", "stop = [\"/bin/echo\", \"a\"]", "user = \"root\""],
        &[],
    );
    row(
        "notify_master \"/bin/echo a\" nobody\nnotify_backup \"/bin/echo b\"",
        &[
            "[instance.notify]",
            "master = [\"/bin/echo\", \"a\"]",
            "backup = [\"/bin/echo\", \"b\"]",
            "user = \"nobody\"",
        ],
        &["attention: the command runs as root, but vipd has one user"],
    );
    assert_row(
        &instance("notify_fault /bin/echo"),
        &["[instance.notify]", "fault = [\"/bin/echo\"]"],
        &["attention: no `script_user` is configured"],
    );
    row(
        "notify_fault /bin/echo root adm",
        &["[instance.notify]", "fault = [\"/bin/echo\"]", "user = \"root\""],
        &["attention: the group adm is not translated"],
    );
}

#[test]
fn checks_must_be_defined_before_they_are_tracked() {
    let checks = "global_defs {\nscript_user root\n}\nvrrp_script x {\nscript /bin/true\n}\n\
                  vrrp_track_process x {\nprocess nginx\n}\ntrack_file x {\nfile /f\n}\n";
    for kind in ["script", "process", "file"] {
        let user = instance(&format!("track_{kind} {{ x }}"));
        let translation = translated(&format!("{user}{checks}"));
        assert!(!translation.toml.contains("track ="), "{}", translation.toml);
        let found = messages(&translation);
        let expected = format!("attention: the {kind} \"x\" is not tracked");
        assert!(found.len() == 1 && found[0].contains(&expected), "{found:#?}");
        assert!(translated(&format!("{checks}{user}")).toml.contains("track ="));
    }
}

#[test]
fn rules_without_a_preference_get_the_one_that_keepalived_would_choose() {
    assert_rows(&[
        (
            "virtual_rules {\nfrom 10.0.0.1 table 5\nto 10.0.0.2 table 6\n}",
            &[
                "rules = [",
                "    { from = \"10.0.0.1\", table = 5, priority = 16384 },",
                "    { to = \"10.0.0.2\", table = 6, priority = 16383 },",
                "]",
            ],
            &[
                "attention: the rule has no preference; it gets 16384",
                "attention: the rule has no preference; it gets 16383",
            ],
        ),
        (
            "virtual_rules {\nfrom all fwmark 16 lookup 5 preference 7\n}",
            &["rules = [{ fwmark = 16, table = 5, priority = 7 }]"],
            &[],
        ),
        (
            "virtual_rules {\nnot from 10.0.0.1 table 5 priority 7\n}",
            &[],
            &["attention: `not` is not translated", "attention: the rule is left out"],
        ),
    ]);
}

#[test]
fn names_of_routing_tables_are_looked_up() {
    let memory = Memory::new([
        ("k.conf", instance("virtual_routes {\ndefault via 192.0.2.9 table uplink\n}").as_str()),
        ("/etc/iproute2/rt_tables", "# comment\n255 local\n100 uplink\n"),
    ]);
    let translation = translate(&memory).expect("translated");
    assert!(translation.toml.contains("table = 100"), "{}", translation.toml);
    assert_eq!(translation.messages, []);
}

#[test]
fn members_of_a_group_have_no_weights_of_their_own() {
    let member = |name: &str, vrid: u8| {
        format!(
            "vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{ 192.0.2.{vrid}/24 }}\n\
             track_interface {{ eth1 weight 5 }}\ntrack_script {{ s }}\n}}\n"
        )
    };
    let text = format!(
        "global_defs {{ script_user root\n}}\nvrrp_script s {{\nscript \"/bin/true\"\nweight 2\n}}\nvrrp_sync_group G {{\ngroup {{ A B }}\ntrack_interface {{ eth2 weight 3 }}\n}}\n{}{}",
        member("A", 1),
        member("B", 2)
    );
    let translation = translated(&text);
    assert_eq!(translation.toml.matches("track = [{ interface = \"eth1\" }]").count(), 2);
    assert!(translation.toml.contains(
        "[[group]]\nname = \"G\"\nmembers = [\"A\", \"B\"]\ntrack = [{ interface = \"eth2\", weight = 3 }]\n"
    ));
    assert_valid(&translation);
}
