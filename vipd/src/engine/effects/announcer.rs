//! The queue of announcements, which determines the order of gratuitous ARPs and Neighbor
//! Advertisements.
//!
//! A burst consists of several rounds over a router's addresses. With many addresses, a burst has
//! hundreds of packets, which must not delay adverts. The queue therefore returns one packet at a
//! time, and serves the bursts that are ready round by round: all first rounds come before any
//! second round. A burst whose next packet must wait does not block other routers. In a paced burst
//! (`garp.interval`), each packet has its own due time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use vipd_common::Timestamp;

use crate::engine::id::{Id as _, RouterId};
use crate::vrrp::{Addresses, VirtualAddress};

/// A burst of announcements. Bursts are ordered by round, then by the order in which they were
/// queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    round: u8,
    order: u64,
    router: RouterId,
    addresses: Addresses,
    rounds: u8,
    /// Position of the next address.
    position: usize,
    /// Time between two packets, in nanoseconds.
    interval: u64,
}

impl Ord for Burst {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.round, self.order).cmp(&(other.round, other.order))
    }
}

impl PartialOrd for Burst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A paced burst of which some packets have already been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacedBurst {
    pub(crate) router: RouterId,
    pub(crate) addresses: Addresses,
    pub(crate) round: u8,
    pub(crate) rounds: u8,
    /// Position of the next address.
    pub(crate) position: usize,
    /// Time between two packets, in nanoseconds.
    pub(crate) interval: u64,
    /// Due time of the next packet.
    pub(crate) due: Timestamp,
}

/// An announcement to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) router: RouterId,
    /// Position in [`RouterConfig::all_addresses`](crate::vrrp::RouterConfig::all_addresses).
    pub(crate) position: usize,
}

/// The queue of bursts.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    /// Bursts whose next packet can be sent immediately.
    ready: BinaryHeap<Reverse<Burst>>,
    /// Paced bursts, by the due time of their next packet.
    paced: BinaryHeap<Reverse<(Timestamp, Burst)>>,
    /// Number of bursts queued so far.
    queued: u64,
    /// For each router slot, the `order` up to which bursts are void. Void bursts stay in the heaps
    /// and are skipped later, so that silencing a router requires no search.
    void: Vec<u64>,
    /// Bursts that wait for [`Announcer::resume`], because their next packet cannot be sent yet.
    waiting: Vec<Burst>,
}

impl Announcer {
    /// Queues a burst that may start immediately. `interval` is the time between two packets of the
    /// burst, in nanoseconds.
    pub(crate) fn push(&mut self, router: RouterId, addresses: Addresses, rounds: u8, interval: u64) {
        // A paced burst over all addresses replaces the router's earlier bursts, because two paced
        // bursts would double the rate.
        if interval > 0 && matches!(addresses, Addresses::All) {
            self.silence(router);
        }
        self.queued += 1;
        let order = self.queued;
        self.ready.push(Reverse(Burst { round: 0, order, router, addresses, rounds, position: 0, interval }));
    }

    /// Drops all bursts of a router, for example before its addresses are removed.
    pub(crate) fn silence(&mut self, router: RouterId) {
        let slots = self.void.len().max(router.index() + 1);
        self.void.resize(slots, 0);
        if let Some(void) = self.void.get_mut(router.index()) {
            *void = self.queued;
        }
    }

    /// Restarts the current round of each burst of a router, because the positions of its addresses
    /// have changed.
    pub(crate) fn restart_round(&mut self, router: RouterId) {
        let restart = |burst: &mut Burst| {
            if burst.router == router {
                burst.position = 0;
            }
        };
        let mut ready = std::mem::take(&mut self.ready).into_vec();
        for Reverse(burst) in &mut ready {
            restart(burst);
        }
        self.ready = ready.into();
        let mut paced = std::mem::take(&mut self.paced).into_vec();
        for Reverse((_, burst)) in &mut paced {
            restart(burst);
        }
        self.paced = paced.into();
        self.waiting.iter_mut().for_each(restart);
    }

    fn is_void(&self, burst: &Burst) -> bool {
        self.void.get(burst.router.index()).is_some_and(|void| burst.order <= *void)
    }

