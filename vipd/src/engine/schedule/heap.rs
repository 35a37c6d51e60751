//! Deadlines in a lazily updated heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use vipd_common::Timestamp;

use crate::engine::id::{Id as _, RouterId};

/// The deadlines of routers that are not on the fast path.
///
/// If a deadline moves later, the heap does not change: the old entry stays and is corrected before
/// the engine waits for it. The heap therefore changes about once per deadline, not once per
/// advert.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    heap: BinaryHeap<Reverse<(Timestamp, RouterId)>>,
    /// The earliest entry of each router, by slot.
    earliest: Vec<Option<Timestamp>>,
}

impl Heap {
    /// Reserves memory for a router.
    pub(crate) fn reserve(&mut self, id: RouterId) {
        let slots = self.earliest.len().max(id.index() + 1);
        self.earliest.resize(slots, None);
        self.heap.reserve((2 * slots).saturating_sub(self.heap.len()));
    }

    /// Sets a router's deadline. A later deadline, or `None`, takes effect when the existing entry
    /// reaches the top of the heap.
    pub(crate) fn arm(&mut self, id: RouterId, at: Option<Timestamp>) {
        let (Some(at), Some(slot)) = (at, self.earliest.get_mut(id.index())) else { return };
        if slot.is_none_or(|earliest| at < earliest) {
            *slot = Some(at);
            self.drop_stale_if_full();
            self.heap.push(Reverse((at, id)));
        }
    }

    /// Drops stale entries when the heap is full, instead of allocating. The heap has room for two
    /// entries per router, and usually at most one of the two is current. The cost is therefore
    /// amortized over at least as many changes as there are routers.
    fn drop_stale_if_full(&mut self) {
        if self.heap.len() == self.heap.capacity() {
            let earliest = &self.earliest;
            self.heap.retain(|Reverse((at, id))| {
                earliest.get(id.index()).is_some_and(|earliest| *earliest == Some(*at))
            });
        }
    }

    /// Removes a router's deadlines.
    pub(crate) fn disarm(&mut self, id: RouterId) {
        self.heap.retain(|Reverse((_, other))| *other != id);
        if let Some(slot) = self.earliest.get_mut(id.index()) {
            *slot = None;
        }
    }

    /// Returns the earliest deadline that is current according to `next_timeout`. Corrects the
    /// outdated entries before it, so that the engine does not wake up for a deadline that has
    /// moved.
    pub(crate) fn settle(
        &mut self,
        next_timeout: impl Fn(RouterId) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        while let Some(&Reverse((at, id))) = self.heap.peek() {
            let slot = self.earliest.get_mut(id.index())?;
            let current = next_timeout(id);
            if *slot == Some(at) && current.is_some_and(|current| current <= at) {
                return Some(at);
            }
            self.heap.pop();
            // A stale entry was already replaced by an entry with an earlier deadline, so nothing
            // has to be armed.
            if slot.take_if(|earliest| *earliest == at).is_some() {
                self.arm(id, current);
            }
        }
        None
    }

    /// Removes an entry that is due at `now` and returns its router, which must then be
    /// [armed](Self::arm) again.
    pub(crate) fn pop_expired(&mut self, now: Timestamp) -> Option<RouterId> {
        while let Some(&Reverse((at, id))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let slot = self.earliest.get_mut(id.index())?;
            // Skips stale entries, which were replaced by entries with earlier deadlines.
            if slot.take_if(|earliest| *earliest == at).is_some() {
                return Some(id);
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

    fn id(index: u32) -> RouterId {
        RouterId::new(index, 0)
    }

    fn heap(routers: u32) -> Heap {
        let mut heap = Heap::default();
        (0..routers).for_each(|index| heap.reserve(id(index)));
        heap
    }

    #[test]
    fn later_deadlines_do_not_change_the_heap() {
        let mut heap = heap(1);
        for nanos in 100..10_000 {
            heap.arm(id(0), Some(at(nanos)));
        }
        assert_eq!(heap.heap.len(), 1);
        assert_eq!(heap.settle(|_| Some(at(100))), Some(at(100)));
        assert_eq!(heap.pop_expired(at(99)), None);
        assert_eq!(heap.pop_expired(at(100)), Some(id(0)));
        assert_eq!(heap.pop_expired(at(100)), None);
        heap.arm(id(0), Some(at(9_999)));
        assert_eq!(heap.settle(|_| Some(at(9_999))), Some(at(9_999)));
    }

    #[test]
    fn moved_deadlines_cause_no_wakeup() {
        let mut heap = heap(3);
        heap.arm(id(0), Some(at(100)));
        heap.arm(id(1), Some(at(110)));
        heap.arm(id(2), Some(at(120)));
        let current = [Some(at(300)), None, Some(at(200))];
        assert_eq!(heap.settle(|id| current[id.index()]), Some(at(200)));
        assert_eq!(heap.pop_expired(at(199)), None);
        assert_eq!(heap.pop_expired(at(200)), Some(id(2)));
        assert_eq!(heap.pop_expired(at(300)), Some(id(0)));
        assert_eq!(heap.settle(|id| current[id.index()]), None, "router 1 has no deadline");
    }

    #[test]
    fn earlier_deadline_makes_the_previous_entry_stale() {
        let mut heap = heap(2);
        heap.arm(id(0), Some(at(100)));
        heap.arm(id(1), Some(at(60)));
        heap.arm(id(0), Some(at(50)));
        assert_eq!(heap.pop_expired(at(200)), Some(id(0)));
        heap.arm(id(0), Some(at(300)));
        assert_eq!(heap.pop_expired(at(200)), Some(id(1)));
        assert_eq!(heap.pop_expired(at(200)), None, "the entry at 100 is stale");
        assert_eq!(heap.pop_expired(at(300)), Some(id(0)));
        assert_eq!(heap.settle(|_| None), None);
    }

    /// A sender can shorten its advertised interval with every advert.
    #[test]
    fn repeatedly_shortened_deadlines_do_not_grow_the_heap() {
        let mut heap = heap(2);
        let capacity = heap.heap.capacity();
        heap.arm(id(1), Some(at(50)));
        for nanos in (100..10_000).rev() {
            heap.arm(id(0), Some(at(nanos)));
        }
        assert_eq!(heap.heap.capacity(), capacity);
        assert_eq!(heap.pop_expired(at(99)), Some(id(1)));
        assert_eq!(heap.pop_expired(at(99)), None);
        assert_eq!(heap.pop_expired(at(100)), Some(id(0)));
        assert_eq!(heap.pop_expired(at(20_000)), None);
    }

    #[test]
    fn next_router_in_a_slot_does_not_inherit_the_deadline() {
        let mut heap = heap(1);
        heap.arm(id(0), Some(at(100)));
        heap.disarm(id(0));
        heap.arm(RouterId::new(0, 1), Some(at(200)));
        assert_eq!(heap.pop_expired(at(150)), None);
        assert_eq!(heap.pop_expired(at(200)), Some(RouterId::new(0, 1)));
    }
}
