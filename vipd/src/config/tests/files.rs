//! Rules for the file as a whole.

use super::assert_sources;

#[test]
fn files_without_an_instance_are_rejected() {
    assert_sources(&[
        (
            "",
            "1:1: no instance is configured; at least one is required; put each under its own `[[instance]]` header",
        ),
        (
            "realtime = \"auto\"\n",
            "1:1: no instance is configured; at least one is required; put each under its own `[[instance]]` header",
        ),
        (
            "instance = []\n",
            "1:1: no instance is configured; at least one is required; put each under its own `[[instance]]` header",
        ),
        (
            "[instance]\nname = \"a\"\n",
            "1:1: instance is a table; it must be an array of tables; put each under its own `[[instance]]` header",
        ),
        (
            "instance = 3\n",
            "1:12: instance is an integer; it must be an array of tables; put each under its own `[[instance]]` header",
        ),
        (
            "instance = [3]\n",
            "1:13: an element of instance is an integer; it must be a table; put each under its own `[[instance]]` header",
        ),
        (
            "[[instances]]\n",
            "1:1: no instance is configured; at least one is required; put each under its own `[[instance]]` header\n\
             1:3: unknown key `instances` at the top of the file; did you mean `instance`? (allowed keys: realtime, \
             xdp, fence, include, instance, script, process, file, group, notify, control, metrics, interface)",
        ),
    ]);
}

/// After a syntax error, the rest of the file may not have been read.
#[test]
fn missing_instances_are_not_reported_after_a_syntax_error() {
    assert_sources(&[
        (
            "# a comment\nvrrp_instance VI_1 {\n",
            "2:15: TOML syntax: key with no value, expected `=`; correct this line",
        ),
        (
            "include = \"\"\"\n[[instance]]\nname = \"a\"\n",
            "1:11: include is a string; it must be an array of strings; use e.g. `include = [\"conf.d/*.toml\"]`\n\
             4:1: TOML syntax: invalid multi-line basic string, expected `\"`; correct this line",
        ),
    ]);
}

#[test]
fn realtime_is_auto_or_off() {
    assert_sources(&[
        (
            "realtime = \"on\"\n\
             [[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n",
            "1:12: realtime is \"on\"; it must be \"auto\" or \"off\"; choose one of them",
        ),
        (
            "realtime = true\n\
             [[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n",
            "1:12: realtime is a boolean; it must be \"auto\" or \"off\"; use e.g. `realtime = \"auto\"`",
        ),
    ]);
}

#[test]
fn missing_keys_are_reported() {
    assert_sources(&[
        (
            "[[instance]]\n",
            "1:1: name is missing; it must be a string of 1 to 64 printable characters without white \
             space; add e.g. `name = \"VI_1\"`\n\
             1:1: interface is missing; it must be the name of a network interface; add e.g. `interface = \
             \"eth1\"`\n\
             1:1: vrid is missing; it must be an integer from 1 to 255; add e.g. `vrid = 51`\n\
             1:1: virtual_addresses is missing; it must be an array of up to 255 addresses, each a \
             string or a table; add e.g. `virtual_addresses = [\"192.0.2.10/24\"]`",
        ),
        (
            "realtime = \"auto\"\n\n[[instance]]\nname = \"é\" # two bytes\npriority = 300\n",
            "3:1: interface is missing; it must be the name of a network interface; add e.g. `interface = \
             \"eth1\"`\n\
             3:1: vrid is missing; it must be an integer from 1 to 255; add e.g. `vrid = 51`\n\
             3:1: virtual_addresses is missing; it must be an array of up to 255 addresses, each a \
             string or a table; add e.g. `virtual_addresses = [\"192.0.2.10/24\"]`\n\
             5:12: priority is 300; it must be an integer from 1 to 255; choose another number",
        ),
    ]);
}

