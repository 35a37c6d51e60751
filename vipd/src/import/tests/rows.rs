//! Single settings, and the preprocessor.

use super::{Memory, assert_valid, import, messages, options, settings, translate, translated};
use crate::import::ImportError;

/// Settings of every instance in these tests. A key in the expected result is in addition to them.
const BASE: [&str; 7] = [
    "[[instance]]",
    "name = \"V\"",
    "interface = \"eth0\"",
    "vrid = 1",
    "version = 2",
    "priority = 100",
    "virtual_addresses = [\"192.0.2.1/24\"]",
];

fn instance(setting: &str) -> String {
    format!(
        "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{ 192.0.2.1/24 }}\n{setting}\n}}\n"
    )
}

/// Checks the settings that the result has beyond [`BASE`] (each is one line; a line that begins
/// with `-` is missing from the base), and the messages without their positions.
#[track_caller]
fn assert_row(text: &str, expected: &[&str], expected_messages: &[&str]) {
    let translation = translated(text);
    let found = settings(&translation);
    let additional: Vec<&str> = found.iter().copied().filter(|line| !BASE.contains(line)).collect();
    let missing = BASE.iter().filter(|line| !found.contains(line)).map(|line| format!("-{line}"));
    let mut all: Vec<String> = additional.iter().map(|line| (*line).to_owned()).collect();
    all.extend(missing);
    assert_eq!(all, expected, "\n{text}\n{}", translation.toml);
    let messages: Vec<String> = messages(&translation)
        .iter()
        .map(|line| line.split_once(": ").map_or("", |(_, message)| message).to_owned())
        .collect();
    assert_eq!(messages.len(), expected_messages.len(), "{text}\n{messages:#?}");
    for (message, expected) in messages.iter().zip(expected_messages) {
        assert!(message.contains(expected), "{text}\n{message}\ndoes not contain {expected:?}");
    }
    if translation.attention().count() == 0 {
        assert_valid(&translation);
    }
}

#[track_caller]
fn assert_rows(rows: &[(&str, &[&str], &[&str])]) {
    for (setting, expected, messages) in rows {
        assert_row(&instance(setting), expected, messages);
    }
}

#[test]
fn election() {
    assert_rows(&[
        ("", &[], &[]),
        ("state BACKUP", &[], &[]),
        ("priority 200", &["priority = 200", "-priority = 100"], &[]),
        (
            "state MASTER",
            &["priority = 255", "-priority = 100"],
            &["attention: without a priority, keepalived uses 255"],
        ),
        ("nopreempt", &["preempt = false"], &[]),
        ("nopreempt\npreempt", &[], &[]),
        ("preempt_delay 4.12", &["preempt_delay = \"4120ms\""], &[]),
        ("nopreempt\npreempt_delay 4", &["preempt = false"], &["note: `preempt_delay` is left out"]),
        (
            "state MASTER\npriority 100\nnopreempt\npreempt_delay 4",
            &[],
            &["note: `nopreempt` is left out", "note: `preempt_delay` is left out"],
        ),
        ("down_timer_adverts 5", &["down_after_adverts = 5"], &[]),
        ("down_timer_adverts 3", &[], &[]),
        ("no_accept", &["accept = false"], &[]),
        ("accept", &[], &[]),
        ("strict_mode", &["accept = false"], &["attention: strict mode drops packets to the VIPs"]),
        ("strict_mode off", &[], &[]),
        ("strict_mode on\naccept", &[], &[]),
        ("priority 0", &[], &["attention: `priority` is \"0\"; it must be an integer from 1 to 255"]),
        ("priority x y", &[], &["attention: `priority` is \"x y\""]),
        ("priority", &[], &["attention: `priority` is \"\""]),
        ("priority 100 {\n}", &[], &["attention: `priority` must not have a block"]),
    ]);
}

#[test]
fn intervals_are_rounded_as_keepalived_does() {
    assert_rows(&[
        ("advert_int 1", &["advert_interval = \"1s\""], &[]),
        ("advert_int 0.4", &["advert_interval = \"1s\""], &["note: `advert_int` becomes 1s"]),
        ("advert_int 1.5", &["advert_interval = \"2s\""], &["note: `advert_int` becomes 2s"]),
        ("advert_int 300", &["advert_interval = \"255s\""], &["attention: `advert_int` is 300 s"]),
        (
            "version 3\nadvert_int 0.01",
            &["version = 3", "advert_interval = \"10ms\"", "-version = 2"],
            &[],
        ),
        (
            "version 3\nadvert_int 0.125",
            &["version = 3", "advert_interval = \"130ms\"", "-version = 2"],
            &["note: `advert_int` becomes 130ms"],
        ),
        (
            "version 3\nadvert_int 60",
            &["version = 3", "advert_interval = \"40950ms\"", "-version = 2"],
            &["note: `advert_int` becomes 40950ms"],
        ),
    ]);
}

