//! The delays that the engine measures, in histograms with fixed buckets.
//!
//! Each delay is computed from deadlines and from clock readings that the turn makes anyway, with
//! one exception: a turn that completes a takeover reads the clock once more. Nothing is measured
//! for received adverts.

use serde::{Deserialize, Serialize};
use vipd_common::Timestamp;

use super::id::RouterId;
use super::{Engine, clock};
use crate::vrrp::interval::Nanos;

/// Inclusive upper limits of the buckets, in nanoseconds and, for OpenMetrics, in seconds. One more
/// bucket has no limit.
pub(crate) const BOUNDS: [(Nanos, &str); 12] = [
    (10_000, "1e-05"),
    (25_000, "2.5e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (100_000_000, "0.1"),
    (1_000_000_000, "1.0"),
];

/// A histogram of delays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Histogram {
    /// Number of delays in each bucket; not cumulative.
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// Sum of all delays in nanoseconds.
    pub(crate) sum: u64,
}

/// A histogram as serialized for a successor.
#[derive(Serialize, Deserialize)]
struct Saved {
    counts: Vec<u64>,
    sum: u64,
}

impl From<Histogram> for Saved {
    fn from(Histogram { counts, sum }: Histogram) -> Self {
        Self { counts: counts.to_vec(), sum }
    }
}

impl From<Saved> for Histogram {
    /// Begins with an empty histogram if the predecessor used a different number of buckets.
    /// Changed limits are not detected.
    fn from(Saved { counts, sum }: Saved) -> Self {
        counts.try_into().map_or_else(|_| Self::default(), |counts| Self { counts, sum })
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, delay: Nanos) {
        self.counts[BOUNDS.partition_point(|(bound, _)| *bound < delay)] += 1;
        self.sum = self.sum.saturating_add(delay);
    }

    /// Adds the delays of another histogram.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// The delays measured since the agent started, including delays measured by predecessors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delays {
    /// From the deadline of Adver_Timer to the start of the turn that handles it.
    pub(crate) advert: Histogram,
    /// From the timer or event that made a router master until no VIP of any router was waiting to
    /// be added, removed or announced. VIPs that the kernel refused, and announcements that
    /// `garp.interval` delays, do not count as waiting.
    pub(crate) takeover: Histogram,
}

impl Delays {
    pub(crate) fn add(&mut self, other: &Self) {
        self.advert.add(&other.advert);
        self.takeover.add(&other.takeover);
    }
}

/// The delays, and the takeovers in progress.
#[derive(Debug, Default)]
pub(super) struct Measure {
    pub(super) delays: Delays,
    /// Due times of the takeovers in progress.
    takeovers: Vec<Timestamp>,
}

impl Measure {
    /// Reserves memory for the takeovers of this many routers.
    pub(super) fn reserve(&mut self, routers: usize) {
        self.takeovers.reserve(routers.saturating_sub(self.takeovers.len()));
    }

    /// Begins to measure a takeover, which was due `late` before `now`.
    pub(super) fn begin_takeover(&mut self, now: Timestamp, late: Nanos) {
        // A router that becomes master several times before its VIPs are announced may exceed the
        // reserved memory; such takeovers are not measured.
        if self.takeovers.len() < self.takeovers.capacity() {
            self.takeovers.push(Timestamp::from_nanos(now.as_nanos().saturating_sub(late)));
        }
    }

    fn complete_takeovers(&mut self, now: Timestamp) {
        for due in self.takeovers.drain(..) {
            self.delays.takeover.record(now.nanos_since(due));
        }
    }
}

impl Engine {
    /// Measures the delay of a master's advert if Adver_Timer has fired.
    pub(super) fn measure_advert(&mut self, now: Timestamp, router: RouterId) {
        let timer = self.topology.routers.get(router).and_then(|instance| instance.router.adver_timer());
        if let Some(due) = timer.filter(|due| *due <= now) {
            self.measure.delays.advert.record(now.nanos_since(due));
        }
    }

    /// Measures the takeovers of this turn and of earlier turns, once no VIP is waiting to be
    /// added, removed or announced (see [`Delays::takeover`]).
    pub(super) fn measure_takeovers(&mut self) {
        if !self.measure.takeovers.is_empty() && !self.effects.has_changes() && !self.effects.is_urgent() {
            self.measure.complete_takeovers(clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn delays_are_counted_in_the_first_bucket_that_is_large_enough() {
        let mut histogram = Histogram::default();
        for delay in [0, 10_000, 10_001, 1_000_000_000, 1_000_000_001] {
            histogram.record(delay);
        }
        let mut expected = [0; 13];
        (expected[0], expected[1], expected[11], expected[12]) = (2, 1, 1, 1);
        assert_eq!((histogram.counts, histogram.sum), (expected, 2_000_020_002));
        let twice = histogram;
        histogram.add(&twice);
        assert_eq!((histogram.counts, histogram.sum), (expected.map(|count| 2 * count), 4_000_040_004));
    }

    #[test]
    fn histogram_with_another_number_of_buckets_is_not_inherited() {
        let mut histogram = Histogram::default();
        histogram.record(20_000);
        let saved = serde_json::to_string(&histogram).expect("JSON");
        assert_eq!(serde_json::from_str::<Histogram>(&saved).expect("a histogram"), histogram);
        let other = serde_json::from_str::<Histogram>("{\"counts\":[1,2],\"sum\":3}").expect("a histogram");
        assert_eq!(other, Histogram::default());
    }

    #[test]
    fn bounds_in_seconds_and_nanoseconds_are_equal() {
        for (nanos, seconds) in BOUNDS {
            let parsed: f64 = seconds.parse().expect("a number");
            assert!((parsed - Duration::from_nanos(nanos).as_secs_f64()).abs() < 1e-12, "{seconds}");
        }
        assert!(BOUNDS.is_sorted_by_key(|(nanos, _)| *nanos));
    }

    #[test]
    fn takeovers_are_measured_from_the_time_at_which_they_were_due() {
        let at = Timestamp::from_nanos;
        let mut measure = Measure::default();
        measure.reserve(2);
        measure.begin_takeover(at(30_000), 20_000);
        measure.begin_takeover(at(30_000), 0);
        measure.complete_takeovers(at(40_000));
        measure.complete_takeovers(at(50_000));
        let takeover = measure.delays.takeover;
        assert_eq!((takeover.counts[0], takeover.counts[2], takeover.sum), (1, 1, 40_000));
    }

    #[test]
    fn takeovers_beyond_the_reserved_memory_allocate_nothing() {
        let mut measure = Measure::default();
        measure.reserve(1);
        let room = measure.takeovers.capacity();
        for _ in 0..=room {
            measure.begin_takeover(Timestamp::ZERO, 0);
        }
        assert_eq!((measure.takeovers.len(), measure.takeovers.capacity()), (room, room));
    }
}
