//! The XDP program itself, in the kernel: `BPF_PROG_TEST_RUN` on frames of every kind.
//!
//! What the program says (action, counters, ring record) is compared with what the user-space parser says of the
//! same bytes. These tests load programs into the kernel; without the right to they fail, and say how to get it.

mod attach;
mod bench;
mod closed;
mod differential;
mod frame;
mod interfaces;
mod limit;
mod reference;
mod ring;
mod rows;
mod verdicts;
mod wakeups;
