//! Virtual addresses that accept nothing (Accept_Mode false).

use aya::maps::{HashMap, MapData, MapError};
use vipd_common::records::ClosedKey;

use super::Row;
use super::loader::gone;

/// The map of closed addresses. Who changes addresses has it, because an address must be closed before it is there.
#[derive(Debug)]
pub struct Closed(HashMap<MapData, [u8; 24], u32>);

impl Closed {
    pub(super) fn new(map: HashMap<MapData, [u8; 24], u32>) -> Self {
        Self(map)
    }

    /// Drops packets to an address from now on, and counts them in this row.
    ///
    /// # Errors
    /// When the map is full.
    pub fn close(&mut self, key: ClosedKey, row: Row) -> Result<(), MapError> {
        self.0.insert(bytemuck::cast::<_, [u8; 24]>(key), row.number(), 0)
    }

    /// Lets packets to an address pass again. One that was not closed is no error.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn open(&mut self, key: ClosedKey) -> Result<(), MapError> {
        gone(self.0.remove(&bytemuck::cast::<_, [u8; 24]>(key)))
    }
}