    /// Returns whether any burst is ready, including void bursts.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns whether the first announcement of an address can be sent immediately.
    pub(crate) fn is_urgent(&self) -> bool {
        self.ready.iter().any(|Reverse(burst)| burst.round == 0 && !self.is_void(burst))
    }

    /// Returns the time at which the next paced packet is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.paced.peek().map(|Reverse((due, _))| *due)
    }

    /// Returns the next packet to send at `now`. If `wanted` returns false for a packet, the bursts
    /// of its router wait until [`resume`](Self::resume), while other routers continue. `addresses`
    /// returns the addresses of a router.
    pub(crate) fn pop_if<'a>(
        &mut self,
        now: Timestamp,
        addresses: impl Fn(RouterId) -> &'a [VirtualAddress],
        wanted: impl Fn(Packet) -> bool,
    ) -> Option<Packet> {
        while self.next().is_some_and(|due| due <= now) {
            self.ready.extend(self.paced.pop().map(|Reverse((_, burst))| Reverse(burst)));
        }
        while let Some(Reverse(mut burst)) = self.ready.pop() {
            if self.is_void(&burst) {
                continue;
            }
            if self.waiting.iter().any(|waiting| waiting.router == burst.router) {
                self.waiting.push(burst);
                continue;
            }
            let all = addresses(burst.router);
            let is_included = |vip: &VirtualAddress| {
                matches!(burst.addresses, Addresses::All) || burst.addresses == Addresses::One(*vip)
            };
            let rest = all.get(burst.position..).unwrap_or_default();
            if let Some(skipped) = rest.iter().position(is_included) {
                let packet = Packet { router: burst.router, position: burst.position + skipped };
                if !wanted(packet) {
                    self.waiting.push(burst);
                    continue;
                }
                burst.position = packet.position + 1;
                if burst.interval > 0 {
                    self.paced.push(Reverse((now + burst.interval, burst)));
                } else {
                    self.ready.push(Reverse(burst));
                }
                return Some(packet);
            }
            // The round is complete. A burst without any packets also ends here.
            if burst.round + 1 < burst.rounds && burst.position > 0 {
                burst.round += 1;
                burst.position = 0;
                self.ready.push(Reverse(burst));
            }
        }
        None
    }

    /// Iterates over the paced bursts that are not void.
    pub(crate) fn paced(&self) -> impl Iterator<Item = PacedBurst> + '_ {
        let valid = self.paced.iter().filter(|Reverse((_, burst))| !self.is_void(burst));
        valid.map(|Reverse((due, burst))| {
            let Burst { round, router, addresses, rounds, position, interval, .. } = *burst;
            PacedBurst { router, addresses, round, rounds, position, interval, due: *due }
        })
    }

    /// Continues a paced burst of the predecessor.
    pub(crate) fn continue_burst(&mut self, burst: PacedBurst) {
        let PacedBurst { router, addresses, round, rounds, position, interval, due } = burst;
        self.queued += 1;
        let order = self.queued;
        let burst = Burst { round, order, router, addresses, rounds, position, interval };
        self.paced.push(Reverse((due, burst)));
    }

    /// Resumes the waiting bursts.
    pub(crate) fn resume(&mut self) {
        self.ready.extend(self.waiting.drain(..).map(Reverse));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_nanos(1_000);

    fn id(index: u32) -> RouterId {
        RouterId::new(index, 0)
    }

    fn number(id: RouterId) -> u32 {
        u32::try_from(id.index()).expect("a small slot")
    }

    fn vips(count: u8) -> Vec<VirtualAddress> {
        (0..count).map(|last| VirtualAddress { address: [10, 0, 0, last].into(), prefix: 24 }).collect()
    }

    fn drain(announcer: &mut Announcer, now: Timestamp, vips: &[VirtualAddress]) -> Vec<(u32, usize)> {
        std::iter::from_fn(|| announcer.pop_if(now, |_| vips, |_| true))
            .map(|sent| (number(sent.router), sent.position))
            .collect()
    }

    #[test]
    fn first_rounds_of_all_routers_precede_second_rounds() {
        let vips = vips(2);
        let mut announcer = Announcer::default();
        announcer.push(id(7), Addresses::All, 2, 0);
        announcer.push(id(3), Addresses::One(vips[1]), 2, 0);
        let sent = drain(&mut announcer, T0, &vips);
        assert_eq!(sent, [(7, 0), (7, 1), (3, 1), (7, 0), (7, 1), (3, 1)]);
        assert!(!announcer.is_ready());
    }

    #[test]
    fn packet_that_must_wait_blocks_only_its_router() {
        let vips = vips(3);
        let mut announcer = Announcer::default();
        announcer.push(id(0), Addresses::All, 1, 0);
        announcer.push(id(0), Addresses::One(vips[0]), 1, 0);
        announcer.push(id(1), Addresses::All, 1, 0);
        assert!(announcer.is_urgent());
        // Address 1 of router 0 has not been added yet.
        let blocked = Packet { router: id(0), position: 1 };
        let sent = std::iter::from_fn(|| announcer.pop_if(T0, |_| &vips, |packet| packet != blocked));
        let sent: Vec<_> = sent.map(|packet| (number(packet.router), packet.position)).collect();
        assert_eq!(sent, [(0, 0), (1, 0), (1, 1), (1, 2)]);
        announcer.resume();
        assert!(announcer.is_urgent());
        assert_eq!(drain(&mut announcer, T0, &vips), [(0, 1), (0, 2), (0, 0)], "in order");
        assert!(!announcer.is_ready());
    }

    #[test]
    fn only_the_first_round_is_urgent() {
        let vips = vips(1);
        let mut announcer = Announcer::default();
        announcer.push(id(0), Addresses::All, 2, 0);
        assert!(announcer.is_urgent());
        let next = |announcer: &mut Announcer| announcer.pop_if(T0, |_| &vips, |_| true);
        assert!(next(&mut announcer).is_some() && next(&mut announcer).is_some());
        assert!(announcer.is_ready() && !announcer.is_urgent());
    }

    #[test]
    fn first_round_of_a_silenced_router_does_not_hide_that_of_another() {
        let vips = vips(1);
        let mut announcer = Announcer::default();
        announcer.push(id(0), Addresses::All, 1, 0);
        announcer.push(id(1), Addresses::All, 1, 0);
        announcer.silence(id(0));
        assert!(announcer.is_urgent());
        assert_eq!(drain(&mut announcer, T0, &vips), [(1, 0)]);
        assert!(!announcer.is_urgent());
    }

    #[test]
    fn paced_burst_keeps_its_interval_and_does_not_block_others() {
        let vips = vips(2);
        let mut announcer = Announcer::default();
        announcer.push(id(0), Addresses::All, 2, 100);
        assert_eq!(drain(&mut announcer, T0, &vips), [(0, 0)]);
        announcer.push(id(1), Addresses::All, 1, 0);
        assert_eq!(drain(&mut announcer, T0 + 50, &vips), [(1, 0), (1, 1)]);
        assert_eq!(announcer.next(), Some(T0 + 100));
        assert_eq!(drain(&mut announcer, T0 + 100, &vips), [(0, 1)]);
        assert_eq!(drain(&mut announcer, T0 + 200, &vips), [(0, 0)]);
        assert_eq!(drain(&mut announcer, T0 + 300, &vips), [(0, 1)]);
        assert_eq!(drain(&mut announcer, T0 + 10_000, &vips), []);
        assert_eq!(announcer.next(), None);
    }

    #[test]
    fn silenced_router_sends_only_later_bursts() {
        let vips = vips(2);
        let mut announcer = Announcer::default();
        announcer.push(id(0), Addresses::All, 5, 0);
        announcer.push(id(1), Addresses::All, 1, 0);
        announcer.silence(id(0));
        assert_eq!(drain(&mut announcer, T0, &vips), [(1, 0), (1, 1)]);
        announcer.push(id(0), Addresses::All, 1, 0);
        assert_eq!(drain(&mut announcer, T0, &vips), [(0, 0), (0, 1)], "later bursts are sent");
    }

    #[test]
    fn burst_without_addresses_ends() {
        let mut announcer = Announcer::default();
        announcer.push(id(0), Addresses::All, 255, 0);
        assert_eq!(drain(&mut announcer, T0, &[]), []);
        assert_eq!(announcer.next(), None);
    }
}
