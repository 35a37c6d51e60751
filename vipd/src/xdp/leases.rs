//! Two memory-mapped arrays of the BPF program: the lease and filter of each row, and two words
//! that show whether any row is filtered. See [`vipd_common::lease`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::MapData;
use vipd_common::Timestamp;
use vipd_common::records::{FilterWords, LeaseSlot};

use super::Row;
use super::mapping::{Mapping, Shared};

/// A [`LeaseSlot`] that the program and the guardian access concurrently.
#[repr(C)]
struct Slot {
    valid_until: AtomicU64,
    priority: AtomicU64,
    fenced: AtomicU64,
    closed: AtomicU64,
}

/// The [`FilterWords`], which the program accesses concurrently.
#[repr(C)]
struct Words {
    fenced: AtomicU64,
    closed: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == size_of::<LeaseSlot>());
const _: () = assert!(size_of::<Words>() == size_of::<FilterWords>());

// SAFETY: all fields are 8-byte atomic integers, so there is no padding.
unsafe impl Shared for Slot {}
// SAFETY: as above.
unsafe impl Shared for Words {}

/// The arrays `LEASES`, indexed by row, and `FILTER`. No method makes a system call.
pub struct Leases {
    slots: Mapping<Slot>,
    words: Mapping<Words>,
}

impl Leases {
    pub(super) fn new(slots: &MapData, words: &MapData, rows: usize) -> io::Result<Self> {
        Ok(Self { slots: Mapping::new(slots, rows)?, words: Mapping::new(words, 1)? })
    }

    /// Begins a lease that ends at `now`, and lifts the fence. Has no effect if the row already has
    /// a lease: that of a new master whose first advert was sent, of a router that becomes master
    /// again before its VIPs have been removed, or of a master to which a reload adds VIPs. In any
    /// case, the next advert extends the lease and lifts the fence.
    pub fn begin(&self, row: Row, now: Timestamp) {
        let Some(slot) = self.slots.values().get(row.index()) else { return };
        if slot.valid_until.load(Ordering::Relaxed) == 0 {
            // The fence is lifted first, because the program fences a row as soon as the row has a
            // lease that is over.
            slot.fenced.store(0, Ordering::Relaxed);
            slot.valid_until.store(now.as_nanos().max(1), Ordering::Release);
        }
    }

    /// Extends a lease to `valid_until` after an advert with this priority was sent, and lifts the
    /// fence, because this host is still master under VRRP.
    pub fn renew(&self, row: Row, valid_until: Timestamp, priority: u8) {
        let Some(slot) = self.slots.values().get(row.index()) else { return };
        slot.priority.store(priority.into(), Ordering::Relaxed);
        slot.valid_until.store(valid_until.as_nanos(), Ordering::Release);
        // Cleared after the renewal, so that the program cannot fence the row again because of the
        // old lease. Cleared even if it is already 0, because the cache line has just been written
        // anyway.
        slot.fenced.store(0, Ordering::Release);
    }

    /// Fences a row before its VIPs are removed.
    pub fn fence(&self, row: Row) {
        let Some(slot) = self.slots.values().get(row.index()) else { return };
        slot.fenced.store(1, Ordering::Release);
        for words in self.words.values() {
            words.fenced.store(1, Ordering::Release);
        }
    }

    /// Ends the lease of a router that is not master and has no VIPs left to remove, and stops
    /// filtering the row. An address owner keeps its VIPs.
    pub fn end(&self, row: Row) {
        let Some(slot) = self.slots.values().get(row.index()) else { return };
        slot.valid_until.store(0, Ordering::Release);
        slot.fenced.store(0, Ordering::Release);
        self.set_closed(row, false);
    }

    /// Makes the program drop packets addressed to the row's VIPs (Accept_Mode false) if `closed`
    /// is true, or pass them again otherwise.
    pub fn set_closed(&self, row: Row, closed: bool) {
        let Some(slot) = self.slots.values().get(row.index()) else { return };
        let was_closed = slot.closed.swap(closed.into(), Ordering::Release) != 0;
        for words in self.words.values().iter().filter(|_| was_closed != closed) {
            let difference: i64 = if closed { 1 } else { -1 };
            words.closed.fetch_add(difference.cast_unsigned(), Ordering::Release);
        }
    }

    /// Returns whether the row's lease is valid at `now`.
    pub fn is_valid(&self, row: Row, now: Timestamp) -> bool {
        let slot = self.slots.values().get(row.index());
        slot.is_some_and(|slot| slot.valid_until.load(Ordering::Acquire) >= now.as_nanos())
    }

    /// Returns whether a row is fenced; false if the row does not exist.
    pub fn is_fenced(&self, row: Row) -> bool {
        self.slots.values().get(row.index()).is_some_and(|slot| slot.fenced.load(Ordering::Acquire) != 0)
    }

