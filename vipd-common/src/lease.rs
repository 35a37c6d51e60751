//! Leases: when a host must stop using the VIPs of a virtual router.
//!
//! A master holds a lease, which it renews with every advert. The lease ends before the earliest
//! time at which a backup that has missed all later adverts may take over. A master whose engine is
//! running therefore always has a valid lease, and the lease of one that was stopped, killed or
//! starved is over by the time a backup sends its first advert.
//!
//! ```text
//!  advert sent        advert not sent                                a backup takes over
//!     │                   │                                              │
//!  ───●───────────────────○──────────────────○──────────────────○────────●──────►
//!     └──────────────── lease ──────────────────────────────────┘
//! ```
//!
//! The BPF program applies [`fences`] to each valid advert. From the advert that fences a row on,
//! the kernel drops the packets to and from its VIPs ([`filter`](crate::filter)).

use crate::records::LeaseSlot;

/// Number of missing adverts after which a backup takes over, apart from Skew_Time (RFC 9568
/// section 6.1, Active_Down_Interval).
const ADVERTS: u8 = 3;
/// The part of an interval by which a lease ends before a backup without Skew_Time would take over:
/// the clocks of two hosts may differ in rate, and the lease must be over when the backup's first
/// advert arrives.
const MARGIN: u64 = 8;

/// Returns for how long an advert renews the lease, in the unit of `interval`, the advertisement
/// interval. `down_after_adverts` is the number of missing adverts after which this host's backups
/// take over, which is assumed to be the lowest of the cluster if it is less than 3.
pub const fn duration(interval: u64, down_after_adverts: u8) -> u64 {
    let adverts = if down_after_adverts < ADVERTS { down_after_adverts } else { ADVERTS };
    interval * adverts as u64 - interval / MARGIN
}

/// Returns why a valid advert of another router with this priority fences a row at `now`, in
/// nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub const fn fences(lease: &LeaseSlot, priority: u8, now: u64) -> Option<Reason> {
    // Priority 0 does not claim mastership, it relinquishes it.
    if lease.valid_until == 0 || priority == 0 {
        None
    } else if now > lease.valid_until {
        Some(Reason::Expired)
    } else if priority as u64 > lease.priority {
        Some(Reason::Outranked)
    } else {
        None
    }
}

/// Why an advert fences a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The lease is over.
    Expired,
    /// The advert has a higher priority, so that the engine will transition to Backup (RFC 9568
    /// section 6.4.3). This must fence only if the engine receives the advert, because it alone can
    /// clear the fence.
    Outranked,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(valid_until: u64) -> LeaseSlot {
        LeaseSlot { valid_until, priority: 100, fenced: 0, closed: 0 }
    }

    #[test]
    fn lease_ends_before_a_backup_without_skew_takes_over() {
        assert_eq!(duration(1_000, 3), 2_875);
        assert_eq!(duration(1_000, 10), 2_875);
        assert_eq!(duration(1_000, 1), 875);
    }

    #[test]
    fn only_a_master_whose_lease_is_over_or_which_is_outranked_is_fenced() {
        for (valid_until, priority, now, expected) in [
            (0, 255, 1, None),
            (0, 1, u64::MAX, None),
            (10, 100, 10, None),
            (10, 100, 11, Some(Reason::Expired)),
            (10, 1, 11, Some(Reason::Expired)),
            (10, 200, 11, Some(Reason::Expired)),
            (10, 101, 10, Some(Reason::Outranked)),
            (10, 0, 10, None),
            (10, 0, 11, None),
            (1, 50, 1_000, Some(Reason::Expired)),
        ] {
            let reason = fences(&lease(valid_until), priority, now);
            assert_eq!(reason, expected, "{valid_until} {priority} {now}");
        }
    }
}
