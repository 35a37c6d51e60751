//! Announcements on their way: who is told where the addresses are, packet by packet.
//!
//! A burst is rounds × addresses, hundreds of packets for some configurations, and none of them may keep an advert
//! waiting. So they lie in a queue that gives out a few at a time, round by round over all routers: everybody's
//! first round leaves before anybody's second. A paced burst (`garp.interval`) has a time for each of its packets.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use vipd_common::Timestamp;

use crate::vrrp::{Addresses, VirtualAddress};

/// One burst. Ordered by round, then by who asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    round: u8,
    order: u64,
    instance: usize,
    addresses: Addresses,
    rounds: u8,
    /// Which address is next.
    position: usize,
    /// Nanoseconds between two packets.
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

/// One packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// For which instance.
    pub(crate) instance: usize,
    /// Which of [`RouterConfig::all_addresses`](crate::vrrp::RouterConfig::all_addresses).
    pub(crate) position: usize,
}

/// All bursts.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    /// Those that may go on at once.
    ready: BinaryHeap<Reverse<Burst>>,
    /// Those that are paced, by when they go on.
    paced: BinaryHeap<Reverse<(Timestamp, Burst)>>,
    asked: u64,
}

impl Announcer {
    /// Takes a burst in; it may begin at once. `interval` is the nanoseconds between two of its packets.
    pub(crate) fn push(&mut self, instance: usize, addresses: Addresses, rounds: u8, interval: u64) {
        // One at a time keeps its pace; of several, each would keep its own.
        if interval > 0 && matches!(addresses, Addresses::All) {
            self.silence(instance);
        }
        self.asked += 1;
        let order = self.asked;
        self.ready.push(Reverse(Burst {
            round: 0,
            order,
            instance,
            addresses,
            rounds,
            position: 0,
            interval,
        }));
    }

    /// Forgets what an instance had to say: it has lost the addresses.
    pub(crate) fn silence(&mut self, instance: usize) {
        self.ready.retain(|Reverse(burst)| burst.instance != instance);
        self.paced.retain(|Reverse((_, burst))| burst.instance != instance);
    }

    /// Whether there is something to send at once.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something waits that was not said at all yet.
    pub(crate) fn is_urgent(&self) -> bool {
        self.ready.peek().is_some_and(|Reverse(burst)| burst.round == 0)
    }

