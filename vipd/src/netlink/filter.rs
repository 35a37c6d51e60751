//! The monitor's socket filter, which selects the notifications that are queued and wake the
//! engine.
//!
//! A host may run thousands of containers whose links and addresses come and go. A classic BPF
//! program on the socket drops their notifications before they are queued (`sk_filter`, called by
//! `do_one_broadcast` in `net/netlink/af_netlink.c`). The filter may pass notifications that are
//! not needed, because they are checked again: those about links, addresses and neighbors by the
//! monitor, and those about routes and rules by the engine. However, the filter must not drop any
//! notification that is needed.

use std::net::IpAddr;

use socket2::SockFilter;

use rtnetlink::packet_core::NLM_F_REPLACE;

use super::message::PROTO_VIPD;
use super::route_state::Destination;
use super::rule::FRA_PROTOCOL;

/// Maximum number of instructions that the kernel accepts (`BPF_MAXINSNS`).
const MAX_LEN: usize = 4096;
/// Number of instructions for a range of indices.
const RANGE_LEN: usize = 3;
/// Upper limit on the number of instructions for a name.
const NAME_LEN: usize = 14;
/// Number of instructions for a peer.
const PEER_LEN: usize = 2;
/// Maximum number of instructions for a destination of vipd's routes.
const DESTINATION_LEN: usize = 12;
/// Upper limit on the number of all other instructions.
const FIXED_LEN: usize = 96;
/// With more names than this, all link messages pass.
const MAX_NAMES: usize = 128;
/// With more peers than this, all neighbors pass.
const MAX_PEERS: usize = 256;
/// With more destinations than this, all replaced routes pass.
const MAX_DESTINATIONS: usize = 64;

/// Offset of the message type in `struct nlmsghdr`.
pub(super) const TYPE: u32 = 4;
/// Offset of the flags in `struct nlmsghdr`.
const FLAGS: u32 = 6;
/// Offset of the address family, the first byte of the payload.
pub(super) const FAMILY: u32 = 16;
/// Offset of `rtm_protocol` in a route message.
const ROUTE_PROTOCOL: u32 = 21;
/// Offset of the first attribute in a rule message.
const RULE_ATTRIBUTES: u32 = 28;
/// Offset of the interface index in link and address messages.
const INDEX: u32 = 20;
/// Offset of the first attribute in a link message.
const LINK_ATTRIBUTES: u32 = 32;
/// Offset of the first attribute in a neighbor message.
const NEIGHBOR_ATTRIBUTES: u32 = 28;
/// `SKF_AD_OFF + SKF_AD_NLATTR` (`include/uapi/linux/filter.h`): loads the offset of the first
/// attribute of type X at or after offset A, or 0 if there is none.
pub(super) const FIND_ATTRIBUTE: u32 = (-0x1000_i32 + 12).cast_unsigned();

// Opcodes (include/uapi/linux/filter.h and bpf_common.h).
pub(super) const LOAD_U8: u16 = 0x30;
pub(super) const LOAD_U16: u16 = 0x28;
pub(super) const LOAD_U32: u16 = 0x20;
pub(super) const LOAD_U32_AT_X: u16 = 0x40;
const LOAD_U8_AT_X: u16 = 0x50;
pub(super) const LOAD_CONSTANT: u16 = 0x00;
pub(super) const LOAD_X_CONSTANT: u16 = 0x01;
const LOAD_MEMORY: u16 = 0x60;
const LOAD_X_MEMORY: u16 = 0x61;
const STORE: u16 = 0x02;
const SHIFT_LEFT: u16 = 0x64;
const OR_X: u16 = 0x4c;
const AND: u16 = 0x54;
pub(super) const COPY_TO_X: u16 = 0x07;
pub(super) const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
pub(super) const PASS: u32 = u32::MAX;
pub(super) const DROP: u32 = 0;

/// An instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u16,
    /// Number of instructions to skip if the condition is true.
    if_true: u8,
    /// Number of instructions to skip if the condition is false.
    if_false: u8,
    /// Operand.
    k: u32,
}

impl From<Instruction> for SockFilter {
    fn from(Instruction { code, if_true, if_false, k }: Instruction) -> Self {
        Self::new(code, if_true, if_false, k)
    }
}

