//! After a split brain, the remaining master announces its addresses again.
//!
//! RFC 9568 section 6.4.3 requires an answer to the losing advert (S23). This answer updates the
//! forwarding tables of bridges. However, hosts may have learned the other master's MAC from its
//! announcements, and an advert does not correct the hosts' caches.
//!
//! The announcement waits until the competing master has sent no adverts for long enough to have
//! yielded: one and a half intervals, but no more than 100 ms. A competing master is persistent if
//! it keeps advertising for longer than a second and longer than three intervals, if it resumes
//! right after the announcement (because it does not receive this router's adverts), or if it sends
//! faster than a VRRP router would. Announcing at each of its pauses would not help, so the quiet
//! time required of a persistent competing master is one and a half intervals, but no less than a
//! second.

use vipd_common::Timestamp;

use crate::interval::Nanos;
use crate::saved::{self, SavedCompetitor, Time};

/// Maximum quiet time required of a competing master that is not persistent, in nanoseconds.
const QUIET_MAX: Nanos = 100_000_000;
/// Minimum quiet time required of a persistent competing master, in nanoseconds.
const PERSISTENT_QUIET: Nanos = 1_000_000_000;
/// A sender counts as persistent once it has sent more than two adverts per interval plus this
/// number of adverts, which allows for a burst of answers.
const ANSWERS: u64 = 8;

/// The last competing master, and the time at which to announce the addresses again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SplitBrain {
    competing: Option<CompetingMaster>,
    announce_at: Option<Timestamp>,
}

/// Another router that advertises as master while this router stays master. If there are several,
/// their adverts are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CompetingMaster {
    first: Timestamp,
    last: Timestamp,
    /// Number of adverts received, including the first advert.
    adverts: u64,
    persistent: bool,
}

impl SplitBrain {
    /// Records an advert from a competing master. `interval` is the longer of the two routers'
    /// intervals.
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

    /// Returns `true` once, when the competing master has been quiet for long enough.
    pub(crate) fn is_over(&mut self, now: Timestamp) -> bool {
        self.announce_at.take_if(|at| *at <= now).is_some()
    }

    /// Returns the competing master and the time at which to announce the addresses again.
    pub(crate) fn save(&self) -> (Option<SavedCompetitor>, Option<Time>) {
        let competitor = |competing: CompetingMaster| {
            let CompetingMaster { first, last, adverts, persistent } = competing;
            SavedCompetitor { first: saved::nanos(first), last: saved::nanos(last), adverts, persistent }
        };
        (self.competing.map(competitor), self.announce_at.map(saved::nanos))
    }

    pub(crate) fn resume(competing: Option<SavedCompetitor>, announce_at: Option<Time>) -> Self {
        let competitor = |competing: SavedCompetitor| {
            let SavedCompetitor { first, last, adverts, persistent } = competing;
            CompetingMaster { first: saved::time(first), last: saved::time(last), adverts, persistent }
        };
        Self { competing: competing.map(competitor), announce_at: announce_at.map(saved::time) }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.announce_at
    }
}

#[cfg(test)]
mod tests;
