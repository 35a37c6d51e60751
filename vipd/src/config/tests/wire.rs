//! Checksum and virtual MAC.

use super::{assert_rows, parsed};
use crate::config::settings::{Checksum, VirtualMac};

#[test]
fn checksum_is_for_vrrpv3_over_ipv4_only() {
    assert_eq!(parsed("checksum = \"rfc9568\"").checksum, Checksum::Rfc9568);
    assert_eq!(parsed("checksum = \"rfc5798\"").checksum, Checksum::Rfc5798);
    assert_rows(&[
        (
            "checksum = \"auto\"",
            "6:12: checksum is \"auto\"; it must be \"rfc5798\" or \"rfc9568\"; choose one of them",
        ),
        (
            "checksum = \"rfc5798\"\nversion = 2",
            "6:12: checksum is set, but VRRPv2 has only one checksum; the key is for VRRPv3 over IPv4; remove it",
        ),
        (
            "virtual_addresses = [\"fe80::1\"]\nchecksum = \"rfc9568\"",
            "7:12: checksum is set, but IPv6 has only one checksum; the key is for VRRPv3 over IPv4; remove it",
        ),
    ]);
}

#[test]
fn virtual_mac_keys_are_read_and_conflicts_rejected() {
    let unicast = "unicast_peers = [\"192.0.2.2\"]\nunicast_source = \"192.0.2.1\"";
    for (line, expected) in [
        ("virtual_mac = false".to_owned(), None),
        ("virtual_mac = true".to_owned(), Some(false)),
        ("virtual_mac = true\nvirtual_mac_transmit_on_base = false".to_owned(), Some(false)),
        ("virtual_mac = true\nvirtual_mac_transmit_on_base = true".to_owned(), Some(true)),
        (format!("virtual_mac = true\n{unicast}"), Some(true)),
    ] {
        let expected = expected.map(|transmit_on_base| VirtualMac { transmit_on_base });
        assert_eq!(parsed(&line).virtual_mac, expected, "{line}");
    }
    assert_rows(&[
        (
            "virtual_mac = \"yes\"\nvirtual_mac_transmit_on_base = 1",
            "6:15: virtual_mac is a string; it must be true or false; use e.g. `virtual_mac = true`\n\
             7:32: virtual_mac_transmit_on_base is an integer; it must be true or false; use e.g. \
             `virtual_mac_transmit_on_base = true`",
        ),
        (
            "virtual_mac_transmit_on_base = true",
            "6:32: virtual_mac_transmit_on_base requires `virtual_mac = true`; add that, or remove this key",
        ),
        (
            &format!("virtual_mac = true\nvirtual_mac_transmit_on_base = false\n{unicast}"),
            "7:32: virtual_mac_transmit_on_base = false and unicast_peers are mutually exclusive; the kernel routes unicast adverts and sends them with the interface's own MAC; remove `virtual_mac_transmit_on_base`",
        ),
    ]);
}