/// Builds the program for these links and unicast peers. `indices` must be sorted.
///
/// The program passes notifications about links and addresses with one of the indices, about links
/// with one of the names, and about neighbors with a peer's address. If `routes` is given,
/// the program also passes removals of routes and rules with vipd's mark, and routes of other tools
/// that have replaced a route to one of these destinations. If `routes` is `None`, the socket must
/// not have joined the multicast groups for routes and rules.
pub(super) fn program(
    names: &[String],
    indices: &[u32],
    peers: &[IpAddr],
    routes: Option<&[Destination]>,
) -> Vec<Instruction> {
    let used = FIXED_LEN
        + names.len().min(MAX_NAMES) * NAME_LEN
        + peers.len().min(MAX_PEERS) * PEER_LEN
        + routes.map_or(0, |routes| routes.len().min(MAX_DESTINATIONS) * DESTINATION_LEN);
    let links = link_block(names, &ranges(indices, (MAX_LEN - used) / RANGE_LEN));
    // BPF loads in network byte order, but netlink messages are in host byte order.
    let kind = |kind: u16| u32::from(kind.to_be());
    let mut program = Program::default();
    program.push(LOAD_U16, TYPE);
    if let Some(routes) = routes {
        program.routing_block(kind, routes);
    }
    program.push(STORE, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_NEWADDR), 10, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_DELADDR), 9, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_NEWLINK), 5, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_DELLINK), 4, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_NEWNEIGH), 2, 0);
    program.branch(IF_EQUAL, kind(libc::RTM_DELNEIGH), 1, 0);
    program.push(RETURN, PASS);
    // Jumps to the block for neighbors, which is out of reach of a conditional jump.
    program.push(JUMP, u32::try_from(3 + links.len()).unwrap_or_default());
    // Links, except the AF_BRIDGE messages in which a bridge reports its ports.
    program.push(LOAD_U8, FAMILY);
    program.branch(IF_EQUAL, libc::AF_UNSPEC.cast_unsigned(), 1, 0);
    program.push(RETURN, DROP);
    // Links and addresses.
    program.0.extend(links);
    program.0.extend(neighbor_block(peers));
    program.0
}

/// Builds the block that passes link and address messages with an index in one of the ranges, and
/// link messages with one of the names.
fn link_block(names: &[String], ranges: &[(u32, u32)]) -> Vec<Instruction> {
    let mut program = Program::default();
    program.load_index();
    for (low, high) in ranges {
        program.branch(IF_AT_LEAST, *low, 0, 2);
        program.branch(IF_GREATER, *high, 1, 0);
        program.push(RETURN, PASS);
    }
    program.push(LOAD_MEMORY, 0);
    program.branch(IF_EQUAL, u32::from(libc::RTM_NEWLINK.to_be()), 2, 0);
    program.branch(IF_EQUAL, u32::from(libc::RTM_DELLINK.to_be()), 1, 0);
    program.push(RETURN, DROP);
    if names.len() > MAX_NAMES {
        program.push(RETURN, PASS);
        return program.0;
    }
    program.find_attribute(LINK_ATTRIBUTES, libc::IFLA_IFNAME);
    for name in names {
        program.name(name);
    }
    program.push(RETURN, DROP);
    program.0
}

/// Builds the block that passes neighbor messages with a peer's address. For IPv6, only the last 32
/// bits are compared.
fn neighbor_block(peers: &[IpAddr]) -> Vec<Instruction> {
    let mut program = Program::default();
    if peers.len() > MAX_PEERS {
        program.push(RETURN, PASS);
        return program.0;
    }
    program.find_attribute(NEIGHBOR_ATTRIBUTES, libc::NDA_DST);
    // IPv4 comes first: a load past the end drops the message, and an IPv4 neighbor message may be
    // too short for the IPv6 load.
    for (is_ipv6, offset) in [(false, 4), (true, 16)] {
        let mut peers = peers.iter().filter(|peer| peer.is_ipv6() == is_ipv6).peekable();
        if peers.peek().is_some() {
            program.push(LOAD_U32_AT_X, offset);
        }
        for peer in peers {
            let [.., a, b, c, d] = match peer {
                IpAddr::V4(peer) => peer.to_ipv6_mapped().octets(),
                IpAddr::V6(peer) => peer.octets(),
            };
            program.branch(IF_EQUAL, u32::from_be_bytes([a, b, c, d]), 0, 1);
            program.push(RETURN, PASS);
        }
    }
    program.push(RETURN, DROP);
    program.0
}

/// Groups sorted indices into at most `max` inclusive ranges. Ranges are merged across ever larger
/// gaps until their number fits.
fn ranges(indices: &[u32], max: usize) -> Vec<(u32, u32)> {
    let mut gap = 1;
    loop {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for index in indices {
            match ranges.last_mut() {
                Some((_, high)) if index.saturating_sub(*high) <= gap => *high = *index,
                _ => ranges.push((*index, *index)),
            }
        }
        if ranges.len() <= max.max(1) || gap >= u32::MAX / 2 {
            return ranges;
        }
        gap *= 2;
    }
}

