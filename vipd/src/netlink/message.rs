//! Links, addresses and neighbors, decoded from rtnetlink messages.

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_REPLACE, Parseable, ParseableParametrized};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkXdp};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::route::Route;
use super::routing::RoutingEntry;
use super::wire::{Message, link_attributes};

/// The mark on addresses, routes and policy rules added by vipd.
///
/// For addresses (`IFA_PROTO`, Linux 5.18), the kernel reserves only the values up to 3
/// (`include/uapi/linux/if_addr.h`), and `ip address` shows `proto 0x76`. For routes
/// (`rtm_protocol`) and rules (`FRA_PROTOCOL`), neither the kernel
/// (`include/uapi/linux/rtnetlink.h`) nor iproute2 (`rt_protos`) assigns this number, and `ip
/// route` and `ip rule` show `proto 118`.
pub const PROTO_VIPD: u8 = b'v';

/// State of a network interface, decoded from `RTM_NEWLINK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Whether the link is up and has a carrier (IFF_UP and IFF_RUNNING).
    pub running: bool,
    /// Ethernet address, or `None` if the link has no 6-byte address.
    pub mac: Option<[u8; 6]>,
    /// Whether the link is point-to-point (IFF_POINTOPOINT).
    pub is_point_to_point: bool,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub ifindex: u32,
    /// Local address (`IFA_LOCAL`, or `IFA_ADDRESS` if the kernel sends no `IFA_LOCAL`).
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// Origin of the address (`IFA_PROTO`), or 0 if it is not recorded.
    pub protocol: u8,
    /// Whether the address cannot be used as a source address because Duplicate Address Detection
    /// is running or has failed (`IFA_F_TENTATIVE`, `IFA_F_DADFAILED`). IPv6 only.
    pub unusable: bool,
    /// Whether the kernel removes the address along with the primary address of its subnet
    /// (`IFA_F_SECONDARY`), unless `promote_secondaries` is set. IPv4 only.
    pub secondary: bool,
}

impl Address {
    /// Creates an address with vipd's mark.
    pub const fn vipd(ifindex: u32, address: IpAddr, prefix: u8) -> Self {
        Self { ifindex, address, prefix, protocol: PROTO_VIPD, unusable: false, secondary: false }
    }

    /// Returns whether the address is in fe80::/10.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }
}

/// A notification, or an entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A link exists or has changed.
    Link(Link),
    /// A link was deleted.
    LinkGone {
        /// Index of the link.
        ifindex: u32,
    },
    /// An address exists or has changed.
    Address(Address),
    /// An address was removed.
    AddressGone(Address),
    /// A route or policy rule with vipd's mark exists.
    RoutingEntry(RoutingEntry),
    /// A route or policy rule with vipd's mark was removed.
    RoutingEntryGone(RoutingEntry),
    /// A route without vipd's mark has replaced a route with the same destination, table and
    /// metric.
    RouteReplaced(Route),
    /// The neighbor entry of a unicast peer has changed.
    Neighbor {
        /// Index of the interface.
        ifindex: u32,
        /// The peer's address.
        address: IpAddr,
        /// Whether the peer's MAC is known: the entry exists, and its state is not NUD_NONE,
        /// NUD_INCOMPLETE or NUD_FAILED.
        resolved: bool,
    },
}

impl Notice {
    /// Decodes a message. Returns `None` if it is malformed or vipd does not use it, because of its
    /// type or its contents: for example, a link message of AF_BRIDGE, or the removal of a route
    /// without vipd's mark.
    pub(super) fn decode(message: &Message<'_>) -> Option<Self> {
        match message.message_type() {
            libc::RTM_NEWLINK => {
                let link = LinkDetails::decode(message)?;
                Some(Self::Link(Link {
                    ifindex: link.ifindex,
                    name: link.name?,
                    running: link.flags.contains(LinkFlags::Up | LinkFlags::Running),
                    mac: link.mac,
                    is_point_to_point: link.flags.contains(LinkFlags::Pointopoint),
                }))
            }
            libc::RTM_DELLINK => Some(Self::LinkGone { ifindex: LinkDetails::decode(message)?.ifindex }),
            libc::RTM_NEWADDR => decode_address(message.payload()).map(Self::Address),
            libc::RTM_DELADDR => decode_address(message.payload()).map(Self::AddressGone),
            libc::RTM_NEWNEIGH => decode_neighbor(message.payload(), true),
            libc::RTM_DELNEIGH => decode_neighbor(message.payload(), false),
            libc::RTM_NEWROUTE if message.flags() & NLM_F_REPLACE != 0 => {
                Route::decode_foreign(message.payload()).map(Self::RouteReplaced)
            }
            libc::RTM_NEWROUTE | libc::RTM_NEWRULE => RoutingEntry::decode(message).map(Self::RoutingEntry),
            libc::RTM_DELROUTE | libc::RTM_DELRULE => {
                RoutingEntry::decode(message).map(Self::RoutingEntryGone)
            }
            _ => None,
        }
    }
}

/// The fields of a link message that vipd uses.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkDetails {
    pub(super) ifindex: u32,
    pub(super) flags: LinkFlags,
    pub(super) name: Option<String>,
    pub(super) alias: Option<String>,
    /// Index of the underlying link (`IFLA_LINK`).
    pub(super) parent: Option<u32>,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) group: u32,
    /// ID of the attached XDP program.
    pub(super) xdp_program: Option<u32>,
}