#[test]
fn passwords() {
    assert_rows(&[
        ("authentication {\nauth_type PASS\nauth_pass 12345678\n}", &["auth_pass = \"12345678\""], &[]),
        (
            "authentication {\nauth_type PASS\nauth_pass \"a b#c\"\n}",
            &["auth_pass = \"a b#c\""],
            &[],
        ),
        (
            "authentication {\nauth_type PASS\nauth_pass 123456789\n}",
            &["auth_pass = \"12345678\""],
            &["note: the password is cut"],
        ),
        (
            "authentication {\nauth_type PASS\nauth_pass 1234567é\n}",
            &[],
            &["attention: the password has more than 8 bytes"],
        ),
        (
            "version 3\nauthentication {\nauth_type PASS\nauth_pass 1\n}",
            &["version = 3", "-version = 2"],
            &["note: the password is left out"],
        ),
        (
            "authentication {\nauth_type AH\nauth_pass 1\n}",
            &[],
            &["attention: authentication AH is not translated"],
        ),
        ("authentication {\nauth_type PASS\n}", &[], &["attention: the authentication has no password"]),
    ]);
}

#[test]
fn virtual_macs() {
    assert_rows(&[
        ("use_vmac", &["virtual_mac = true"], &[]),
        (
            "use_vmac\nvmac_xmit_base",
            &["virtual_mac = true", "virtual_mac_transmit_on_base = true"],
            &[],
        ),
        ("vmac_xmit_base", &[], &["note: `vmac_xmit_base` is left out"]),
        ("use_vmac vrrp.1", &["virtual_mac = true"], &["attention: the name vrrp.1 is not translated"]),
    ]);
}

#[test]
fn addresses() {
    let row = |address: &str, element: &str, expected: &[&str]| {
        let text = instance("").replace("192.0.2.1/24", address);
        let list = format!("virtual_addresses = [{element}]");
        let missing = format!("-{}", BASE[6]);
        assert_row(&text, &[&list, &missing], expected);
    };
    row("192.0.2.5", "\"192.0.2.5\"", &[]);
    row("192.0.2.5/32 dev eth0", "\"192.0.2.5/32\"", &[]);
    row("192.0.2.5/24 dev eth1", "{ address = \"192.0.2.5/24\", dev = \"eth1\" }", &[]);
    row(
        "192.0.2.5/25 brd + scope link label eth0:x no_track",
        "{ address = \"192.0.2.5/25\", label = \"eth0:x\", scope = \"link\", broadcast = \"192.0.2.127\" }",
        &["note: `no_track` is not needed"],
    );
    row("192.0.2.5/24 brd -", "\"192.0.2.5/24\"", &[]);
    row("192.0.2.5/24 home", "\"192.0.2.5/24\"", &["attention: `home` is not translated"]);
    row("192.0.2.5/24 dev", "\"192.0.2.5/24\"", &["attention: `dev` has no value"]);
    row("192.0.2.5/24 foo", "\"192.0.2.5/24\"", &["attention: unknown option `foo`"]);
    row("192.0.2./24", "", &["attention: \"192.0.2./24\" is not an address"]);
}

