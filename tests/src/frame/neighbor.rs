//! Decoding of Neighbor Advertisements and group membership reports.

use std::net::{IpAddr, Ipv6Addr};

use super::packet::array_at;
use super::{Frame, PROTOCOL_ICMPV6};
use crate::station::Mac;

const PROTOCOL_IGMP: u8 = 2;

/// A Neighbor Advertisement (RFC 4861 section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborAdvertisement {
    /// Source MAC.
    pub source_mac: Mac,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hop Limit.
    pub hop_limit: u8,
    /// R flag: the sender is a router.
    pub router: bool,
    /// S flag: sent in response to a solicitation.
    pub solicited: bool,
    /// O flag: overrides cached entries.
    pub override_: bool,
    /// Target address.
    pub target: Ipv6Addr,
    /// Target link-layer address, if the first option carries it.
    pub target_mac: Option<Mac>,
}

/// An IGMP message or an MLD report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipReport {
    /// Source MAC.
    pub source_mac: Mac,
    /// Whether it is an MLD report.
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
        // Decodes only the first option: Target Link-Layer Address (type 2), 8 bytes long.
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
        self.neighbor_advertisement()
            .filter(|advertisement| advertisement.target == address && !advertisement.solicited)
    }

    /// Decodes an MLD report, or any IGMP message.
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
