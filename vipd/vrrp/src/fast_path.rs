//! The fast path: for unchanged adverts, the BPF program stores only the last arrival time.
//!
//! A backup receives the same advert over and over, and only the last arrival matters. The engine
//! publishes that advert ([`Router::steady`](crate::Router::steady)). The BPF program then only
//! stores the arrival time of adverts equal to the published advert, and writes records for all
//! other adverts. [`FastPath`] preserves the order of inputs, as if every advert had been recorded:
//!
//! * Before any other input, the last unchanged advert is passed to the router
//!   ([`FastPath::catch_up`]).
//! * The record of a changed advert includes the arrival time of the last unchanged advert before
//!   it. That unchanged advert is handled first.
//! * Just before a new advert is published, an advert equal to the previously published one may
//!   have arrived. [`FastPath::publish`] returns that advert.

use vipd_common::Timestamp;

use crate::input::Received;
use crate::output::Steady;

/// The BPF program's side of one virtual router's fast path.
pub trait FastPathSlot {
    /// Publishes `unchanged` with `arrival` as its last arrival time so far. If `unchanged` is
    /// `None`, every advert is recorded. Returns the last arrival time of the previously published
    /// advert.
    fn publish(&mut self, unchanged: Option<&Steady>, arrival: Timestamp) -> Timestamp;
}

/// User space's side of the fast path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FastPath {
    published: Option<Steady>,
    /// Arrival time of the last advert that the router handled.
    handled: Timestamp,
}

impl FastPath {
    pub(crate) fn from_parts(published: Option<Steady>, handled: Timestamp) -> Self {
        Self { published, handled }
    }

    pub(crate) fn last_handled(&self) -> Timestamp {
        self.handled
    }

    /// Returns the published advert; `None` while every advert is recorded.
    pub fn published(&self) -> Option<&Steady> {
        self.published.as_ref()
    }

    /// Returns the unchanged advert that arrived at `arrival`, unless the router has already
    /// handled it. Pass the returned advert to the router before any other input.
    pub fn catch_up(&mut self, arrival: Timestamp) -> Option<Received> {
        let unchanged = self.published.filter(|_| arrival > self.handled)?;
        self.handled = arrival;
        Some(unchanged.at(arrival))
    }

    /// Records the arrival time of an advert that the router has handled.
    pub fn handled(&mut self, arrival: Timestamp) {
        self.handled = self.handled.max(arrival);
    }

    /// Publishes `steady`, from [`Router::steady`](crate::Router::steady), if it has changed.
    ///
    /// Returns the last advert equal to the previously published one if that advert arrived before
    /// the change and has not been handled. Pass the returned advert to the router, then call this
    /// method again. If a record from a few microseconds earlier is still unread, the returned
    /// advert is handled before that record.
    pub fn publish(&mut self, steady: Option<Steady>, slot: &mut impl FastPathSlot) -> Option<Received> {
        if steady == self.published {
            return None;
        }
        let last = slot.publish(steady.as_ref(), self.handled);
        let former = core::mem::replace(&mut self.published, steady)?;
        if last <= self.handled {
            return None;
        }
        self.handled = last;
        Some(former.at(last))
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use vipd_common::parse::ChecksumForm;

    use super::*;

    /// The last arrival of the published advert.
    struct Slot(Timestamp);

    impl FastPathSlot for Slot {
        fn publish(&mut self, _: Option<&Steady>, arrival: Timestamp) -> Timestamp {
            core::mem::replace(&mut self.0, arrival)
        }
    }

    fn steady(priority: u8) -> Steady {
        Steady {
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            priority,
            interval: 100,
            addresses: 7,
            checksum: ChecksumForm::Rfc5798,
            down_interval: 3,
        }
    }

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn an_unchanged_advert_is_returned_once() {
        let mut path = FastPath::default();
        assert_eq!(path.catch_up(at(5)), None, "nothing published yet");
        assert_eq!(path.publish(Some(steady(200)), &mut Slot(at(5))), None);
        assert_eq!(path.catch_up(at(10)), Some(steady(200).at(at(10))));
        assert_eq!(path.catch_up(at(10)), None);
        path.handled(at(20));
        assert_eq!(path.catch_up(at(15)), None, "a later advert has been handled");
    }

    #[test]
    fn an_unchanged_advert_that_arrives_just_before_a_change_is_not_lost() {
        let mut path = FastPath::default();
        let mut slot = Slot(at(0));
        assert_eq!(path.publish(Some(steady(200)), &mut slot), None);
        path.handled(at(30));
        slot.0 = at(40);
        assert_eq!(path.publish(Some(steady(150)), &mut slot), Some(steady(200).at(at(40))));
        assert_eq!(slot.0, at(30), "starts at the last handled arrival");
        assert_eq!(path.publish(Some(steady(150)), &mut slot), None, "already published");
        slot.0 = at(35);
        assert_eq!(path.publish(None, &mut slot), None, "already handled");
        assert_eq!(path.published(), None);
    }
}
