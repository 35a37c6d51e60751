//! The socket filter of [`RouteMonitor`](super::RouteMonitor).
//!
//! On a router with a full BGP table, thousands of routes may change per second. The filter drops
//! notifications about untracked routes, before the kernel queues them.

use std::net::IpAddr;

use super::filter::{
    COPY_TO_X, DROP, FAMILY, FIND_ATTRIBUTE, IF_EQUAL, Instruction, LOAD_CONSTANT, LOAD_U8, LOAD_U16,
    LOAD_U32, LOAD_U32_AT_X, LOAD_X_CONSTANT, PASS, Program, RETURN, TYPE,
};
use super::route_state::Destination;

/// With more destinations than this, all changes to the main table pass.
const MAX_DESTINATIONS: usize = 256;
/// Offset of `rtm_dst_len` in a route message.
const LENGTH: u32 = 17;
/// Offset of `rtm_table` in a route message.
const TABLE: u32 = 20;
/// Offset of the first attribute in a route message.
const ATTRIBUTES: u32 = 28;

/// Builds the program that passes notifications about routes to these destinations in the main
/// table, and notifications of all other types except new addresses. Only the first 32 bits of a
/// destination are compared.
pub(super) fn program(destinations: &[Destination]) -> Vec<Instruction> {
    // BPF loads in network byte order, but netlink messages are in host byte order.
    let kind = |kind: u16| u32::from(kind.to_be());
    let mut program = Program::default();
    program.push(LOAD_U16, TYPE);
    program.branch(IF_EQUAL, kind(libc::RTM_NEWADDR), 0, 1);
    program.push(RETURN, DROP);
    program.branch(IF_EQUAL, kind(libc::RTM_NEWROUTE), 2, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_DELROUTE), 1, 0);
    program.push(RETURN, PASS);
    program.push(LOAD_U8, TABLE);
    program.branch(IF_EQUAL, libc::RT_TABLE_MAIN.into(), 1, 0);
    program.push(RETURN, DROP);
    if destinations.len() > MAX_DESTINATIONS {
        program.push(RETURN, PASS);
        return program.0;
    }
    for destination in destinations {
        program.pass_destination(destination);
    }
    program.push(RETURN, DROP);
    program.0
}

impl Program {
    /// Passes a route message with this destination, of which only the first 32 bits are compared.
    pub(super) fn pass_destination(&mut self, destination: &Destination) {
        let mut block = Self::default();
        if destination.prefix > 0 {
            let word = match destination.address {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(address) => u32::try_from(address.to_bits() >> 96).unwrap_or_default(),
            };
            block.push(LOAD_X_CONSTANT, libc::RTA_DST.into());
            block.push(LOAD_CONSTANT, ATTRIBUTES);
            block.push(LOAD_U32, FIND_ATTRIBUTE);
            block.branch(IF_EQUAL, 0, 4, 0);
            block.push(COPY_TO_X, 0);
            block.push(LOAD_U32_AT_X, 4);
            block.branch(IF_EQUAL, word, 0, 1);
        }
        block.push(RETURN, PASS);
        let length = u8::try_from(block.0.len()).unwrap_or_default();
        self.push(LOAD_U8, FAMILY);
        self.branch(IF_EQUAL, destination.family().into(), 0, length + 2);
        self.push(LOAD_U8, LENGTH);
        self.branch(IF_EQUAL, destination.prefix.into(), 0, length);
        self.0.extend(block.0);
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
    use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

    use super::*;
    use crate::netlink::filter::tests::run;
    use crate::netlink::wire::append;

    fn route(text: &str, table: u8) -> Vec<u8> {
        let destination = Destination::parsed(text);
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::from(destination.family());
        message.header.destination_prefix_length = destination.prefix;
        message.header.table = table;
        if destination.prefix > 0 {
            message.attributes = vec![RouteAttribute::Destination(match destination.address {
                IpAddr::V4(address) => RouteAddress::Inet(address),
                IpAddr::V6(address) => RouteAddress::Inet6(address),
            })];
        }
        let mut buffer = Vec::new();
        append(&mut buffer, RouteNetlinkMessage::DelRoute(message), 0, 0);
        buffer
    }

    #[test]
    fn only_tracked_destinations_of_the_main_table_pass() {
        let tracked = ["0.0.0.0/0", "10.1.0.0/16", "2001:db8::/32"];
        let program = program(&tracked.map(Destination::parsed));
        for text in tracked {
            assert!(run(&program, &route(text, 254)), "{text}");
            assert!(!run(&program, &route(text, 100)), "{text} in another table");
        }
        for text in ["::/0", "10.1.0.0/17", "10.2.0.0/16", "2001:db9::/32", "2001:db8::/33", "32.1.13.184/32"]
        {
            assert!(!run(&program, &route(text, 254)), "{text}");
        }
    }
}
