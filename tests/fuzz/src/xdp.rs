//! The XDP program in the kernel, compared with the user-space parser on the same bytes.
//!
//! The bench of vipd's XDP tests (`vipd/tests/xdp`) compares action, counters and ring record. The
//! kernel has no coverage feedback, but the user-space side has, and both share the parser.

use std::cell::RefCell;

use crate::bench::{Bench, LOOPBACK};
use crate::repair;

/// Minimum and maximum frame length of `BPF_PROG_TEST_RUN`: an Ethernet header, and a page less
/// headroom and tailroom (`net/bpf/test_run.c`).
const TESTABLE: std::ops::RangeInclusive<usize> = 14..=3520;

thread_local! {
    /// Loaded once: verification takes longer than a hundred thousand frames.
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

/// An input is a byte that selects the fields to repair, and a frame.
///
/// # Panics
/// Panics if the verdicts differ, or the program cannot be loaded.
pub fn run(input: &[u8]) {
    let Some(frame) = repair::frame(input) else { return };
    if !TESTABLE.contains(&frame.len()) {
        return;
    }
    BENCH.with_borrow_mut(|bench| {
        if let Err(difference) = bench.compare(&frame, LOOPBACK) {
            panic!("the XDP program and the parser differ: {difference}");
        }
    });
}
