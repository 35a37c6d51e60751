//! Which instance is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use vipd_common::Timestamp;

/// A heap of deadlines that is corrected late.
///
/// A deadline that moves further away leaves the heap alone: the old, earlier entry stays, and before the engine waits for
/// it the instance is asked for its true deadline. So the heap is touched about once in a deadline's time for each instance.
#[derive(Debug)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The earliest entry of each instance.
    scheduled: Vec<Option<Timestamp>>,
}

impl Deadlines {
    /// For this many instances.
    pub(crate) fn new(instances: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(2 * instances), scheduled: vec![None; instances] }
    }

    /// The instance's deadline is now `at`, or it has none.
    pub(crate) fn update(&mut self, instance: usize, at: Option<Timestamp>) {
        let (Some(at), Some(slot)) = (at, self.scheduled.get_mut(instance)) else { return };
        if slot.is_none_or(|scheduled| at < scheduled) {
            *slot = Some(at);
            self.heap.push(Reverse((at, instance)));
        }
    }

    /// When to look again: the earliest entry that is still true, asked of the instances themselves. Those before it are
    /// corrected here, so that nobody is woken by a deadline that has moved.
    pub(crate) fn settle(&mut self, truth: impl Fn(usize) -> Option<Timestamp>) -> Option<Timestamp> {
        while let Some(&Reverse((at, instance))) = self.heap.peek() {
            let slot = self.scheduled.get_mut(instance)?;
            let moved = truth(instance);
            if *slot == Some(at) && moved.is_some_and(|moved| moved <= at) {
                return Some(at);
            }
            self.heap.pop();
            // An entry that an earlier one has overtaken is stale, and the other one stands.
            if slot.take_if(|scheduled| *scheduled == at).is_some() {
                self.update(instance, moved);
            }
        }
        None
    }

    /// An instance with an entry at or before `now`: ask it, then [`update`](Self::update) its deadline.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<usize> {
        while let Some(&Reverse((at, instance))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let slot = self.scheduled.get_mut(instance)?;
            // An entry that an earlier one has overtaken is stale.
            if slot.take_if(|scheduled| *scheduled == at).is_some() {
                return Some(instance);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn later_deadlines_leave_the_heap_alone() {
        let mut deadlines = Deadlines::new(1);
        for nanos in 100..10_000 {
            deadlines.update(0, Some(at(nanos)));
        }
        assert_eq!(deadlines.heap.len(), 1);
        assert_eq!(deadlines.settle(|_| Some(at(100))), Some(at(100)));
        assert_eq!(deadlines.pop_due(at(99)), None);
        assert_eq!(deadlines.pop_due(at(100)), Some(0));
        assert_eq!(deadlines.pop_due(at(100)), None);
        deadlines.update(0, Some(at(9_999)));
        assert_eq!(deadlines.settle(|_| Some(at(9_999))), Some(at(9_999)));
    }

    #[test]
    fn nobody_is_woken_by_a_deadline_that_has_moved() {
        let mut deadlines = Deadlines::new(3);
        deadlines.update(0, Some(at(100)));
        deadlines.update(1, Some(at(110)));
        deadlines.update(2, Some(at(120)));
        let truth = [Some(at(300)), None, Some(at(200))];
        assert_eq!(deadlines.settle(|instance| truth[instance]), Some(at(200)));
        assert_eq!(deadlines.pop_due(at(199)), None);
        assert_eq!(deadlines.pop_due(at(200)), Some(2));
        assert_eq!(deadlines.pop_due(at(300)), Some(0));
        assert_eq!(deadlines.settle(|instance| truth[instance]), None, "the second has none");
    }

    #[test]
    fn an_earlier_deadline_overtakes_and_its_stale_entry_is_silent() {
        let mut deadlines = Deadlines::new(2);
        deadlines.update(0, Some(at(100)));
        deadlines.update(1, Some(at(60)));
        deadlines.update(0, Some(at(50)));
        assert_eq!(deadlines.pop_due(at(200)), Some(0));
        deadlines.update(0, Some(at(300)));
        assert_eq!(deadlines.pop_due(at(200)), Some(1));
        assert_eq!(deadlines.pop_due(at(200)), None, "the entry at 100 is stale");
        assert_eq!(deadlines.pop_due(at(300)), Some(0));
        assert_eq!(deadlines.settle(|_| None), None);
    }
}
