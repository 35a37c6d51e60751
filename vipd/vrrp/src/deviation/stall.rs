//! A master that sent no advert for too long yields to a router that took over meanwhile.
//!
//! The RFC does not consider a process that is not scheduled for seconds (SIGSTOP, a paused virtual
//! machine) or whose adverts the kernel refuses. Backups have rightly taken over meanwhile. If the
//! old master answered their adverts as losing ones (S23), it would take mastership back, also with
//! Preempt_Mode false. Instead it yields, whatever the priorities; if it may preempt, it does so when
//! Active_Down_Timer fires.
//!
//! It is stalled when, at `now`, its last advert that was really sent is as old as the earliest
//! takeover allows. A stalled master sends nothing in answer to what it receives. An advert that
//! arrived before any backup could have taken over is of a router that never was one.

use vipd_common::Timestamp;

use crate::config::{DOWN_AFTER_ADVERTS, RouterConfig};
use crate::input::Received;
use crate::interval::Nanos;

/// Returns the time without an advert of the master before which no backup takes over: as many
/// intervals as all routers are configured with, or three, where another router has the RFC's
/// number.
fn limit(config: &RouterConfig) -> Nanos {
    u64::from(config.down_after_adverts.min(DOWN_AFTER_ADVERTS)) * config.interval.nanos()
}

/// Returns whether a backup may have taken over by `now`.
pub(crate) fn is_stalled(config: &RouterConfig, last_sent: Timestamp, now: Timestamp) -> bool {
    now.nanos_since(last_sent) >= limit(config)
}

/// Returns whether the sender of an advert may have taken over rightly.
pub(crate) fn has_taken_over(config: &RouterConfig, last_sent: Timestamp, advert: &Received) -> bool {
    is_stalled(config, last_sent, advert.arrival)
}

#[cfg(test)]
mod tests;
