//! Receives adverts from the BPF program: records in the ring, and arrival times of unchanged
//! adverts.

use std::hint;

use vipd_common::Timestamp;
use vipd_common::records::{AdvertRecord, RING_BYTES};

use super::attachment::unproven;
use super::command::Report;
use super::id::RouterId;
use super::instance::received;
use super::{Engine, RING_BUDGET, clock};
use crate::vrrp::Input;
use crate::xdp::Row;

impl Engine {
    /// Dispatches up to [`RING_BUDGET`] records from the ring. Returns whether more may be pending.
    pub(super) fn drain_ring(&mut self, now: Timestamp) -> bool {
        let (mut drained, mut bytes) = (0, 0);
        while drained < RING_BUDGET && self.receive(now) {
            drained += 1;
            bytes += size_of::<AdvertRecord>() + self.feed.packet().len();
        }
        // Records are lost only if the ring is full. In that case, the records that were pending
        // occupied at least a third of it, not counting headers and padding.
        if bytes >= RING_BYTES as usize / 3 {
            self.check_for_losses(now);
        }
        drained >= RING_BUDGET
    }

    /// Dispatches the next record from the ring. Returns whether there was a record.
    pub(super) fn receive(&mut self, now: Timestamp) -> bool {
        let record = self.feed.pop();
        if let Some(record) = &record {
            self.dispatch_record(now, record);
        }
        record.is_some()
    }

    /// Dispatches a record to its router, if the router still exists.
    ///
    /// An advert may have arrived after the turn's clock was read, for example because the process
    /// was stopped in between. Such an advert is handled with its arrival time as the current time.
    /// Otherwise, a deadline before the advert's arrival would not appear to have passed.
    pub(super) fn dispatch_record(&mut self, now: Timestamp, record: &AdvertRecord) {
        let router = Row::new(record.row).and_then(|row| self.topology.router_at(row));
        let Some((id, instance)) = router.and_then(|id| Some((id, self.topology.routers.get(id)?))) else {
            return;
        };
        let config = instance.router.config();
        // Ignores stale records: the row belonged to another router when the advert arrived, or the
        // interface has been replaced since.
        if (config.vrid, config.family.number()) != (record.vrid, record.family) {
            return;
        }
        let link = self.topology.links.get_mut(instance.link);
        let Some(link) = link.filter(|link| link.ifindex == Some(record.ifindex)) else { return };
        if let Some(io) = &mut link.io {
            io.watch.received(Timestamp::from_nanos(record.arrival));
        }
        let Some(instance) = self.topology.routers.get_mut(id) else { return };
        let now = handled_at(now, record);
        match instance.verify(record, self.feed.packet()) {
            Ok(Some(verified)) => {
                let row = instance.row;
                self.publish_sender(row, &verified, Timestamp::from_nanos(record.arrival));
            }
            Ok(None) => {}
            Err(refused) => {
                // Lifts the fence if this advert caused it: the BPF program does not store the
                // sequences of all senders, so it may not have recognized a replay.
                self.effects.keep_lease(now, instance);
                if let Some(refused) = refused {
                    self.reports.send(Report::AdvertRefused { router: id, refused });
                }
                return;
            }
        }
        self.dispatch_advert(now, id, Timestamp::from_nanos(record.last_unchanged), received(record));
    }

    /// Dispatches a feed loss to each router whose records were lost because the ring was full.
    fn check_for_losses(&mut self, now: Timestamp) {
        for slot in 0..self.topology.routers.slots() {
            let Some(id) = self.topology.routers.id_at(slot) else { continue };
            let Some(instance) = self.topology.routers.get(id) else { continue };
            if self.steady.take_lost(instance.row) {
                self.dispatch(now, id, Input::FeedLoss);
            }
        }
    }

    /// Busy-waits for a master-down deadline that lies within the spin window. This is rare,
    /// because adverts of a running master move the deadline long before then. Returns the time at
    /// which the call began.
    pub(super) fn spin(&mut self) -> Timestamp {
        let (steady, topology, prober) = (&self.steady, &self.topology, &self.prober);
        let now = clock::now();
        let deadline = self.schedule.spin_deadline(
            now,
            |row| steady.last_arrival(row),
            |id| {
                let Some(instance) = topology.routers.get(id) else { return false };
                // Probes are requested now, so that their results arrive while the engine spins.
                unproven(topology, steady, id, now).for_each(|attachment| prober.request_awaited(attachment));
                instance.router.config().down_after_adverts > 1
            },
        );
        if let Some(deadline) = deadline {
            while clock::now() < deadline {
                hint::spin_loop();
            }
        }
        now
    }

    /// Returns the time at which an advert was last dropped for exceeding the budget for signed
    /// adverts. Returns `None` unless the router has keys, is about to become master because no
    /// advert of a master has arrived, and has received no advert since that drop. The dropped
    /// adverts may include the master's. Without this check, a flood of forged adverts would cause
    /// a takeover.
    pub(super) fn lost_advert(&self, now: Timestamp, id: RouterId) -> Option<Timestamp> {
        let instance = self.topology.routers.get(id)?;
        instance.authentication.as_ref()?;
        let silent_since = instance.router.silent_since(now)?;
        Some(self.signers.last_drop(instance.row)).filter(|drop| *drop > silent_since)
    }

    /// Dispatches all timeouts that are due.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.elect_waiting(now);
        let steady = &self.steady;
        self.schedule.expire_fast_path(now, |row| steady.last_arrival(row));
        while let Some(id) = self.schedule.pop_expired(now) {
            if let Some(drop) = self.lost_advert(now, id) {
                // The advert may have arrived after the turn's clock was read.
                self.dispatch(now.max(drop), id, Input::FeedLoss);
            } else if self.may_elect(now, id) {
                self.measure_advert(now, id);
                self.dispatch(now, id, Input::Timeout);
            }
        }
    }
}

/// Returns the time to use for handling a record: `now` or the advert's arrival time, whichever is
/// later.
fn handled_at(now: Timestamp, record: &AdvertRecord) -> Timestamp {
    now.max(Timestamp::from_nanos(record.arrival))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_never_handled_before_its_arrival() {
        let record = AdvertRecord { arrival: 5_000, ..bytemuck::Zeroable::zeroed() };
        for (now, expected) in [(1_000, 5_000), (5_000, 5_000), (9_000, 9_000)] {
            assert_eq!(handled_at(Timestamp::from_nanos(now), &record), Timestamp::from_nanos(expected));
        }
    }
}
