//! Tests of the BPF program in the kernel with `BPF_PROG_TEST_RUN`.
//!
//! The program's action, counters and ring record are compared with the user-space parser's verdict
//! on the same bytes. The tests load programs into the kernel and need privileges.

mod attach;
mod bare;
mod bench;
mod captured;
mod closed;
mod differential;
mod fence;
mod frame;
mod interfaces;
mod limit;
mod reference;
mod ring;
mod rows;
mod signed;
mod signers;
mod verdicts;
mod verify;
mod wakeups;