#[test]
fn ipv6_instances_use_version_3() {
    let base = "vrrp_instance V {\ninterface eth0\nvirtual_router_id 1\nSETTING\n}\n";
    for (setting, expected) in [
        ("virtual_ipaddress { fe80::1/64 }", vec!["virtual_addresses = [\"fe80::1/64\"]"]),
        (
            "native_ipv6\nno_virtual_ipaddress\nvirtual_ipaddress_excluded {\n192.0.2.1/24\n}",
            vec![
                "family = \"ipv6\"",
                "virtual_addresses = []",
                "virtual_addresses_excluded = [\"192.0.2.1/24\"]",
            ],
        ),
        (
            "virtual_ipaddress {\nfe80::1/64\n2001:db8::1 preferred_lft forever\n}",
            vec![
                "virtual_addresses = [\"fe80::1/64\", { address = \"2001:db8::1\", preferred = true }]",
            ],
        ),
    ] {
        let translation = translated(&base.replace("SETTING", setting));
        assert_valid(&translation);
        let found: Vec<&str> =
            settings(&translation).into_iter().filter(|line| !BASE.contains(line)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn unicast() {
    assert_rows(&[
        (
            "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2 min_ttl 255\n10.0.0.3\n}",
            &[
                "unicast_source = \"10.0.0.1\"",
                "unicast_peers = [\"10.0.0.2\", { address = \"10.0.0.3\", min_ttl = 1 }]",
            ],
            &[],
        ),
        (
            "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.1 min_ttl 255\n10.0.0.2 min_ttl 255\n}",
            &["unicast_source = \"10.0.0.1\"", "unicast_peers = [\"10.0.0.2\"]"],
            &["attention: the peer 10.0.0.1 is this router's own address"],
        ),
        (
            "unicast_peer {\n10.0.0.2 min_ttl 255\n}",
            &["unicast_peers = [\"10.0.0.2\"]"],
            &["attention: no `unicast_src_ip` is configured"],
        ),
        ("mcast_src_ip 10.0.0.1", &["source = \"10.0.0.1\""], &[]),
        ("unicast_src_ip 10.0.0.1", &["source = \"10.0.0.1\""], &[]),
        ("unicast_src_ip fe80::1", &[], &["attention: the source fe80::1 is left out"]),
        ("unicast_peer {\n}", &[], &["attention: no peer is configured"]),
        ("unicast_ttl 255", &[], &["note: `unicast_ttl` is not needed"]),
        ("unicast_ttl 64", &[], &["attention: `unicast_ttl` is not translated"]),
    ]);
}

#[test]
fn announcements() {
    assert_rows(&[
        (
            "garp_master_delay 0\ngarp_master_repeat 2\ngarp_master_refresh 60\ngarp_master_refresh_repeat 2",
            &["garp = { repeat = 2, delay = \"0s\", refresh = \"60s\", refresh_repeat = 2 }"],
            &[],
        ),
        ("garp_master_delay 5\ngarp_master_repeat 5\ngarp_master_refresh 0", &[], &[]),
        ("garp_lower_prio_repeat 1", &[], &["note: `garp_lower_prio_repeat` is not needed"]),
    ]);
    let with = |global: &str| format!("{}{global}", instance("garp_master_repeat 4"));
    for (global, expected) in [
        ("global_defs { vrrp_garp_interval 0.5 }", "garp = { repeat = 4, interval = \"500ms\" }"),
        ("global_defs { vrrp_min_garp }", "garp = { repeat = 4, delay = \"0s\" }"),
        ("garp_group {\ngarp_interval 0.25\ninterface eth0\n}", "garp = { repeat = 4, interval = \"250ms\" }"),
        ("garp_group {\ngarp_interval 0.25\ninterface eth9\n}", "garp = { repeat = 4 }"),
    ] {
        assert_row(&with(global), &[expected], &[]);
    }
}

#[test]
fn tracked_objects() {
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
        ("track_process { p }", Some("{ process = \"p\", weight = 1 }"), vec![]),
        ("track_file { f }", Some("{ file = \"f\", weight = 1 }"), vec![]),
        ("track_file { f weight 0 }", None, vec!["attention: a file with weight 0 is not translated"]),
        (
            "priority 255\ntrack_script { s }",
            Some("{ script = \"s\" }"),
            vec!["note: the weight of \"s\" is left out: keepalived ignores the weights of an address owner"],
        ),
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
fn commands() {
    let base = "global_defs {\nscript_user root\n}\nvrrp_script s {\nSETTING\n}\n";
    for (setting, expected, expected_messages) in [
        ("script \"/bin/true a 'b c'\"", "[\"/bin/true\", \"a\", \"b c\"]", vec![]),
        ("script /bin/true", "[\"/bin/true\"]", vec![]),
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
            vec!["note: the command \"</dev/tcp/127.0.0.1/80\" needs a shell"],
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
fn notifications() {
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
fn rules_without_preference_get_the_number_that_keepalived_would_choose() {
    assert_rows(&[
        (
            "virtual_rules {\nfrom 10.0.0.1 table 5\nto 10.0.0.2 table 6\n}",
            &[
                "rules = [{ from = \"10.0.0.1\", table = 5, priority = 16384 }, { to = \"10.0.0.2\", table = 6, priority = 16383 }]",
            ],
            &["attention: the rule has no preference; it gets 16384", "attention: the rule has no preference; it gets 16383"],
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
             track_interface {{ eth1 weight 5 }}\n}}\n"
        )
    };
    let text = format!("vrrp_sync_group G {{\ngroup {{ A B }}\ntrack_interface {{ eth2 weight 3 }}\n}}\n{}{}", member("A", 1), member("B", 2));
    let translation = translated(&text);
    assert_eq!(translation.toml.matches("track = [{ interface = \"eth1\" }]").count(), 2);
    assert!(translation.toml.contains(
        "[[group]]\nname = \"G\"\nmembers = [\"A\", \"B\"]\ntrack = [{ interface = \"eth2\", weight = 3 }]\n"
    ));
    assert_valid(&translation);
}

#[test]
fn conditional_lines_depend_on_the_id() {
    let text = instance("@main priority 5\n@^main priority 6\n@host priority 7\n@main\n@ x\n@^ priority 8");
    let memory = Memory::new([("k.conf", text.as_str())]);
    let with = |id| import(std::path::Path::new("k.conf"), &options(id), &memory).expect("translated");
    let main = with(Some("main"));
    assert!(main.toml.contains("priority = 8\n"), "{}", main.toml);
    let host = with(None);
    assert_eq!(host.attention().count(), 5, "{:#?}", host.messages);
    assert!(host.messages[0].text.contains("which is \"host\" here"), "{}", host.messages[0]);
}

#[test]
fn includes() {
    let main = instance("include conf.d/*.conf\ninclude loop.conf\ninclude missing.conf\ninclude a b\nincludea none*.conf");
    let memory = Memory::new([
        ("k.conf", main.as_str()),
        ("conf.d/a.conf", "priority 7\ninclude deeper/b.conf\n"),
        ("conf.d/deeper/b.conf", "nopreempt\n"),
        ("conf.d/.hidden.conf", "priority 9\n"),
        ("loop.conf", "include loop.conf\ninclude k.conf\n"),
    ]);
    let translation = translate(&memory).expect("translated");
    let expected = ["priority = 7", "preempt = false"];
    assert!(expected.iter().all(|line| translation.toml.contains(line)), "{}", translation.toml);
    let found = messages(&translation);
    for expected in [
        "loop.conf:1: attention: loop.conf is included in itself",
        "loop.conf:2: attention: k.conf is included in itself",
        "7: attention: missing.conf cannot be included: entity not found",
        "8: attention: `include` must have one file or pattern",
        "9: note: no file matches \"none*.conf\"",
    ] {
        assert!(found.iter().any(|message| message.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn limits_end_the_translation() {
    let error = |memory: &Memory| translate(memory).expect_err("a limit").to_string();
    let deep: Vec<(String, String)> =
        (0..20).map(|n| (format!("{n}.conf"), format!("include {}.conf\n", n + 1))).collect();
    let mut memory = Memory::new(deep.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    memory.files.insert("k.conf".into(), b"include 0.conf\n".to_vec());
    assert_eq!(error(&memory), "14.conf:1: more than 16 files include each other; split the configuration");

    memory.files.insert("k.conf".into(), vec![b'\n'; (1 << 20) + 1]);
    assert_eq!(error(&memory), "k.conf:1: the file is larger than 1 MiB; split the configuration");

    let endless = "~SEQ(A,1,60000) ~SEQ(B,1,60000) ~SEQ(C,1,60000) $D=1\n";
    assert_eq!(
        error(&Memory::new([("k.conf", endless)])),
        "k.conf:1: the sequences have more than 2 million steps; split the configuration"
    );
    let nested = "$A= \\\n$A\n\n$A\n";
    assert_eq!(
        error(&Memory::new([("k.conf", nested)])),
        "k.conf:4: more than 16 sequences or definitions are within each other; split the configuration"
    );
}

#[test]
fn files_without_instances_are_rejected_with_their_messages() {
    let memory = Memory::new([("k.conf", "virtual_server 10.0.0.1 80 {\n}\n")]);
    match translate(&memory) {
        Err(ImportError::NoInstance { messages, .. }) => assert_eq!(messages.len(), 1),
        other => panic!("{other:?}"),
    }
    assert!(matches!(translate(&Memory::default()), Err(ImportError::Read { .. })));
}

#[test]
fn invalid_utf8_is_reported() {
    let mut memory = Memory::default();
    let mut text = instance("").into_bytes();
    text.extend(b"# \xff\n");
    memory.files.insert("k.conf".into(), text);
    let translation = translate(&memory).expect("translated");
    assert_eq!(
        messages(&translation),
        ["7: attention: has a byte that is not valid UTF-8, replaced by U+FFFD; correct it"]
    );
}
