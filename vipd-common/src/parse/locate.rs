//! Finds the virtual router that a packet is addressed to.

use super::Cursor;
use crate::address::{self, Address, FAMILY_IPV4, FAMILY_IPV6};
use crate::counters::Counter;
use crate::wire::{ipv4, ipv6, vrrp};

/// The reason why a packet of IP protocol 112 is passed untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// An IP fragment, which the kernel may reassemble. VRRP routers do not fragment adverts.
    Fragment,
    /// A destination other than the expected one. With unicast peers, this router's own address is
    /// expected; otherwise, or if the VRID is not configured, the multicast group.
    Destination,
    /// Too short or too malformed to contain a VRID.
    Unparsable,
    /// A VRID that is not configured on this interface.
    Vrid,
}

impl NotOurs {
    /// Returns the counter for this reason, which is in row 0.
    #[inline(always)]
    pub const fn counter(self) -> Counter {
        match self {
            Self::Fragment => Counter::FragmentsPassed,
            Self::Destination => Counter::DestinationPassed,
            Self::Unparsable => Counter::UnparsablePassed,
            Self::Vrid => Counter::VridErrors,
        }
    }
}

/// Position and addressing of a VRRP message in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// IP version, 4 or 6, which is the family of the virtual router.
    pub family: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// IP source address.
    pub source: Address,
    /// IP destination address.
    pub destination: Address,
    /// Offset of the VRRP message from the IP header in bytes: 20 to 60, or 40 in IPv6.
    pub(super) message: usize,
    /// Length in bytes according to the IP header; may exceed the number of bytes received.
    pub(super) total: usize,
}

impl Located {
    /// Returns the length of the packet in bytes according to its IP header. If [`validate`] has
    /// accepted the packet, all these bytes were received.
    ///
    /// [`validate`]: super::validate
    #[inline(always)]
    pub const fn packet_len(&self) -> usize {
        self.total
    }

    /// Returns the reason to pass the packet if its VRID is not configured. Only an advert to the
    /// group is counted as a VRID error, because a unicast advert may be routed to another host.
    #[inline(always)]
    pub fn unclaimed(&self) -> NotOurs {
        let group = if self.family == FAMILY_IPV6 {
            address::ipv6(ipv6::VRRP_GROUP)
        } else {
            address::ipv4(ipv4::VRRP_GROUP)
        };
        if self.destination == group { NotOurs::Vrid } else { NotOurs::Destination }
    }
}

/// Finds the VRRP message in `packet`, which starts with an IP header of this family.
///
/// # Errors
/// [`NotOurs`] if the packet must be passed untouched.
#[inline(always)]
pub fn locate<C: Cursor>(packet: &C, family: u8) -> Result<Located, NotOurs> {
    let first = packet.byte(0).ok_or(NotOurs::Unparsable)?;
    if first >> 4 != family {
        return Err(NotOurs::Unparsable);
    }
    let (message, total, source, destination) = if family == FAMILY_IPV4 {
        if first & 0x0f < 5 {
            return Err(NotOurs::Unparsable);
        }
        // The More Fragments flag, or a fragment offset other than 0.
        if packet.be16(ipv4::FRAGMENT).ok_or(NotOurs::Unparsable)? & 0x3fff != 0 {
            return Err(NotOurs::Fragment);
        }
        let total = packet.be16(ipv4::TOTAL_LENGTH).ok_or(NotOurs::Unparsable)? as usize;
        let source = packet.be32(ipv4::SOURCE).ok_or(NotOurs::Unparsable)?.to_be();
        let destination = packet.be32(ipv4::DESTINATION).ok_or(NotOurs::Unparsable)?.to_be();
        let message = (first & 0x0f) as usize * 4;
        (message, total, [source, 0, 0, 0], [destination, 0, 0, 0])
    } else {
        let payload = packet.be16(ipv6::PAYLOAD_LENGTH).ok_or(NotOurs::Unparsable)? as usize;
        let source = ipv6_address(packet, ipv6::SOURCE).ok_or(NotOurs::Unparsable)?;
        let destination = ipv6_address(packet, ipv6::DESTINATION).ok_or(NotOurs::Unparsable)?;
        (ipv6::HEADER_LEN, ipv6::HEADER_LEN + payload, source, destination)
    };
    if total <= message + vrrp::VRID {
        return Err(NotOurs::Unparsable);
    }
    let vrid = packet.byte(message + vrrp::VRID).ok_or(NotOurs::Unparsable)?;
    Ok(Located { family, vrid, source, destination, message, total })
}

/// Reads the IPv6 address at `offset`.
#[inline(always)]
fn ipv6_address<C: Cursor>(packet: &C, offset: usize) -> Option<Address> {
    Some([
        packet.be32(offset)?.to_be(),
        packet.be32(offset + 4)?.to_be(),
        packet.be32(offset + 8)?.to_be(),
        packet.be32(offset + 12)?.to_be(),
    ])
}
