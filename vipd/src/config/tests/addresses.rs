//! Virtual addresses as strings and as tables, and their family.

use super::{assert_rows, assert_sources, parsed, problems, warnings, with};
use crate::config::Config;
use crate::config::settings::{Placement, Scope};
use crate::vrrp::config::Family;

#[test]
fn values_other_than_an_array_of_addresses_are_rejected() {
    assert_rows(&[
        (
            "virtual_addresses = \"192.0.2.1\"",
            "6:21: virtual_addresses is a string; it must be an array of up to 255 addresses, each a string or a \
             table; use e.g. `virtual_addresses = [\"192.0.2.10/24\"]`",
        ),
        (
            "virtual_addresses = [\"192.0.2.1\", 5]",
            "6:35: a virtual address is an integer; it must be a string or a table; use e.g. `\"192.0.2.10/24\"`",
        ),
        (
            "virtual_addresses_excluded = 5",
            "6:30: virtual_addresses_excluded is an integer; it must be an array of addresses, each a string or a \
             table; use e.g. `virtual_addresses_excluded = [\"192.0.2.20/24\"]`",
        ),
        (
            "virtual_addresses = [\n  \"::1\",\n  \"192.0.2.1\",\n  \"nonsense\",\n]",
            "7:3: virtual address \"::1\" is a loopback address; it must be a unicast address that a host may own; \
             choose a free address in the interface's subnet\n\
             9:3: virtual address \"nonsense\" is not an IP address; it must be an IPv4 or IPv6 address, with or without `/length`; use e.g. \"192.0.2.10/24\" or \"fe80::50/64\"",
        ),
    ]);
}

#[test]
fn invalid_addresses_are_rejected() {
    for text in
        ["", "192.0.2", "192.0.2.01", "192.0.2.1.1", "fe80::1%eth0", "fe80:::1", "/24", "vip.example.org"]
    {
        let expected = format!(
            "6:22: virtual address {text:?} is not an IP address; it must be an IPv4 or IPv6 address, with or without `/length`; use e.g. \"192.0.2.10/24\" or \"fe80::50/64\""
        );
        assert_eq!(problems(&with(&format!("virtual_addresses = [{text:?}]"))), expected);
    }
}

#[test]
fn invalid_prefix_lengths_are_rejected() {
    for (address, digits, longest, usual) in [
        ("192.0.2.1", "0", 32, 24),
        ("192.0.2.1", "33", 32, 24),
        ("192.0.2.1", "", 32, 24),
        ("192.0.2.1", "+24", 32, 24),
        ("192.0.2.1", "024", 32, 24),
        ("192.0.2.1", "24/24", 32, 24),
        ("fe80::1", "0", 128, 64),
        ("fe80::1", "129", 128, 64),
        ("fe80::1", "999", 128, 64),
    ] {
        let expected = format!(
            "6:22: virtual address \"{address}/{digits}\" has prefix length {digits:?}; it must be an integer \
             from 1 to {longest}; use that of the interface's subnet, e.g. \"{address}/{usual}\""
        );
        let line = format!("virtual_addresses = [\"{address}/{digits}\"]");
        assert_eq!(problems(&with(&line)), expected);
    }
}

#[test]
fn addresses_that_a_host_cannot_have_are_rejected() {
    for (address, reason) in [
        ("0.0.0.0", "in 0.0.0.0/8, which means \"this network\""),
        ("127.0.0.1", "a loopback address"),
        ("224.0.0.18", "a multicast address"),
        ("255.255.255.255", "the broadcast address"),
        ("192.0.2.0/24", "the network address of its /24"),
        ("192.0.2.255/24", "the broadcast address of its /24"),
        ("::", "the unspecified address"),
        ("::1", "a loopback address"),
        ("ff02::12", "a multicast address"),
        ("::ffff:192.0.2.1", "an IPv4-mapped address, which is not used on the wire"),
        ("2001:db8::/64", "the Subnet-Router anycast address of its /64"),
    ] {
        let expected = format!(
            "6:22: virtual address {address:?} is {reason}; it must be a unicast address that a host may own; choose a free address in the interface's subnet"
        );
        assert_eq!(problems(&with(&format!("virtual_addresses = [{address:?}]"))), expected);
    }
}

