//! Schedules when each virtual router needs to be served next.
//!
//! Two stores behind one front. Deadlines of routers on the fast path move with every unchanged
//! advert, without the engine being woken; they are computed from the memory-mapped arrivals in one
//! pass over all. All other deadlines are in a heap.

mod fast_path;
mod heap;

use vipd_common::Timestamp;

use super::id::{Id as _, RouterId};
use crate::vrrp::Router;
use crate::xdp::Row;
use fast_path::FastPathDeadlines;
use heap::Heap;

/// Busy-wait for the last 100 µs before a master-down deadline: timer wake-up and context switch
/// take up to 70 µs in a virtual machine.
const SPIN_WINDOW: u64 = 100_000;

/// The deadlines of all virtual routers.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: Heap,
    fast_path: FastPathDeadlines,
    /// Routers on the fast path whose master-down timer has fired.
    expired: Vec<RouterId>,
}

impl Schedule {
    /// Makes room for a router, so that nothing is allocated later.
    pub(crate) fn reserve(&mut self, router: RouterId) {
        self.heap.reserve(router);
        self.fast_path.reserve(router);
        self.expired.reserve((router.index() + 1).saturating_sub(self.expired.len()));
    }

    /// Records a router's next timeout after an input. `published`: whether its fast path is
    /// published. On the fast path, the timeout is a lower bound, and the deadline moves with each
    /// unchanged advert.
    pub(crate) fn arm(&mut self, id: RouterId, published: bool, router: &Router) {
        let deadline = router.next_timeout();
        match (router.steady(), deadline) {
            (Some(steady), Some(deadline)) if published && self.fast_path.is_armed(id) => {
                self.fast_path.rearm(id, steady.down_interval, deadline);
            }
            _ => self.heap.arm(id, deadline),
        }
    }

    /// Reports a router whose deadline has passed again after `until`.
    pub(crate) fn postpone(&mut self, id: RouterId, until: Timestamp, router: &Router) {
        match router.steady() {
            Some(steady) if self.fast_path.is_armed(id) => {
                self.fast_path.rearm(id, steady.down_interval, until);
            }
            _ => self.heap.arm(id, Some(until)),
        }
    }

    /// Moves a router onto the fast path, or off it, after its fast path was published.
    pub(crate) fn published(&mut self, id: RouterId, row: Row, router: &Router) {
        if let (Some(steady), Some(deadline)) = (router.steady(), router.next_timeout()) {
            self.fast_path.arm(id, row, steady.down_interval, deadline);
        } else {
            // The input that took it off the fast path has already put its deadline into the heap.
            self.fast_path.disarm(id);
        }
    }

    /// Returns whether a router's deadline moves with unchanged adverts.
    pub(crate) fn is_on_fast_path(&self, id: RouterId) -> bool {
        self.fast_path.is_armed(id)
    }

    /// Removes a router's deadlines.
    pub(crate) fn remove(&mut self, id: RouterId) {
        self.fast_path.disarm(id);
        self.heap.disarm(id);
    }

    /// Collects the routers on the fast path whose deadline has passed. `arrival` returns the last
    /// arrival in a row.
    pub(crate) fn expire_fast_path(&mut self, now: Timestamp, arrival: impl Fn(Row) -> Timestamp) {
        let expired = &mut self.expired;
        self.fast_path.expire(now, arrival, |id| expired.push(id));
    }

    /// Removes and returns a router whose deadline has passed, to be [armed](Self::arm) again after
    /// its timeout.
    pub(crate) fn pop_expired(&mut self, now: Timestamp) -> Option<RouterId> {
        self.expired.pop().or_else(|| self.heap.pop_expired(now))
    }

    /// Returns when the engine must be awake again. `next_timeout` returns the timeout of a router.
    pub(crate) fn next(&mut self, next_timeout: impl Fn(RouterId) -> Option<Timestamp>) -> Option<Timestamp> {
        let fast_path = &self.fast_path;
        // A router on the fast path has no deadline in the heap.
        let heap = self.heap.settle(|id| next_timeout(id).filter(|_| !fast_path.is_armed(id)));
        let early = |next: Timestamp| Timestamp::from_nanos(next.as_nanos().saturating_sub(SPIN_WINDOW));
        [heap, self.fast_path.next().map(early)].into_iter().flatten().min()
    }

    /// Returns the master-down deadline to spin for, if one lies within the spin window. Only
    /// routers with `spins` count: with `down_after_adverts` 1 the next advert may still be in
    /// flight at each deadline, and spinning for each would burn a core.
    pub(crate) fn spin_deadline(
        &mut self,
        now: Timestamp,
        arrival: impl Fn(Row) -> Timestamp,
        spins: impl Fn(RouterId) -> bool,
    ) -> Option<Timestamp> {
        let mut soon = false;
        self.fast_path.expire(now + SPIN_WINDOW, arrival, |id| soon |= spins(id));
        self.fast_path.next().filter(|_| soon)
    }
}
