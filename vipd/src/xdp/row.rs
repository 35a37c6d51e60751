//! Rows of the BPF program's arrays.

use std::num::NonZeroU32;

use vipd_common::counters::ROW_UNASSIGNED;

/// The row of a virtual router in the BPF program's arrays, such as `COUNTERS` and `STEADY`.
///
/// Never 0: row 0 counts packets that belong to no virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(NonZeroU32);

const _: () = assert!(ROW_UNASSIGNED == 0);

impl Row {
    /// Returns the row with this number, or `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns the number used in the program's maps and records, which is at least 1.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Returns the index in a memory-mapped array.
    pub(super) fn index(self) -> usize {
        self.0.get() as usize
    }
}

/// Allocates rows.
#[derive(Debug)]
pub struct Rows {
    /// Unused rows below `next`.
    free: Vec<Row>,
    /// The row after all rows that are allocated or in `free`, or `None` if row numbers are
    /// exhausted.
    next: Option<Row>,
    /// The highest row that exists in the maps.
    last: u32,
}

impl Rows {
    /// Creates an allocator for rows 1 to `routers`.
    pub fn new(routers: u32) -> Self {
        Self { free: Vec::new(), next: Row::new(1), last: routers }
    }

    /// Returns the total number of rows, allocated or not.
    pub fn capacity(&self) -> u32 {
        self.last
    }

    /// Allocates a row, or returns `None` if all rows are in use.
    pub fn allocate(&mut self) -> Option<Row> {
        if let Some(row) = self.free.pop() {
            return Some(row);
        }
        let row = self.next.filter(|row| row.number() <= self.last)?;
        self.next = row.0.checked_add(1).map(Row);
        Some(row)
    }

    /// Allocates the row that a router had in the predecessor. Returns false if the row does not
    /// exist or is in use.
    pub fn allocate_exactly(&mut self, row: Row) -> bool {
        if let Some(position) = self.free.iter().position(|free| *free == row) {
            self.free.swap_remove(position);
            return true;
        }
        if row.number() > self.last {
            return false;
        }
        while let Some(next) = self.next.filter(|next| *next <= row) {
            self.next = next.0.checked_add(1).map(Row);
            if next == row {
                return true;
            }
            self.free.push(next);
        }
        false
    }

    /// Releases a row, which must have been cleared with
    /// [`Kernel::clear_rows`](super::Kernel::clear_rows).
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
    fn inherited_rows_are_allocated_once() {
        let mut rows = Rows::new(4);
        let row = |number| Row::new(number).expect("not 0");
        assert!(rows.allocate_exactly(row(3)) && rows.allocate_exactly(row(1)));
        assert!(!rows.allocate_exactly(row(3)) && !rows.allocate_exactly(row(5)));
        let others: Vec<_> = std::iter::from_fn(|| rows.allocate()).map(Row::number).collect();
        assert_eq!(others, [2, 4]);
    }

    #[test]
    fn released_row_is_allocated_again_10_000_times() {
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
