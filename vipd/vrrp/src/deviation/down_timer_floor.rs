//! An advert from a lower-ranking router does not shorten a backup's wait for the higher-ranking
//! router's next advert.
//!
//! RFC 9568 section 6.4.2 has a backup adopt the interval of every advert it accepts (S11). If the
//! losing master has the shorter interval, its last advert, or an advert that a switch delayed,
//! would shorten Active_Down_Timer, and a backup would take over before the winner's next advert is
//! due. An accepted advert therefore sets a floor for the timer: the time at which its sender's
//! next advert is overdue by Skew_Time. Adverts from lower-ranking routers cannot set the timer
//! earlier than the floor. If the sender fails, its floor delays a takeover only until its next
//! advert is overdue.

use core::net::IpAddr;

use vipd_common::Timestamp;

use crate::input::Received;
use crate::interval::{Interval, Version};
use crate::saved::{self, ResumeError, SavedFloor};

/// The earliest time at which Active_Down_Timer may fire, as set by one accepted advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DownTimerFloor {
    source: IpAddr,
    priority: u8,
    arrival: Timestamp,
    interval: Interval,
}

impl DownTimerFloor {
    /// Returns the floor after an accepted advert: the previous floor if it still applies,
    /// otherwise the floor that this advert sets.
    #[inline]
    pub(crate) fn update(
        earlier: Option<Self>,
        advert: &Received,
        interval: Interval,
        own_priority: u8,
    ) -> Self {
        let Received { arrival, source, priority, .. } = *advert;
        // The higher-ranking of two masters stays master (RFC 9568 section 6.4.3). A new advert
        // from the same router always replaces that router's floor.
        let still_applies = |floor: &Self| {
            floor.source != source
                && (floor.priority, floor.source) > (priority, source)
                && floor.deadline(own_priority) > arrival
        };
        earlier.filter(still_applies).unwrap_or(Self { source, priority, arrival, interval })
    }

    pub(crate) fn save(&self) -> SavedFloor {
        let Self { source, priority, arrival, interval } = *self;
        SavedFloor { source, priority, arrival: saved::nanos(arrival), interval: interval.wire() }
    }

    pub(crate) fn resume(version: Version, saved: &SavedFloor) -> Result<Self, ResumeError> {
        let SavedFloor { source, priority, arrival, interval } = *saved;
        let interval = Interval::from_wire(version, interval).ok_or(ResumeError::Interval(interval))?;
        Ok(Self { source, priority, arrival: saved::time(arrival), interval })
    }

    /// Returns the time at which the sender's next advert is overdue by the Skew_Time of a backup
    /// with `own_priority`.
    #[inline]
    pub(crate) fn deadline(&self, own_priority: u8) -> Timestamp {
        self.arrival + self.interval.master_down(own_priority, 1)
    }

    /// Returns the source of the advert that set the floor.
    #[inline]
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }
}

#[cfg(test)]
mod tests;
