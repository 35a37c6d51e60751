//! The unicast peers of a virtual router, and whether their MACs are resolved on a link.

use std::net::IpAddr;

use vipd_common::Timestamp;

use crate::packet::{AdvertFrame, Solicitation};

/// Minimum interval between two solicitations of a peer, in nanoseconds. Shorter than the
/// Active_Down_Interval at an advert interval of 100 ms, so that a returning peer receives adverts
/// before its timer fires. For the same reason, there is no back-off while a peer is absent.
const SOLICITATION_INTERVAL: u64 = 100_000_000;

/// The resolution state of a peer's MAC on a link, shared by all routers of the link.
#[derive(Debug, Default)]
pub(crate) struct Neighbor {
    /// Whether the kernel has resolved the MAC.
    is_resolved: bool,
    solicited_at: Option<Timestamp>,
}

impl Neighbor {
    /// Records the state of the kernel's neighbor entry.
    pub(crate) fn set_resolved(&mut self, is_resolved: bool) {
        self.is_resolved = is_resolved;
    }

    /// Returns whether to solicit the peer along with an advert now: while its MAC is not resolved,
    /// and at most every 100 ms. If so, records the solicitation.
    pub(crate) fn solicit(&mut self, now: Timestamp) -> bool {
        !self.is_resolved && self.solicit_at_start(now)
    }

    /// Returns whether to solicit the peer when the interface comes up, even if its MAC is
    /// resolved: the peer's entry for this node may have failed. If so, records the solicitation.
    pub(crate) fn solicit_at_start(&mut self, now: Timestamp) -> bool {
        let is_due = self.solicited_at.is_none_or(|last| now >= last + SOLICITATION_INTERVAL);
        if is_due {
            self.solicited_at = Some(now);
        }
        is_due
    }
}

/// A unicast peer. Until the kernel has resolved its MAC, solicitations are sent along with the
/// adverts.
pub(crate) struct UnicastPeer {
    pub(crate) address: IpAddr,
    pub(crate) advert: AdvertFrame,
    /// `None` if the peer is not in the source's subnet, or the interface has no MAC.
    solicitation: Option<Solicitation>,
}

impl UnicastPeer {
    /// Creates a peer. `source` is the source of the adverts, and `prefix` its prefix length.
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
        Self { address, advert, solicitation }
    }

    /// Returns the ARP request or Neighbor Solicitation for the peer's MAC.
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

    const MS: u64 = 1_000_000;

    /// Returns the times in milliseconds at which a peer is solicited if adverts are sent every
    /// 10 ms.
    fn solicited(neighbor: &mut Neighbor, from: u64, to: u64) -> Vec<u64> {
        (from..to).step_by(10).filter(|ms| neighbor.solicit(Timestamp::ZERO + ms * MS)).collect()
    }

    #[test]
    fn unresolved_peer_is_solicited_every_100_ms() {
        let mut neighbor = Neighbor::default();
        assert_eq!(solicited(&mut neighbor, 0, 350), [0, 100, 200, 300]);
        neighbor.set_resolved(false);
        assert_eq!(solicited(&mut neighbor, 350, 550), [400, 500], "another failed resolution");
        neighbor.set_resolved(true);
        assert!(solicited(&mut neighbor, 550, 9000).is_empty());
        neighbor.set_resolved(false);
        assert_eq!(solicited(&mut neighbor, 9000, 9300), [9000, 9100, 9200]);
    }

    #[test]
    fn routers_on_a_link_share_solicitations_of_a_peer() {
        let mut neighbor = Neighbor::default();
        let now = Timestamp::ZERO + MS;
        assert!(neighbor.solicit_at_start(now));
        assert!(!neighbor.solicit_at_start(now));
        assert!(!neighbor.solicit(now));
        assert!(neighbor.solicit(now + SOLICITATION_INTERVAL));
        assert!(!neighbor.solicit(now + SOLICITATION_INTERVAL));
    }

    fn same(one: &str, other: &str, prefix: u8) -> bool {
        is_same_subnet(one.parse().expect("an address"), other.parse().expect("an address"), prefix)
    }

    #[test]
    fn peers_in_other_subnets_are_not_neighbors() {
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
