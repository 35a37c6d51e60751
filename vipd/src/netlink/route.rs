//! Routes that vipd adds: requests and notifications.

use std::fmt;
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::change::Scope;
use super::message::PROTO_VIPD;
use super::wire::{address, attribute, number};

/// Length of `struct rtmsg` in bytes.
const RTMSG_LEN: usize = 12;

/// A route with at most one next hop. vipd adds at most one route per destination, table and
/// metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    // The first four fields identify the route, and come first for lookups in an ordered map.
    /// Destination network; the bits after the prefix are 0.
    pub to: IpAddr,
    /// Prefix length of the destination in bits.
    pub prefix: u8,
    /// Routing table.
    pub table: u32,
    /// Metric: lower numbers are preferred. Not 0 in IPv6, where the kernel would replace it with
    /// 1024.
    pub metric: u32,
    /// Type of the route (`RTN_*`).
    pub kind: RouteKind,
    /// Next hop, or `None` if the destination is on the link or the type is not unicast.
    pub via: Option<IpAddr>,
    /// Index of the outgoing interface. In a request, `None` if the kernel selects the interface or
    /// the type is not unicast. In a notification, the interface that the kernel reports, which is
    /// `lo` for an IPv6 route that is not unicast.
    pub ifindex: Option<u32>,
    /// Preferred source address (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
    /// Scope of the destination. [`Scope::Global`] in IPv6, where routes have no scope.
    pub scope: Scope,
    /// Whether the next hop is on the link, even if no prefix of the interface contains it
    /// (`RTNH_F_ONLINK`).
    pub onlink: bool,
}

/// The type of a route (`RTN_*`), which determines the treatment of its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Packets are forwarded.
    #[default]
    Unicast,
    /// Packets are dropped silently.
    Blackhole,
    /// Packets are dropped, and the sender receives ICMP "host unreachable" or ICMPv6 "no route to
    /// destination".
    Unreachable,
    /// Packets are dropped, and the sender receives ICMP or ICMPv6 "communication administratively
    /// prohibited".
    Prohibit,
    /// The lookup continues with the next policy rule.
    Throw,
}