    /// Returns whether a row has no lease and filters nothing.
    #[cfg(test)]
    pub(crate) fn is_open(&self, row: Row) -> bool {
        self.slots.values().get(row.index()).is_some_and(|slot| {
            let words = [&slot.valid_until, &slot.fenced, &slot.closed];
            words.into_iter().all(|word| word.load(Ordering::Acquire) == 0)
        })
    }

    /// Lifts the fence of a row.
    pub fn lift(&self, row: Row) {
        if let Some(slot) = self.slots.values().get(row.index()) {
            slot.fenced.store(0, Ordering::Release);
        }
    }

    /// Returns whether any row may be fenced.
    pub fn any_fenced(&self) -> bool {
        self.words.values().iter().any(|words| words.fenced.load(Ordering::Acquire) != 0)
    }

    /// Lifts the fences of rows without a lease. If no row remains fenced, makes the program stop
    /// looking up VIPs for each packet, unless a row is closed.
    pub fn settle(&self) {
        for slot in self.slots.values() {
            // The program may have fenced the row while its lease was ending.
            if slot.valid_until.load(Ordering::Acquire) == 0 {
                slot.fenced.store(0, Ordering::Release);
            }
        }
        let is_fenced = || self.slots.values().iter().any(|slot| slot.fenced.load(Ordering::Relaxed) != 0);
        // Also checked before the word is reset: resetting the word while a row is fenced would let
        // the row's packets pass until the check below, or for longer if this thread is stopped
        // before that check.
        if is_fenced() {
            return;
        }
        for words in self.words.values() {
            words.fenced.store(0, Ordering::Relaxed);
            // The program fences a row, then reads the word and sets it if it is 0, with a barrier
            // in between. So either the program finds 0 and sets the word, or `is_fenced` finds the
            // row here.
            fence(Ordering::SeqCst);
            if is_fenced() {
                words.fenced.store(1, Ordering::Release);
            }
        }
    }
}

/// The guardian's view of the leases. The guardian receives a descriptor of the array from the
/// agent.
pub struct GuardianLeases {
    slots: Mapping<Slot>,
}

impl GuardianLeases {
    /// Maps the leases of `rows` rows, and closes the descriptor.
    ///
    /// # Errors
    /// Returns an error if the descriptor does not refer to an array of leases with enough rows.
    pub fn open(descriptor: OwnedFd, rows: usize) -> io::Result<Self> {
        let map = MapData::from_fd(descriptor).map_err(io::Error::other)?;
        Ok(Self { slots: Mapping::new(&map, rows)? })
    }

    /// Ends the lease of a row whose agent has died, so that the next advert from another router
    /// fences the row, unless the advert has priority 0. Returns whether the row had a lease: the
    /// host was master, or had left Master and had not removed its VIPs yet.
    pub fn end(&self, row: usize) -> bool {
        /// A time in the past. Not 0, which would mean that the row has no lease.
        const OVER: u64 = 1;
        let Some(slot) = self.slots.values().get(row) else { return false };
        let was_master = slot.valid_until.load(Ordering::Acquire) != 0;
        if was_master {
            slot.valid_until.store(OVER, Ordering::Release);
        }
        was_master
    }

    /// Returns whether a row is fenced; false if the row does not exist.
    pub fn is_fenced(&self, row: usize) -> bool {
        self.slots.values().get(row).is_some_and(|slot| slot.fenced.load(Ordering::Acquire) != 0)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;
    use crate::xdp::{Kernel, Loaded, OBJECT, Rows, Sizes, Verbosity};

    /// If it began again, a reload that adds a VIP would let a master whose lease is over use its
    /// VIPs although another router is master.
    #[test]
    #[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON"]
    fn lease_that_has_begun_does_not_begin_again() -> Result<()> {
        let sizes = Sizes { routers: 2, peers: 0, addresses: 8, senders: 16, burst: 1024 };
        let Loaded { leases, .. } = Kernel::load(OBJECT, sizes, Verbosity::Quiet)?;
        let row = Rows::new(2).allocate().expect("a row");
        let [start, later] = [1_000, 2_000].map(Timestamp::from_nanos);
        leases.begin(row, start);
        assert!(leases.is_valid(row, start) && !leases.is_valid(row, later));
        leases.fence(row);
        leases.begin(row, later);
        assert!(leases.is_fenced(row) && !leases.is_valid(row, later));
        leases.renew(row, later, 100);
        assert!(!leases.is_fenced(row) && leases.is_valid(row, later));

        leases.fence(row);
        leases.end(row);
        leases.begin(row, later);
        assert!(!leases.is_fenced(row) && leases.is_valid(row, later));
        Ok(())
    }
}
