//! Two memory-mapped arrays of the BPF program: the fast path for unchanged adverts, and a flag per
//! row for lost records.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::MapData;
use vipd_common::Timestamp;
use vipd_common::records::SteadySlot;

use super::Row;
use super::mapping::{Mapping, Shared};

/// A [`SteadySlot`] that the program accesses concurrently.
#[repr(C)]
struct Slot {
    expected: AtomicU64,
    arrival: AtomicU64,
    previous: AtomicU64,
    limit: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == size_of::<SteadySlot>());

// SAFETY: all fields are 8-byte atomic integers, so there is no padding.
unsafe impl Shared for Slot {}

/// The arrays `STEADY` and `LOST`, indexed by row. No method makes a system call.
pub struct Steady {
    slots: Mapping<Slot>,
    lost: Mapping<AtomicU64>,
}

impl Steady {
    pub(super) fn new(slots: &MapData, lost: &MapData, rows: usize) -> io::Result<Self> {
        Ok(Self { slots: Mapping::new(slots, rows)?, lost: Mapping::new(lost, rows)? })
    }

    /// Puts adverts with this [fingerprint](vipd_common::parse::fingerprint) on the fast path. For
    /// these adverts, the program then writes no record. It only updates the counters and the row's
    /// arrival time, which is initially `arrival`. If `fingerprint` is `None`, the program writes a
    /// record for every advert within the rate limit.
    ///
    /// Returns the last arrival time under the previous fingerprint. If the program is handling an
    /// advert at the same moment, that advert's arrival time may be stored too late or not at all.
    /// The worst effect is that of one advert lost on the wire.
    pub fn publish(&self, row: Row, fingerprint: Option<u64>, arrival: Timestamp) -> Timestamp {
        let Some(slot) = self.slots.values().get(row.index()) else { return arrival };
        slot.expected.store(0, Ordering::Relaxed);
        // Orders the store above before the load of the last arrival time.
        fence(Ordering::SeqCst);
        let last = self.last_arrival(row);
        if let Some(fingerprint) = fingerprint {
            slot.arrival.store(arrival.as_nanos(), Ordering::Relaxed);
            slot.previous.store(fingerprint, Ordering::Relaxed);
            slot.expected.store(fingerprint, Ordering::Release);
        }
        last
    }

    /// Returns the arrival time of the last unchanged advert of this row.
    pub fn last_arrival(&self, row: Row) -> Timestamp {
        let nanos =
            self.slots.values().get(row.index()).map_or(0, |slot| slot.arrival.load(Ordering::Acquire));
        Timestamp::from_nanos(nanos)
    }

    /// Returns whether a record of this row has been lost since the last call because the ring was
    /// full.
    ///
    /// Costs a single load unless a record was lost, so that polling all rows is cheap.
    pub fn take_lost(&self, row: Row) -> bool {
        let Some(lost) = self.lost.values().get(row.index()) else { return false };
        lost.load(Ordering::Relaxed) != 0 && lost.swap(0, Ordering::AcqRel) != 0
    }

    /// Resets a row for use by another virtual router.
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
