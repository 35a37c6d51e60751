//! The fast path for unchanged adverts, and the flags of rows that lost records.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::MapData;
use vipd_common::Timestamp;
use vipd_common::records::SteadySlot;

use super::Row;
use super::mapping::{Mapping, Shared};

/// A [`SteadySlot`] that the program reads and writes concurrently.
#[repr(C)]
struct Slot {
    expected: AtomicU64,
    arrival: AtomicU64,
    previous: AtomicU64,
    limit: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == size_of::<SteadySlot>());

// SAFETY: atomic integers of 8 bytes, so without padding.
unsafe impl Shared for Slot {}

/// The memory-mapped arrays `STEADY` and `LOST`, by row. No method makes a system call.
pub struct Steady {
    slots: Mapping<Slot>,
    lost: Mapping<AtomicU64>,
}

impl Steady {
    pub(super) fn new(slots: &MapData, lost: &MapData, rows: usize) -> io::Result<Self> {
        Ok(Self { slots: Mapping::new(slots, rows)?, lost: Mapping::new(lost, rows)? })
    }

    /// Puts adverts of this row with this [fingerprint](vipd_common::parse::fingerprint) on the fast
    /// path: they update their arrival, which starts at `arrival`, and leave no record. Without a
    /// fingerprint every advert leaves a record and wakes the reader.
    ///
    /// Returns the arrival of the last advert on the former fast path. The arrival of an advert that
    /// the program compares at this moment may be stored late, for the new fingerprint or for none: at
    /// worst one advert that has just arrived counts as lost on the wire.
    pub fn publish(&self, row: Row, fingerprint: Option<u64>, arrival: Timestamp) -> Timestamp {
        let Some(slot) = self.slots.values().get(row.index()) else { return arrival };
        slot.expected.store(0, Ordering::Relaxed);
        // Before reading the arrival that the former fingerprint left.
        fence(Ordering::SeqCst);
        let last = self.last_arrival(row);
        if let Some(fingerprint) = fingerprint {
            slot.arrival.store(arrival.as_nanos(), Ordering::Relaxed);
            slot.previous.store(fingerprint, Ordering::Relaxed);
            slot.expected.store(fingerprint, Ordering::Release);
        }
        last
    }

    /// Returns the arrival of the last unchanged advert of this row.
    pub fn last_arrival(&self, row: Row) -> Timestamp {
        let nanos =
            self.slots.values().get(row.index()).map_or(0, |slot| slot.arrival.load(Ordering::Acquire));
        Timestamp::from_nanos(nanos)
    }

    /// Returns whether a record of this row found the ring full since the last call, and resets it.
    ///
    /// A load unless a record was lost, so that a loop over all rows costs 8 bytes of memory each.
    pub fn take_lost(&self, row: Row) -> bool {
        let Some(lost) = self.lost.values().get(row.index()) else { return false };
        lost.load(Ordering::Relaxed) != 0 && lost.swap(0, Ordering::AcqRel) != 0
    }

    /// Resets a row, so that it can be used for another virtual router.
    pub(super) fn clear(&self, row: Row) {
        if let Some(slot) = self.slots.values().get(row.index()) {
            for word in [&slot.expected, &slot.arrival, &slot.previous, &slot.limit] {
                word.store(0, Ordering::Relaxed);
            }
        }
        if let Some(lost) = self.lost.values().get(row.index()) {
            lost.store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }
}
