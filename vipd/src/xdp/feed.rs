//! The reading end of the ring buffer.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::{MapData, RingBuf};
use vipd_common::records::{AdvertRecord, RING_BYTES};

use super::mapping::Mapping;

/// Maximum number of pending records: each has a header of 8 bytes and is padded to 8
/// (`kernel/bpf/ringbuf.c`). 255 rate-limited senders take 0.16 s to write as many.
pub const MAX_PENDING: usize = RING_BYTES as usize / (size_of::<AdvertRecord>() + 8);

/// The reading end of the ring buffer, in order of arrival.
pub struct Feed {
    ring: RingBuf<MapData>,
    asleep: Mapping<AtomicU64>,
}

impl Feed {
    pub(super) fn new(ring: RingBuf<MapData>, asleep: &MapData) -> io::Result<Self> {
        Ok(Self { ring, asleep: Mapping::new(asleep, 1)? })
    }

    /// Requests a wake-up by the next record only. Records may have arrived just before this call:
    /// call [`pop`](Self::pop) once more before blocking. No system call.
    pub fn sleep(&mut self) {
        for asleep in self.asleep.values() {
            asleep.store(1, Ordering::Relaxed);
        }
        // Orders the store before reading the ring; the program has a barrier between committing a record
        // and reading this word.
        fence(Ordering::SeqCst);
    }

    /// Returns the next record, if there is one. No system call. Records whose size differs from
    /// [`AdvertRecord`] are skipped; the program writes none.
    pub fn pop(&mut self) -> Option<AdvertRecord> {
        loop {
            let item = self.ring.next()?;
            if let Ok(record) = bytemuck::try_pod_read_unaligned(&item) {
                return Some(record);
            }
        }
    }
}

/// Readable when there are records. With edge-triggered epoll, only after [`Feed::pop`] returned `None`.
impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