impl RouteKind {
    fn number(self) -> u8 {
        match self {
            Self::Unicast => libc::RTN_UNICAST,
            Self::Blackhole => libc::RTN_BLACKHOLE,
            Self::Unreachable => libc::RTN_UNREACHABLE,
            Self::Prohibit => libc::RTN_PROHIBIT,
            Self::Throw => libc::RTN_THROW,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        let all = [Self::Unicast, Self::Blackhole, Self::Unreachable, Self::Prohibit, Self::Throw];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

impl Route {
    /// Returns the route that sorts first among all routes with the same destination, table and
    /// metric.
    #[must_use]
    pub fn first_of_its_key(self) -> Self {
        Self {
            kind: RouteKind::Unicast,
            via: None,
            ifindex: None,
            source: None,
            scope: Scope::Global,
            onlink: false,
            ..self
        }
    }

    /// Builds the request that adds the route.
    pub(super) fn addition(&self) -> RouteMessage {
        let mut message = self.identify();
        message.header.scope = match self.scope {
            Scope::Global => RouteScope::Universe,
            Scope::Link => RouteScope::Link,
            Scope::Host => RouteScope::Host,
        };
        if self.onlink {
            message.header.flags = RouteFlags::from_bits_retain(u32::from(ONLINK));
        }
        message.attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        message
    }

    /// Builds the request that removes the route. With `RT_SCOPE_NOWHERE` and without a preferred
    /// source, the request matches the route whatever its scope and preferred source.
    pub(super) fn removal(&self) -> RouteMessage {
        let mut message = self.identify();
        message.header.scope = RouteScope::NoWhere;
        message
    }

    fn identify(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = if self.to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        header.destination_prefix_length = self.prefix;
        header.protocol = RouteProtocol::from(PROTO_VIPD);
        header.kind = RouteType::from(self.kind.number());
        // The header has only 8 bits for the table.
        header.table = u8::try_from(self.table).unwrap_or_default();
        let attributes = &mut message.attributes;
        if self.prefix > 0 {
            attributes.push(RouteAttribute::Destination(self.to.into()));
        }
        attributes.extend(self.via.map(|via| RouteAttribute::Gateway(via.into())));
        if u8::try_from(self.table).is_err() {
            attributes.push(RouteAttribute::Table(self.table));
        }
        attributes.extend(self.ifindex.map(RouteAttribute::Oif));
        if self.metric > 0 {
            attributes.push(RouteAttribute::Priority(self.metric));
        }
        message
    }

    /// Decodes the body of a route message. Returns `None` unless the route has vipd's mark and a
    /// type that vipd uses.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        Self::decode_if(body, |protocol| protocol == PROTO_VIPD)
    }

    /// Like [`decode`](Self::decode), but for routes without vipd's mark.
    pub(super) fn decode_foreign(body: &[u8]) -> Option<Self> {
        Self::decode_if(body, |protocol| protocol != PROTO_VIPD)
    }

    fn decode_if(body: &[u8], is_wanted: impl FnOnce(u8) -> bool) -> Option<Self> {
        let [family, prefix, _, _, table, protocol, scope, kind, flags @ ..] =
            *body.first_chunk::<RTMSG_LEN>()?;
        let flags = u32::from_ne_bytes(flags);
        if !is_wanted(protocol) || flags & libc::RTM_F_CLONED != 0 {
            return None;
        }
        let kind = RouteKind::from_number(kind)?;
        let attributes = body.get(RTMSG_LEN..)?;
        let to = match attribute(attributes, libc::RTA_DST) {
            Some(found) => address(found)?,
            None => unspecified(family)?,
        };
        let find = |kind| attribute(attributes, kind);
        Some(Self {
            to,
            prefix,
            table: find(libc::RTA_TABLE).and_then(number).unwrap_or(table.into()),
            metric: find(libc::RTA_PRIORITY).and_then(number).unwrap_or_default(),
            kind,
            via: find(libc::RTA_GATEWAY).and_then(address),
            ifindex: find(libc::RTA_OIF).and_then(number),
            source: find(libc::RTA_PREFSRC).and_then(address),
            scope: match (to, scope) {
                (IpAddr::V4(_), libc::RT_SCOPE_LINK) => Scope::Link,
                (IpAddr::V4(_), libc::RT_SCOPE_HOST) => Scope::Host,
                _ => Scope::Global,
            },
            onlink: flags & u32::from(ONLINK) != 0,
        })
    }
}

/// `RTNH_F_ONLINK` (`include/uapi/linux/rtnetlink.h`).
const ONLINK: u8 = 4;

/// Returns the unspecified address of a family.
fn unspecified(family: u8) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some([0; 4].into()),
        libc::AF_INET6 => Some([0; 16].into()),
        _ => None,
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
        })
    }
}