    /// When the next paced packet is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.paced.peek().map(|Reverse((due, _))| *due)
    }

    /// The next packet to send at `now`, if it is `wanted`: one that is not stays the next. `addresses` are those of an
    /// instance.
    pub(crate) fn pop_if<'a>(
        &mut self,
        now: Timestamp,
        addresses: impl Fn(usize) -> &'a [VirtualAddress],
        wanted: impl FnOnce(Packet) -> bool,
    ) -> Option<Packet> {
        while self.next().is_some_and(|due| due <= now) {
            self.ready.extend(self.paced.pop().map(|Reverse((_, burst))| Reverse(burst)));
        }
        while let Some(Reverse(mut burst)) = self.ready.pop() {
            let all = addresses(burst.instance);
            let meant = |vip: &VirtualAddress| {
                matches!(burst.addresses, Addresses::All) || burst.addresses == Addresses::One(*vip)
            };
            let rest = all.get(burst.position..).unwrap_or_default();
            if let Some(skipped) = rest.iter().position(meant) {
                let packet = Packet { instance: burst.instance, position: burst.position + skipped };
                if !wanted(packet) {
                    self.ready.push(Reverse(burst));
                    return None;
                }
                burst.position = packet.position + 1;
                if burst.interval > 0 {
                    self.paced.push(Reverse((now + burst.interval, burst)));
                } else {
                    self.ready.push(Reverse(burst));
                }
                return Some(packet);
            }
            // The round is over; one without a packet would never end.
            if burst.round + 1 < burst.rounds && burst.position > 0 {
                burst.round += 1;
                burst.position = 0;
                self.ready.push(Reverse(burst));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_nanos(1_000);

    fn vips(count: u8) -> Vec<VirtualAddress> {
        (0..count).map(|last| VirtualAddress { address: [10, 0, 0, last].into(), prefix: 24 }).collect()
    }

    fn drain(announcer: &mut Announcer, now: Timestamp, vips: &[VirtualAddress]) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| announcer.pop_if(now, |_| vips, |_| true))
            .map(|sent| (sent.instance, sent.position))
            .collect()
    }

    #[test]
    fn everybody_s_first_round_leaves_before_anybody_s_second() {
        let vips = vips(2);
        let mut announcer = Announcer::default();
        announcer.push(7, Addresses::All, 2, 0);
        announcer.push(3, Addresses::One(vips[1]), 2, 0);
        let sent = drain(&mut announcer, T0, &vips);
        assert_eq!(sent, [(7, 0), (7, 1), (3, 1), (7, 0), (7, 1), (3, 1)]);
        assert!(!announcer.is_ready());
    }

    #[test]
    fn what_is_not_wanted_yet_stays_the_next_and_holds_back_what_is_behind_it() {
        let vips = vips(3);
        let mut announcer = Announcer::default();
        announcer.push(0, Addresses::All, 2, 0);
        announcer.push(1, Addresses::All, 1, 0);
        assert!(announcer.is_urgent());
        let mut pop = |there: usize| {
            let popped = announcer.pop_if(T0, |_| &vips, |packet| packet.position < there);
            popped.map(|packet| (packet.instance, packet.position))
        };
        assert_eq!([pop(0), pop(2), pop(2), pop(2)], [None, Some((0, 0)), Some((0, 1)), None]);
        assert_eq!(drain(&mut announcer, T0, &vips)[..2], [(0, 2), (1, 0)]);
    }

    #[test]
    fn only_a_first_round_is_urgent() {
        let vips = vips(1);
        let mut announcer = Announcer::default();
        announcer.push(0, Addresses::All, 2, 0);
        assert!(announcer.is_urgent());
        let next = |announcer: &mut Announcer| announcer.pop_if(T0, |_| &vips, |_| true);
        assert!(next(&mut announcer).is_some() && next(&mut announcer).is_some());
        assert!(announcer.is_ready() && !announcer.is_urgent());
    }

    #[test]
    fn a_paced_burst_keeps_its_distance_and_lets_others_pass() {
        let vips = vips(2);
        let mut announcer = Announcer::default();
        announcer.push(0, Addresses::All, 2, 100);
        assert_eq!(drain(&mut announcer, T0, &vips), [(0, 0)]);
        announcer.push(1, Addresses::All, 1, 0);
        assert_eq!(drain(&mut announcer, T0 + 50, &vips), [(1, 0), (1, 1)]);
        assert_eq!(announcer.next(), Some(T0 + 100));
        assert_eq!(drain(&mut announcer, T0 + 100, &vips), [(0, 1)]);
        assert_eq!(drain(&mut announcer, T0 + 200, &vips), [(0, 0)]);
        assert_eq!(drain(&mut announcer, T0 + 300, &vips), [(0, 1)]);
        assert_eq!(drain(&mut announcer, T0 + 10_000, &vips), []);
        assert_eq!(announcer.next(), None);
    }

    #[test]
    fn who_has_lost_the_addresses_is_silent_and_nobody_s_addresses_are_no_loop() {
        let vips = vips(2);
        let mut announcer = Announcer::default();
        announcer.push(0, Addresses::All, 5, 0);
        announcer.push(1, Addresses::All, 1, 0);
        announcer.silence(0);
        assert_eq!(drain(&mut announcer, T0, &vips), [(1, 0), (1, 1)]);
        announcer.push(0, Addresses::All, 255, 0);
        assert_eq!(drain(&mut announcer, T0, &[]), []);
        assert_eq!(announcer.next(), None);
    }
}
