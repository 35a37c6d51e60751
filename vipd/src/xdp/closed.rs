//! The map of VIPs with Accept_Mode false, called closed VIPs.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{HashMap, MapData, MapError};
use vipd_common::records::ClosedKey;

use super::Row;
use super::mapping::Mapping;
use super::routers::ignore_missing;

/// The map of closed VIPs. The engine owns it, because a VIP must be closed before it is added to
/// an interface.
pub struct Closed {
    entries: HashMap<MapData, [u8; 24], u32>,
    /// The program's array `FILTERING`, which holds the number of closed VIPs.
    count: Mapping<AtomicU64>,
}

impl Closed {
    pub(super) fn new(entries: HashMap<MapData, [u8; 24], u32>, count: &MapData) -> io::Result<Self> {
        Ok(Self { entries, count: Mapping::new(count, 1)? })
    }

    /// Closes a VIP: packets to it are dropped and counted in `row`, except ARP and Neighbor
    /// Discovery. At most two `bpf(2)` calls.
    ///
    /// # Errors
    /// Returns an error if the map is full.
    pub fn insert(&mut self, key: ClosedKey, row: Row) -> Result<(), MapError> {
        const BPF_NOEXIST: u64 = 1;
        let key = bytemuck::cast::<_, [u8; 24]>(key);
        match self.entries.insert(key, row.number(), BPF_NOEXIST) {
            Ok(()) => {
                self.adjust(1);
                Ok(())
            }
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => {
                self.entries.insert(key, row.number(), 0)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a VIP that was closed for `row`, so that packets to it pass again. Does nothing if the
    /// VIP is not closed, or has been closed for another row since. At most two `bpf(2)` calls.
    ///
    /// # Errors
    /// Returns an error if `bpf(2)` fails for a reason other than a missing entry.
    pub fn remove(&mut self, key: ClosedKey, row: Row) -> Result<(), MapError> {
        let key = bytemuck::cast::<_, [u8; 24]>(key);
        if self.entries.get(&key, 0).is_ok_and(|closed_for| closed_for != row.number()) {
            return Ok(());
        }
        let removed = self.entries.remove(&key);
        if removed.is_ok() {
            self.adjust(-1);
        }
        ignore_missing(removed)
    }

    /// Returns the number of VIPs in the map.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.entries.keys().count()
    }

    fn adjust(&self, difference: i64) {
        for count in self.count.values() {
            count.fetch_add(difference.cast_unsigned(), Ordering::Release);
        }
    }
}
