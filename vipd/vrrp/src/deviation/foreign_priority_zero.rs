//! While a backup follows a master, a priority-0 advert from another router does not shorten
//! Active_Down_Timer.
//!
//! RFC 9568 section 6.4.2 lets a priority-0 advert from any router set the timer to Skew_Time
//! (S10). A second master that shuts down while a split brain heals would shorten the timer on
//! every backup. The remaining master answers immediately (S21), but too late for a backup with
//! priority 254 and an interval of 10 ms, whose Skew_Time is 78 µs. A backup therefore counts a
//! priority-0 advert from another router and ignores it. If the sender was in fact the only master,
//! Active_Down_Timer fires as usual.

use core::net::IpAddr;

use super::Policy;
use super::down_timer_floor::DownTimerFloor;
use crate::input::Received;

/// Returns whether a backup that follows `master` ignores a priority-0 advert. A priority-0 advert
/// is not ignored if it comes from the higher-ranking of two masters, the router that set the
/// floor.
pub(crate) fn is_ignored(
    policy: Policy,
    master: Option<IpAddr>,
    floor: Option<&DownTimerFloor>,
    advert: &Received,
) -> bool {
    let set_floor = floor.is_some_and(|floor| floor.source() == advert.source);
    let is_foreign = master.is_some_and(|master| master != advert.source);
    policy.ignore_foreign_priority_zero && is_foreign && !set_floor
}

#[cfg(test)]
mod tests;
