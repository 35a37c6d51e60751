//! Neighbor Advertisements and group membership reports.

use std::net::{IpAddr, Ipv6Addr};

use super::packet::array_at;
use super::{Frame, PROTOCOL_ICMPV6};
use crate::station::Mac;

const PROTOCOL_IGMP: u8 = 2;

/// A Neighbor Advertisement (RFC 4861 section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborAdvertisement {
    /// Ethernet source.
    pub source_mac: Mac,
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Hop Limit.
    pub hop_limit: u8,
    /// Flag R: the sender is a router.
    pub router: bool,
    /// Flag S: solicited.
    pub solicited: bool,
    /// Flag O: override cached entries.
    pub override_: bool,
    /// Target address.
    pub target: Ipv6Addr,
    /// Target Link-Layer Address.
    pub target_mac: Option<Mac>,
}

/// An IGMP or MLD report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipReport {
    /// Ethernet source.
    pub source_mac: Mac,
    /// Whether the report is MLD.
    pub is_ipv6: bool,
}

impl Frame {
    /// Decodes a Neighbor Advertisement.
    pub fn neighbor_advertisement(&self) -> Option<NeighborAdvertisement> {
        let packet = self.packet(PROTOCOL_ICMPV6)?;
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination) else {
            return None;
        };
        let message = packet.payload;
        let flags = (*message.first()? == 136).then(|| message.get(4)).flatten()?;
        // Only the first option is decoded: type 2, one unit of 8 bytes.
        let target_mac =
            (message.get(24..26) == Some(&[2, 1])).then(|| array_at(message, 26).map(Mac)).flatten();
        Some(NeighborAdvertisement {
            source_mac: self.source_mac()?,
            source,
            destination,
            hop_limit: packet.ttl,
            router: flags & 0x80 != 0,
            solicited: flags & 0x40 != 0,
            override_: flags & 0x20 != 0,
            target: array_at::<16>(message, 8)?.into(),
            target_mac,
        })
    }

    /// Decodes an unsolicited Neighbor Advertisement for `address`.
    pub fn unsolicited_na(&self, address: Ipv6Addr) -> Option<NeighborAdvertisement> {
        self.neighbor_advertisement().filter(|said| said.target == address && !said.solicited)
    }

    /// Decodes a group membership report.
    pub fn membership_report(&self) -> Option<MembershipReport> {
        let igmp = self.packet(PROTOCOL_IGMP).map(|_| false);
        let mld = || {
            let packet = self.packet(PROTOCOL_ICMPV6)?;
            // MLDv1 and MLDv2 reports (RFC 2710, RFC 3810).
            [131, 143].contains(packet.payload.first()?).then_some(true)
        };
        Some(MembershipReport { is_ipv6: igmp.or_else(mld)?, source_mac: self.source_mac()? })
    }
}
