//! Links and addresses as rtnetlink reports them.

use std::net::IpAddr;

use super::wire::{Message, attributes, text, u16_at, u32_at};

/// vipd's mark on its own addresses (`IFA_PROTO`, Linux 5.18); `ip address` shows it as `proto 0x76`. User space may use
/// numbers from 4 on (`include/uapi/linux/if_addr.h`).
pub const PROTO_VIPD: u8 = b'v';

/// `IFA_PROTO`, which libc does not define.
pub(super) const IFA_PROTO: u16 = 11;
/// `IFLA_XDP_ATTACHED` (`include/uapi/linux/if_link.h`).
const IFLA_XDP_ATTACHED: u16 = 2;
/// Length of `struct ifinfomsg`, bytes.
pub(super) const IFINFOMSG_LEN: usize = 16;
/// Length of `struct ifaddrmsg`, bytes.
const IFADDRMSG_LEN: usize = 8;
/// Length of `struct ndmsg`, bytes.
const NDMSG_LEN: usize = 12;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Up and with a carrier (IFF_UP and IFF_RUNNING).
    pub running: bool,
    /// Ethernet address; `None` for other kinds of link.
    pub mac: Option<[u8; 6]>,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Prefix length, bits.
    pub prefix: u8,
    /// What added it (`IFA_PROTO`); 0 where nothing is recorded.
    pub protocol: u8,
    /// Not valid as a source address: Duplicate Address Detection is running or has failed (`IFA_F_TENTATIVE`,
    /// `IFA_F_DADFAILED`). IPv6 only.
    pub unusable: bool,
    /// Whether the kernel removes it with the primary address of its subnet (`IFA_F_SECONDARY`).
    /// Only in IPv4.
    pub secondary: bool,
}

impl Address {
    /// An address with vipd's mark.
    pub const fn vipd(ifindex: u32, address: IpAddr, prefix: u8) -> Self {
        Self { ifindex, address, prefix, protocol: PROTO_VIPD, unusable: false, secondary: false }
    }

    /// Whether it is in fe80::/10.
    pub fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }
}

/// A notification, or an entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A link exists or has changed.
    Link(Link),
    /// A link is gone.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// An address exists or has changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// The neighbor entry of a unicast peer has changed.
    Neighbor {
        /// Index of the interface.
        ifindex: u32,
        /// The peer's address.
        address: IpAddr,
        /// Whether its MAC address is known: the entry exists, and is neither incomplete nor failed.
        resolved: bool,
    },
}

impl Notice {
    /// Decodes a message; `None` for messages that vipd does not use, and for malformed ones.
    pub(super) fn decode(message: &Message<'_>) -> Option<Self> {
        match message.kind {
            libc::RTM_NEWLINK => {
                let link = RawLink::decode(message.body)?;
                let (ifindex, running) = (link.ifindex, link.is_running());
                Some(Self::Link(Link { ifindex, name: link.name?.to_owned(), running, mac: link.mac }))
            }
            libc::RTM_DELLINK => Some(Self::LinkGone { ifindex: RawLink::decode(message.body)?.ifindex }),
            libc::RTM_NEWADDR => decode_address(message.body).map(Self::Address),
            libc::RTM_DELADDR => decode_address(message.body).map(Self::AddressGone),
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => decode_neighbor(message),
            _ => None,
        }
    }
}

/// A link as its message describes it, without a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawLink<'a> {
    pub(super) ifindex: u32,
    /// `IFF_*`.
    flags: u32,
    pub(super) name: Option<&'a str>,
    pub(super) alias: Option<&'a str>,
    /// Index of the link below it.
    pub(super) parent: Option<u32>,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) group: u32,
    /// Whether an XDP program is attached, in any mode.
    pub(super) has_xdp: bool,
}

