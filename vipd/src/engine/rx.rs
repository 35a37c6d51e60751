//! What the kernel side has heard: records in the ring, and the times of adverts that say nothing new.

use std::hint;

use vipd_common::Timestamp;
use vipd_common::counters::Counter;
use vipd_common::records::AdvertRecord;

use super::{AWAKE_BEFORE, Engine};
use crate::engine::clock;
use crate::engine::instance::{fingerprint_of, received};
use crate::vrrp::Input;
use crate::xdp::MAX_PENDING;

impl Engine {
    /// Hands over what has arrived. Whether there may be more.
    pub(crate) fn drain_feed(&mut self, now: Timestamp) -> bool {
        let mut drained = 0;
        while self.hear_one(now) {
            drained += 1;
            // Under a flood the ring never ends: what came after `now` may wait for the next turn.
            if drained >= MAX_PENDING {
                break;
            }
        }
        // A record is lost only to a full ring, and then at least so much was pending.
        if drained >= MAX_PENDING / 2 {
            self.look_for_losses(now);
        }
        drained >= MAX_PENDING
    }

    /// Hands over one advert, if there is one.
    pub(crate) fn hear_one(&mut self, now: Timestamp) -> bool {
        let record = self.feed.pop();
        if let Some(record) = &record {
            self.advert(now, record);
        }
        record.is_some()
    }

    fn advert(&mut self, now: Timestamp, record: &AdvertRecord) {
        let Some(index) = (record.row as usize).checked_sub(1) else { return };
        let Some(instance) = self.instances.get(index) else { return };
        let interface = self.interfaces.0.get(instance.interface);
        // A record of the interface's former life is not of this one.
        if interface.is_none_or(|interface| interface.ifindex != Some(record.ifindex)) {
            return;
        }
        // What came before it is heard before it.
        self.hear_steady(now, index, Timestamp::from_nanos(record.before));
        if let Some(advert) = received(record) {
            self.handle(index, now, Input::Advert(advert));
            if let Some(instance) = self.instances.get_mut(index) {
                instance.heard = instance.heard.max(advert.arrival);
            }
        }
    }

    /// Hands over the steady advert that came at `arrival`, unless it was heard already.
    fn hear_steady(&mut self, now: Timestamp, index: usize, arrival: Timestamp) {
        let Some(instance) = self.instances.get_mut(index) else { return };
        if let Some(steady) = instance.steady
            && arrival > instance.heard
        {
            instance.heard = arrival;
            self.handle(index, now, Input::Advert(steady.at(arrival)));
        }
    }

    /// Hands over what an instance has heard without a record.
    pub(crate) fn catch_up(&mut self, now: Timestamp, index: usize) {
        if self.vigil.is_kept(index) {
            let heard = self.steady.heard(index + 1);
            self.hear_steady(now, index, heard);
        }
    }

    /// With nothing else to do, the last moments before a master is missed are spent awake: the way out of a timer takes as long.
    /// A master that lives was heard meanwhile, for several adverts must be missing. Where one is enough, the next may still be
    /// on its way, and nobody stays up for each.
    pub(crate) fn stay_awake(&mut self) {
        let soon = clock::now() + AWAKE_BEFORE;
        let (steady, instances, mut silent) = (&self.steady, &self.instances, false);
        self.vigil.look(
            soon,
            |index| steady.heard(index + 1),
            |index| {
                let router = instances.get(index).map(|instance| instance.router.config());
                silent |= router.is_some_and(|config| config.down_after_adverts > 1);
            },
        );
        if let (true, Some(next)) = (silent, self.vigil.next()) {
            while clock::now() < next {
                hint::spin_loop();
            }
        }
    }

    /// Serves those whose steady advert has not come.
    pub(crate) fn miss_masters(&mut self, now: Timestamp) {
        let (steady, silent) = (&self.steady, &mut self.silent);
        self.vigil.look(now, |index| steady.heard(index + 1), |index| silent.push(index));
        while let Some(index) = self.silent.pop() {
            self.handle(index, now, Input::Timeout);
        }
    }

    /// Lets the kernel side know which adverts say nothing new. Whether the former ones had been heard once more: what follows
    /// from that is the next turn's.
    pub(crate) fn tell_what_is_steady(&mut self, now: Timestamp) -> bool {
        let mut heard_more = false;
        let count = self.unsteady.len();
        for place in 0..count {
            let Some(index) = self.unsteady.get(place).copied() else { break };
            let Some(instance) = self.instances.get_mut(index) else { continue };
            let steady = instance.router.steady();
            // Several turns of a router in one of ours come to one change, or to none.
            if steady == instance.steady {
                continue;
            }
            let last = self.steady.expect(index + 1, steady.map(fingerprint_of), instance.heard);
            let former = std::mem::replace(&mut instance.steady, steady);
            if let (Some(steady), Some(deadline)) = (steady, instance.router.next_timeout()) {
                self.vigil.keep(index, steady.down_interval, deadline);
            } else {
                // The heap has its deadline since the input that ended it.
                self.vigil.end(index);
            }
            // A surprise that came microseconds before it may be unread in the ring: those two change places.
            if let Some(former) = former
                && last > instance.heard
            {
                instance.heard = last;
                heard_more = true;
                self.handle(index, now, Input::Advert(former.at(last)));
            }
        }
        self.unsteady.drain(..count);
        heard_more
    }

    fn look_for_losses(&mut self, now: Timestamp) {
        for (index, row) in (0..self.instances.len()).zip(1u32..) {
            let Ok(cells) = self.counters.row(row) else { continue };
            let lost = cells.get(Counter::RingFull);
            let Some(instance) = self.instances.get_mut(index) else { continue };
            if std::mem::replace(&mut instance.ring_full, lost) != lost {
                self.handle(index, now, Input::FeedLoss);
            }
        }
    }
}