#[test]
fn limits_are_inclusive() {
    for address in ["192.0.2.1/1", "192.0.2.0/31", "192.0.2.0", "fe80::1/1", "fe80::/127", "fe80::/128"] {
        let instance = parsed(&format!("virtual_addresses = [{address:?}]"));
        let found = instance.router.virtual_addresses[0].to_string();
        let length = if address.contains(':') { "/128" } else { "/32" };
        let expected = if address.contains('/') { address.to_owned() } else { format!("{address}{length}") };
        assert_eq!(found, expected);
    }
}

#[test]
fn the_family_is_derived_from_the_addresses_or_set_by_the_key() {
    for (line, family) in [
        ("virtual_addresses = [\"192.0.2.1\"]", Family::V4),
        ("virtual_addresses = [\"fe80::1\"]", Family::V6),
        ("virtual_addresses = [\"fe80::1\"]\nfamily = \"ipv6\"", Family::V6),
        ("virtual_addresses = []", Family::V4),
        ("virtual_addresses = []\nfamily = \"ipv6\"", Family::V6),
        ("virtual_addresses = []\nvirtual_addresses_excluded = [\"fe80::1\"]", Family::V4),
    ] {
        assert_eq!(parsed(line).router.family, family, "{line}");
    }
    assert_rows(&[
        (
            "family = \"inet\"",
            "6:10: family is \"inet\"; it must be \"ipv4\" or \"ipv6\"; choose one of them",
        ),
        (
            "family = \"ipv6\"",
            "6:10: family is \"ipv6\", but the virtual addresses are IPv4; remove `family`",
        ),
        (
            "virtual_addresses = [\"192.0.2.1\", \"fe80::1/64\"]",
            "6:35: virtual address fe80::1/64 is IPv6 in an IPv4 virtual router; an advert carries addresses of one family only (RFC 9568 section 5.2.9); move it to `virtual_addresses_excluded`, or to a separate instance",
        ),
        (
            "virtual_addresses = [\"192.0.2.1\", \"fe80::1/64\"]\nfamily = \"ipv6\"",
            "6:22: virtual address 192.0.2.1/32 is IPv4 in an IPv6 virtual router; an advert carries addresses of one family only (RFC 9568 section 5.2.9); move it to `virtual_addresses_excluded`, or to a separate instance",
        ),
        (
            "virtual_addresses = [\"fe80::1/64\"]\nversion = 2",
            "7:11: version is 2 in an IPv6 virtual router; VRRPv2 is for IPv4 only (RFC 3768 section 1); remove `version`",
        ),
    ]);
}

#[test]
fn excluded_addresses_may_be_of_either_family() {
    let instance = parsed(
        "virtual_addresses_excluded = [\"192.0.2.20/24\", { address = \"2001:db8::20/64\", dev = \"eth2\" }]",
    );
    let all: Vec<_> = instance.router.all_addresses().map(|address| address.to_string()).collect();
    assert_eq!(all, ["192.0.2.10/24", "192.0.2.20/24", "2001:db8::20/64"]);
    assert_eq!(instance.router.virtual_addresses.len(), 1);
    assert_eq!(instance.placements.len(), 3);
    assert_eq!(instance.placements[2].interface.as_deref(), Some("eth2"));
}

#[test]
fn an_address_table_sets_the_placement() {
    let instance = parsed(
        "virtual_addresses = [\n\
         { address = \"192.0.2.10/24\", dev = \"eth2\", label = \"eth2:vip\", scope = \"link\", \
         broadcast = \"192.0.2.255\", preferred = false },\n\
         { address = \"192.0.2.11/24\", dev = \"eth1\", scope = \"host\", preferred = true },\n\
         { address = \"192.0.2.12/24\", scope = \"global\" },\n]",
    );
    let first = Placement {
        interface: Some("eth2".to_owned()),
        label: Some("eth2:vip".to_owned()),
        scope: Scope::Link,
        broadcast: Some([192, 0, 2, 255].into()),
        deprecated: true,
    };
    // `dev` is dropped if it is the instance's interface.
    let second = Placement { scope: Scope::Host, ..Placement::default() };
    assert_eq!(instance.placements, [first, second, Placement::default()]);
    let ipv6 = parsed("virtual_addresses = [{ address = \"fe80::1\", dev = \"eth2\", preferred = false }]");
    assert!(ipv6.placements[0].deprecated);
}