/// Formats the type, destination, gateway, table and metric of the route, in the syntax of
/// `ip route`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, prefix, table, metric, kind, via, .. } = self;
        f.write_str("route ")?;
        if *kind != RouteKind::Unicast {
            write!(f, "{kind} ")?;
        }
        write!(f, "{to}/{prefix}")?;
        if let Some(via) = via {
            write!(f, " via {via}")?;
        }
        write!(f, " table {table}")?;
        if *metric > 0 {
            write!(f, " metric {metric}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::change::Change;
    use crate::netlink::routing::RoutingEntry;
    use crate::netlink::wire::{append, messages};

    fn route(to: &str, prefix: u8, via: Option<&str>, ifindex: Option<u32>, table: u32) -> Route {
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let to = address(to);
        Route {
            to,
            prefix,
            table,
            metric: if to.is_ipv6() { 1024 } else { 0 },
            kind: RouteKind::Unicast,
            via: via.map(address),
            ifindex,
            source: None,
            scope: if via.is_none() && to.is_ipv4() { Scope::Link } else { Scope::Global },
            onlink: false,
        }
    }

    fn encoded(change: Change) -> Vec<u8> {
        let mut buffer = Vec::new();
        let (request, flags) = change.request();
        append(&mut buffer, request, flags, 0);
        buffer
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
    }

    /// Requests recorded from iproute2 6.1 (`strace -e write=3 ip …`), starting at the address
    /// family.
    #[test]
    #[cfg(target_endian = "little")]
    fn requests_equal_those_of_iproute2() {
        let add = |route| encoded(Change::AddEntry(RoutingEntry::Route(route)));
        let remove = |route| encoded(Change::RemoveEntry(RoutingEntry::Route(route)));
        // ip route add 10.0.0.0/8 via 192.0.2.1 dev d0 table 100 proto 118
        let wide = route("10.0.0.0", 8, Some("192.0.2.1"), Some(3), 100);
        let body = "0a 00 00 00 08 00 05 00 c0 00 02 01 08 00 04 00 03 00 00 00";
        let expected = hex(&format!("02 08 00 00 64 76 00 01 00 00 00 00 08 00 01 00 {body}"));
        assert_eq!(add(wide)[16..], expected);
        assert_eq!(add(wide)[..8], hex("34 00 00 00 18 00 01 06"), "NLM_F_REQUEST, NLM_F_EXCL, NLM_F_CREATE");
        // ip route del …
        let expected = hex(&format!("02 08 00 00 64 76 ff 00 00 00 00 00 08 00 01 00 {body}"));
        let found = remove(wide);
        assert_eq!((&found[16..23], &found[24..]), (&expected[..7], &expected[8..]));
        assert_eq!(found[..8], hex("34 00 00 00 19 00 01 00"));
        // ip route add 203.0.113.0/24 dev d0 table 1000 proto 118
        let direct = route("203.0.113.0", 24, None, Some(3), 1000);
        let expected =
            hex("02 18 00 00 00 76 fd 01 00 00 00 00 08 00 01 00 cb 00 71 00 08 00 0f 00 e8 03 00 00 \
             08 00 04 00 03 00 00 00");
        assert_eq!(add(direct)[16..], expected);
        // ip route add default via 192.0.2.1 proto 118
        let default = route("0.0.0.0", 0, Some("192.0.2.1"), None, 254);
        let expected = hex("02 00 00 00 fe 76 00 01 00 00 00 00 08 00 05 00 c0 00 02 01");
        assert_eq!(add(default)[16..], expected);
        // ip -6 route add 2001:db8:5::/48 via 2001:db8::1 dev d0 proto 118
        let wide = Route { metric: 0, ..route("2001:db8:5::", 48, Some("2001:db8::1"), Some(3), 254) };
        let expected = hex(
            "0a 30 00 00 fe 76 00 01 00 00 00 00 14 00 01 00 20 01 0d b8 00 05 00 00 00 00 00 00 \
             00 00 00 00 14 00 05 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 08 00 04 00 03 00 00 00",
        );
        assert_eq!(add(wide)[16..], expected);
    }

    #[test]
    fn encoded_routes_decode_to_the_same_route() {
        for route in [
            route("10.0.0.0", 8, Some("192.0.2.1"), Some(3), 100),
            route("0.0.0.0", 0, Some("192.0.2.1"), None, 254),
            route("::", 0, Some("fe80::1"), Some(3), 254),
            route("2001:db8::", 32, None, Some(3), 1000),
            Route {
                metric: 7,
                source: Some([192, 0, 2, 10].into()),
                onlink: true,
                ..route("10.0.0.0", 8, Some("192.0.2.1"), Some(3), 70_000)
            },
            Route { kind: RouteKind::Blackhole, scope: Scope::Global, ..route("10.0.0.0", 8, None, None, 9) },
            Route { kind: RouteKind::Throw, ..route("2001:db8::", 32, None, None, 9) },
        ] {
            let buffer = encoded(Change::AddEntry(RoutingEntry::Route(route)));
            let message = messages(&buffer).next().expect("a message");
            assert_eq!(Route::decode(message.payload()), Some(route));
        }
    }

    #[test]
    fn routes_of_other_protocols_are_not_decoded() {
        let buffer = encoded(Change::AddEntry(RoutingEntry::Route(route("10.0.0.0", 8, None, Some(3), 9))));
        let message = messages(&buffer).next().expect("a message");
        // Values that `decode` rejects, with their offsets: the protocol `RTPROT_STATIC`, the type
        // `RTN_LOCAL` and the flag `RTM_F_CLONED`.
        for (offset, value) in [(5, 4), (7, 2), (if cfg!(target_endian = "little") { 9 } else { 10 }, 2)] {
            let mut body = message.payload().to_vec();
            body[offset] = value;
            assert_eq!(Route::decode(&body), None, "byte {offset}");
        }
        for length in 0..RTMSG_LEN {
            assert_eq!(Route::decode(&message.payload()[..length]), None, "cut at {length}");
        }
    }
}
