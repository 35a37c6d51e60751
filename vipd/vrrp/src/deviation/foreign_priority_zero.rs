//! Priority 0 of another router than the current master does not shorten Active_Down_Timer.
//!
//! RFC 9568 section 6.4.2 does not say whose priority 0 sets the timer to Skew_Time (S10). A second
//! master that leaves while a split brain heals would set it on every backup. The true master answers
//! at once (S21), but Skew_Time of priority 254 at 10 ms is 78 µs, and its answer comes too late. So
//! such an advert is counted and ignored. If its sender was the master after all,
//! Active_Down_Timer still brings the takeover.

use core::net::IpAddr;

use super::Policy;
use super::down_timer_floor::DownTimerFloor;
use crate::input::Received;

/// Returns whether a priority-0 advert is ignored by a backup that follows `master`.
pub(crate) fn is_ignored(
    policy: Policy,
    master: Option<IpAddr>,
    floor: Option<&DownTimerFloor>,
    advert: &Received,
) -> bool {
    let is_waited_for = floor.is_some_and(|floor| floor.source() == advert.source);
    let is_foreign = master.is_some_and(|master| master != advert.source);
    policy.ignore_foreign_priority_zero && is_foreign && !is_waited_for
}

#[cfg(test)]
mod tests;
