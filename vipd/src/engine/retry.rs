//! Changes that were refused or postponed, and when to retry them.

use std::collections::{BTreeMap, BTreeSet};

use vipd_common::Timestamp;

/// Pause after the first refusal, in nanoseconds. Doubles with each further refusal.
const MIN_PAUSE: u64 = 1_000_000_000;
/// Maximum pause, in nanoseconds.
const MAX_PAUSE: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Timestamp,
    pause: u64,
    errno: i32,
    /// Whether the change restores an address, route or rule after it was removed externally.
    restores: bool,
}

/// Refused and postponed changes. The key identifies a VIP, a macvlan, a route or a rule.
#[derive(Debug)]
pub(crate) struct Retries<K> {
    all: BTreeMap<K, Retry>,
    schedule: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Retries<K> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), schedule: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Retries<K> {
    /// Records a refusal and schedules a retry. Returns whether this refusal is the first, or has a
    /// different errno from the previous refusal.
    pub(crate) fn refused(&mut self, key: K, errno: i32, restores: bool, now: Timestamp) -> bool {
        let former = self.all.get(&key).copied();
        let pause = former.map_or(MIN_PAUSE, |former| (former.pause * 2).min(MAX_PAUSE));
        let restores = former.map_or(restores, |former| former.restores);
        if let Some(former) = former {
            self.schedule.remove(&(former.at, key));
        }
        let at = now + pause;
        self.all.insert(key, Retry { at, pause, errno, restores });
        self.schedule.insert((at, key));
        former.is_none_or(|former| former.errno != errno)
    }

    /// Postpones a change until `at`, for example because of its rate limit.
    pub(crate) fn postpone(&mut self, key: K, at: Timestamp, restores: bool) {
        let errno = self.all.get(&key).map_or(0, |former| former.errno);
        let restores = self.take(key).unwrap_or(restores);
        self.all.insert(key, Retry { at, pause: MIN_PAUSE / 2, errno, restores });
        self.schedule.insert((at, key));
    }

    /// Removes the retry of a change that has succeeded or is obsolete. Returns its `restores`
    /// flag, or `None` if there was no retry.
    pub(crate) fn take(&mut self, key: K) -> Option<bool> {
        let retry = self.all.remove(&key)?;
        self.schedule.remove(&(retry.at, key));
        Some(retry.restores)
    }

    /// Replaces all keys. Entries for which `renamed` returns `None` are dropped.
    pub(crate) fn rekey(&mut self, renamed: impl Fn(K) -> Option<K>) {
        let all = std::mem::take(&mut self.all).into_iter();
        self.all = all.filter_map(|(key, retry)| Some((renamed(key)?, retry))).collect();
        self.schedule = self.all.iter().map(|(key, retry)| (retry.at, *key)).collect();
    }

    /// Returns whether a retry is scheduled but not yet due.
    pub(crate) fn is_pending(&self, key: K, now: Timestamp) -> bool {
        self.all.get(&key).is_some_and(|retry| retry.at > now)
    }

    /// Returns the time at which the next retry is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// Returns the changes that are due for a retry, and removes them from the schedule. Each
    /// change remains recorded until its result arrives.
    pub(crate) fn begin_due(&mut self, now: Timestamp) -> Vec<K> {
        let mut due = Vec::new();
        while self.schedule.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.schedule.pop_first().map(|(_, key)| key));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_one_minute() {
        let (mut retries, mut now) = (Retries::default(), Timestamp::from_nanos(5));
        let mut pauses = Vec::new();
        for attempt in 0..8 {
            assert_eq!(retries.refused(7, 13, false, now), attempt == 0, "logged once");
            let next = retries.next().unwrap();
            assert!(retries.is_pending(7, now) && !retries.is_pending(7, next));
            assert_eq!(retries.begin_due(next), [7]);
            pauses.push(next.nanos_since(now) / 1_000_000_000);
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(retries.refused(7, 99, false, now), "another reason");
        assert_eq!(retries.take(7), Some(false));
        assert_eq!((retries.take(7), retries.next()), (None, None));
    }

    /// If the retry stayed due, the engine would run turn after turn until the result arrived.
    #[test]
    fn retry_in_progress_is_not_due_again() {
        let (mut retries, now) = (Retries::default(), Timestamp::from_nanos(5));
        retries.refused(1, 13, false, now);
        let due = now + MIN_PAUSE;
        assert_eq!((retries.begin_due(now), retries.begin_due(due)), (vec![], vec![1]));
        assert_eq!((retries.next(), retries.is_pending(1, due)), (None, false));
        assert!(!retries.refused(1, 13, false, due), "the same reason");
        assert_eq!(retries.next(), Some(due + 2 * MIN_PAUSE));
    }

    #[test]
    fn restores_flag_is_kept_until_the_change_succeeds() {
        let (mut retries, now) = (Retries::default(), Timestamp::from_nanos(5));
        retries.refused(1, 13, true, now);
        retries.refused(1, 13, false, now);
        retries.refused(2, 13, false, now);
        assert_eq!((retries.take(1), retries.take(2)), (Some(true), Some(false)));
    }
}
