//! Changes of addresses, and of the links of vipd's own that have them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::message::{Address, PROTO_VIPD};

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put an address there, with vipd's mark; one that is there already is marked.
    Add(Address, Attributes),
    /// Take an address away; one that is gone already is no error.
    Remove(Address),
    /// Set a link up.
    Up {
        /// Its index.
        ifindex: u32,
    },
    /// Set a link down; one that is gone already is no error.
    Down {
        /// Its index.
        ifindex: u32,
    },
}

/// How an address is put on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Label (`IFA_LABEL`, IPv4 only), up to 15 bytes.
    pub label: Option<String>,
    /// Scope.
    pub scope: Scope,
    /// Broadcast address (`IFA_BROADCAST`, IPv4 only).
    pub broadcast: Option<Ipv4Addr>,
    /// Preferred lifetime 0: not to be chosen as source of new connections.
    pub deprecated: bool,
    /// Without a route to the prefix (`IFA_F_NOPREFIXROUTE`).
    pub no_prefix_route: bool,
}

/// Scope of an address (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Valid everywhere.
    #[default]
    Global,
    /// Valid on this link only.
    Link,
    /// Valid on this host only.
    Host,
}

impl Change {
    /// The address, if it is one's change.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Add(address, _) | Self::Remove(address) => Some(address),
            Self::Up { .. } | Self::Down { .. } => None,
        }
    }

    pub(super) fn message(&self, sequence: u32) -> NetlinkMessage<RouteNetlinkMessage> {
        let (message, flags) = match self {
            Self::Add(address, attributes) => {
                let mut message = identify(address);
                attributes.write(address.address, &mut message);
                (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
            }
            Self::Remove(address) => (RouteNetlinkMessage::DelAddress(identify(address)), 0),
            Self::Up { ifindex } => (set_up(*ifindex, true), 0),
            Self::Down { ifindex } => (set_up(*ifindex, false), 0),
        };
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.header.sequence_number = sequence;
        message.finalize();
        message
    }

    /// What an error means for this change: gone is what a removal wanted.
    pub(super) fn outcome(&self, errno: i32) -> io::Result<()> {
        match (self, errno) {
            (_, 0)
            | (Self::Remove(_), libc::EADDRNOTAVAIL | libc::ENODEV)
            | (Self::Down { .. }, libc::ENODEV) => Ok(()),
            _ => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(address, _) | Self::Remove(address) => {
                write!(f, "{}/{}", address.address, address.prefix)
            }
            Self::Up { ifindex } | Self::Down { ifindex } => write!(f, "link {ifindex}"),
        }
    }
}

impl Attributes {
    fn write(&self, address: IpAddr, message: &mut AddressMessage) {
        let attributes = &mut message.attributes;
        attributes.push(AddressAttribute::Protocol(AddressProtocol::from(PROTO_VIPD)));
        let mut flags = AddressFlags::empty();
        if address.is_ipv6() {
            // Usable at once, and no split brain leaves it unusable.
            flags |= AddressFlags::Nodad;
        }
        if self.no_prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        if !flags.is_empty() {
            attributes.push(AddressAttribute::Flags(flags));
        }
        if let Some(label) = &self.label {
            attributes.push(AddressAttribute::Label(label.clone()));
        }
        if let Some(broadcast) = self.broadcast {
            attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        if self.deprecated {
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_valid = u32::MAX;
            lifetime.ifa_preferred = 0;
            attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        message.header.scope = match self.scope {
            Scope::Global => AddressScope::Universe,
            Scope::Link => AddressScope::Link,
            Scope::Host => AddressScope::Host,
        };
    }
}

/// The message that names an address.
fn identify(address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match address.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.index = address.ifindex;
    message.header.prefix_len = address.prefix;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    message
}

fn set_up(ifindex: u32, up: bool) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}
