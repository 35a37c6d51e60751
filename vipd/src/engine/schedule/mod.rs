//! The timers of all virtual routers.
//!
//! There are two kinds of deadlines. The deadlines of routers on the fast path move with every
//! unchanged advert without waking the engine, and are computed from the memory-mapped arrival
//! times in one pass. All other deadlines are in a heap.

mod fast_path;
mod heap;

use vipd_common::Timestamp;

use super::id::{Id as _, RouterId};
use crate::vrrp::Router;
use crate::xdp::Row;
use fast_path::FastPathDeadlines;
use heap::Heap;

/// Time before a master-down deadline during which the engine busy-waits, in nanoseconds. In a
/// virtual machine, the timer wake-up and the context switch take up to 70 µs. The remaining time
/// is for the probe that each election requires. The probe runs on another thread: with a window of
/// 100 µs, elections had to wait for its result.
const SPIN_WINDOW: u64 = 250_000;

/// The deadlines of all virtual routers.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: Heap,
    fast_path: FastPathDeadlines,
    /// Routers on the fast path whose master-down timer has fired.
    expired: Vec<RouterId>,
    /// The earliest deadline on the fast path, if it is within the spin window but the engine does
    /// not spin for it.
    without_spin: Option<Timestamp>,
}

impl Schedule {
    /// Reserves memory for a router, so that nothing is allocated later.
    pub(crate) fn reserve(&mut self, router: RouterId) {
        self.heap.reserve(router);
        self.fast_path.reserve(router);
        self.expired.reserve((router.index() + 1).saturating_sub(self.expired.len()));
    }

    /// Records a router's next timeout after an input. `published` indicates whether the router's
    /// current fast path has been published. On the fast path, the timeout is only a lower bound,
    /// because the deadline moves with each unchanged advert.
    pub(crate) fn arm(&mut self, id: RouterId, published: bool, router: &Router) {
        let deadline = router.next_timeout();
        match (router.steady(), deadline) {
            (Some(steady), Some(deadline)) if published && self.fast_path.is_armed(id) => {
                self.fast_path.rearm(id, steady.down_interval, deadline);
            }
            _ => self.heap.arm(id, deadline),
        }
    }

    /// Postpones the expired deadline of a router to `until`.
    pub(crate) fn postpone(&mut self, id: RouterId, until: Timestamp, router: &Router) {
        match router.steady() {
            Some(steady) if self.fast_path.is_armed(id) => {
                self.fast_path.rearm(id, steady.down_interval, until);
            }
            _ => self.heap.arm(id, Some(until)),
        }
    }

    /// Moves a router onto or off the fast path, after the change has been published to the BPF
    /// program.
    pub(crate) fn published(&mut self, id: RouterId, row: Row, router: &Router) {
        if let (Some(steady), Some(deadline)) = (router.steady(), router.next_timeout()) {
            self.fast_path.arm(id, row, steady.down_interval, deadline);
        } else {
            // The router's deadline has been in the heap since the input that ended the fast path.
            self.fast_path.disarm(id);
        }
    }

    /// Returns whether a router is on the fast path, in which case unchanged adverts move its
    /// deadline.
    pub(crate) fn is_on_fast_path(&self, id: RouterId) -> bool {
        self.fast_path.is_armed(id)
    }

    /// Removes a router's deadlines.
    pub(crate) fn remove(&mut self, id: RouterId) {
        self.fast_path.disarm(id);
        self.heap.disarm(id);
    }

    /// Collects the routers on the fast path whose deadline has passed. `arrival` returns the
    /// arrival time of a row's last unchanged advert.
    pub(crate) fn expire_fast_path(&mut self, now: Timestamp, arrival: impl Fn(Row) -> Timestamp) {
        let expired = &mut self.expired;
        self.fast_path.expire(now, arrival, |id| expired.push(id));
    }

    /// Returns a router whose deadline has passed. After its timeout has been handled, the router
    /// must be [armed](Self::arm) again.
    pub(crate) fn pop_expired(&mut self, now: Timestamp) -> Option<RouterId> {
        self.expired.pop().or_else(|| self.heap.pop_expired(now))
    }

    /// Returns the time of the engine's next wake-up: the earliest deadline in the heap or on the
    /// fast path. For a fast-path deadline that the engine may spin for, the wake-up is one spin
    /// window earlier. `next_timeout` returns the next timeout of a router.
    pub(crate) fn next(&mut self, next_timeout: impl Fn(RouterId) -> Option<Timestamp>) -> Option<Timestamp> {
        let fast_path = &self.fast_path;
        // An entry in the heap for a router that is now on the fast path is stale.
        let heap = self.heap.settle(|id| next_timeout(id).filter(|_| !fast_path.is_armed(id)));
        let spin_from = |next: Timestamp| Timestamp::from_nanos(next.as_nanos().saturating_sub(SPIN_WINDOW));
        let next = self.fast_path.next();
        let fast_path = if next == self.without_spin { next } else { next.map(spin_from) };
        [heap, fast_path].into_iter().flatten().min()
    }

    /// Returns the master-down deadline to spin for, if a deadline lies within the spin window.
    ///
    /// Returns `None` unless `spins` returns true for a router whose deadline is within the window.
    /// With `down_after_adverts = 1`, the next advert may still be in flight at every deadline, and
    /// spinning for every deadline would occupy a core.
    pub(crate) fn spin_deadline(
        &mut self,
        now: Timestamp,
        arrival: impl Fn(Row) -> Timestamp,
        spins: impl Fn(RouterId) -> bool,
    ) -> Option<Timestamp> {
        let mut soon = false;
        let window_ends = now + SPIN_WINDOW;
        self.fast_path.expire(window_ends, arrival, |id| soon |= spins(id));
        let next = self.fast_path.next().filter(|next| *next <= window_ends);
        self.without_spin = next.filter(|_| !soon);
        next.filter(|_| soon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_wakes_up_early_only_for_deadlines_that_it_spins_for() {
        let at = Timestamp::from_nanos;
        let [first, second] = [RouterId::new(0, 0), RouterId::new(1, 0)];
        let deadlines = [at(30_000_000), at(50_000_000)];
        let mut schedule = Schedule::default();
        for (id, (row, deadline)) in [first, second].into_iter().zip((1..).zip(deadlines)) {
            schedule.reserve(id);
            let row = Row::new(row).expect("rows start at 1");
            schedule.fast_path.arm(id, row, 30_000_000, deadline);
        }
        let mut spin_for = |now, spinning| {
            let spin = schedule.spin_deadline(now, |_| Timestamp::ZERO, |id| id == spinning);
            (spin, schedule.next(|_| None))
        };
        let early = deadlines.map(|deadline| at(deadline.as_nanos() - SPIN_WINDOW));
        assert_eq!(spin_for(at(1), first), (None, Some(early[0])), "no deadline is near");
        assert_eq!(spin_for(early[0], second), (None, Some(deadlines[0])), "it does not spin for the first");
        assert_eq!(spin_for(early[0], first).0, Some(deadlines[0]));
        schedule.expire_fast_path(deadlines[0], |_| Timestamp::ZERO);
        assert_eq!(schedule.pop_expired(deadlines[0]), Some(first));
        schedule.remove(first);
        schedule.expire_fast_path(deadlines[0], |_| Timestamp::ZERO);
        assert_eq!(schedule.next(|_| None), Some(early[1]));
    }
}
