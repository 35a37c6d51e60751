//! Policy rules that vipd adds: requests and notifications.

use std::fmt;
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::change::Label;
use super::message::PROTO_VIPD;
use super::wire::{address, attribute, number};

/// Length of `struct fib_rule_hdr` in bytes.
pub(super) const RULE_HEADER_LEN: usize = 12;
// Attributes (`include/uapi/linux/fib_rules.h`).
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
/// Origin of the rule (`protocol` of `ip rule`), since Linux 4.17.
pub(super) const FRA_PROTOCOL: u16 = 21;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;

/// A network: its address, and its prefix length in bits.
type Network = (IpAddr, u8);

/// A policy rule that selects the routing table of packets. A selector that is `None` matches all
/// packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Whether the rule is for IPv6.
    pub is_ipv6: bool,
    /// Preference: lower numbers match first.
    pub priority: u32,
    /// Routing table that matching packets use.
    pub table: u32,
    /// Source network of packets.
    pub from: Option<Network>,
    /// Destination network of packets.
    pub to: Option<Network>,
    /// Interface on which packets arrive; `lo` for packets sent by this host.
    pub iif: Option<Label>,
    /// Interface to which the socket of locally sent packets is bound.
    pub oif: Option<Label>,
    /// Firewall mark of packets, and its mask.
    pub fwmark: Option<(u32, u32)>,
}

impl Rule {
    /// Builds the request that adds the rule.
    pub(super) fn addition(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let header = &mut message.header;
        header.family = if self.is_ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        header.action = RuleAction::ToTable;
        // The header has only 8 bits for the table.
        header.table = u8::try_from(self.table).unwrap_or_default();
        let attributes = &mut message.attributes;
        if let Some((network, prefix)) = self.from {
            header.src_len = prefix;
            attributes.push(RuleAttribute::Source(network));
        }
        if let Some((network, prefix)) = self.to {
            header.dst_len = prefix;
            attributes.push(RuleAttribute::Destination(network));
        }
        attributes.extend(self.iif.map(|name| RuleAttribute::Iifname(name.to_string())));
        attributes.extend(self.oif.map(|name| RuleAttribute::Oifname(name.to_string())));
        if let Some((bits, mask)) = self.fwmark {
            attributes.extend([RuleAttribute::FwMark(bits), RuleAttribute::FwMask(mask)]);
        }
        if u8::try_from(self.table).is_err() {
            attributes.push(RuleAttribute::Table(self.table));
        }
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.push(RuleAttribute::Protocol(RouteProtocol::from(PROTO_VIPD)));
        message
    }

    /// Builds the request that removes the rule. The kernel compares only the selectors in the
    /// request, so a rule with more selectors also matches.
    pub(super) fn removal(&self) -> RuleMessage {
        self.addition()
    }

    /// Decodes the body of a rule message. Returns `None` unless the rule has vipd's mark
    /// (`FRA_PROTOCOL`) and its action is a table lookup.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let [family, to_prefix, from_prefix, _, table, _, _, action, ..] =
            *body.first_chunk::<RULE_HEADER_LEN>()?;
        let attributes = body.get(RULE_HEADER_LEN..)?;
        let find = |kind| attribute(attributes, kind);
        if action != TO_TABLE || find(FRA_PROTOCOL) != Some(&[PROTO_VIPD]) {
            return None;
        }
        let is_ipv6 = match i32::from(family) {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return None,
        };
        let network = |kind, prefix: u8| Some((find(kind).and_then(address)?, prefix));
        let name = |kind| {
            let bytes = find(kind)?;
            Label::new(std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()?)
        };
        // The kernel omits a mark of 0. If the mask is also 0, the kernel omits both attributes.
        let bits = find(FRA_FWMARK).and_then(number);
        let mask = find(FRA_FWMASK).and_then(number);
        Some(Self {
            is_ipv6,
            priority: find(FRA_PRIORITY).and_then(number).unwrap_or_default(),
            table: find(FRA_TABLE).and_then(number).unwrap_or(table.into()),
            from: network(FRA_SRC, from_prefix),
            to: network(FRA_DST, to_prefix),
            iif: name(FRA_IIFNAME),
            oif: name(FRA_OIFNAME),
            fwmark: bits.or(mask).map(|_| (bits.unwrap_or_default(), mask.unwrap_or(u32::MAX))),
        })
    }
}

