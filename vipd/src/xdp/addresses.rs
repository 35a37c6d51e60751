//! The map of VIPs.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use aya::maps::{HashMap, Map, MapData, MapError};
use vipd_common::records::AddressKey;

use super::Row;
use super::routers::ignore_missing;

/// The map in which the BPF program looks up the row of a VIP. The engine owns the map, because a
/// VIP must be inserted before it is added to an interface.
pub struct Addresses {
    entries: HashMap<MapData, [u8; 24], u32>,
}

impl Addresses {
    pub(super) fn new(entries: HashMap<MapData, [u8; 24], u32>) -> Self {
        Self { entries }
    }

    /// Returns the VIPs in the map of a dead agent, a predecessor or another running agent.
    ///
    /// # Errors
    /// Returns an error if the descriptor does not refer to a map of VIPs, or if the map cannot be
    /// read.
    pub(super) fn read(descriptor: OwnedFd) -> io::Result<BTreeSet<AddressKey>> {
        let map = MapData::from_fd(descriptor).map_err(io::Error::other)?;
        let entries: HashMap<_, [u8; 24], u32> =
            HashMap::try_from(Map::HashMap(map)).map_err(io::Error::other)?;
        let keys = entries.keys().map(|key| key.map(bytemuck::cast::<_, AddressKey>));
        keys.collect::<Result<_, _>>().map_err(io::Error::other)
    }

    /// Inserts a VIP, or changes its row. Makes one `bpf(2)` call.
    ///
    /// # Errors
    /// Returns an error if the map is full.
    pub fn insert(&mut self, key: AddressKey, row: Row) -> Result<(), MapError> {
        self.entries.insert(bytemuck::cast::<_, [u8; 24]>(key), row.number(), 0)
    }

    /// Removes a VIP of `row`. Does nothing if the VIP is not in the map or has since been inserted
    /// for another row. Makes at most two `bpf(2)` calls.
    ///
    /// # Errors
    /// Returns an error if `bpf(2)` fails for a reason other than a missing entry.
    pub fn remove(&mut self, key: AddressKey, row: Row) -> Result<(), MapError> {
        let key = bytemuck::cast::<_, [u8; 24]>(key);
        if self.entries.get(&key, 0).is_ok_and(|current| current != row.number()) {
            return Ok(());
        }
        ignore_missing(self.entries.remove(&key))
    }

    /// Returns the number of VIPs in the map.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.entries.keys().count()
    }
}
