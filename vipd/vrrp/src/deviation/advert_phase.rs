//! Masters that took over at different times send their adverts in groups.
//!
//! RFC 9568 section 6.4 sets Adver_Timer to Advertisement_Interval when a router becomes master, so
//! thousands of masters would send at as many different times, each with its own wake-up. vipd
//! rounds this first deadline down to a multiple of 1 ms or of a 64th of the interval, whichever is
//! shorter. vipd does the same when a master restarts the timer after answering a priority-0
//! advert, or because its configured interval has become shorter. The interval before such a
//! deadline is up to 1.6 % shorter. All other intervals are exact, because the timer keeps its
//! phase.

use vipd_common::Timestamp;

use super::Policy;
use crate::interval::Nanos;

/// Number of groups per interval for intervals shorter than 64 ms. Longer intervals have a group
/// every [`STEP_MAX`].
const GROUPS: u64 = 64;
/// Maximum time between two groups, in nanoseconds. The first interval is shortened by less than
/// this time.
const STEP_MAX: Nanos = 1_000_000;

/// Returns the deadline of Adver_Timer when it is set to `interval` at `now`.
pub(crate) fn adver_timer(policy: Policy, now: Timestamp, interval: Nanos) -> Timestamp {
    let deadline = now + interval;
    if !policy.group_adverts {
        return deadline;
    }
    let step = (interval / GROUPS).clamp(1, STEP_MAX);
    Timestamp::from_nanos(deadline.as_nanos() / step * step)
}

#[cfg(test)]
mod tests;
