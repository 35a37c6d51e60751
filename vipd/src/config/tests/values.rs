//! Invalid values of individual keys.

use super::{assert_rows, problems, with};

#[test]
fn invalid_names_are_rejected() {
    assert_rows(&[
        (
            "name = \"\"",
            "6:8: name is \"\"; it must be a string of 1 to 64 printable characters without white space; \
             choose another name",
        ),
        (
            "name = \"a b\"",
            "6:8: name is \"a b\"; it must be a string of 1 to 64 printable characters without white \
             space; choose another name",
        ),
        (
            "name = 1",
            "6:8: name is an integer; it must be a string of 1 to 64 printable characters without white \
             space; use e.g. `name = \"VI_1\"`",
        ),
        (
            "name = \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
            "6:8: name is \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; it must \
             be a string of 1 to 64 printable characters without white space; choose another name",
        ),
        (
            "name = \"a\\u0007\"",
            "6:8: name is \"a\\u{7}\"; it must be a string of 1 to 64 printable characters without white \
             space; choose another name",
        ),
    ]);
}

#[test]
fn invalid_interfaces_are_rejected() {
    assert_rows(&[
        (
            "interface = \"lo\"",
            "6:13: interface is \"lo\"; no other host is reachable through the loopback interface; use the interface that faces the hosts",
        ),
        (
            "interface = \"\"",
            "6:13: interface is \"\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = \"0123456789abcdef\"",
            "6:13: interface is \"0123456789abcdef\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = \"a/b\"",
            "6:13: interface is \"a/b\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = \"a:1\"",
            "6:13: interface is \"a:1\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = \"a b\"",
            "6:13: interface is \"a b\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = \".\"",
            "6:13: interface is \".\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = \"..\"",
            "6:13: interface is \"..\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "interface = [\"eth1\"]",
            "6:13: interface is an array; it must be the name of a network interface; use e.g. \
             `interface = \"eth1\"`",
        ),
    ]);
}

#[test]
fn invalid_vrids_versions_and_priorities_are_rejected() {
    assert_rows(&[
        ("vrid = 0", "6:8: vrid is 0; it must be an integer from 1 to 255; choose another number"),
        ("vrid = 256", "6:8: vrid is 256; it must be an integer from 1 to 255; choose another number"),
        ("vrid = -1", "6:8: vrid is -1; it must be an integer from 1 to 255; choose another number"),
        ("vrid = 0x100", "6:8: vrid is 0x100; it must be an integer from 1 to 255; choose another number"),
        (
            "vrid = 99999999999999999999999999999999999999999",
            "6:8: vrid is 99999999999999999999999999999999999999999; it must be an integer from 1 to 255; \
             choose another number",
        ),
        ("vrid = \"51\"", "6:8: vrid is a string; it must be an integer from 1 to 255; use e.g. `vrid = 51`"),
        (
            "vrid = 5.5",
            "6:8: vrid is a floating-point number; it must be an integer from 1 to 255; use e.g. `vrid \
             = 51`",
        ),
        ("version = 1", "6:11: version is 1; it must be 2 or 3; choose another number"),
        ("version = 4", "6:11: version is 4; it must be 2 or 3; choose another number"),
        ("version = \"3\"", "6:11: version is a string; it must be 2 or 3; use e.g. `version = 3`"),
        ("version = 300", "6:11: version is 300; it must be 2 or 3; choose another number"),
        ("priority = 0", "6:12: priority is 0; it must be an integer from 1 to 255; choose another number"),
        (
            "priority = 256",
            "6:12: priority is 256; it must be an integer from 1 to 255; choose another number",
        ),
        (
            "priority = true",
            "6:12: priority is a boolean; it must be an integer from 1 to 255; use e.g. `priority = 100`",
        ),
    ]);
}

#[test]
fn invalid_intervals_are_rejected() {
    assert_rows(&[
        (
            "advert_interval = \"0s\"",
            "6:19: advert_interval is \"0s\"; VRRPv3 intervals are multiples of 10 ms from 10 ms to 40.95 \
             s; use \"10ms\"",
        ),
        (
            "advert_interval = \"15ms\"",
            "6:19: advert_interval is \"15ms\"; VRRPv3 intervals are multiples of 10 ms from 10 ms to \
             40.95 s; use \"10ms\" or \"20ms\"",
        ),
        (
            "advert_interval = \"5ms\"",
            "6:19: advert_interval is \"5ms\"; VRRPv3 intervals are multiples of 10 ms from 10 ms to \
             40.95 s; use \"10ms\"",
        ),
        (
            "advert_interval = \"0.005s\"",
            "6:19: advert_interval is \"0.005s\"; VRRPv3 intervals are multiples of 10 ms from 10 ms to \
             40.95 s; use \"10ms\"",
        ),
        (
            "advert_interval = \"40.96s\"",
            "6:19: advert_interval is \"40.96s\"; VRRPv3 intervals are multiples of 10 ms from 10 ms to \
             40.95 s; use \"40.95s\"",
        ),
        (
            "advert_interval = \"1000h\"",
            "6:19: advert_interval is \"1000h\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
        (
            "advert_interval = \"10\"",
            "6:19: advert_interval is \"10\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use \"10s\" or \"10ms\"",
        ),
        (
            "advert_interval = \"-1s\"",
            "6:19: advert_interval is \"-1s\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
        (
            "advert_interval = \"\"",
            "6:19: advert_interval is \"\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
        (
            "advert_interval = 1",
            "6:19: advert_interval is an integer; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. `advert_interval = \
             \"1s\"`",
        ),
        (
            "advert_interval = 0.5",
            "6:19: advert_interval is a floating-point number; it must be a duration as a string, from \
             \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. \
             `advert_interval = \"1s\"`",
        ),
        (
            "advert_interval = \"99999999999999999999s\"",
            "6:19: advert_interval is \"99999999999999999999s\"; it must be a duration as a string, from \
             \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. \"1s\"",
        ),
        (
            "version = 2\nadvert_interval = \"0.5s\"",
            "7:19: advert_interval is \"0.5s\"; VRRPv2 intervals are whole seconds from 1 s to 255 s; use \"1s\", or set `version = 3`",
        ),
        (
            "version = 2\nadvert_interval = \"1.5s\"",
            "7:19: advert_interval is \"1.5s\"; VRRPv2 intervals are whole seconds from 1 s to 255 s; use \"1s\" or \"2s\", or set `version = 3`",
        ),
        (
            "version = 2\nadvert_interval = \"256s\"",
            "7:19: advert_interval is \"256s\"; VRRPv2 intervals are whole seconds from 1 s to 255 s; use \"255s\"",
        ),
        (
            "version = 2\nadvert_interval = \"0s\"",
            "7:19: advert_interval is \"0s\"; VRRPv2 intervals are whole seconds from 1 s to 255 s; use \"1s\"",
        ),
        (
            "version = 4\nadvert_interval = \"15ms\"",
            "6:11: version is 4; it must be 2 or 3; choose another number",
        ),
        (
            "version = 4\nadvert_interval = \"often\"",
            "6:11: version is 4; it must be 2 or 3; choose another number\n\
             7:19: advert_interval is \"often\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; use e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
    ]);
}

#[test]
fn invalid_preempt_is_rejected() {
    assert_rows(&[
        (
            "preempt = \"yes\"",
            "6:11: preempt is a string; it must be true or false; use e.g. `preempt = true`",
        ),
        ("preempt = 1", "6:11: preempt is an integer; it must be true or false; use e.g. `preempt = true`"),
    ]);
}

#[test]
fn unknown_keys_are_rejected_with_a_suggestion() {
    let allowed = "allowed keys: name, interface, vrid, version, family, priority, advert_interval, down_after_adverts, \
                   preempt, preempt_delay, startup_delay, accept, checksum, auth_pass, auth_pass_file, hmac, virtual_mac, \
                   virtual_mac_transmit_on_base, source, unicast_source, unicast_peers, virtual_addresses, \
                   virtual_addresses_excluded, track, routes, rules, notify, garp";
    for (line, key, remedy) in [
        ("vird = 1", "vird", "did you mean `vrid`?"),
        ("adver_interval = \"1s\"", "adver_interval", "did you mean `advert_interval`?"),
        ("Priority = 1", "Priority", "did you mean `priority`?"),
        ("unicast_peer = []", "unicast_peer", "did you mean `unicast_peers`?"),
        ("weight = 5", "weight", "remove it"),
        ("\"odd\\nkey\" = 1", "odd\\nkey", "remove it"),
    ] {
        let expected = format!("6:1: unknown key `{key}` in an instance; {remedy} ({allowed})");
        assert_eq!(problems(&with(line)), expected);
    }
}
