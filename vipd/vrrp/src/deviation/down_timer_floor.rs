//! An outranked router does not shorten the wait for the next advert of the one that outranks it.
//!
//! RFC 9568 section 6.4.2 adopts the interval of every accepted advert (S11). Where intervals differ,
//! the last advert of a master that yields, or one that a switch delayed, would set Active_Down_Timer
//! by its shorter interval, and a backup would take over before the winner is due again. So an
//! accepted advert sets a floor: until its sender's next advert is overdue by Skew_Time, no router
//! that it outranks moves the timer to before that time. A master that died thus delays a takeover
//! by no more than its own next advert.

use core::net::IpAddr;

use vipd_common::Timestamp;

use crate::input::Received;
use crate::interval::Interval;

/// The time before which Active_Down_Timer does not fire.
#[derive(Clone, Debug)]
pub(crate) struct DownTimerFloor {
    source: IpAddr,
    priority: u8,
    arrival: Timestamp,
    interval: Interval,
}

impl DownTimerFloor {
    /// Returns the floor after an accepted advert: the earlier one while it stands, else the
    /// advert's own.
    #[inline]
    pub(crate) fn update(
        earlier: Option<Self>,
        advert: &Received,
        interval: Interval,
        own_priority: u8,
    ) -> Self {
        let Received { arrival, source, priority, .. } = *advert;
        // Of two masters this one remains (RFC 9568 section 6.4.3). A new priority or interval of the
        // same one replaces what it sent before.
        let stands = |floor: &Self| {
            floor.source != source
                && (floor.priority, floor.source) > (priority, source)
                && floor.deadline(own_priority) > arrival
        };
        earlier.filter(stands).unwrap_or(Self { source, priority, arrival, interval })
    }

    /// Returns when the next advert of the recorded router is overdue, for a backup of
    /// `own_priority`.
    #[inline]
    pub(crate) fn deadline(&self, own_priority: u8) -> Timestamp {
        self.arrival + self.interval.master_down(own_priority, 1)
    }

    /// Returns the router whose next advert is waited for.
    #[inline]
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }
}

#[cfg(test)]
mod tests;
