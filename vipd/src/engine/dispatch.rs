//! The only caller of [`Router::handle`](crate::vrrp::Router::handle): every input of a router
//! passes through here.
//!
//! ```text
//!  ring record, timeout, netlink, command
//!        │ dispatch(now, router, input)
//!        ▼
//!  worklist ──► unchanged adverts first (FastPath) ──► Router::handle
//!                                                        ├─► actions ──► Effects, carried out at the end of the turn
//!                                                        ├─► events  ──► log; state changes to the bus, too
//!                                                        └─► next timeout ──► Schedule
//! ```

use vipd_common::Timestamp;

use super::Engine;
use super::id::RouterId;
use crate::vrrp::{FastPathSlot, Input, Received, Steady};
use crate::xdp::{self, Row};

use super::instance::fingerprint_of;

impl Engine {
    /// Passes an input to a router, after any unchanged advert that arrived earlier. Otherwise the
    /// master-down timer could fire although an advert has arrived.
    pub(super) fn dispatch(&mut self, now: Timestamp, router: RouterId, input: Input) {
        self.catch_up(router);
        self.worklist.push_back((router, input));
        self.work(now);
    }

    /// Passes an advert of the ring to a router. `before` is the arrival of the last unchanged
    /// advert before it.
    pub(super) fn dispatch_advert(
        &mut self,
        now: Timestamp,
        router: RouterId,
        before: Timestamp,
        advert: Option<Received>,
    ) {
        let Some(instance) = self.topology.routers.get_mut(router) else { return };
        let unchanged = instance.fast_path.catch_up(before);
        if let Some(advert) = &advert {
            instance.fast_path.handled(advert.arrival);
        }
        let adverts = [unchanged, advert].into_iter().flatten();
        self.worklist.extend(adverts.map(|advert| (router, Input::Advert(advert))));
        self.work(now);
    }

    /// Passes the last unchanged advert to a router.
    pub(super) fn dispatch_unchanged(&mut self, now: Timestamp, router: RouterId) {
        self.catch_up(router);
        self.work(now);
    }

    fn catch_up(&mut self, router: RouterId) {
        if !self.schedule.is_on_fast_path(router) {
            return;
        }
        let Some(instance) = self.topology.routers.get_mut(router) else { return };
        let arrival = self.steady.last_arrival(instance.row);
        let unchanged = instance.fast_path.catch_up(arrival);
        self.worklist.extend(unchanged.map(|advert| (router, Input::Advert(advert))));
    }

    /// Handles all inputs of the worklist, in order.
    fn work(&mut self, now: Timestamp) {
        while let Some((router, input)) = self.worklist.pop_front() {
            self.handle(now, router, input);
        }
    }

    fn handle(&mut self, now: Timestamp, id: RouterId, input: Input) {
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let router = &mut instance.router;
        router.handle(now, input);
        while let Some(action) = router.poll_action() {
            self.effects.push(id, action);
        }
        while let Some(event) = router.poll_event() {
            self.reports.event(now, id, event);
        }
        let published = router.steady().as_ref() == instance.fast_path.published();
        if !published && !std::mem::replace(&mut instance.dirty, true) {
            self.dirty.push(id);
        }
        self.schedule.arm(id, published, &instance.router);
    }

    /// Publishes the unchanged advert of each router where it differs from the published one.
    /// Returns whether an advert equal to a previously published one arrived just before: its
    /// actions need another turn.
    pub(super) fn publish_fast_paths(&mut self, now: Timestamp) -> bool {
        let mut more = false;
        let count = self.dirty.len();
        for position in 0..count {
            let Some(id) = self.dirty.get(position).copied() else { break };
            let Some(instance) = self.topology.routers.get_mut(id) else { continue };
            instance.dirty = false;
            let steady = instance.router.steady();
            // The inputs of a turn may cancel each other out.
            if steady.as_ref() == instance.fast_path.published() {
                continue;
            }
            let row = instance.row;
            let former = instance.fast_path.publish(steady, &mut Slot { steady: &self.steady, row });
            self.schedule.published(id, row, &instance.router);
            if let Some(advert) = former {
                more = true;
                self.worklist.push_back((id, Input::Advert(advert)));
                self.work(now);
            }
        }
        self.dirty.drain(..count);
        more
    }
}

/// A router's row in the XDP program's map `STEADY`.
struct Slot<'a> {
    steady: &'a xdp::Steady,
    row: Row,
}

impl FastPathSlot for Slot<'_> {
    fn publish(&mut self, unchanged: Option<&Steady>, arrival: Timestamp) -> Timestamp {
        self.steady.publish(self.row, unchanged.map(fingerprint_of), arrival)
    }
}