#[test]
fn conflicting_instances_are_rejected() {
    assert_sources(&[
        (
            "[[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             [[instance]]\n\
             name = \"a\"\n\
             interface = \"eth2\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n",
            "7:8: name \"a\" is already used at line 2, column 8; names must be unique; rename one of \
             them",
        ),
        (
            "[[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             [[instance]]\n\
             name = \"b\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.2\"]\n",
            "9:8: vrid 1 is already used for IPv4 on eth1 at line 4, column 8; a VRID identifies one virtual router per family and interface; choose another VRID or interface",
        ),
        (
            "[[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             [[instance]]\n\
             name = \"b\"\n\
             interface = \"eth1\"\n\
             vrid = 2\n\
             virtual_addresses = [\"192.0.2.1/24\"]\n",
            "10:22: virtual address 192.0.2.1 is already used on eth1 at line 5, column 22; an address belongs to one virtual router; remove one of them",
        ),
        (
            "[[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             [[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             [[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n",
            "7:8: name \"a\" is already used at line 2, column 8; names must be unique; rename one of \
             them\n\
             9:8: vrid 1 is already used for IPv4 on eth1 at line 4, column 8; a VRID identifies one virtual router per family and interface; choose another VRID or interface\n\
             10:22: virtual address 192.0.2.1 is already used on eth1 at line 5, column 22; an address belongs to one virtual router; remove one of them\n\
             12:8: name \"a\" is already used at line 2, column 8; names must be unique; rename one of \
             them\n\
             14:8: vrid 1 is already used for IPv4 on eth1 at line 4, column 8; a VRID identifies one virtual router per family and interface; choose another VRID or interface\n\
             15:22: virtual address 192.0.2.1 is already used on eth1 at line 5, column 22; an address belongs to one virtual router; remove one of them",
        ),
    ]);
}

#[test]
fn syntax_errors_are_reported_once_per_line() {
    assert_sources(&[
        (
            "[[instance]]\nname = \"a\"\nvrid = \npriority = 0\n",
            "1:1: interface is missing; it must be the name of a network interface; add e.g. `interface = \
             \"eth1\"`\n\
             1:1: virtual_addresses is missing; it must be an array of up to 255 addresses, each a \
             string or a table; add e.g. `virtual_addresses = [\"192.0.2.10/24\"]`\n\
             3:8: TOML syntax: no value after `=`; add one, or remove the key\n\
             4:12: priority is 0; it must be an integer from 1 to 255; choose another number",
        ),
        (
            "[[instance]]\nname = \"a\ninterface = eth1\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"\n",
            "2:10: TOML syntax: invalid basic string, expected `\"`; correct this line\n\
             3:13: TOML syntax: string values must be quoted, expected literal string; correct this line\n\
             5:33: TOML syntax: unclosed array, expected `]`; correct this line",
        ),
        (
            "[[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             vrid = 2\n",
            "6:1: TOML syntax: duplicate key; correct this line",
        ),
        (
            "[[instance\nname = \"a\"\n",
            "1:11: TOML syntax: unclosed array table, expected `]]`; correct this line",
        ),
        (
            "xd = \"tc\"\n [[instance]\nname = \"a\"\nvrid = [\n1]\n",
            "1:1: unknown key `xd` at the top of the file; did you mean `xdp`? (allowed keys: realtime, xdp, fence, include, \
             instance, script, process, file, group, notify, control, metrics, interface)\n\
             2:13: TOML syntax: unclosed array table, expected `]`; correct this line",
        ),
        (
            "[[instance]]\n\
             name = \"a\"\n\
             interface = \"eth1\"\n\
             vrid = 1\n\
             virtual_addresses = [\"192.0.2.1\"]\n\
             vrid 2\n\
             nonsense = 3\n",
            "6:6: TOML syntax: key with no value, expected `=`; correct this line",
        ),
        (
            "é = 1 = 2\n",
            "1:7: TOML syntax: unexpected key or value, expected newline, `#`; correct this line",
        ),
    ]);
}

#[test]
fn the_reference_is_current() {
    crate::generated::check("docs/configuration.md", &crate::config::schema::reference::markdown());
}
