//! What vipd reads out of rtnetlink messages.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

/// The mark of vipd's own addresses (`IFA_PROTO`, Linux 5.18): `ip address` shows it as `proto 0x76`. Numbers from 4
/// on are free for user space (`include/uapi/linux/if_addr.h`).
pub const PROTO_VIPD: u8 = b'v';

/// A link as vipd sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Up and with a carrier (IFF_UP and IFF_RUNNING).
    pub running: bool,
    /// Ethernet address; none on other kinds of link.
    pub mac: Option<[u8; 6]>,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix: u8,
    /// Who put it there (`IFA_PROTO`); 0 where nobody said so.
    pub protocol: u8,
    /// Whether nothing may be sent from it, now or ever: Duplicate Address Detection goes on, or has found another
    /// (`IFA_F_TENTATIVE`, `IFA_F_DADFAILED`). Only in IPv6.
    pub unusable: bool,
    /// Whether the kernel removes it with the primary address of its subnet (`IFA_F_SECONDARY`).
    /// Only in IPv4.
    pub secondary: bool,
}

impl Address {
    /// One with vipd's mark.
    pub const fn vipd(ifindex: u32, address: IpAddr, prefix: u8) -> Self {
        Self { ifindex, address, prefix, protocol: PROTO_VIPD, unusable: false, secondary: false }
    }

    /// Whether it is of fe80::/10.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }
}

/// A change that the kernel notifies of, or an entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A link is there, or has changed.
    Link(Link),
    /// A link is gone.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// An address is there, or has changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
}

impl Notice {
    /// The notice in a message; `None` for what vipd does not look at.
    pub(super) fn read(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Self> {
        let NetlinkPayload::InnerMessage(message) = message.payload else { return None };
        match message {
            // A bridge tells of its ports in AF_BRIDGE: that a port has left it is no end of the link.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec =>
            {
                None
            }
            RouteNetlinkMessage::NewLink(link) => read_link(link).map(Self::Link),
            RouteNetlinkMessage::DelLink(link) => Some(Self::LinkGone { ifindex: link.header.index }),
            RouteNetlinkMessage::NewAddress(address) => read_address(&address).map(Self::Address),
            RouteNetlinkMessage::DelAddress(address) => read_address(&address).map(Self::AddressGone),
            _ => None,
        }
    }
}

fn read_link(message: LinkMessage) -> Option<Link> {
    let mut name = None;
    let mut mac = None;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(found) => name = Some(found),
            LinkAttribute::Address(bytes) => mac = bytes.try_into().ok(),
            _ => {}
        }
    }
    let running = message.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
    Some(Link { ifindex: message.header.index, name: name?, running, mac })
}

fn read_address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut peer = None;
    let mut protocol = 0;
    // The eight bits of the header are the lower ones of IFA_FLAGS, which every kernel that has IFA_PROTO sends.
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => peer = Some(*found),
            AddressAttribute::Protocol(found) => protocol = u8::from(*found),
            AddressAttribute::Flags(found) => flags = *found,
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let address = local.or(peer)?;
    let unusable = address.is_ipv6() && flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
    // IPv6 uses the same bit for temporary addresses.
    let secondary = address.is_ipv4() && flags.contains(AddressFlags::Secondary);
    let AddressHeader { index, prefix_len, .. } = message.header;
    Some(Address { ifindex: index, address, prefix: prefix_len, protocol, unusable, secondary })
}
