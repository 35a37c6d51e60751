//! The counter rows.

use aya::maps::{MapData, MapError, PerCpuArray};
use vipd_common::counters::{COUNTERS, CounterRow, ROW_CELLS};

/// A view of the counter rows of the XDP program.
pub struct Counters(PerCpuArray<MapData, [u64; ROW_CELLS]>);

const _: () = assert!(COUNTERS <= ROW_CELLS);

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, [u64; ROW_CELLS]>) -> Self {
        Self(map)
    }

    /// The row summed over all CPUs. One `bpf(2)` call.
    ///
    /// # Errors
    /// When the row does not exist.
    pub fn row(&self, row: u32) -> Result<CounterRow, MapError> {
        let mut sum = CounterRow::default();
        for cells in self.0.get(&row, 0)?.iter() {
            sum.add(&bytemuck::cast(*cells));
        }
        Ok(sum)
    }
}
