//! Changes of addresses and of the macvlans that carry them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::message::{Address, IFA_PROTO, PROTO_VIPD};
use super::wire::{Request, acknowledged, ifaddrmsg, ifinfomsg};

/// A change, of which [`Requests`](super::Requests) makes a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds an address with vipd's mark, or marks the one that exists.
    Add(Address, Attributes),
    /// Removes an address. One that is gone already is not an error.
    Remove(Address),
    /// Sets a link up.
    Up {
        /// Its index.
        ifindex: u32,
    },
    /// Sets a link down. One that is gone already is not an error.
    Down {
        /// Its index.
        ifindex: u32,
    },
}

/// How an address is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `IFA_LABEL`, IPv4 only.
    pub label: Option<Label>,
    /// Scope.
    pub scope: Scope,
    /// `IFA_BROADCAST`, IPv4 only.
    pub broadcast: Option<Ipv4Addr>,
    /// Preferred lifetime 0: the kernel does not choose it as the source of new connections (RFC 4862 section 5.5.4).
    pub deprecated: bool,
    /// Adds no route to the prefix (`IFA_F_NOPREFIXROUTE`).
    pub no_prefix_route: bool,
}

/// An address label, held in place: adding an address during a takeover must not allocate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Label {
    /// Longest label, bytes: `IFNAMSIZ` without the terminating NUL.
    pub const MAX: usize = libc::IFNAMSIZ - 1;

    /// A label of up to [`Label::MAX`] bytes; `None` for a longer one.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // It was copied from a string.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Scope of an address (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The address that is added or removed.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Add(address, _) | Self::Remove(address) => Some(address),
            Self::Up { .. } | Self::Down { .. } => None,
        }
    }

    /// Appends the request. Failures are answered even without `NLM_F_ACK`.
    pub(super) fn encode(&self, buffer: &mut Vec<u8>, acknowledge: bool, sequence: u32) {
        let ack = if acknowledge { libc::NLM_F_ACK } else { 0 };
        match self {
            Self::Add(address, attributes) => {
                let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE | ack;
                let request = Request::begin(buffer, libc::RTM_NEWADDR, flags, sequence);
                attributes
                    .encode(address.address, identify(request, address, attributes.scope.number()))
                    .end();
            }
            Self::Remove(address) => {
                let request = Request::begin(buffer, libc::RTM_DELADDR, ack, sequence);
                identify(request, address, 0).end();
            }
            Self::Up { ifindex } => set_flags(buffer, *ifindex, libc::IFF_UP, ack, sequence),
            Self::Down { ifindex } => set_flags(buffer, *ifindex, 0, ack, sequence),
        }
    }

    /// What an errno means for this change: an object that is gone is what a removal asked for.
    pub(super) fn outcome(&self, errno: i32) -> io::Result<()> {
        match (self, errno) {
            (Self::Remove(_), libc::EADDRNOTAVAIL | libc::ENODEV) | (Self::Down { .. }, libc::ENODEV) => {
                Ok(())
            }
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
            Self::Up { ifindex } | Self::Down { ifindex } => write!(f, "link {ifindex}"),
        }
    }
}

impl Attributes {
    fn encode<'a>(&self, address: IpAddr, request: Request<'a>) -> Request<'a> {
        let mut request = request.attribute(IFA_PROTO, &[PROTO_VIPD]);
        let mut flags = 0;
        if address.is_ipv6() {
            // Usable at once, and a split brain must not leave it unusable.
            flags |= libc::IFA_F_NODAD;
        }
        if self.no_prefix_route {
            flags |= libc::IFA_F_NOPREFIXROUTE;
        }
        if flags != 0 {
            request = request.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
        }
        if let Some(label) = &self.label {
            request = request.string(libc::IFA_LABEL, label.as_str());
        }
        if let Some(broadcast) = self.broadcast {
            request = request.attribute(libc::IFA_BROADCAST, &broadcast.octets());
        }
        if self.deprecated {
            // struct ifa_cacheinfo: preferred and valid lifetime, seconds, then two time stamps.
            let mut lifetimes = [0; 16];
            lifetimes[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
            request = request.attribute(libc::IFA_CACHEINFO, &lifetimes);
        }
        request
    }
}

impl Scope {
    fn number(self) -> u8 {
        match self {
            Self::Global => libc::RT_SCOPE_UNIVERSE,
            Self::Link => libc::RT_SCOPE_LINK,
            Self::Host => libc::RT_SCOPE_HOST,
        }
    }
}

/// Writes what identifies an address. The kernel compares IFA_LOCAL, the prefix length and the index.
fn identify<'a>(request: Request<'a>, address: &Address, scope: u8) -> Request<'a> {
    let family = if address.address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let request = request.fixed(&ifaddrmsg(family, address.prefix, scope, address.ifindex));
    match address.address {
        IpAddr::V4(ip) => {
            request.attribute(libc::IFA_LOCAL, &ip.octets()).attribute(libc::IFA_ADDRESS, &ip.octets())
        }
        IpAddr::V6(ip) => {
            request.attribute(libc::IFA_LOCAL, &ip.octets()).attribute(libc::IFA_ADDRESS, &ip.octets())
        }
    }
}

fn set_flags(buffer: &mut Vec<u8>, ifindex: u32, flags: i32, ack: i32, sequence: u32) {
    Request::begin(buffer, libc::RTM_SETLINK, ack, sequence)
        .fixed(&ifinfomsg(ifindex, flags, libc::IFF_UP))
        .end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::Notice;
    use crate::netlink::wire::{attributes, messages};

    fn encoded(change: Change) -> Vec<u8> {
        let mut buffer = Vec::new();
        change.encode(&mut buffer, true, 1);
        buffer
    }

    #[test]
    fn an_encoded_address_decodes_to_itself() {
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
    fn attributes_are_written_as_the_kernel_reads_them() {
        let address = Address::vipd(3, "192.0.2.10".parse().expect("an address"), 24);
        let wanted = Attributes {
            label: Label::new("eth0:vip"),
            scope: Scope::Link,
            broadcast: Some(Ipv4Addr::new(192, 0, 2, 255)),
            deprecated: true,
            no_prefix_route: true,
        };
        let buffer = encoded(Change::Add(address, wanted));
        let message = messages(&buffer).next().expect("a message");
        assert_eq!(message.body[3], 253, "RT_SCOPE_LINK");
        let value =
            |wanted| attributes(&message.body[8..]).find(|(kind, _)| *kind == wanted).map(|found| found.1);
        assert_eq!(value(libc::IFA_LABEL), Some(&b"eth0:vip\0"[..]));
        assert_eq!(value(libc::IFA_BROADCAST), Some(&[192, 0, 2, 255][..]));
        assert_eq!(value(libc::IFA_FLAGS), Some(&0x200_u32.to_ne_bytes()[..]));
        let lifetimes = value(libc::IFA_CACHEINFO).expect("lifetimes");
        assert_eq!((&lifetimes[..4], &lifetimes[4..8]), (&[0; 4][..], &[0xff; 4][..]));
    }

    #[test]
    fn a_label_that_is_too_long_is_rejected() {
        assert!(Label::new("123456789012345").is_some());
        assert!(Label::new("1234567890123456").is_none());
    }
}
