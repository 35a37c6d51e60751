//! After a split brain the remaining master announces its addresses once more.
//!
//! RFC 9568 section 6.4.3 requires an answer to the losing advert (S23), which updates bridges. But
//! hosts may have learned the other master's MAC from its announcements, and an advert does not
//! correct their caches.
//!
//! The announcement waits until the competing master has been silent long enough to have yielded. A
//! competing master is persistent if it keeps advertising for a second or resumes after the
//! announcement (it does not receive this router's adverts), or if it sends faster than a VRRP
//! router would. Announcing at each of its pauses would correct nothing, so a persistent one must
//! be silent for more than an interval, and for at least a second.

use vipd_common::Timestamp;

use crate::interval::Nanos;

/// The longest quiet time of a competing master that is not persistent.
const QUIET_MAX: Nanos = 100_000_000;
/// The shortest quiet time after a persistent competing master.
const PERSISTENT_QUIET: Nanos = 1_000_000_000;
/// Adverts that a router may send in an interval beyond two: its first answers are sent back to
/// back.
const ANSWERS: u64 = 8;

/// A competing master, and when to announce.
#[derive(Clone, Debug, Default)]
pub(crate) struct SplitBrain {
    competing: Option<CompetingMaster>,
    announce_at: Option<Timestamp>,
}

/// Another router that advertises as master although this one outranks it.
#[derive(Clone, Copy, Debug)]
struct CompetingMaster {
    first: Timestamp,
    last: Timestamp,
    /// Adverts since the first advert.
    adverts: u64,
    /// The competing master does not yield.
    persistent: bool,
}

impl SplitBrain {
    /// Records an advert of a competing master. `interval` is the longer of both intervals.
    pub(crate) fn advert(&mut self, now: Timestamp, interval: Nanos) {
        let new = CompetingMaster { first: now, last: now, adverts: 1, persistent: false };
        let competing = match self.competing {
            Some(known) if self.announce_at.is_some() => {
                let (adverts, lasted) = (known.adverts + 1, now.nanos_since(known.first));
                let floods = adverts > ANSWERS + 2 * lasted / interval;
                let persistent = known.persistent || floods || lasted > PERSISTENT_QUIET.max(3 * interval);
                CompetingMaster { last: now, adverts, persistent, ..known }
            }
            Some(known) => CompetingMaster { persistent: now.nanos_since(known.last) <= 2 * interval, ..new },
            None => new,
        };
        let quiet = interval * 3 / 2;
        let quiet = if competing.persistent { quiet.max(PERSISTENT_QUIET) } else { quiet.min(QUIET_MAX) };
        self.competing = Some(competing);
        self.announce_at = Some(now + quiet);
    }

    /// Returns whether the competing master has just been quiet for long enough.
    pub(crate) fn is_over(&mut self, now: Timestamp) -> bool {
        self.announce_at.take_if(|at| *at <= now).is_some()
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.announce_at
    }
}

#[cfg(test)]
mod tests;
