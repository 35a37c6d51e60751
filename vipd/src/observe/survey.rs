//! Collects the adverts and address claims of a segment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::dissect::{Advert, Packet};
use crate::vrrp::hmac::WallTime;

/// Maximum number of senders in a survey, because source addresses may be forged. This host is
/// always recorded as a sender.
const MAX_SENDERS: usize = 1024;
/// Maximum number of MACs recorded for a sender or an address. This host's claims of an address are
/// always recorded.
const MAX_MACS: usize = 16;

/// A virtual router on a segment: VLAN identifier, IP version and VRID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VirtualRouter {
    pub(crate) vlan: Option<u16>,
    pub(crate) family: u8,
    pub(crate) vrid: u8,
}

/// A router that sends adverts for a virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The last advert.
    pub(crate) advert: Advert,
    /// Whether this host sent the adverts.
    pub(crate) is_local: bool,
    /// Number of adverts.
    pub(crate) adverts: u64,
    /// Number of priority-0 adverts.
    pub(crate) priority_zero: u64,
    /// Arrival of the first and the last advert, on the monotonic clock.
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    /// Longest time between consecutive adverts.
    pub(crate) longest_gap: Duration,
    /// Ethernet sources, at most 16.
    pub(crate) macs: BTreeSet<[u8; 6]>,
    /// Lowest TTL or Hop Limit.
    pub(crate) lowest_ttl: u8,
    /// Number of defective adverts.
    pub(crate) defective: u64,
}

/// The adverts and address claims observed on an interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    senders: BTreeMap<(VirtualRouter, IpAddr), Sender>,
    /// The watched addresses, each with up to 16 MACs that claim it; this host's are recorded even
    /// beyond this limit. The value is true if the claim came from this host.
    claims: BTreeMap<IpAddr, BTreeMap<[u8; 6], bool>>,
    /// Number of packets that were lost, or whose sender or MAC exceeded a limit and was not
    /// recorded.
    pub(crate) unrecorded: u64,
    /// End of the observation, on the monotonic clock.
    pub(crate) end: Duration,
    /// Wall clock minus monotonic clock, at the end of the observation.
    pub(crate) epoch: Duration,
}

impl Survey {
    /// Starts to record which hosts claim this address. Claims of other addresses are ignored.
    pub(crate) fn watch(&mut self, address: IpAddr) {
        self.claims.entry(address).or_default();
    }

    /// Adds a packet that was received at `time`, or sent by this host at `time` if `is_local`.
    pub(crate) fn add(&mut self, packet: Packet, time: Duration, is_local: bool) {
        self.end = self.end.max(time);
        match packet {
            Packet::Advert(advert) => self.add_advert(*advert, time, is_local),
            Packet::NotLocated(..) => {}
            Packet::Claim(claim) => {
                let Some(macs) = self.claims.get_mut(&claim.address) else { return };
                if macs.len() < MAX_MACS || is_local || macs.contains_key(&claim.mac) {
                    *macs.entry(claim.mac).or_default() |= is_local;
                } else {
                    self.unrecorded += 1;
                }
            }
        }
    }

    fn add_advert(&mut self, advert: Advert, time: Duration, is_local: bool) {
        let router = VirtualRouter { vlan: advert.vlan, family: advert.family(), vrid: advert.vrid() };
        let key = (router, advert.source);
        if self.senders.len() >= MAX_SENDERS && !is_local && !self.senders.contains_key(&key) {
            self.unrecorded += 1;
            return;
        }
        let sender = self.senders.entry(key).or_insert_with(|| Sender {
            advert: advert.clone(),
            is_local,
            adverts: 0,
            priority_zero: 0,
            first: time,
            last: time,
            longest_gap: Duration::ZERO,
            macs: BTreeSet::new(),
            lowest_ttl: advert.ttl,
            defective: 0,
        });
        sender.is_local |= is_local;
        sender.adverts += 1;
        sender.priority_zero += u64::from(advert.priority == 0);
        sender.longest_gap = sender.longest_gap.max(time.saturating_sub(sender.last));
        sender.last = sender.last.max(time);
        if let Some(mac) = advert.source_mac {
            if sender.macs.len() < MAX_MACS {
                sender.macs.insert(mac);
            } else {
                self.unrecorded += u64::from(!sender.macs.contains(&mac));
            }
        }
        sender.lowest_ttl = sender.lowest_ttl.min(advert.ttl);
        sender.defective += u64::from(advert.defect.is_some());
        sender.advert = advert;
    }

