//! Rows of the program's arrays: one for each virtual router.

use std::num::NonZeroU32;

use vipd_common::counters::ROW_UNASSIGNED;

/// A virtual router's row in the arrays of the program (`COUNTERS`, `STEADY`).
///
/// Row 0 counts what belongs to no virtual router; a `Row` is never that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(NonZeroU32);

const _: () = assert!(ROW_UNASSIGNED == 0);

impl Row {
    /// The row with this number; none for row 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Its number, as it stands in the program's maps and records.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Its position in an array that is mapped into memory.
    pub(super) fn index(self) -> usize {
        self.0.get() as usize
    }
}

/// Gives rows out and takes them back.
#[derive(Debug)]
pub struct Rows {
    /// Rows that were returned.
    free: Vec<Row>,
    /// The lowest row that was never given out.
    next: Option<Row>,
    /// The highest row that the maps have room for.
    last: u32,
}

impl Rows {
    /// Rows 1 to `routers`.
    pub fn new(routers: u32) -> Self {
        Self { free: Vec::new(), next: Row::new(1), last: routers }
    }

    /// The number of rows.
    pub fn capacity(&self) -> u32 {
        self.last
    }

    /// A row that is not in use; none when the maps are full.
    pub fn allocate(&mut self) -> Option<Row> {
        if let Some(row) = self.free.pop() {
            return Some(row);
        }
        let row = self.next.filter(|row| row.number() <= self.last)?;
        self.next = row.0.checked_add(1).map(Row);
        Some(row)
    }

    /// Returns a row. Its counters and its map entries must have been cleared.
    pub fn release(&mut self, row: Row) {
        debug_assert!(!self.free.contains(&row), "{row:?} is released twice");
        self.free.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_start_at_1_and_are_reused() {
        let mut rows = Rows::new(2);
        let first = rows.allocate().expect("two rows are free");
        let second = rows.allocate().expect("a row is free");
        assert_eq!((first.number(), second.number(), rows.allocate()), (1, 2, None));
        rows.release(first);
        assert_eq!((rows.allocate(), rows.allocate()), (Some(first), None));
    }

    #[test]
    fn a_row_that_comes_and_goes_ten_thousand_times_stays_one_row() {
        let mut rows = Rows::new(2);
        let kept = rows.allocate();
        for _ in 0..10_000 {
            let row = rows.allocate().expect("a row is free");
            assert_ne!(Some(row), kept);
            rows.release(row);
        }
        assert!(rows.allocate().is_some() && rows.allocate().is_none());
    }
}
