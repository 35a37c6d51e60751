//! The reading end of the ring buffer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya::maps::{Map, MapData, MapError, RingBuf};
use vipd_common::records::{AdvertRecord, RING_BYTES};
use vipd_common::wire::{ipv6, trailer, vrrp};

use super::mapping::Mapping;

/// Longest packet after a record: IPv6 header, message and trailer; an IPv4 packet is shorter.
const MAX_PACKET: usize = ipv6::HEADER_LEN + vrrp::MAX_LEN + trailer::LEN;

/// Upper bound on the number of pending records. Each record has an 8-byte header and is padded to
/// a multiple of 8 bytes, and at least one byte of the ring stays free (`kernel/bpf/ringbuf.c`).
pub const MAX_PENDING: usize = RING_BYTES as usize / (size_of::<AdvertRecord>() + 8);

/// The reading end of the ring buffer. Returns records in order of arrival.
pub struct Feed {
    ring: RingBuf<MapData>,
    asleep: Mapping<AtomicU64>,
    /// The packet of the last record.
    packet: Vec<u8>,
}

impl Feed {
    pub(super) fn new(ring: RingBuf<MapData>, asleep: &MapData) -> io::Result<Self> {
        Ok(Self { ring, asleep: Mapping::new(asleep, 1)?, packet: Vec::with_capacity(MAX_PACKET) })
    }

    /// Continues where another process stopped reading the ring. Without this call,
    /// [`pop`](Self::pop) would also return records that the other process read after this process
    /// opened the ring.
    ///
    /// # Errors
    /// Returns an error if the ring cannot be mapped again.
    pub fn skip_consumed(&mut self) -> Result<(), MapError> {
        let descriptor = self.ring.as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
        self.ring = RingBuf::try_from(Map::RingBuf(MapData::from_fd(descriptor)?))?;
        Ok(())
    }

    /// Requests a wake-up for the next record. Afterwards, call [`pop`](Self::pop) once more before
    /// blocking, because a record may have arrived just before the request. Makes no system call.
    pub fn sleep(&mut self) {
        for asleep in self.asleep.values() {
            asleep.store(1, Ordering::Relaxed);
        }
        // Orders the store before the next read of the ring. The program commits a record, which is
        // a full barrier, before it reads this word.
        fence(Ordering::SeqCst);
    }

    /// Returns the next record, if any, without a system call. Skips records that are shorter than
    /// an [`AdvertRecord`]; the program never writes such records.
    pub fn pop(&mut self) -> Option<AdvertRecord> {
        loop {
            let item = self.ring.next()?;
            if let Some((record, packet)) = item.split_at_checked(size_of::<AdvertRecord>()) {
                self.packet.clear();
                self.packet.extend_from_slice(packet);
                return bytemuck::try_pod_read_unaligned(record).ok();
            }
        }
    }

    /// Returns the packet of the record that [`pop`](Self::pop) returned last, from its IP header
    /// to its trailer. Empty if the advert is not signed.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }
}

/// The descriptor is readable while records are pending. A record wakes a reader that polls the
/// descriptor only if the reader has called [`Feed::sleep`].
impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
