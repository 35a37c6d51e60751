//! A lower-ranking router's advert does not shorten the wait for the higher-ranking router's next
//! advert.
//!
//! RFC 9568 section 6.4.2 adopts the interval of every accepted advert (S11). If intervals differ,
//! the last advert of a yielding master, or an advert delayed by a switch, would set
//! Active_Down_Timer from its shorter interval, and a backup would take over before the winner's
//! next advert is due. An accepted advert therefore sets a floor for the timer: the time when its
//! sender's next advert is overdue by Skew_Time. Adverts of lower-ranking routers cannot set the
//! timer earlier than the floor. After the sender dies, its floor delays a takeover until its next
//! advert is overdue, and no longer.

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
    /// Returns the floor after an accepted advert: the current one while it applies, otherwise the
    /// advert's own.
    #[inline]
    pub(crate) fn update(
        earlier: Option<Self>,
        advert: &Received,
        interval: Interval,
        own_priority: u8,
    ) -> Self {
        let Received { arrival, source, priority, .. } = *advert;
        // The higher-ranking of two masters stays master (RFC 9568 section 6.4.3). A new advert
        // from the same router always replaces its own floor.
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
