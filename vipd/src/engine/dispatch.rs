//! Passes inputs to the routers. No other module of the agent calls
//! [`Router::handle`](crate::vrrp::Router::handle).
//!
//! ```text
//!  ring record, timeout, netlink, command
//!        │ dispatch(now, router, input)
//!        ▼
//!  worklist ──► unchanged adverts first (FastPath) ──► Router::handle
//!                                                        ├─► actions ──► Effects, carried out at the end of the turn
//!                                                        ├─► events  ──► log; state changes also to the bus
//!                                                        └─► next timeout ──► Schedule
//! ```

use vipd_common::Timestamp;

use super::Engine;
use super::id::RouterId;
use crate::vrrp::{Event, FastPathSlot, Input, Received, State, Steady};
use crate::xdp::{self, Row};

use super::instance::fingerprint_of;

impl Engine {
    /// Passes an input to a router. Any unchanged advert that has arrived is handled first, so that
    /// the master-down timer cannot fire although an advert has arrived.
    pub(super) fn dispatch(&mut self, now: Timestamp, router: RouterId, input: Input) {
        self.catch_up_group(now, router, input);
        self.catch_up(router);
        self.worklist.push_back((router, input));
        self.work(now);
    }

    /// Passes an advert from the ring to a router, after the last unchanged advert, which arrived
    /// at `before`. `advert` is `None` if the record cannot be converted.
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
        if let Some(instance) = self.topology.routers.get(router) {
            self.effects.keep_lease(now, instance);
        }
    }

    /// Passes a router's last unchanged advert to the router, unless this advert has already been
    /// handled.
    pub(super) fn dispatch_unchanged(&mut self, now: Timestamp, router: RouterId) {
        self.catch_up(router);
        self.work(now);
    }

    /// Queues a router's last unchanged advert, unless this advert has already been handled.
    pub(super) fn catch_up(&mut self, router: RouterId) {
        let unchanged = self.unchanged_advert(router);
        self.worklist.extend(unchanged.map(|advert| (router, Input::Advert(advert))));
    }

    /// Returns a router's last unchanged advert, unless this advert has already been handled.
    pub(super) fn unchanged_advert(&mut self, router: RouterId) -> Option<Received> {
        if !self.schedule.is_on_fast_path(router) {
            return None;
        }
        let instance = self.topology.routers.get_mut(router)?;
        let arrival = self.steady.last_arrival(instance.row);
        instance.fast_path.catch_up(arrival)
    }

    /// Handles all inputs in the worklist, in order.
    fn work(&mut self, now: Timestamp) {
        while let Some((router, input)) = self.worklist.pop_front() {
            self.handle(now, router, input);
            self.follow_up(now);
        }
    }

    pub(super) fn handle(&mut self, now: Timestamp, id: RouterId, input: Input) {
        let input = self.adjusted(now, id, input);
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        instance.router.handle(now, input);
        self.settle(now, id);
        if let Input::Priority(_) = input {
            self.member_changed(id);
        }
    }

    /// Collects a router's actions and events, and records its next timeout.
    pub(super) fn settle(&mut self, now: Timestamp, id: RouterId) {
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let router = &mut instance.router;
        while let Some(action) = router.poll_action() {
            self.effects.push(id, action);
        }
        while let Some(event) = router.poll_event() {
            self.reports.event(now, id, event);
            if let Event::StateChanged { to: State::Master, late, .. } = event {
                self.measure.begin_takeover(now, late);
            }
            if instance.group.is_some() && matches!(event, Event::StateChanged { .. }) {
                self.changed.push(id);
            }
        }
        let published = router.steady().as_ref() == instance.fast_path.published();
        if !published && !std::mem::replace(&mut instance.dirty, true) {
            self.dirty.push(id);
        }
        self.schedule.arm(id, published, &instance.router);
    }

    /// Publishes each fast path that has changed. Returns whether another turn is needed: an advert
    /// that arrived on the former fast path just before the change may have caused actions.
    pub(super) fn publish_fast_paths(&mut self, now: Timestamp) -> bool {
        let mut more = false;
        let count = self.dirty.len();
        for position in 0..count {
            let Some(id) = self.dirty.get(position).copied() else { break };
            let Some(instance) = self.topology.routers.get_mut(id) else { continue };
            instance.dirty = false;
            let steady = instance.router.steady();
            // Several inputs in one turn may have canceled each other out.
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

/// A router's row in the BPF program's array `STEADY`.
struct Slot<'a> {
    steady: &'a xdp::Steady,
    row: Row,
}

impl FastPathSlot for Slot<'_> {
    fn publish(&mut self, unchanged: Option<&Steady>, arrival: Timestamp) -> Timestamp {
        self.steady.publish(self.row, unchanged.map(fingerprint_of), arrival)
    }
}