/// Formats the rule in the syntax of `ip rule add`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_ipv6: _, priority, table, from, to, iif, oif, fwmark } = self;
        f.write_str("rule")?;
        if let Some((network, prefix)) = from {
            write!(f, " from {network}/{prefix}")?;
        }
        if let Some((network, prefix)) = to {
            write!(f, " to {network}/{prefix}")?;
        }
        if let Some(name) = iif {
            write!(f, " iif {name}")?;
        }
        if let Some(name) = oif {
            write!(f, " oif {name}")?;
        }
        match fwmark {
            Some((bits, u32::MAX)) => write!(f, " fwmark {bits:#x}")?,
            Some((bits, mask)) => write!(f, " fwmark {bits:#x}/{mask:#x}")?,
            None => {}
        }
        write!(f, " table {table} priority {priority}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::change::Change;
    use crate::netlink::routing::RoutingEntry;
    use crate::netlink::wire::{append, messages};

    fn rule(from: &str, prefix: u8, table: u32, priority: u32) -> Rule {
        let from: IpAddr = from.parse().expect("an address");
        Rule {
            is_ipv6: from.is_ipv6(),
            priority,
            table,
            from: Some((from, prefix)),
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
        }
    }

    fn encoded(rule: Rule) -> Vec<u8> {
        let mut buffer = Vec::new();
        let (request, flags) = Change::AddEntry(RoutingEntry::Rule(rule)).request();
        append(&mut buffer, request, flags, 0);
        buffer
    }

    /// Requests recorded from iproute2 6.1 (`strace -e write=3 ip …`).
    #[test]
    #[cfg(target_endian = "little")]
    fn requests_equal_those_of_iproute2() {
        let hex = |text: &str| -> Vec<u8> {
            text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
        };
        // ip rule add from 192.0.2.10 table 100 priority 100 protocol 118
        let found = encoded(rule("192.0.2.10", 32, 100, 100));
        assert_eq!(
            found[16..],
            hex(
                "02 00 20 00 64 00 00 01 00 00 00 00 08 00 02 00 c0 00 02 0a 08 00 06 00 64 00 00 00 05 00 15 00 76 00 00 00"
            )
        );
        assert_eq!(found[..8], hex("34 00 00 00 20 00 01 06"), "NLM_F_REQUEST, NLM_F_EXCL, NLM_F_CREATE");
        // ip -6 rule add from 2001:db8::/32 table 1000 priority 7 protocol 118
        assert_eq!(
            encoded(rule("2001:db8::", 32, 1000, 7))[16..],
            hex(
                "0a 00 20 00 00 00 00 01 00 00 00 00 14 00 02 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 \
                 08 00 0f 00 e8 03 00 00 08 00 06 00 07 00 00 00 05 00 15 00 76 00 00 00"
            )
        );
    }

    #[test]
    fn encoded_rules_decode_to_the_same_rule() {
        let network: IpAddr = [10, 0, 0, 0].into();
        for rule in [
            rule("192.0.2.10", 32, 100, 100),
            rule("2001:db8::", 32, 70_000, 9),
            Rule { from: None, to: Some((network, 8)), ..rule("10.0.0.0", 8, 254, 1) },
            Rule { from: None, fwmark: Some((1, 0xff)), ..rule("::", 0, 9, 1) },
            Rule { iif: Label::new("eth0"), oif: Label::new("fifteen-letters"), ..rule("10.0.0.0", 8, 9, 1) },
        ] {
            let buffer = encoded(rule);
            let message = messages(&buffer).next().expect("a message");
            assert_eq!(Rule::decode(message.payload()), Some(rule));
        }
    }

    #[test]
    fn rules_of_other_protocols_are_not_decoded() {
        let buffer = encoded(rule("192.0.2.10", 32, 100, 100));
        let message = messages(&buffer).next().expect("a message");
        let mut body = message.payload().to_vec();
        let mark = body.iter().rposition(|byte| *byte == PROTO_VIPD).expect("the mark");
        body[mark] = 0;
        assert_eq!(Rule::decode(&body), None);
        assert_eq!(Rule::decode(&message.payload()[..RULE_HEADER_LEN]), None, "no mark");
    }
}
