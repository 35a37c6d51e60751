//! A small random number generator. A seed yields the same sequence on every machine, whatever the
//! versions of the dependencies.

use std::time::Duration;

/// A SplitMix64 generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Creates a generator. Equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns 64 random bits.
    #[must_use]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a random number below `bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        // The modulo bias is negligible for small bounds.
        usize::try_from(self.bits() % bound).unwrap_or(0)
    }

    /// Returns `true` with this probability, in percent.
    pub fn percent(&mut self, probability: usize) -> bool {
        self.below(100) < probability
    }

    /// Returns a random element of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Returns a random duration from `from` to `to`, inclusive, in steps of a millisecond. Returns
    /// `from` if `to` is shorter.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_millis();
        let extra = self.below(usize::try_from(span).unwrap_or(usize::MAX - 1) + 1);
        from + Duration::from_millis(u64::try_from(extra).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences() {
        let sequence = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
    }

    #[test]
    fn durations_are_within_bounds() {
        let mut random = Random::new(1);
        let (from, to) = (Duration::from_millis(3), Duration::from_millis(5));
        let drawn: Vec<_> = (0..100).map(|_| random.between(from, to)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&from), Some(&to)));
        assert_eq!(random.between(to, from), to, "an empty range gives its start");
    }
}
