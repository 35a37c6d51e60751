//! Protocol deadlines that measurements are compared with.

use std::time::Duration;

pub use vipd_witness::Version;

/// Returns the `Skew_Time` of a backup: the time it waits in addition to three intervals, so that
/// the backup with the highest priority takes over first.
pub fn skew_time(version: Version, interval: Duration, priority: u8) -> Duration {
    let whole = match version {
        Version::V2 => Duration::from_secs(1),
        Version::V3 => interval,
    };
    whole * (256 - u32::from(priority)) / 256
}

/// Returns the `Active_Down_Interval` of a backup (`Master_Down_Interval` in RFC 3768): the time
/// from the last received advert to the backup's own first advert.
pub fn down_interval(version: Version, interval: Duration, priority: u8) -> Duration {
    3 * interval + skew_time(version, interval, priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_match_the_rfcs() {
        let ten = Duration::from_millis(10);
        assert_eq!(down_interval(Version::V3, ten, 100), Duration::from_nanos(36_093_750));
        assert_eq!(skew_time(Version::V3, ten, 254), Duration::from_nanos(78_125));
        let second = Duration::from_secs(1);
        assert_eq!(down_interval(Version::V2, second, 100), Duration::from_micros(3_609_375));
        assert_eq!(skew_time(Version::V2, 10 * second, 100), Duration::from_micros(609_375));
    }
}
