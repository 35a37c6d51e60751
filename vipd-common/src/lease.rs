//! Leases: the time at which a host must stop using the VIPs of a virtual router.
//!
//! A master has a lease, unless `fence = "off"`, and renews it with every advert. The lease ends
//! shortly after the next advert is due, so it remains valid while the master's engine runs on
//! time. If a backup takes over more than about an interval after the engine was stopped, killed or
//! starved, the lease is over by then, even if the master's last adverts were lost on their way to
//! the backup.
//!
//! ```text
//!  advert sent        advert not sent                                a backup takes over
//!     │                   │                                              │
//!  ───●───────────────────○──────────────────○──────────────────○────────●──────►
//!     └──────── lease ──────┘
//! ```
//!
//! The BPF program applies [`fences`] to each valid advert. Once an advert has fenced a row, the
//! kernel drops packets to and from the row's VIPs ([`filter`](crate::filter)), except sent adverts
//! and, on interfaces with virtual routers, received adverts.

use crate::records::LeaseSlot;

/// Returns the time for which an advert renews the lease. The result and `interval`, the
/// advertisement interval, are in nanoseconds.
///
/// The lease ends an eighth of an interval or 5 ms after the next advert is due, whichever is
/// longer, so that it remains valid if the engine is a little late, or has just been replaced
/// (`vipd upgrade`). At intervals below 10 ms, half an interval takes the place of the 5 ms. If
/// backups take over after the first missing advert (`down_after_adverts` is 1), the lease ends
/// when the next advert is due.
pub const fn duration(interval: u64, down_after_adverts: u8) -> u64 {
    const LATE: u64 = 5_000_000;
    if down_after_adverts <= 1 {
        return interval;
    }
    let least = if LATE < interval / 2 { LATE } else { interval / 2 };
    interval + if least > interval / 8 { least } else { interval / 8 }
}

/// Returns the reason why a valid advert with this priority from another router fences a row, or
/// `None` if the advert does not fence the row. `now` is in nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub const fn fences(lease: &LeaseSlot, priority: u8, now: u64) -> Option<Reason> {
    // A priority-0 advert relinquishes mastership.
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

/// The reason why an advert fences a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The lease is over.
    Expired,
    /// The advert has a higher priority, so the engine will transition to Backup (RFC 9568 section
    /// 6.4.3). Fence a row for this reason only if the engine receives the advert, because only the
    /// engine can lift the fence.
    Outranked,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(valid_until: u64) -> LeaseSlot {
        LeaseSlot { valid_until, priority: 100, fenced: 0, closed: 0 }
    }

    #[test]
    fn lease_ends_after_the_next_advert_is_due_but_before_a_backup_takes_over() {
        const MILLI: u64 = 1_000_000;
        for adverts in [2, 3, 10] {
            assert_eq!(duration(1_000 * MILLI, adverts), 1_125 * MILLI);
            assert_eq!(duration(20 * MILLI, adverts), 25 * MILLI);
            assert_eq!(duration(10 * MILLI, adverts), 15 * MILLI);
            assert_eq!(duration(4 * MILLI, adverts), 6 * MILLI);
        }
        assert_eq!(duration(10 * MILLI, 1), 10 * MILLI);
    }

    #[test]
    fn only_expired_or_outranked_masters_are_fenced() {
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