impl LinkDetails {
    /// Decodes a link message. Returns `None` for families other than AF_UNSPEC: in AF_BRIDGE, a
    /// bridge reports its ports, and RTM_DELLINK means that a port has left the bridge.
    pub(super) fn decode(message: &Message<'_>) -> Option<Self> {
        let header = LinkHeader::parse(message.payload()).ok()?;
        if header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let mut link = Self { ifindex: header.index, flags: header.flags, ..Self::default() };
        for attribute in link_attributes(message) {
            // Attributes are parsed individually, so that an attribute whose format has changed in
            // a newer kernel does not invalidate the whole message.
            match LinkAttribute::parse_with_param(&attribute, header.interface_family) {
                Ok(LinkAttribute::IfName(name)) => link.name = Some(name),
                Ok(LinkAttribute::IfAlias(alias)) => link.alias = Some(alias),
                Ok(LinkAttribute::Link(parent)) => link.parent = Some(parent),
                Ok(LinkAttribute::Address(mac)) => link.mac = mac.try_into().ok(),
                Ok(LinkAttribute::Group(group)) => link.group = group,
                Ok(LinkAttribute::Xdp(found)) => {
                    link.xdp_program = found.iter().find_map(|attribute| match attribute {
                        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(link)
    }
}

fn decode_address(body: &[u8]) -> Option<Address> {
    let message = AddressMessage::parse(body).ok()?;
    let (mut local, mut peer, mut protocol) = (None, None, 0);
    // The header contains only the lower 8 bits of the flags. The attribute IFA_FLAGS (Linux 3.14)
    // contains all flags, and takes precedence.
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(found),
            AddressAttribute::Address(found) => peer = Some(found),
            AddressAttribute::Protocol(found) => protocol = u8::from(found),
            AddressAttribute::Flags(found) => flags = found,
            _ => {}
        }
    }
    // On a point-to-point link, IFA_ADDRESS is the address of the other end.
    let address = local.or(peer)?;
    let unusable = address.is_ipv6() && flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
    // In IPv6, the same bit marks temporary addresses.
    let secondary = address.is_ipv4() && flags.contains(AddressFlags::Secondary);
    let (ifindex, prefix) = (message.header.index, message.header.prefix_len);
    Some(Address { ifindex, address, prefix, protocol, unusable, secondary })
}

fn decode_neighbor(body: &[u8], exists: bool) -> Option<Notice> {
    const UNRESOLVED: [NeighbourState; 3] =
        [NeighbourState::None, NeighbourState::Incomplete, NeighbourState::Failed];
    let NeighbourMessage { header, attributes, .. } = NeighbourMessage::parse(body).ok()?;
    let address = attributes.into_iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    })?;
    let resolved = exists && !UNRESOLVED.contains(&header.state);
    Some(Notice::Neighbor { ifindex: header.ifindex, address, resolved })
}

#[cfg(test)]
mod tests {
    use rtnetlink::LinkUnspec;
    use rtnetlink::packet_core::DefaultNla;
    use rtnetlink::packet_route::RouteNetlinkMessage;

    use super::*;
    use crate::netlink::wire::{append, messages};

    fn decoded(message: RouteNetlinkMessage) -> Option<Notice> {
        let mut buffer = Vec::new();
        append(&mut buffer, message, 0, 0);
        Notice::decode(&messages(&buffer).next().expect("a message"))
    }

    #[test]
    fn link_is_decoded_despite_an_attribute_of_unexpected_length() {
        let mtu = LinkAttribute::Other(DefaultNla::new(libc::IFLA_MTU, vec![0]));
        let link = LinkUnspec::new_with_index(3)
            .append_extra_attribute(mtu)
            .name("eth0")
            .address(vec![2; 6])
            .build();
        let expected = Link {
            ifindex: 3,
            name: "eth0".to_owned(),
            running: false,
            mac: Some([2; 6]),
            is_point_to_point: false,
        };
        assert_eq!(decoded(RouteNetlinkMessage::NewLink(link)), Some(Notice::Link(expected)));
    }

    #[test]
    fn port_leaving_a_bridge_is_not_a_deleted_link() {
        let link = LinkUnspec::new_with_index(3);
        let port = link.interface_family(AddressFamily::Bridge).build();
        assert_eq!(decoded(RouteNetlinkMessage::DelLink(port)), None);
        let link = LinkUnspec::new_with_index(3).build();
        assert_eq!(decoded(RouteNetlinkMessage::DelLink(link)), Some(Notice::LinkGone { ifindex: 3 }));
    }

    #[test]
    fn neighbor_is_resolved_while_its_entry_has_a_valid_mac() {
        let neighbor = |state| {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.ifindex = 3;
            message.header.state = state;
            message.attributes = vec![NeighbourAttribute::Destination(IpAddr::from([192, 0, 2, 1]).into())];
            message
        };
        let notice = |resolved| Notice::Neighbor { ifindex: 3, address: [192, 0, 2, 1].into(), resolved };
        for (state, resolved) in [
            (NeighbourState::Incomplete, false),
            (NeighbourState::Failed, false),
            (NeighbourState::None, false),
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, true),
            (NeighbourState::Permanent, true),
        ] {
            let found = decoded(RouteNetlinkMessage::NewNeighbour(neighbor(state)));
            assert_eq!(found, Some(notice(resolved)), "{state}");
            let gone = decoded(RouteNetlinkMessage::DelNeighbour(neighbor(state)));
            assert_eq!(gone, Some(notice(false)), "{state}, deleted");
        }
    }
}
