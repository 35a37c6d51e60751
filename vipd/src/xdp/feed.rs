//! The reading end of the ring buffer.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::{MapData, RingBuf};
use vipd_common::records::{AdvertRecord, RING_BYTES};

use super::mapping::Mapping;

/// The most records that can be pending: each takes 8 bytes of header and is padded to 8
/// (`kernel/bpf/ringbuf.c`). Of 255 senders that each say as much as they may it is 0.16 s.
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

    /// Says that the reader is about to sleep: the next record wakes it, and only that one. What came before may have woken
    /// nobody, so look with [`pop`](Self::pop) once more before you sleep. No system call.
    pub fn sleep(&mut self) {
        for asleep in self.asleep.values() {
            asleep.store(1, Ordering::Relaxed);
        }
        // Before the look at the ring; the program's barrier is between its record and its look at this.
        fence(Ordering::SeqCst);
    }

    /// The next record, if there is one. No system call.
    ///
    /// A record of another size than [`AdvertRecord`] is not ours to read and is skipped; the program writes
    /// none.
    pub fn pop(&mut self) -> Option<AdvertRecord> {
        loop {
            let item = self.ring.next()?;
            if let Ok(record) = bytemuck::try_pod_read_unaligned(&item) {
                return Some(record);
            }
        }
    }
}

/// Readable when there are records. With edge-triggered epoll: only after [`Feed::pop`] said `None`.
impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
