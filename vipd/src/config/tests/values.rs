//! What is refused in the value of one key.

use super::assert_rows;

#[test]
fn names() {
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
             space; write e.g. `name = \"VI_1\"`",
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
fn interfaces() {
    assert_rows(&[
        (
            "interface = \"lo\"",
            "6:13: interface is \"lo\"; no VRRP router can be heard on the loopback interface; name the \
             interface that faces the hosts",
        ),
        (
            "interface = \"\"",
            "6:13: interface is \"\"; it must be 1 to 15 bytes without `/`, `:` or white space; `ip link` \
             lists the names",
        ),
        (
            "interface = \"0123456789abcdef\"",
            "6:13: interface is \"0123456789abcdef\"; it must be 1 to 15 bytes without `/`, `:` or white \
             space; `ip link` lists the names",
        ),
        (
            "interface = \"a/b\"",
            "6:13: interface is \"a/b\"; it must be 1 to 15 bytes without `/`, `:` or white space; `ip \
             link` lists the names",
        ),
        (
            "interface = \"a:1\"",
            "6:13: interface is \"a:1\"; it must be 1 to 15 bytes without `/`, `:` or white space; `ip \
             link` lists the names",
        ),
        (
            "interface = \"a b\"",
            "6:13: interface is \"a b\"; it must be 1 to 15 bytes without `/`, `:` or white space; `ip \
             link` lists the names",
        ),
        (
            "interface = \".\"",
            "6:13: interface is \".\"; it must be 1 to 15 bytes without `/`, `:` or white space; `ip \
             link` lists the names",
        ),
        (
            "interface = \"..\"",
            "6:13: interface is \"..\"; it must be 1 to 15 bytes without `/`, `:` or white space; `ip \
             link` lists the names",
        ),
        (
            "interface = [\"eth1\"]",
            "6:13: interface is an array; it must be the name of a network interface; write e.g. \
             `interface = \"eth1\"`",
        ),
    ]);
}

#[test]
fn vrids_versions_and_priorities() {
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
        (
            "vrid = \"51\"",
            "6:8: vrid is a string; it must be an integer from 1 to 255; write e.g. `vrid = 51`",
        ),
        (
            "vrid = 5.5",
            "6:8: vrid is a floating-point number; it must be an integer from 1 to 255; write e.g. `vrid \
             = 51`",
        ),
        ("version = 1", "6:11: version is 1; it must be 2 or 3; choose another number"),
        ("version = 4", "6:11: version is 4; it must be 2 or 3; choose another number"),
        ("version = \"3\"", "6:11: version is a string; it must be 2 or 3; write e.g. `version = 3`"),
        ("version = 300", "6:11: version is 300; it must be 2 or 3; choose another number"),
        (
            "priority = 0",
            "6:12: priority is 0; it must be an integer from 1 to 254, or 255 for the owner of the \
             addresses; choose another number",
        ),
        (
            "priority = 256",
            "6:12: priority is 256; it must be an integer from 1 to 254, or 255 for the owner of the \
             addresses; choose another number",
        ),
        (
            "priority = true",
            "6:12: priority is a boolean; it must be an integer from 1 to 254, or 255 for the owner of \
             the addresses; write e.g. `priority = 100`",
        ),
    ]);
}

