//! Changes to addresses, routes and policy rules, and to the state of macvlans.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::message::{Address, PROTO_VIPD};
use super::route::Route;
use super::routing::RoutingEntry;
use super::wire::acknowledged;

/// A change to an address, a route, a policy rule or a link. [`Requests`](super::Requests) applies
/// changes in batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds an address with vipd's mark, or marks an existing address.
    Add(Address, Attributes),
    /// Removes an address. Succeeds if the address does not exist.
    Remove(Address),
    /// Adds a route or a policy rule with vipd's mark. Fails with `EEXIST` if the table has a route
    /// with the same destination and metric, whichever tool added it, or if the rule exists with
    /// vipd's mark.
    AddEntry(RoutingEntry),
    /// Adds an IPv4 route after other routes with the same destination and metric. Fails with
    /// `EEXIST` only if exactly this route is present, with vipd's mark. In IPv6, the kernel would
    /// combine the routes into a multipath route.
    AppendRoute(Route),
    /// Removes a route or a policy rule with vipd's mark. Succeeds if the entry does not exist.
    RemoveEntry(RoutingEntry),
    /// Brings a link up.
    Up {
        /// Index of the link.
        ifindex: u32,
    },
    /// Brings a link down. Succeeds if the link does not exist.
    Down {
        /// Index of the link.
        ifindex: u32,
    },
}

/// Attributes of an address to add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `IFA_LABEL`, IPv4 only.
    pub label: Option<Label>,
    /// Scope in the message header (`ifa_scope`), IPv4 only: in IPv6, the kernel derives the scope
    /// from the address.
    pub scope: Scope,
    /// `IFA_BROADCAST`, IPv4 only.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether the preferred lifetime is 0, so that in IPv6 the kernel prefers other addresses as
    /// the source of new connections (RFC 4862 section 5.5.4). Has no such effect in IPv4.
    pub deprecated: bool,
    /// Whether the kernel adds no route to the prefix (`IFA_F_NOPREFIXROUTE`).
    pub no_prefix_route: bool,
    /// Time in seconds, at least 1, after which the kernel removes the address; `None` for no
    /// limit.
    pub lifetime: Option<u32>,
}

/// An address label or interface name, stored inline so that copying a [`Change`] does not
/// allocate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Label {
    /// Maximum length in bytes: `IFNAMSIZ` without the terminating NUL.
    pub const MAX: usize = libc::IFNAMSIZ - 1;

    /// Creates a label, or returns `None` if the text is longer than [`Label::MAX`] bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // Never fails: the bytes were copied from a string.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Scope of an address or a route (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `RT_SCOPE_UNIVERSE`.
    #[default]
    Global,
    /// `RT_SCOPE_LINK`.
    Link,
    /// `RT_SCOPE_HOST`.
    Host,
}

impl Change {
    /// Returns the address to add or remove; `None` for other changes.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Add(address, _) | Self::Remove(address) => Some(address),
            Self::AddEntry(_)
            | Self::AppendRoute(_)
            | Self::RemoveEntry(_)
            | Self::Up { .. }
            | Self::Down { .. } => None,
        }
    }

    /// Returns the request and its netlink flags.
    pub(super) fn request(&self) -> (RouteNetlinkMessage, u16) {
        match self {
            Self::Add(address, attributes) => {
                let mut message = identify(address);
                attributes.write(address.address, &mut message);
                (RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
            }
            Self::Remove(address) => (RouteNetlinkMessage::DelAddress(identify(address)), 0),
            Self::AddEntry(entry) => (entry.addition(), NLM_F_CREATE | NLM_F_EXCL),
            Self::AppendRoute(route) => {
                (RouteNetlinkMessage::NewRoute(route.addition()), NLM_F_CREATE | NLM_F_APPEND)
            }
            Self::RemoveEntry(entry) => (entry.removal(), 0),
            Self::Up { ifindex } => {
                (RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(*ifindex).up().build()), 0)
            }
            Self::Down { ifindex } => {
                (RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(*ifindex).down().build()), 0)
            }
        }
    }

    /// Converts an errno to the result of this change. Removals and bringing a link down succeed if
    /// the object no longer exists.
    pub(super) fn outcome(&self, errno: i32) -> io::Result<()> {
        match (self, errno) {
            // ENXIO: the interface has no IPv6, for example because its MTU is below 1280. The
            // kernel returns ESRCH for a missing route, and ENOENT for a missing rule.
            (Self::Remove(_), libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENXIO)
            | (Self::RemoveEntry(_), libc::ESRCH | libc::ENOENT | libc::ENODEV)
            | (Self::Down { .. }, libc::ENODEV) => Ok(()),
            _ => acknowledged(errno),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(address, _) | Self::Remove(address) => {
                write!(f, "{}/{}", address.address, address.prefix)
            }
            Self::AddEntry(entry) | Self::RemoveEntry(entry) => entry.fmt(f),
            Self::AppendRoute(route) => route.fmt(f),
            Self::Up { ifindex } | Self::Down { ifindex } => write!(f, "link {ifindex}"),
        }
    }
}