impl<'a> RawLink<'a> {
    /// `None` for a message of another family: a bridge reports its ports in AF_BRIDGE, where RTM_DELLINK means that a
    /// port has left the bridge.
    pub(super) fn decode(body: &'a [u8]) -> Option<Self> {
        if i32::from(*body.first()?) != libc::AF_UNSPEC {
            return None;
        }
        let (ifindex, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
        let mut link = Self {
            ifindex,
            flags,
            name: None,
            alias: None,
            parent: None,
            mac: None,
            group: 0,
            has_xdp: false,
        };
        for (kind, value) in attributes(body.get(IFINFOMSG_LEN..)?) {
            match kind {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_IFALIAS => link.alias = text(value),
                libc::IFLA_LINK => link.parent = u32_at(value, 0),
                libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
                // The mode, of which 0 is none (`XDP_ATTACHED_NONE`).
                libc::IFLA_XDP => {
                    let mut mode = attributes(value).filter(|(kind, _)| *kind == IFLA_XDP_ATTACHED);
                    link.has_xdp = mode.any(|(_, mode)| mode.first().is_some_and(|mode| *mode != 0));
                }
                libc::IFLA_GROUP => link.group = u32_at(value, 0)?,
                _ => {}
            }
        }
        Some(link)
    }

    pub(super) fn is_up(&self) -> bool {
        self.has(libc::IFF_UP)
    }

    fn is_running(&self) -> bool {
        self.has(libc::IFF_UP | libc::IFF_RUNNING)
    }

    fn has(&self, flags: i32) -> bool {
        self.flags & flags.cast_unsigned() == flags.cast_unsigned()
    }
}

fn decode_address(body: &[u8]) -> Option<Address> {
    let header = body.get(..IFADDRMSG_LEN)?;
    let (mut local, mut peer, mut protocol) = (None, None, 0);
    // The eight bits of the header are the lower ones of IFA_FLAGS, which every kernel with IFA_PROTO sends.
    let mut flags = u32::from(header[2]);
    for (kind, value) in attributes(body.get(IFADDRMSG_LEN..)?) {
        match kind {
            libc::IFA_LOCAL => local = decode_ip(value),
            libc::IFA_ADDRESS => peer = decode_ip(value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            IFA_PROTO => protocol = *value.first()?,
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let address: IpAddr = local.or(peer)?;
    let unusable = address.is_ipv6() && flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0;
    // IPv6 uses the same bit for temporary addresses.
    let secondary = address.is_ipv4() && flags & libc::IFA_F_SECONDARY != 0;
    Some(Address { ifindex: u32_at(header, 4)?, address, prefix: header[1], protocol, unusable, secondary })
}

fn decode_ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

/// The index of the link that a link, address or neighbor message is about: at the same offset in the three.
pub(super) fn ifindex(message: &Message<'_>) -> Option<u32> {
    u32_at(message.body, 4)
}

/// The name in a link message, without decoding the rest.
pub(super) fn link_name<'a>(message: &Message<'a>) -> Option<&'a str> {
    let body = message.body.get(IFINFOMSG_LEN..)?;
    attributes(body).find(|(kind, _)| *kind == libc::IFLA_IFNAME).and_then(|(_, value)| text(value))
}

/// The address in a neighbor message.
pub(super) fn neighbor_address(message: &Message<'_>) -> Option<IpAddr> {
    let mut attributes = attributes(message.body.get(NDMSG_LEN..)?);
    attributes.find(|(kind, _)| *kind == libc::NDA_DST).and_then(|(_, value)| decode_ip(value))
}

fn decode_neighbor(message: &Message<'_>) -> Option<Notice> {
    const UNRESOLVED: u16 = libc::NUD_INCOMPLETE | libc::NUD_FAILED;
    let state = u16_at(message.body, 8)?;
    let known = message.kind == libc::RTM_NEWNEIGH && state != libc::NUD_NONE && state & UNRESOLVED == 0;
    Some(Notice::Neighbor {
        ifindex: ifindex(message)?,
        address: neighbor_address(message)?,
        resolved: known,
    })
}
