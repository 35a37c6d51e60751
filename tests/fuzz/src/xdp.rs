//! The XDP program in the kernel against the parser in user space, on the same bytes.
//!
//! The bench is that of vipd's own tests of the program (`vipd/tests/xdp`): it compares action, counters and ring
//! record. The kernel gives no coverage back, but the user-space half does, and both halves are one parser.

use std::cell::RefCell;

use crate::bench::{Bench, LOOPBACK};
use crate::repair;

/// The shortest and the longest frame that `BPF_PROG_TEST_RUN` takes: a header, and a page less the room that the
/// kernel keeps before and behind it (`net/bpf/test_run.c`).
const TESTABLE: std::ops::RangeInclusive<usize> = 14..=3520;

thread_local! {
    /// Loaded once: the verifier takes longer than a hundred thousand frames.
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

/// An input is a byte that says what to repair, and a frame.
///
/// # Panics
/// When the two differ, and where the program cannot be loaded.
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
