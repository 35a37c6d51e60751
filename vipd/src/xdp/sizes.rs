//! Sizes of the BPF program's maps.

use serde::{Deserialize, Serialize};

/// Numbers of entries in the program's maps, and the capacity of token buckets. Fixed when the
/// program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Virtual routers.
    pub routers: u32,
    /// Unicast peers of all virtual routers.
    pub peers: u32,
    /// VIPs of all virtual routers, each counted once per interface on which it is filtered.
    pub addresses: u32,
    /// Senders for which token buckets are kept, for all virtual routers together.
    pub senders: u32,
    /// Capacity of a token bucket: [`BURST`](vipd_common::records::BURST), or 0 for no rate limit.
    pub burst: u32,
}

impl Sizes {
    /// Minimum number of entries for virtual routers, for peers, and for VIPs.
    const FLOOR: u32 = 64;

    /// Returns larger sizes, so that routers can be added while vipd runs: one and a half times the
    /// present numbers of routers and peers, and three times the number of VIPs, but at least 64 of
    /// each, and rounded up to powers of two. The number of senders grows with the number of
    /// routers.
    ///
    /// Memory: 336 bytes per row for `STEADY`, `LEASES`, `LOST` and `SIGNERS`, 128 bytes per router
    /// for `HMAC_KEYS` without keys, 256 bytes per row and CPU for `COUNTERS`, and about 100 bytes
    /// per entry of a hash map. By computation for 8 CPUs, 64 routers take 180 kB, plus 400 kB for
    /// the senders; 8192 routers take 22 MB, plus 13 MB.
    #[must_use]
    pub fn with_head_room(self) -> Self {
        let room = |needed: u32| {
            let wanted = needed.saturating_add(needed / 2).max(Self::FLOOR);
            wanted.checked_next_power_of_two().unwrap_or(wanted)
        };
        let routers = room(self.routers);
        let senders = u64::from(self.senders) * u64::from(routers) / u64::from(self.routers.max(1));
        // At most `SENDERS_PER_ROUTER` per router, but never fewer than `self.senders`.
        let senders = senders.min(u64::from(routers) * SENDERS_PER_ROUTER).max(self.senders.into());
        Self {
            routers,
            peers: room(self.peers),
            // Doubled, because a reload inserts new VIPs before it removes old ones.
            addresses: room(self.addresses.saturating_mul(2)),
            senders: u32::try_from(senders).unwrap_or(u32::MAX),
            burst: self.burst,
        }
    }
}

/// Maximum number of senders per virtual router for which [`Sizes::with_head_room`] makes room.
const SENDERS_PER_ROUTER: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_half_and_are_at_least_64() {
        let needed = |routers, senders| Sizes { routers, peers: 0, addresses: 3, senders, burst: 32 };
        let small = needed(1, 4096).with_head_room();
        assert_eq!((small.routers, small.peers, small.addresses, small.senders), (64, 64, 64, 4096));
        let large = needed(4080, 16 * 4080).with_head_room();
        assert_eq!((large.routers, large.senders, large.burst), (8192, 16 * 8192, 32));
        assert_eq!(needed(u32::MAX, u32::MAX).with_head_room().routers, u32::MAX, "no overflow");
    }
}
