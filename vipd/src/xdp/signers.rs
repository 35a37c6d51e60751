//! Two memory-mapped arrays of the BPF program: the senders of verified adverts, and the offset
//! between the wall clock and the monotonic clock.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use aya::maps::MapData;
use vipd_common::Timestamp;
use vipd_common::address::Address;
use vipd_common::records::{SIGNERS, SignerRow, SignerSlot};

use super::Row;
use super::mapping::{Mapping, Shared};

/// A [`SignerSlot`] that the program accesses concurrently.
#[repr(C)]
struct Slot {
    address: [AtomicU32; 4],
    mark: AtomicU64,
    mark_until: AtomicU64,
    version: AtomicU64,
    bucket: AtomicU64,
}

/// A [`SignerRow`] that the program accesses concurrently.
#[repr(C)]
struct Senders {
    slots: [Slot; SIGNERS],
    unverified: AtomicU64,
    window: AtomicU64,
    dropped: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == size_of::<SignerSlot>());
const _: () = assert!(size_of::<Senders>() == size_of::<SignerRow>());

// SAFETY: all fields are atomic integers, and those of 4 bytes fill 16 bytes, so there is no
// padding.
unsafe impl Shared for Senders {}

/// The arrays `SIGNERS`, indexed by row, and `CLOCK`. No method makes a system call.
pub struct Signers {
    rows: Mapping<Senders>,
    clock: Mapping<AtomicU64>,
}

impl Signers {
    pub(super) fn new(rows: &MapData, clock: &MapData, count: usize) -> io::Result<Self> {
        Ok(Self { rows: Mapping::new(rows, count)?, clock: Mapping::new(clock, 1)? })
    }

    /// Stores a sender of a row: one whose advert has been verified, or the router itself at its
    /// present or a former address. Until `mark_until`, the program drops adverts of this sender
    /// with a sequence that is not after `mark`.
    ///
    /// `position` is the position of the sender among the senders of the row. The program has room
    /// for [`SIGNERS`] senders of each row and treats those at later positions as unknown.
    pub fn verified(&self, row: Row, position: usize, address: Address, mark: u64, mark_until: Timestamp) {
        let Some(senders) = self.rows.values().get(row.index()) else { return };
        let Some(slot) = senders.slots.get(position) else { return };
        if slot.address.each_ref().map(|word| word.load(Ordering::Relaxed)) == address {
            slot.mark.store(mark, Ordering::Relaxed);
            slot.mark_until.store(mark_until.as_nanos(), Ordering::Relaxed);
        } else {
            slot.replace(address, mark, mark_until.as_nanos());
        }
    }

    /// Sets the largest accepted difference between the clocks of sender and receiver in seconds; 0
    /// if the clocks are not compared. Applies only to adverts that fence VIPs.
    pub fn set_window(&self, row: Row, seconds: u32) {
        if let Some(senders) = self.rows.values().get(row.index()) {
            senders.window.store(seconds.into(), Ordering::Relaxed);
        }
    }

    /// Sets `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, in nanoseconds.
    pub fn set_clock(&self, offset: i64) {
        for clock in self.clock.values() {
            clock.store(offset.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Returns the arrival of the last advert that the program dropped because of a limit for
    /// signed adverts; [`Timestamp::ZERO`] if there was none.
    pub fn last_drop(&self, row: Row) -> Timestamp {
        let dropped = self.rows.values().get(row.index());
        Timestamp::from_nanos(dropped.map_or(0, |senders| senders.dropped.load(Ordering::Relaxed)))
    }

    /// Removes the senders of a row, fills their token buckets and the one that all other senders
    /// share, and resets the time that [`last_drop`](Self::last_drop) returns.
    pub fn clear(&self, row: Row) {
        let Some(senders) = self.rows.values().get(row.index()) else { return };
        for slot in &senders.slots {
            slot.replace([0; 4], 0, 0);
        }
        senders.unverified.store(0, Ordering::Relaxed);
        senders.dropped.store(0, Ordering::Relaxed);
    }

    /// Resets a row for use by another virtual router.
    pub(super) fn reset(&self, row: Row) {
        self.clear(row);
        self.set_window(row, 0);
        fence(Ordering::SeqCst);
    }
}

impl Slot {
    /// Replaces the sender. The program does not use the slot while its version is odd, so it never
    /// combines the address of one sender with the sequence of another.
    fn replace(&self, address: Address, mark: u64, mark_until: u64) {
        // Already odd if a predecessor was killed in this function.
        let changing = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(changing, Ordering::Relaxed);
        // Orders the store above before the stores below.
        fence(Ordering::Release);
        for (word, value) in self.address.iter().zip(address) {
            word.store(value, Ordering::Relaxed);
        }
        self.mark.store(mark, Ordering::Relaxed);
        self.mark_until.store(mark_until, Ordering::Relaxed);
        self.bucket.store(0, Ordering::Relaxed);
        self.version.store(changing.wrapping_add(1), Ordering::Release);
    }
}