impl Attributes {
    fn write(&self, address: IpAddr, message: &mut AddressMessage) {
        message.header.scope = match self.scope {
            Scope::Global => AddressScope::Universe,
            Scope::Link => AddressScope::Link,
            Scope::Host => AddressScope::Host,
        };
        let attributes = &mut message.attributes;
        attributes.push(AddressAttribute::Protocol(AddressProtocol::from(PROTO_VIPD)));
        let mut flags = AddressFlags::empty();
        if address.is_ipv6() {
            // Makes the address usable immediately. With DAD, the address would become unusable in
            // a split brain.
            flags |= AddressFlags::Nodad;
        }
        if self.no_prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        if !flags.is_empty() {
            attributes.push(AddressAttribute::Flags(flags));
        }
        if let Some(label) = &self.label {
            attributes.push(AddressAttribute::Label(label.as_str().to_owned()));
        }
        if let Some(broadcast) = self.broadcast {
            attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        if self.deprecated || self.lifetime.is_some() {
            let mut lifetimes = CacheInfo::default();
            lifetimes.ifa_valid = self.lifetime.unwrap_or(u32::MAX);
            lifetimes.ifa_preferred = if self.deprecated { 0 } else { lifetimes.ifa_valid };
            attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
    }
}

/// Builds a message that identifies an address: the kernel compares IFA_LOCAL, the prefix length
/// and the interface index. For IPv4, the kernel also compares the network of IFA_ADDRESS, so that
/// an address whose peer is outside that network does not match. When it adds an IPv6 address, the
/// kernel does not compare the prefix length.
fn identify(address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family =
        if address.address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.index = address.ifindex;
    message.header.prefix_len = address.prefix;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::Notice;
    use crate::netlink::wire::{append, attribute, messages};

    fn encoded(change: Change) -> Vec<u8> {
        let mut buffer = Vec::new();
        let (request, flags) = change.request();
        append(&mut buffer, request, flags, 1);
        buffer
    }

    #[test]
    fn encoded_addresses_decode_to_the_same_address() {
        for text in ["192.0.2.10", "2001:db8::10"] {
            let address = Address::vipd(3, text.parse().expect("an address"), 24);
            let buffer = encoded(Change::Add(address, Attributes::default()));
            let message = messages(&buffer).next().expect("a message");
            assert_eq!(Notice::decode(&message), Some(Notice::Address(address)));
            let buffer = encoded(Change::Remove(address));
            let message = messages(&buffer).next().expect("a message");
            let gone = Notice::AddressGone(Address { protocol: 0, ..address });
            assert_eq!(Notice::decode(&message), Some(gone));
        }
    }

    #[test]
    fn attributes_are_encoded_in_the_kernels_format() {
        let address = Address::vipd(3, "192.0.2.10".parse().expect("an address"), 24);
        let wanted = Attributes {
            label: Label::new("eth0:vip"),
            scope: Scope::Link,
            broadcast: Some(Ipv4Addr::new(192, 0, 2, 255)),
            deprecated: true,
            no_prefix_route: true,
            lifetime: None,
        };
        let buffer = encoded(Change::Add(address, wanted));
        let message = messages(&buffer).next().expect("a message");
        let body = message.payload();
        assert_eq!(body[3], 253, "RT_SCOPE_LINK");
        let value = |wanted| attribute(&body[8..], wanted);
        assert_eq!(value(libc::IFA_LABEL), Some(&b"eth0:vip\0"[..]));
        assert_eq!(value(libc::IFA_BROADCAST), Some(&[192, 0, 2, 255][..]));
        assert_eq!(value(libc::IFA_FLAGS), Some(&0x200_u32.to_ne_bytes()[..]));
        let lifetimes = value(libc::IFA_CACHEINFO).expect("lifetimes");
        assert_eq!((&lifetimes[..4], &lifetimes[4..8]), (&[0; 4][..], &[0xff; 4][..]));
        for (deprecated, preferred) in [(false, 5_u32), (true, 0)] {
            let limited = Attributes { lifetime: Some(5), deprecated, ..Attributes::default() };
            let buffer = encoded(Change::Add(address, limited));
            let message = messages(&buffer).next().expect("a message");
            let lifetimes = attribute(&message.payload()[8..], libc::IFA_CACHEINFO).expect("lifetimes");
            assert_eq!(lifetimes[..8], [preferred.to_ne_bytes(), 5_u32.to_ne_bytes()].concat());
        }
    }

    #[test]
    fn label_longer_than_15_bytes_is_rejected() {
        assert!(Label::new("123456789012345").is_some());
        assert!(Label::new("1234567890123456").is_none());
    }
}