    /// Returns all routers that sent adverts, each with its virtual router, in the order of VLAN,
    /// family, VRID and address.
    pub(crate) fn senders(&self) -> impl Iterator<Item = (VirtualRouter, &Sender)> {
        self.senders.iter().map(|((router, _), sender)| (*router, sender))
    }

    /// Returns the routers that sent adverts for a virtual router.
    pub(crate) fn senders_of(&self, router: VirtualRouter) -> impl Iterator<Item = &Sender> {
        self.senders().filter(move |(found, _)| *found == router).map(|(_, sender)| sender)
    }

    /// Returns the routers that claim to be master of a virtual router at the same time: each sent
    /// adverts during the same period as another router, for at least one advert interval.
    pub(crate) fn competing_masters(&self, router: VirtualRouter) -> Vec<&Sender> {
        let all: Vec<&Sender> = self.senders_of(router).filter(|one| one.advert.priority > 0).collect();
        let overlaps = |one: &Sender, other: &Sender| {
            let interval = Duration::from_nanos(one.advert.interval.max(other.advert.interval));
            let overlap = one.last.min(other.last).checked_sub(one.first.max(other.first));
            one.advert.source != other.advert.source
                && one.adverts.min(other.adverts) > 1
                // Adverts may arrive a little early.
                && overlap.is_some_and(|overlap| overlap >= interval.mul_f64(0.9))
        };
        all.iter().filter(|one| all.iter().any(|other| overlaps(one, other))).copied().collect()
    }

    /// Returns the clock of a sender minus the clock of this host in milliseconds, according to the
    /// sender's last advert; `None` if that is not signed. The advert is not verified.
    pub(crate) fn clock_offset(&self, sender: &Sender) -> Option<i64> {
        let arrival = self.epoch + sender.last;
        sender.advert.clock_offset(WallTime::new(arrival.as_secs(), arrival.subsec_nanos()))
    }

    /// Returns the MACs that claim a watched address, and whether each is this host's.
    pub(crate) fn owners(&self, address: IpAddr) -> impl Iterator<Item = ([u8; 6], bool)> {
        self.claims.get(&address).into_iter().flatten().map(|(mac, is_local)| (*mac, *is_local))
    }
}

impl Sender {
    /// Returns whether the router still claimed to be master at `end`: its last advert had a
    /// priority other than 0, and the next one was not overdue by more than two intervals.
    pub(crate) fn is_master(&self, end: Duration) -> bool {
        let timeout = Duration::from_nanos(self.advert.interval).saturating_mul(3);
        self.advert.priority > 0 && end.saturating_sub(self.last) <= timeout
    }

