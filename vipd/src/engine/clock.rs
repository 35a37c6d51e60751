//! The engine's clock.

use rustix::time::{ClockId, clock_gettime};
use vipd_common::Timestamp;

use crate::vrrp::hmac::WallTime;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Reads `CLOCK_MONOTONIC`, which `bpf_ktime_get_ns()` also uses.
pub(crate) fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Timestamp::from_nanos(seconds * NANOS_PER_SECOND + nanos)
}

/// Returns the time of `CLOCK_REALTIME` at a past or present time of `CLOCK_MONOTONIC`, provided
/// that the clock has not been set since.
pub(crate) fn wall(at: Timestamp) -> WallTime {
    let age = now().nanos_since(at);
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    let since_epoch = (seconds * NANOS_PER_SECOND + nanos).saturating_sub(age);
    let subseconds = u32::try_from(since_epoch % NANOS_PER_SECOND).unwrap_or(0);
    WallTime::new(since_epoch / NANOS_PER_SECOND, subseconds)
}