#[test]
fn intervals() {
    assert_rows(&[
        (
            "advert_interval = \"0s\"",
            "6:19: advert_interval is \"0s\"; VRRPv3 says intervals in steps of 10 ms from 10 ms to 40.95 \
             s; write \"10ms\"",
        ),
        (
            "advert_interval = \"15ms\"",
            "6:19: advert_interval is \"15ms\"; VRRPv3 says intervals in steps of 10 ms from 10 ms to \
             40.95 s; write \"10ms\" or \"20ms\"",
        ),
        (
            "advert_interval = \"5ms\"",
            "6:19: advert_interval is \"5ms\"; VRRPv3 says intervals in steps of 10 ms from 10 ms to \
             40.95 s; write \"10ms\"",
        ),
        (
            "advert_interval = \"0.005s\"",
            "6:19: advert_interval is \"0.005s\"; VRRPv3 says intervals in steps of 10 ms from 10 ms to \
             40.95 s; write \"10ms\"",
        ),
        (
            "advert_interval = \"40.96s\"",
            "6:19: advert_interval is \"40.96s\"; VRRPv3 says intervals in steps of 10 ms from 10 ms to \
             40.95 s; write \"40.95s\"",
        ),
        (
            "advert_interval = \"1000h\"",
            "6:19: advert_interval is \"1000h\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
        (
            "advert_interval = \"10\"",
            "6:19: advert_interval is \"10\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write \"10s\" or \"10ms\"",
        ),
        (
            "advert_interval = \"-1s\"",
            "6:19: advert_interval is \"-1s\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
        (
            "advert_interval = \"\"",
            "6:19: advert_interval is \"\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
        (
            "advert_interval = 1",
            "6:19: advert_interval is an integer; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. `advert_interval = \
             \"1s\"`",
        ),
        (
            "advert_interval = 0.5",
            "6:19: advert_interval is a floating-point number; it must be a duration as a string, from \
             \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. \
             `advert_interval = \"1s\"`",
        ),
        (
            "advert_interval = \"99999999999999999999s\"",
            "6:19: advert_interval is \"99999999999999999999s\"; it must be a duration as a string, from \
             \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. \"1s\"",
        ),
        (
            "version = 2\nadvert_interval = \"0.5s\"",
            "7:19: advert_interval is \"0.5s\"; VRRPv2 says intervals in whole seconds from 1 s to 255 s; \
             write \"1s\", or set `version = 3`",
        ),
        (
            "version = 2\nadvert_interval = \"1.5s\"",
            "7:19: advert_interval is \"1.5s\"; VRRPv2 says intervals in whole seconds from 1 s to 255 s; \
             write \"1s\" or \"2s\", or set `version = 3`",
        ),
        (
            "version = 2\nadvert_interval = \"256s\"",
            "7:19: advert_interval is \"256s\"; VRRPv2 says intervals in whole seconds from 1 s to 255 s; \
             write \"255s\"",
        ),
        (
            "version = 2\nadvert_interval = \"0s\"",
            "7:19: advert_interval is \"0s\"; VRRPv2 says intervals in whole seconds from 1 s to 255 s; \
             write \"1s\"",
        ),
        (
            "version = 4\nadvert_interval = \"15ms\"",
            "6:11: version is 4; it must be 2 or 3; choose another number",
        ),
        (
            "version = 4\nadvert_interval = \"often\"",
            "6:11: version is 4; it must be 2 or 3; choose another number\n\
             7:19: advert_interval is \"often\"; it must be a duration as a string, from \"10ms\" to \
             \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2; write e.g. \"1s\", \"1.5s\" or \
             \"10ms\"",
        ),
    ]);
}

#[test]
fn preempt() {
    assert_rows(&[
        (
            "preempt = \"yes\"",
            "6:11: preempt is a string; it must be true or false; write e.g. `preempt = true`",
        ),
        ("preempt = 1", "6:11: preempt is an integer; it must be true or false; write e.g. `preempt = true`"),
    ]);
}

#[test]
fn virtual_addresses() {
    assert_rows(&[
        (
            "virtual_addresses = []",
            "6:21: virtual_addresses is empty; it must be an array of 1 to 255 IPv4 addresses as strings; \
             add the address that the routers share",
        ),
        (
            "virtual_addresses = \"192.0.2.1\"",
            "6:21: virtual_addresses is a string; it must be an array of 1 to 255 IPv4 addresses as \
             strings; write e.g. `virtual_addresses = [\"192.0.2.10/24\"]`",
        ),
        (
            "virtual_addresses = [\"192.0.2.1\", 5]",
            "6:35: a virtual address is an integer; it must be a string; write e.g. \"192.0.2.10/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2\"]",
            "6:22: virtual address \"192.0.2\" is not an IPv4 address; it must be a.b.c.d or \
             a.b.c.d/length; write e.g. \"192.0.2.10/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2.01\"]",
            "6:22: virtual address \"192.0.2.01\" is not an IPv4 address; it must be a.b.c.d or \
             a.b.c.d/length; write e.g. \"192.0.2.10/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2.1/0\"]",
            "6:22: virtual address \"192.0.2.1/0\" has the prefix length \"0\"; it must be an integer \
             from 1 to 32; write the length of the interface's network, e.g. \"192.0.2.1/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2.1/33\"]",
            "6:22: virtual address \"192.0.2.1/33\" has the prefix length \"33\"; it must be an integer \
             from 1 to 32; write the length of the interface's network, e.g. \"192.0.2.1/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2.1/\"]",
            "6:22: virtual address \"192.0.2.1/\" has the prefix length \"\"; it must be an integer from \
             1 to 32; write the length of the interface's network, e.g. \"192.0.2.1/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2.1/+24\"]",
            "6:22: virtual address \"192.0.2.1/+24\" has the prefix length \"+24\"; it must be an integer \
             from 1 to 32; write the length of the interface's network, e.g. \"192.0.2.1/24\"",
        ),
        (
            "virtual_addresses = [\"192.0.2.1/024\"]",
            "6:22: virtual address \"192.0.2.1/024\" has the prefix length \"024\"; it must be an integer \
             from 1 to 32; write the length of the interface's network, e.g. \"192.0.2.1/24\"",
        ),
        (
            "virtual_addresses = [\"2001:db8::1/64\"]",
            "6:22: virtual address \"2001:db8::1/64\" is IPv6; this version of vipd speaks IPv4 only; \
             write an IPv4 address",
        ),
        (
            "virtual_addresses = [\"0.0.0.0\"]",
            "6:22: virtual address \"0.0.0.0\" is in 0.0.0.0/8, which means \"this network\"; it must be \
             a unicast address that a host may own; choose a free address of the interface's network",
        ),
        (
            "virtual_addresses = [\"127.0.0.1\"]",
            "6:22: virtual address \"127.0.0.1\" is a loopback address; it must be a unicast address that \
             a host may own; choose a free address of the interface's network",
        ),
        (
            "virtual_addresses = [\"224.0.0.18\"]",
            "6:22: virtual address \"224.0.0.18\" is a multicast address; it must be a unicast address \
             that a host may own; choose a free address of the interface's network",
        ),
        (
            "virtual_addresses = [\"255.255.255.255\"]",
            "6:22: virtual address \"255.255.255.255\" is the broadcast address; it must be a unicast \
             address that a host may own; choose a free address of the interface's network",
        ),
        (
            "virtual_addresses = [\"192.0.2.0/24\"]",
            "6:22: virtual address \"192.0.2.0/24\" is the network address of its /24; it must be a \
             unicast address that a host may own; choose a free address of the interface's network",
        ),
        (
            "virtual_addresses = [\"192.0.2.255/24\"]",
            "6:22: virtual address \"192.0.2.255/24\" is the broadcast address of its /24; it must be a \
             unicast address that a host may own; choose a free address of the interface's network",
        ),
        (
            "virtual_addresses = [\"192.0.2.1\", \"192.0.2.1/24\"]",
            "6:35: virtual address 192.0.2.1 is already taken at line 6, column 22; one virtual router \
             holds an address; remove one of them",
        ),
        (
            "virtual_addresses = [\n  \"::1\",\n  \"192.0.2.1\",\n  \"nonsense\",\n]",
            "7:3: virtual address \"::1\" is IPv6; this version of vipd speaks IPv4 only; write an IPv4 \
             address\n\
             9:3: virtual address \"nonsense\" is not an IPv4 address; it must be a.b.c.d or \
             a.b.c.d/length; write e.g. \"192.0.2.10/24\"",
        ),
    ]);
}

#[test]
fn unknown_keys() {
    assert_rows(&[
        (
            "vird = 1",
            "6:1: unknown key `vird` in an instance; allowed are name, interface, vrid, version, \
             priority, advert_interval, preempt, virtual_addresses; did you mean `vrid`?",
        ),
        (
            "adver_interval = \"1s\"",
            "6:1: unknown key `adver_interval` in an instance; allowed are name, interface, vrid, \
             version, priority, advert_interval, preempt, virtual_addresses; did you mean \
             `advert_interval`?",
        ),
        (
            "garp_delay = 5",
            "6:1: unknown key `garp_delay` in an instance; allowed are name, interface, vrid, version, \
             priority, advert_interval, preempt, virtual_addresses; remove it",
        ),
        (
            "Priority = 1",
            "6:1: unknown key `Priority` in an instance; allowed are name, interface, vrid, version, \
             priority, advert_interval, preempt, virtual_addresses; did you mean `priority`?",
        ),
        (
            "\"odd\\nkey\" = 1",
            "6:1: unknown key `odd\\n\
             key` in an instance; allowed are name, interface, vrid, version, priority, advert_interval, \
             preempt, virtual_addresses; remove it",
        ),
    ]);
}