    /// Returns the average time between consecutive adverts, or `None` for fewer than two adverts.
    pub(crate) fn average_interval(&self) -> Option<Duration> {
        let gaps = u32::try_from(self.adverts.checked_sub(1)?).unwrap_or(u32::MAX);
        self.last.saturating_sub(self.first).checked_div(gaps)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use vipd_witness::{Advert as Sent, Trailer, Version, sequence_at};

    use super::*;
    use crate::observe::{Claim, dissect};

    fn router() -> VirtualRouter {
        VirtualRouter { vlan: None, family: 4, vrid: 51 }
    }

    /// Returns a survey of adverts, each with the last byte of its source, its priority and its
    /// time in milliseconds.
    fn survey(adverts: &[(u8, u8, u64)]) -> Survey {
        let mut survey = Survey::default();
        for (host, priority, millis) in adverts {
            let sent = Sent::new(Version::V3, 51, *priority, std::net::Ipv4Addr::new(192, 0, 2, *host));
            let sent =
                Sent { interval: 10, addresses: vec![std::net::Ipv4Addr::new(192, 0, 2, 50).into()], ..sent };
            let packet = dissect(&sent.frame(), true).expect("an advert");
            survey.add(packet, Duration::from_millis(*millis), *host == 1);
        }
        survey
    }

    #[test]
    fn masters_compete_if_their_adverts_overlap() {
        let count = |adverts: &[(u8, u8, u64)]| survey(adverts).competing_masters(router()).len();
        // A takeover.
        assert_eq!(count(&[(1, 100, 0), (1, 100, 100), (2, 200, 150), (2, 200, 250)]), 0);
        // A preempted master that answers once.
        assert_eq!(count(&[(1, 100, 0), (2, 200, 50), (1, 100, 100), (2, 200, 150), (2, 200, 250)]), 0);
        let both = [(1, 100, 0), (2, 200, 50), (1, 100, 100), (2, 200, 150), (1, 100, 200), (2, 200, 250)];
        assert_eq!(count(&both), 2);
        // A router that has relinquished mastership.
        assert_eq!(count(&[&both[..], &[(1, 0, 260)]].concat()), 0);
    }

    #[test]
    fn router_is_master_until_its_adverts_are_overdue() {
        let survey = survey(&[(1, 100, 0), (1, 100, 130), (1, 100, 200)]);
        let one = survey.senders_of(router()).next().expect("a router");
        assert_eq!(one.longest_gap, Duration::from_millis(130));
        assert_eq!(one.average_interval(), Some(Duration::from_millis(100)));
        assert!(one.is_local && one.is_master(Duration::from_millis(500)));
        assert!(!one.is_master(Duration::from_millis(501)));
    }

    #[test]
    fn clocks_are_compared_at_the_arrival_of_the_last_advert() {
        let at = |seconds| sequence_at(UNIX_EPOCH + Duration::from_secs(seconds));
        let sent = Sent::new(Version::V3, 51, 100, std::net::Ipv4Addr::new(192, 0, 2, 1));
        let mut survey = Survey { epoch: Duration::from_secs(1000), ..Survey::default() };
        for (signed, offset) in
            [(None, None), (Some(1007), Some(4000)), (Some(1002), Some(-1000)), (None, None)]
        {
            let signed = signed.map(|time| Trailer { sequence: at(time), ..Trailer::new(&[1; 32], 1) });
            let packet = dissect(&Sent { signed, ..sent.clone() }.frame(), true).expect("an advert");
            survey.add(packet, Duration::from_secs(3), false);
            let sender = survey.senders_of(router()).next().expect("a router");
            assert_eq!(survey.clock_offset(sender), offset);
        }
    }

    #[test]
    fn claims_are_collected_by_address() {
        let mut survey = Survey::default();
        let address = [192, 0, 2, 50].into();
        survey.watch(address);
        let other = Packet::Claim(Claim { address: [192, 0, 2, 51].into(), mac: [1; 6] });
        survey.add(other, Duration::ZERO, false);
        for (mac, is_local) in [([1; 6], false), ([2; 6], true), ([1; 6], false)] {
            survey.add(Packet::Claim(Claim { address, mac }), Duration::ZERO, is_local);
        }
        assert_eq!(survey.owners(address).collect::<Vec<_>>(), [([1; 6], false), ([2; 6], true)]);
        assert_eq!(survey.owners([192, 0, 2, 51].into()).count(), 0);
    }

    #[test]
    fn forged_sources_and_macs_are_limited() {
        let mut survey = Survey::default();
        let address = [192, 0, 2, 50].into();
        survey.watch(address);
        let source = |number: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
        let mut add = |number: u32, mac: u32, is_local: bool| {
            let [a, b, c, d] = mac.to_be_bytes();
            let source_mac = vipd_witness::Mac([2, 0, a, b, c, d]);
            let sent = Sent { source_mac, ..Sent::new(Version::V3, 51, 100, source(number)) };
            survey.add(dissect(&sent.frame(), true).expect("an advert"), Duration::ZERO, is_local);
            let claim = Packet::Claim(Claim { address, mac: source_mac.0 });
            survey.add(claim, Duration::ZERO, is_local);
        };
        for number in 0..2000 {
            add(number, number, false);
            add(0, number, false);
        }
        add(3000, 3000, true);
        let senders = 1024 + 1;
        assert_eq!((survey.senders().count(), survey.owners(address).count()), (senders, 17));
        assert_eq!(survey.senders().next().map(|(_, sender)| sender.macs.len()), Some(16));
        assert!(survey.unrecorded > 4000, "{}", survey.unrecorded);
    }
}
