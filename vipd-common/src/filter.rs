//! Finds the VIP that a packet uses, and returns the verdict on the packet.
//!
//! ```text
//!                a received packet is about          a sent packet is about
//!  ARP           the target address                  the sender address
//!  IPv4          the destination                     the source; an advert: nothing
//!  IPv6          the destination                     the source; an advert: nothing
//!  Neighbor S.   the target                          the source
//!  Neighbor A.   the destination                     the target
//! ```

use crate::address::{Address, FAMILY_IPV4, FAMILY_IPV6, ipv4 as words4, ipv6 as words6};
use crate::counters::Counter;
use crate::records::LeaseSlot;
use crate::wire::{arp, ipv4, ipv6, nd};

/// The bytes of a packet, starting at the network header.
pub trait Bytes {
    /// Returns `N` bytes at `offset`, or `None` if the packet is shorter.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Bytes for &[u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// The protocol of a packet's network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// ARP. For hardware or protocol types other than Ethernet and IPv4, [`subject`] returns
    /// `None`.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by this host.
    Received,
    /// Sent by this host.
    Sent,
}

/// The address that a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// The address, which may or may not be a VIP.
    pub address: Address,
    /// Whether the packet is ARP, a Neighbor Solicitation or a Neighbor Advertisement.
    pub is_neighbor: bool,
}

/// Returns the address that a packet is about, or `None` if the packet may always pass or is too
/// short.
#[inline(always)]
pub fn subject<B: Bytes>(packet: &B, network: Network, direction: Direction) -> Option<Subject> {
    match network {
        Network::Arp => {
            if packet.bytes(0)? != arp::ETHERNET_IPV4 {
                return None;
            }
            let offset = match direction {
                Direction::Received => arp::TARGET_IP,
                Direction::Sent => arp::SENDER_IP,
            };
            let address = words4(packet.bytes(offset)?);
            Some(Subject { family: FAMILY_IPV4, address, is_neighbor: true })
        }
        Network::Ipv4 => {
            let offset = match direction {
                Direction::Received => ipv4::DESTINATION,
                Direction::Sent if packet.bytes(ipv4::PROTOCOL)? == [ipv4::PROTOCOL_VRRP] => return None,
                Direction::Sent => ipv4::SOURCE,
            };
            let address = words4(packet.bytes(offset)?);
            Some(Subject { family: FAMILY_IPV4, address, is_neighbor: false })
        }
        Network::Ipv6 => {
            let [next_header] = packet.bytes(ipv6::NEXT_HEADER)?;
            if next_header == ipv4::PROTOCOL_VRRP && matches!(direction, Direction::Sent) {
                return None;
            }
            let kind = if next_header == ipv6::NEXT_HEADER_ICMPV6 {
                packet.bytes(ipv6::HEADER_LEN).map_or(0, |[kind]| kind)
            } else {
                0
            };
            let (offset, is_neighbor) = match (kind, direction) {
                (nd::TYPE_SOLICITATION, Direction::Received) | (nd::TYPE_ADVERTISEMENT, Direction::Sent) => {
                    (ipv6::HEADER_LEN + nd::TARGET, true)
                }
                (nd::TYPE_SOLICITATION, Direction::Sent) => (ipv6::SOURCE, true),
                (nd::TYPE_ADVERTISEMENT, Direction::Received) => (ipv6::DESTINATION, true),
                (_, Direction::Received) => (ipv6::DESTINATION, false),
                (_, Direction::Sent) => (ipv6::SOURCE, false),
            };
            let address = words6(packet.bytes(offset)?);
            Some(Subject { family: FAMILY_IPV6, address, is_neighbor })
        }
    }
}

/// Returns the counter for a packet that must be dropped, or `None` if the packet passes. `slot`
/// belongs to the router whose VIP the packet is about.
#[inline(always)]
pub const fn verdict(slot: &LeaseSlot, is_neighbor: bool, direction: Direction) -> Option<Counter> {
    if slot.fenced != 0 {
        Some(Counter::Fenced)
    // Accept_Mode false: Neighbor Solicitations and Advertisements must not be dropped (RFC 9568
    // section 6.4.3), and ARP is not addressed to the VIP.
    } else if slot.closed != 0 && !is_neighbor && matches!(direction, Direction::Received) {
        Some(Counter::NotAccepted)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
