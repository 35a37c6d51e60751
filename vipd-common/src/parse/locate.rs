//! Whose advert a packet is.

use super::Cursor;
use crate::address::{self, Address};
use crate::counters::Counter;
use crate::records::{FAMILY_IPV4, FAMILY_IPV6};
use crate::wire::{ipv4, ipv6, vrrp};

/// Why a packet of IP protocol 112 is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A fragment. The kernel would reassemble it; no VRRP speaker fragments.
    Fragment,
    /// Not to where this virtual router's adverts go: to the group in multicast, to our own address in unicast.
    Destination,
    /// Too short or too broken to tell the VRID.
    Unparsable,
    /// For a VRID that is not configured on this interface.
    Vrid,
}

impl Foreign {
    /// The cell of the foreign row that counts it.
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

/// Where an advert's message is, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// IP version, 4 or 6: the family of the virtual router.
    pub family: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// IP source.
    pub source: Address,
    /// IP destination.
    pub destination: Address,
    /// Offset of the VRRP message from the IP header, bytes: 20 to 60, or 40 in IPv6.
    pub(super) message: usize,
    /// Length of the packet by its IP header, bytes; it may be more than there is.
    pub(super) total: usize,
}

impl Located {
    /// Why this packet is foreign where no virtual router is configured for it: a unicast one is nobody's error, it may
    /// be on its way to another host.
    #[inline(always)]
    pub fn unclaimed(&self) -> Foreign {
        let group = if self.family == FAMILY_IPV6 {
            address::ipv6(ipv6::VRRP_GROUP)
        } else {
            address::ipv4(ipv4::VRRP_GROUP)
        };
        if self.destination == group { Foreign::Vrid } else { Foreign::Destination }
    }
}

/// Finds the VRRP message in the packet of this IP version at the start of `packet`, and whose it is.
///
/// # Errors
/// [`Foreign`]: the packet is to be passed on untouched.
#[inline(always)]
pub fn locate<C: Cursor>(packet: &C, family: u8) -> Result<Located, Foreign> {
    let first = packet.byte(0).ok_or(Foreign::Unparsable)?;
    if first >> 4 != family {
        return Err(Foreign::Unparsable);
    }
    let (message, total, source, destination) = if family == FAMILY_IPV4 {
        if first & 0x0f < 5 {
            return Err(Foreign::Unparsable);
        }
        // More Fragments, or a fragment offset.
        if packet.be16(ipv4::FRAGMENT).ok_or(Foreign::Unparsable)? & 0x3fff != 0 {
            return Err(Foreign::Fragment);
        }
        let total = packet.be16(ipv4::TOTAL_LENGTH).ok_or(Foreign::Unparsable)? as usize;
        let source = packet.be32(ipv4::SOURCE).ok_or(Foreign::Unparsable)?.to_be();
        let destination = packet.be32(ipv4::DESTINATION).ok_or(Foreign::Unparsable)?.to_be();
        let message = (first & 0x0f) as usize * 4;
        (message, total, [source, 0, 0, 0], [destination, 0, 0, 0])
    } else {
        let payload = packet.be16(ipv6::PAYLOAD_LENGTH).ok_or(Foreign::Unparsable)? as usize;
        let source = wide(packet, ipv6::SOURCE).ok_or(Foreign::Unparsable)?;
        let destination = wide(packet, ipv6::DESTINATION).ok_or(Foreign::Unparsable)?;
        (ipv6::HEADER_LEN, ipv6::HEADER_LEN + payload, source, destination)
    };
    if total <= message + vrrp::VRID {
        return Err(Foreign::Unparsable);
    }
    let vrid = packet.byte(message + vrrp::VRID).ok_or(Foreign::Unparsable)?;
    Ok(Located { family, vrid, source, destination, message, total })
}

/// The IPv6 address at `offset`.
#[inline(always)]
fn wide<C: Cursor>(packet: &C, offset: usize) -> Option<Address> {
    Some([
        packet.be32(offset)?.to_be(),
        packet.be32(offset + 4)?.to_be(),
        packet.be32(offset + 8)?.to_be(),
        packet.be32(offset + 12)?.to_be(),
    ])
}
