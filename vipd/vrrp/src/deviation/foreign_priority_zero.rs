//! A priority-0 advert shortens Active_Down_Timer only if the current master sent it.
//!
//! RFC 9568 section 6.4.2 does not restrict which router's priority-0 advert sets the timer to
//! Skew_Time (S10). A second master that shuts down while a split brain heals would shorten the
//! timer on every backup. The remaining master answers at once (S21), but Skew_Time at priority 254
//! and 10 ms is 78 µs, so the answer arrives too late. Such an advert is therefore counted and
//! ignored. If its sender was the only master, Active_Down_Timer still fires and causes the
//! takeover.

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
