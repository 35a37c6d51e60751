use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::*;
use crate::netlink::change::Scope;
use crate::netlink::route::{Route, RouteKind};
use crate::netlink::routing::RoutingEntry;
use crate::netlink::rule::Rule;
use crate::netlink::wire::{append, attribute};

/// Interprets the program as the kernel would, and returns whether the message passes.
pub(in crate::netlink) fn run(program: &[Instruction], message: &[u8]) -> bool {
    let (mut a, mut x, mut memory, mut next) = (0_u32, 0_u32, [0_u32; 16], 0);
    let load = |offset: u32, length: usize| -> Option<u32> {
        let bytes = message.get(offset as usize..)?.get(..length)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let Instruction { code, if_true, if_false, k } = program[next];
        next += 1;
        let loaded = match code {
            LOAD_U8 => load(k, 1),
            LOAD_U16 => load(k, 2),
            LOAD_U32 if k == FIND_ATTRIBUTE => Some(find(message, a, x)),
            LOAD_U32 => load(k, 4),
            LOAD_U32_AT_X => load(x + k, 4),
            LOAD_U8_AT_X => load(x + k, 1),
            LOAD_CONSTANT => Some(k),
            LOAD_MEMORY => Some(memory[k as usize]),
            SHIFT_LEFT => Some(a << k),
            OR_X => Some(a | x),
            AND => Some(a & k),
            _ => Some(a),
        };
        let Some(loaded) = loaded else { return false };
        a = loaded;
        let mut jump = |taken: bool| next += usize::from(if taken { if_true } else { if_false });
        match code {
            LOAD_X_CONSTANT => x = k,
            LOAD_X_MEMORY => x = memory[k as usize],
            STORE => memory[k as usize] = a,
            COPY_TO_X => x = a,
            IF_EQUAL => jump(a == k),
            IF_ANY_BIT => jump(a & k != 0),
            IF_GREATER => jump(a > k),
            IF_AT_LEAST => jump(a >= k),
            JUMP => next += k as usize,
            RETURN => return k == PASS,
            _ => {}
        }
    }
}

fn find(message: &[u8], first: u32, kind: u32) -> u32 {
    let value = attribute(&message[first as usize..], u16::try_from(kind).expect("a type"));
    let offset = |value: &[u8]| value.as_ptr() as usize - message.as_ptr() as usize;
    value.map_or(0, |value| u32::try_from(offset(value)).expect("near") - 4)
}

fn encoded(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut buffer = Vec::new();
    append(&mut buffer, message, 0, 0);
    buffer
}

fn link(kind: u16, family: u8, index: u32, name: &str) -> Vec<u8> {
    let link = LinkUnspec::new_with_index(index)
        .interface_family(AddressFamily::from(family))
        .name(name)
        .append_extra_attribute(LinkAttribute::Mtu(0))
        .build();
    encoded(match kind {
        libc::RTM_DELLINK => RouteNetlinkMessage::DelLink(link),
        _ => RouteNetlinkMessage::NewLink(link),
    })
}

fn address(index: u32) -> Vec<u8> {
    let mut address = AddressMessage::default();
    address.header.index = index;
    encoded(RouteNetlinkMessage::NewAddress(address))
}

fn neighbor(address: IpAddr) -> Vec<u8> {
    let mut neighbor = NeighbourMessage::default();
    neighbor.attributes = vec![NeighbourAttribute::Destination(address.into())];
    encoded(RouteNetlinkMessage::NewNeighbour(neighbor))
}

#[test]
fn links_pass_by_index_or_name() {
    let names = ["eth0", "eth1", "vrrp4-51", "abc", "fifteen-letters"].map(str::to_owned);
    let program = program(&names, &[3, 4, 300, 70_000], &[], None);
    for index in [3, 4, 300, 70_000] {
        assert!(run(&program, &address(index)), "{index}");
        assert!(run(&program, &link(libc::RTM_DELLINK, 0, index, "x")), "{index}");
    }
    for index in [0, 2, 5, 299, 301, 69_999, 0x0300_0000] {
        assert!(!run(&program, &address(index)), "{index}");
        assert!(!run(&program, &link(libc::RTM_DELLINK, 0, index, "veth0")), "{index}");
        assert!(!run(&program, &link(libc::RTM_NEWLINK, 0, index, "veth0")), "{index}");
    }
    for name in &names {
        assert!(run(&program, &link(libc::RTM_NEWLINK, 0, 9, name)), "{name}");
        assert!(run(&program, &link(libc::RTM_DELLINK, 0, 9, name)), "{name}");
        assert!(!run(&program, &link(libc::RTM_NEWLINK, 7, 9, name)), "AF_BRIDGE: {name}");
    }
    for name in ["eth", "eth00", "eth2", "ab", "abcd", "fifteen-lettert", "fifteen-letter", ""] {
        assert!(!run(&program, &link(libc::RTM_NEWLINK, 0, 9, name)), "{name}");
    }
}

