//! The reading end of the ring buffer.

use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use vipd_common::records::{AdvertRecord, RING_BYTES};

/// The most records that can be pending: each takes 8 bytes of header and is padded to 8
/// (`kernel/bpf/ringbuf.c`). At 25 500 adverts a second (255 virtual routers at 10 ms) it is 0.85 s.
pub const MAX_PENDING: usize = RING_BYTES as usize / (size_of::<AdvertRecord>() + 8);

/// The reading end of the ring buffer, in order of arrival.
pub struct Feed(RingBuf<MapData>);

impl Feed {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The next record, if there is one. No system call.
    ///
    /// A record of another size than [`AdvertRecord`] is not ours to read and is skipped; the program writes
    /// none.
    pub fn pop(&mut self) -> Option<AdvertRecord> {
        loop {
            let item = self.0.next()?;
            if let Ok(record) = bytemuck::try_pod_read_unaligned(&item) {
                return Some(record);
            }
        }
    }
}

/// Readable when there are records. With edge-triggered epoll: only after [`Feed::pop`] said `None`.
impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
