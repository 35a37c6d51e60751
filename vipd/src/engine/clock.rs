//! The engine's clock.

use rustix::time::{ClockId, clock_gettime};
use vipd_common::Timestamp;

/// Reads `CLOCK_MONOTONIC`, which `bpf_ktime_get_ns()` also uses.
pub(crate) fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Timestamp::from_nanos(seconds * 1_000_000_000 + nanos)
}