#[test]
fn invalid_address_tables_are_rejected() {
    let rows = [
        (
            "{ dev = \"eth2\" }",
            "22: address is missing; it must be an IPv4 or IPv6 address, with or without a prefix length; add e.g. `address = \"192.0.2.10/24\"`",
        ),
        (
            "{ address = 5 }",
            "34: address is an integer; it must be an IPv4 or IPv6 address, with or without a prefix length; use e.g. `address = \"192.0.2.10/24\"`",
        ),
        (
            "{ address = \"192.0.2.1\", device = \"eth2\" }",
            "47: unknown key `device` in a virtual address; did you mean `dev`? (allowed keys: address, dev, label, scope, broadcast, preferred)",
        ),
        (
            "{ address = \"192.0.2.1\", dev = \"a b\" }",
            "53: dev is \"a b\"; it must be 1 to 15 bytes without `/`, `:`, white space or control characters, and not `.` or `..`; `ip link` lists the interfaces",
        ),
        (
            "{ address = \"192.0.2.1\", dev = \"lo\" }",
            "53: dev is \"lo\"; no other host is reachable through the loopback interface; use the interface that faces the hosts",
        ),
        (
            "{ address = \"192.0.2.1\", label = \"eth1: vip\" }",
            "55: label is \"eth1: vip\"; it must be a string of 1 to 15 bytes without white space; use e.g. \"eth1:vip\"",
        ),
        (
            "{ address = \"192.0.2.1\", label = \"0123456789abcdef\" }",
            "55: label is \"0123456789abcdef\"; it must be a string of 1 to 15 bytes without white space; use e.g. \"eth1:vip\"",
        ),
        (
            "{ address = \"192.0.2.1\", scope = \"site\" }",
            "55: scope is \"site\"; it must be \"global\", \"link\" or \"host\"; choose one of them",
        ),
        (
            "{ address = \"192.0.2.1\", broadcast = \"+\" }",
            "59: broadcast is \"+\"; it must be an IPv4 address; use e.g. \"192.0.2.255\"",
        ),
        (
            "{ address = \"192.0.2.1\", preferred = 0 }",
            "59: preferred is an integer; it must be true or false; use e.g. `preferred = false`",
        ),
        (
            "{ address = \"fe80::1\", label = \"a\" }",
            "53: label is set for fe80::1/128; IPv6 addresses have no label; remove it",
        ),
        (
            "{ address = \"fe80::1\", scope = \"link\" }",
            "53: scope is set for fe80::1/128; IPv6 addresses have no configurable scope; remove it",
        ),
        (
            "{ address = \"fe80::1\", broadcast = \"192.0.2.255\" }",
            "57: broadcast is set for fe80::1/128; IPv6 addresses have no broadcast address; remove it",
        ),
    ];
    for (table, expected) in rows {
        assert_eq!(problems(&with(&format!("virtual_addresses = [{table}]"))), format!("6:{expected}"));
    }
}

