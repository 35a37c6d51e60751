//! Unicast peers and source addresses.

use super::{assert_rows, parsed, warnings};
use crate::config::settings::{Peer, Transport};

const V6: &str = "virtual_addresses = [\"fe80::50/64\"]\n";

#[test]
fn peers_are_strings_or_tables() {
    let instance = parsed(
        "unicast_peers = [\"192.0.2.2\", { address = \"198.51.100.7\", min_ttl = 250 }]\nunicast_source = \"192.0.2.1\"",
    );
    let peer = |address: [u8; 4], min_ttl| Peer { address: address.into(), min_ttl };
    let peers = vec![peer([192, 0, 2, 2], 255), peer([198, 51, 100, 7], 250)];
    assert_eq!(instance.transport, Transport::Unicast(peers));
    assert_eq!(instance.source, Some([192, 0, 2, 1].into()));
    assert_eq!(warnings("unicast_peers = [\"192.0.2.2\"]\nunicast_source = \"192.0.2.1\""), "");
}

#[test]
fn multicast_may_have_a_source() {
    let instance = parsed("source = \"192.0.2.1\"");
    assert_eq!((instance.transport, instance.source), (Transport::Multicast, Some([192, 0, 2, 1].into())));
    assert!(parsed(&format!("{V6}source = \"fe80::1\"")).source.is_some());
    // An address owner may send from its VIPs.
    assert!(parsed("source = \"192.0.2.10\"\npriority = 255").source.is_some());
}

#[test]
fn peers_require_a_unicast_source() {
    let line = format!("{V6}unicast_peers = [\"2001:db8::2\"]\nunicast_source = \"2001:db8::1\"");
    assert!(parsed(&line).source.is_some());
    assert_rows(&[
        (
            &format!("{V6}unicast_peers = [\"fe80::2\", \"2001:db8::2\"]"),
            "7:17: unicast_source is missing; it must be this router's address in the configuration of peer fe80::2; \
             add e.g. `unicast_source = \"2001:db8::1\"`",
        ),
        (
            "unicast_peers = [\"192.0.2.2\"]",
            "6:17: unicast_source is missing; it must be this router's address in the configuration of peer 192.0.2.2; \
             add e.g. `unicast_source = \"192.0.2.1\"`",
        ),
        (
            "unicast_peers = [\"192.0.2.2\"]\nunicast_source = 5",
            "7:18: unicast_source is an integer; it must be an IPv4 or IPv6 address without a prefix length; use e.g. \
             `unicast_source = \"192.0.2.1\"`",
        ),
    ]);
}

#[test]
fn invalid_peers_are_rejected() {
    assert_rows(&[
        (
            "unicast_peers = \"192.0.2.2\"",
            "6:17: unicast_peers is a string; it must be an array of 1 to 255 peers, each a string or a table; use e.g. `unicast_peers = [\"192.0.2.2\"]`",
        ),
        (
            "unicast_peers = []",
            "6:17: unicast_peers is empty; it must be an array of 1 to 255 peers, each a string or a table; list the other routers, or remove the key for multicast",
        ),
        (
            "unicast_peers = [5]",
            "6:18: a unicast peer is an integer; it must be an IPv4 or IPv6 address without a prefix length; use e.g. \
             `\"192.0.2.2\"`",
        ),
        (
            "unicast_peers = [\"192.0.2.2/24\"]",
            "6:18: a unicast peer is \"192.0.2.2/24\"; it must be an IPv4 or IPv6 address without a prefix length; use e.g. `\"192.0.2.2\"`",
        ),
        (
            "unicast_peers = [\"224.0.0.18\"]",
            "6:18: a unicast peer is \"224.0.0.18\", a multicast address; it must be an IPv4 or IPv6 address without a prefix length; use an address that a router can send from",
        ),
        (
            "unicast_peers = [{ min_ttl = 0 }]",
            "6:18: address is missing; it must be an IPv4 or IPv6 address without a prefix length; add e.g. `address = \
             \"192.0.2.2\"`\n\
             6:30: min_ttl is 0; it must be an integer from 1 to 255; choose another number",
        ),
        (
            "unicast_peers = [{ address = \"192.0.2.2\", ttl = 1 }]\nunicast_source = \"192.0.2.9\"",
            "6:43: unknown key `ttl` in a unicast peer; remove it (allowed keys: address, min_ttl)",
        ),
        (
            "unicast_peers = [\"192.0.2.2\", \"192.0.2.3\", \"192.0.2.2\"]\nunicast_source = \"192.0.2.9\"",
            "6:44: unicast peer 192.0.2.2 is already listed at line 6, column 18; remove one of them",
        ),
        (
            "unicast_peers = [\"fe80::2\"]\nunicast_source = \"192.0.2.9\"",
            "6:18: unicast peer fe80::2 belongs to an IPv4 virtual router; use its IPv4 address",
        ),
        (
            "unicast_peers = [\"192.0.2.10\"]\nunicast_source = \"192.0.2.9\"",
            "6:18: unicast peer 192.0.2.10 is a virtual address, which moves between the routers; use an address that stays on the peer",
        ),
        (
            "unicast_peers = [\"192.0.2.1\", \"192.0.2.2\"]\nunicast_source = \"192.0.2.1\"",
            "6:18: unicast peer 192.0.2.1 is this router's own unicast_source; list only the other routers",
        ),
    ]);
    let all: Vec<_> = (0..=255).map(|last| format!("\"10.0.{last}.1\"")).collect();
    assert_rows(&[(
        &format!("unicast_peers = [{}]", all.join(", ")),
        "6:17: unicast_peers is an array of length 256; it must be an array of 1 to 255 peers, each a string or a table; use \
         multicast",
    )]);
}

#[test]
fn invalid_sources_are_rejected() {
    assert_rows(&[
        (
            "source = \"eth1\"",
            "6:10: source is \"eth1\"; it must be an IPv4 or IPv6 address without a prefix length; use e.g. `source = \
             \"192.0.2.1\"`",
        ),
        (
            "source = \"192.0.2.1\"\nunicast_peers = [\"192.0.2.2\"]\nunicast_source = \"192.0.2.1\"",
            "6:10: source and unicast_peers are mutually exclusive; source is for multicast; use `unicast_source`",
        ),
        (
            "unicast_source = \"192.0.2.1\"",
            "6:18: unicast_source is set without unicast_peers; add the peers, or use `source` for multicast",
        ),
        (
            "source = \"fe80::1\"",
            "6:10: source is fe80::1 in an IPv4 virtual router; use an IPv4 address of this node",
        ),
        (
            "source = \"192.0.2.10\"",
            "6:10: source is the VIP 192.0.2.10, which a backup does not have; use an address that stays on this node",
        ),
        (
            &format!("{V6}source = \"2001:db8::1\""),
            "7:10: source is 2001:db8::1; IPv6 adverts are sent from a link-local address (RFC 9568 section 5.1.2.1); use the interface's fe80::/10 address, or remove `source`",
        ),
    ]);
}
