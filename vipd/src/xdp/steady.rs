//! The adverts that say nothing new.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::MapData;
use vipd_common::Timestamp;
use vipd_common::records::SteadySlot;

use super::Row;
use super::mapping::{Mapping, Shared};

/// A [`SteadySlot`] that the program reads and writes meanwhile.
#[repr(C)]
struct Slot {
    expected: AtomicU64,
    heard: AtomicU64,
    familiar: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == size_of::<SteadySlot>());

// SAFETY: atomic integers of 8 bytes, so without padding.
unsafe impl Shared for Slot {}

/// The map of steady adverts, one a row. The engine has it, because what is steady follows from what it has heard.
pub struct Steady(Mapping<Slot>);

impl Steady {
    pub(super) fn new(map: &MapData, rows: usize) -> io::Result<Self> {
        Ok(Self(Mapping::new(map, rows)?))
    }

    /// From now on adverts of this row with this [fingerprint](vipd_common::parse::fingerprint) leave no record, only their
    /// time, which is `heard` so far; without one, every advert leaves a record and wakes the reader. No system call.
    ///
    /// Returns when the former one was heard last. An advert like that one which is being looked at just now may be noted
    /// later, and taken for one like this, or for none: it is one that has just arrived, and the wire may lose more.
    pub fn expect(&self, row: Row, fingerprint: Option<u64>, heard: Timestamp) -> Timestamp {
        let Some(slot) = self.0.values().get(row.index()) else { return heard };
        slot.expected.store(0, Ordering::Relaxed);
        // Before the look at what the former one left.
        fence(Ordering::SeqCst);
        let last = self.heard(row);
        if let Some(fingerprint) = fingerprint {
            slot.heard.store(heard.as_nanos(), Ordering::Relaxed);
            slot.familiar.store(fingerprint, Ordering::Relaxed);
            slot.expected.store(fingerprint, Ordering::Release);
        }
        last
    }

    /// When the last steady advert of this row arrived. No system call.
    pub fn heard(&self, row: Row) -> Timestamp {
        let nanos = self.0.values().get(row.index()).map_or(0, |slot| slot.heard.load(Ordering::Acquire));
        Timestamp::from_nanos(nanos)
    }
}