#[test]
fn only_neighbors_that_are_peers_pass() {
    let peers =
        ["192.0.2.1", "192.0.2.2", "fe80::1", "2001:db8::2"].map(|text| text.parse().expect("an address"));
    let program = program(&[], &[], &peers, None);
    for peer in peers {
        assert!(run(&program, &neighbor(peer)), "{peer}");
    }
    assert!(!run(&program, &neighbor([192, 0, 2, 3].into())));
    assert!(!run(&program, &neighbor([0; 16].into())));
}

#[test]
fn only_removals_of_routes_and_rules_with_vipds_mark_pass() {
    let to = "10.0.0.0".parse().expect("an address");
    let route = Route {
        to,
        prefix: 8,
        table: 9,
        metric: 0,
        kind: RouteKind::Unicast,
        via: None,
        ifindex: Some(3),
        source: None,
        scope: Scope::Link,
        onlink: false,
    };
    let rule = Rule {
        is_ipv6: false,
        priority: 9,
        table: 9,
        from: Some((to, 8)),
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
    };
    let (routing, links) = (program(&[], &[3], &[], Some(&[])), program(&[], &[3], &[], None));
    for entry in [RoutingEntry::Route(route), RoutingEntry::Rule(rule)] {
        let mut removal = encoded(entry.removal());
        assert!(run(&routing, &removal), "{entry}");
        assert!(!run(&routing, &encoded(entry.addition())), "{entry}");
        let mark = removal.iter().position(|byte| *byte == PROTO_VIPD).expect("the mark");
        removal[mark] = 4;
        assert!(!run(&routing, &removal), "{entry} of another tool");
        assert!(!run(&routing, &removal[..28]), "{entry} without attributes");
    }
    for message in [address(3), address(4), link(libc::RTM_DELLINK, 0, 3, "x")] {
        assert_eq!(run(&routing, &message), run(&links, &message));
    }
}

#[test]
fn only_routes_that_replaced_a_route_to_vipds_destinations_pass() {
    let destinations = ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"].map(Destination::parsed);
    let route = |to: &str, protocol: u8| {
        let Destination { address, prefix } = Destination::parsed(to);
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::from(Destination::parsed(to).family());
        route.header.destination_prefix_length = prefix;
        route.header.protocol = protocol.into();
        if prefix > 0 {
            route.attributes.push(RouteAttribute::Destination(address.into()));
        }
        route
    };
    let message = |route, flags| {
        let mut buffer = Vec::new();
        append(&mut buffer, RouteNetlinkMessage::NewRoute(route), flags, 0);
        buffer
    };
    let many = vec![destinations[0]; MAX_DESTINATIONS + 1];
    let (few, many) = (program(&[], &[], &[], Some(&destinations)), program(&[], &[], &[], Some(&many)));
    for (to, is_ours) in [
        ("10.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("2001:db8::/32", true),
        ("10.0.0.0/9", false),
        ("::/0", false),
    ] {
        let replaced = message(route(to, libc::RTPROT_STATIC), NLM_F_REPLACE);
        assert_eq!(run(&few, &replaced), is_ours, "{to}");
        assert!(run(&many, &replaced), "{to}");
        for program in [&few, &many] {
            assert!(!run(program, &message(route(to, libc::RTPROT_STATIC), 0)), "{to} is new");
            assert!(!run(program, &message(route(to, PROTO_VIPD), NLM_F_REPLACE)), "{to} is vipd's");
        }
    }
}

#[test]
fn programs_for_many_links_and_peers_stay_within_the_instruction_limit() {
    let names: Vec<_> = (0..MAX_NAMES).map(|n| format!("interface-{n}")).collect();
    let indices: Vec<_> = (1..5000).map(|n| n * 7).collect();
    let peers: Vec<_> = (0..256).map(|n| IpAddr::V4(n.into())).collect();
    let routes: Vec<_> =
        (0..64).map(|n: u32| Destination { address: IpAddr::V4(n.into()), prefix: 32 }).collect();
    let many = program(&names, &indices, &peers, Some(&routes));
    assert!(many.len() <= MAX_LEN, "{}", many.len());
    assert!(indices.iter().all(|index| run(&many, &address(*index))));
    assert!(!run(&many, &address(40_000)));
    let names: Vec<_> = (0..5000).map(|n| format!("interface-{n}")).collect();
    let peers: Vec<_> = (0..5000).map(|n| IpAddr::V4(n.into())).collect();
    let routes = [&routes[..], &routes].concat();
    let more = program(&names, &indices, &peers, Some(&routes));
    assert!(more.len() <= MAX_LEN, "{}", more.len());
    assert!(run(&more, &link(libc::RTM_NEWLINK, 0, 40_000, "interface-4999")));
    assert!(run(&more, &neighbor([10, 0, 0, 1].into())));
}