#[test]
fn an_address_is_allowed_once_per_interface() {
    assert_rows(&[
        (
            "virtual_addresses = [\"192.0.2.1\", \"192.0.2.1/24\"]",
            "6:35: virtual address 192.0.2.1 is already used at line 6, column 22; an address belongs to one virtual router; remove one of them",
        ),
        (
            "virtual_addresses_excluded = [{ address = \"192.0.2.10/24\", dev = \"eth2\" }]",
            "6:31: virtual address 192.0.2.10 is already used at line 5, column 22; an address belongs to one virtual router; remove one of them",
        ),
    ]);
    let on = |interface: &str, vrid: u8, addresses: &str| {
        format!(
            "[[instance]]\nname = \"{interface}-{vrid}\"\ninterface = \"{interface}\"\nvrid = {vrid}\n\
             virtual_addresses = [{addresses}]\n"
        )
    };
    let elsewhere = "{ address = \"192.0.2.1\", dev = \"eth2\" }";
    let both = on("eth1", 1, "\"192.0.2.1\"") + &on("eth1", 2, elsewhere);
    assert!(Config::parse(&both, "f").is_ok(), "on two interfaces");
    assert_sources(&[(
        &(on("eth2", 1, "\"192.0.2.1\"") + &on("eth1", 2, elsewhere)),
        "10:22: virtual address 192.0.2.1 is already used on eth2 at line 5, column 22; an address belongs to one virtual router; remove one of them",
    )]);
    // RFC 9568 section 1: an IPv4 and an IPv6 virtual router may share a VRID.
    let families = on("eth1", 1, "\"192.0.2.1\"")
        + &on("eth1", 1, "\"fe80::1\"").replace("name = \"eth1-1\"", "name = \"six\"");
    assert!(Config::parse(&families, "f").is_ok());
    let ipv6 = on("eth1", 1, "\"fe80::1\"");
    assert_sources(&[(
        &(ipv6.clone() + &ipv6.replace("eth1-1", "b").replace("fe80::1", "fe80::2")),
        "9:8: vrid 1 is already used for IPv6 on eth1 at line 4, column 8; a VRID identifies one virtual router per family and interface; choose another VRID or interface",
    )]);
}

#[test]
fn suspicious_addresses_cause_warnings() {
    assert_eq!(
        warnings("virtual_addresses = []"),
        "6:21: virtual_addresses is empty; under RFC 9568 section 5.2.5 routers ignore adverts without addresses; use vipd, or keepalived with `no_virtual_ipaddress`, on all routers of this virtual router"
    );
    assert_eq!(
        warnings("virtual_addresses = [\"2001:db8::1/64\", \"fe80::1/64\"]"),
        "6:22: virtual address 2001:db8::1/64 is the first one of an IPv6 virtual router but is not link-local; RFC 9568 section 5.2.9 requires a link-local address first, and strict routers discard other adverts; put an fe80::/10 address first, the same on all routers"
    );
    assert_eq!(warnings("virtual_addresses = [\"fe80::1/64\", \"2001:db8::1/64\"]"), "");
    assert_eq!(warnings("virtual_addresses_excluded = [\"2001:db8::1/64\"]"), "", "not advertised");
    let many = |count: u8, more: &str| {
        let all: Vec<_> = (1..=count).map(|last| format!("\"fe80::{last}\"")).collect();
        warnings(&format!("virtual_addresses = [{}]{more}", all.join(", ")))
    };
    assert_eq!(many(90, ""), "");
    assert_eq!(
        many(91, ""),
        "6:1093: an advert with 91 IPv6 addresses exceeds the Ethernet MTU of 1500 bytes; 90 addresses fit; move the others \
         to `virtual_addresses_excluded`"
    );
    let keys = format!("\nhmac = {{ keys = [{{ id = 1, hex = \"{}\" }}] }}", "0f1e2d3c4b5a6978".repeat(4));
    assert!(!many(88, &keys).contains("Ethernet"));
    assert!(many(90, &keys).contains("; 89 addresses fit;"), "signed adverts have a trailer");
}

#[test]
fn an_ipv6_host_address_is_deprecated_unless_preferred() {
    let deprecated = |list: &str| {
        let instance = parsed(&format!("virtual_addresses = [\"fe80::50/64\", {list}]"));
        instance.placements[1].deprecated
    };
    assert!(deprecated("\"2001:db8::50/128\""));
    assert!(deprecated("\"2001:db8::50\""));
    assert!(deprecated("{ address = \"2001:db8::50\" }"));
    assert!(!deprecated("\"2001:db8::50/64\""));
    assert!(!deprecated("{ address = \"2001:db8::50\", preferred = true }"));
    assert!(deprecated("{ address = \"2001:db8::50/64\", preferred = false }"));
    assert!(!parsed("virtual_addresses = [\"192.0.2.1/32\"]").placements[0].deprecated);
}
