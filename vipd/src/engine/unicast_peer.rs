//! The unicast peers of a virtual router: the advert for each, and whether its MAC address is known.

use std::net::IpAddr;

use vipd_common::Timestamp;

use crate::packet::{AdvertFrame, Solicitation};

/// Nanoseconds between two solicitations of a peer: below the smallest Active_Down_Interval of an interval of 100 ms, and
/// few broadcasts for a peer that stays away.
const SOLICITATION_INTERVAL: u64 = 100_000_000;

/// A unicast peer. Until the kernel knows its MAC address, solicitations go with the adverts.
pub(crate) struct UnicastPeer {
    pub(crate) address: IpAddr,
    pub(crate) advert: AdvertFrame,
    /// `None` where the peer is behind a router, or the interface has no MAC address.
    solicitation: Option<Solicitation>,
    is_resolved: bool,
    solicited_at: Option<Timestamp>,
}

impl UnicastPeer {
    /// A peer of a router that sends from `source`, in a subnet of this prefix length.
    pub(crate) fn new(
        address: IpAddr,
        advert: AdvertFrame,
        source: IpAddr,
        prefix: Option<u8>,
        mac: Option<[u8; 6]>,
    ) -> Self {
        let is_neighbor = prefix.is_some_and(|prefix| is_same_subnet(address, source, prefix));
        let solicitation =
            mac.filter(|_| is_neighbor).and_then(|mac| Solicitation::new(mac, source, address));
        Self { address, advert, solicitation, is_resolved: false, solicited_at: None }
    }

    /// The kernel's neighbor entry has changed.
    pub(crate) fn set_resolved(&mut self, is_resolved: bool) {
        self.is_resolved = is_resolved;
        self.solicited_at = None;
    }

    /// The solicitation to send with an advert, if one is due.
    pub(crate) fn solicit(&mut self, now: Timestamp) -> Option<&Solicitation> {
        if self.is_resolved || self.solicited_at.is_some_and(|last| now < last + SOLICITATION_INTERVAL) {
            return None;
        }
        self.solicited_at = Some(now);
        self.solicitation.as_ref()
    }

    /// The solicitation to send when the interface comes up: the peer's entry for this node may have failed meanwhile.
    pub(crate) fn solicitation(&self) -> Option<&Solicitation> {
        self.solicitation.as_ref()
    }
}

fn is_same_subnet(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differ =
        |difference: u128, bits: u32| difference.checked_shr(bits - u32::from(prefix)).unwrap_or(0) != 0;
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) if prefix <= 32 => {
            !differ((one.to_bits() ^ other.to_bits()).into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) if prefix <= 128 => {
            !differ(one.to_bits() ^ other.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str, prefix: u8) -> bool {
        is_same_subnet(one.parse().expect("an address"), other.parse().expect("an address"), prefix)
    }

    #[test]
    fn peers_behind_a_router_are_no_neighbors() {
        assert!(same("192.0.2.1", "192.0.2.200", 24));
        assert!(!same("192.0.2.1", "192.0.2.200", 25));
        assert!(same("192.0.2.1", "198.51.100.1", 0));
        assert!(!same("192.0.2.1", "192.0.2.2", 32));
        assert!(same("fe80::1", "fe80::2", 64));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1", 64));
        assert!(same("2001:db8::1", "2001:db8::1", 128));
        assert!(!same("2001:db8::1", "192.0.2.1", 0));
    }
}
