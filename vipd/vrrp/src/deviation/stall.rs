//! A master that has not sent an advert for too long yields to a router that has since taken over.
//!
//! The RFC does not cover a process that is not scheduled for seconds (SIGSTOP, a paused virtual
//! machine) or whose adverts the kernel refuses. A backup then takes over, as it should. If the old
//! master answered the new master's adverts as losing adverts (S23), it would reclaim mastership
//! even with Preempt_Mode false. Instead, it yields regardless of priority. If preemption is
//! enabled, it preempts when Active_Down_Timer fires.
//!
//! A master is stalled at `now` if it last sent an advert so long ago that a backup may have taken
//! over. A stalled master does not answer received adverts. An advert that arrived before any
//! backup could have taken over is not evidence of a takeover.

use vipd_common::Timestamp;

use crate::config::{DOWN_AFTER_ADVERTS, RouterConfig};
use crate::input::Received;
use crate::interval::Nanos;

/// Returns the time from a master's last advert until a backup may take over, in nanoseconds: the
/// configured number of intervals, but at most three, because other routers may use the RFC's
/// number.
fn limit(config: &RouterConfig) -> Nanos {
    u64::from(config.down_after_adverts.min(DOWN_AFTER_ADVERTS)) * config.interval.nanos()
}

/// Returns whether a backup may have taken over by `now`.
pub(crate) fn is_stalled(config: &RouterConfig, last_sent: Timestamp, now: Timestamp) -> bool {
    now.nanos_since(last_sent) >= limit(config)
}

/// Returns whether an advert arrived so late that its sender may have taken over legitimately.
pub(crate) fn has_taken_over(config: &RouterConfig, last_sent: Timestamp, advert: &Received) -> bool {
    is_stalled(config, last_sent, advert.arrival)
}

#[cfg(test)]
mod tests;
