//! The counters of the BPF program.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, MapError, PerCpuArray};
use vipd_common::counters::{COUNTERS, CounterRow, ROW_CELLS};

use super::mapping::Mapping;

/// A view of the BPF program's counters: a row for each virtual router, and row 0 for packets that
/// belong to no virtual router.
pub struct Counters {
    rows: PerCpuArray<MapData, [u64; ROW_CELLS]>,
    discarded: Mapping<AtomicU64>,
}

const _: () = assert!(COUNTERS <= ROW_CELLS);

impl Counters {
    pub(super) fn new(rows: PerCpuArray<MapData, [u64; ROW_CELLS]>, discarded: &MapData) -> io::Result<Self> {
        Ok(Self { rows, discarded: Mapping::new(discarded, 1)? })
    }

    /// Returns whether an advert was discarded since the last call. Makes no system call, so it is
    /// cheaper than reading all rows.
    pub fn take_discarded(&self) -> bool {
        self.discarded.values().iter().any(|discarded| discarded.swap(0, Ordering::AcqRel) != 0)
    }

    /// Returns a row, summed over all CPUs. Makes one `bpf(2)` call.
    ///
    /// # Errors
    /// Returns an error if the row does not exist.
    pub fn row(&self, row: u32) -> Result<CounterRow, MapError> {
        let mut sum = CounterRow::default();
        for cells in self.rows.get(&row, 0)?.iter() {
            sum.add(&bytemuck::cast(*cells));
        }
        Ok(sum)
    }
}