#[derive(Default)]
pub(super) struct Program(pub(super) Vec<Instruction>);

impl Program {
    pub(super) fn push(&mut self, code: u16, k: u32) {
        self.branch(code, k, 0, 0);
    }

    pub(super) fn branch(&mut self, code: u16, k: u32, if_true: u8, if_false: u8) {
        self.0.push(Instruction { code, if_true, if_false, k });
    }

    /// Loads the interface index as a number in host byte order, so that it can be compared with
    /// ranges.
    fn load_index(&mut self) {
        if cfg!(target_endian = "big") {
            return self.push(LOAD_U32, INDEX);
        }
        self.push(LOAD_U8, INDEX + 3);
        for byte in (INDEX..INDEX + 3).rev() {
            self.push(SHIFT_LEFT, 8);
            self.push(STORE, 1);
            self.push(LOAD_X_MEMORY, 1);
            self.push(LOAD_U8, byte);
            self.push(OR_X, 0);
        }
    }

    /// Passes removals of routes and rules with vipd's mark, and routes without the mark that have
    /// replaced a route to one of these destinations. Drops other messages about routes and rules.
    /// Messages of other types continue after the block, with their type loaded.
    fn routing_block(&mut self, kind: impl Fn(u16) -> u32, routes: &[Destination]) {
        let mut block = Self::default();
        block.push(RETURN, DROP);
        block.push(LOAD_U8, ROUTE_PROTOCOL);
        block.branch(IF_EQUAL, PROTO_VIPD.into(), 1, 0);
        block.push(RETURN, DROP);
        block.push(RETURN, PASS);
        block.find_attribute(RULE_ATTRIBUTES, FRA_PROTOCOL);
        block.push(LOAD_U8_AT_X, 4);
        block.branch(IF_EQUAL, PROTO_VIPD.into(), 1, 0);
        block.push(RETURN, DROP);
        block.push(RETURN, PASS);
        block.push(LOAD_U16, FLAGS);
        block.branch(IF_ANY_BIT, u32::from(NLM_F_REPLACE.to_be()), 1, 0);
        block.push(RETURN, DROP);
        block.push(LOAD_U8, ROUTE_PROTOCOL);
        block.branch(IF_EQUAL, PROTO_VIPD.into(), 0, 1);
        block.push(RETURN, DROP);
        if routes.len() > MAX_DESTINATIONS {
            block.push(RETURN, PASS);
        }
        for route in routes.iter().take(MAX_DESTINATIONS) {
            block.pass_destination(route);
        }
        block.push(RETURN, DROP);
        self.branch(IF_EQUAL, kind(libc::RTM_NEWROUTE), 19, 0);
        self.branch(IF_EQUAL, kind(libc::RTM_NEWRULE), 3, 0);
        self.branch(IF_EQUAL, kind(libc::RTM_DELROUTE), 3, 0);
        self.branch(IF_EQUAL, kind(libc::RTM_DELRULE), 6, 0);
        self.push(JUMP, u32::try_from(block.0.len()).unwrap_or_default());
        self.0.extend(block.0);
    }

    /// Sets X to the offset of an attribute, or drops the message if it lacks the attribute.
    fn find_attribute(&mut self, first: u32, kind: u16) {
        self.push(LOAD_X_CONSTANT, kind.into());
        self.push(LOAD_CONSTANT, first);
        self.push(LOAD_U32, FIND_ATTRIBUTE);
        self.branch(IF_EQUAL, 0, 0, 1);
        self.push(RETURN, DROP);
        self.push(COPY_TO_X, 0);
    }

    /// Passes the message if the attribute at X is this name with its terminating NUL.
    fn name(&mut self, name: &str) {
        let mut padded = [0; libc::IFNAMSIZ];
        let length = name.len().min(libc::IFNAMSIZ - 1);
        padded[..length].copy_from_slice(&name.as_bytes()[..length]);
        let words = (length + 1).div_ceil(4);
        let unused_bits = 8 * (4 * words - (length + 1));
        // Number of instructions up to the return, all of which are skipped if a word differs.
        let mut left = 2 * words + usize::from(unused_bits > 0);
        for (index, word) in padded.chunks_exact(4).take(words).enumerate() {
            self.push(LOAD_U32_AT_X, u32::try_from(4 + 4 * index).unwrap_or_default());
            left -= 1;
            if index + 1 == words && unused_bits > 0 {
                self.push(AND, u32::MAX << unused_bits);
                left -= 1;
            }
            left -= 1;
            let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
            self.branch(IF_EQUAL, word, 0, u8::try_from(left + 1).unwrap_or_default());
        }
        self.push(RETURN, PASS);
    }
}

#[cfg(test)]
pub(super) mod tests;
