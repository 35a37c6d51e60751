//! The BPF program in the kernel, compared with the user-space parser on the same frames.
//!
//! The test bench of vipd's XDP tests (`vipd/tests/xdp`) compares the action, the counters and the
//! ring record.
//! The kernel provides no coverage feedback, but the user-space parser, which is compiled from the
//! same source, does.

use std::cell::RefCell;

use crate::bench::{Bench, LOOPBACK};
use crate::repair;

/// Frame lengths that `BPF_PROG_TEST_RUN` accepts: at least an Ethernet header, at most a page
/// minus headroom and tailroom (`net/bpf/test_run.c`).
const TESTABLE: std::ops::RangeInclusive<usize> = 14..=3520;

thread_local! {
    /// Created once per thread: verifying the program takes longer than running it on 100,000
    /// frames.
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

/// Runs one input: a byte that selects the fields to repair, followed by a frame.
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
            panic!("the BPF program and the parser differ: {difference}");
        }
    });
}
