//! The fence: once a router's lease has ended, an advert from another master makes the programs
//! drop all packets to and from the router's VIPs. During the lease, only an advert of a higher
//! priority does.

use vipd::xdp::{Action, Entry};
use vipd_common::Timestamp;
use vipd_common::address::{ipv4, ipv6};
use vipd_common::counters::Counter;
use vipd_common::records::AddressKey;
use vipd_common::wire::{arp, ethernet, nd};
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, WATCHED, now, row};
use crate::frame;

const VIP4: [u8; 4] = [10, 1, 0, 0];
const VIP6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const OTHER6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Rows of the IPv4 router and the IPv6 router.
const ROWS: [u32; 2] = [WATCHED[0].3, WATCHED[2].3];
/// Priority of this host's adverts.
const OURS: u8 = 100;

fn arp_frame(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = arp::gratuitous(MAC, sender).to_vec();
    frame[arp::FRAME_TARGET_IP..arp::FRAME_TARGET_IP + 4].copy_from_slice(&target);
    frame
}

fn packet4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    Advert { source: source.into(), destination: destination.into(), protocol: 6, ..frame::valid(3) }.frame()
}

fn packet6(source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
    Advert { source: source.into(), destination: destination.into(), protocol: 6, ..frame::valid6() }.frame()
}

/// Returns a Neighbor Solicitation or Advertisement for `target`. The packet's source and
/// destination are not VIPs.
fn neighbor(kind: u8, target: [u8; 16]) -> Vec<u8> {
    let mut frame = nd::unsolicited(MAC, OTHER6).to_vec();
    let message = ethernet::HEADER_LEN + 40;
    frame[message] = kind;
    frame[message + nd::TARGET..message + nd::TARGET + 16].copy_from_slice(&target);
    frame
}

/// Returns frames to the VIPs if `received` is true, otherwise frames from the VIPs.
fn frames(received: bool) -> Vec<(&'static str, Vec<u8>)> {
    let ([to4, from4], [to6, from6]) = if received {
        ([VIP4, [10, 1, 0, 9]], [VIP6, OTHER6])
    } else {
        ([[10, 1, 0, 9], VIP4], [OTHER6, VIP6])
    };
    let kind = if received { nd::TYPE_SOLICITATION } else { nd::TYPE_ADVERTISEMENT };
    vec![
        ("ARP", arp_frame(from4, to4)),
        ("TCP", packet4(from4, to4)),
        ("IPv6", packet6(from6, to6)),
        ("ND", neighbor(kind, VIP6)),
    ]
}

impl Bench {
    /// Makes this host master of both routers, with leases that end at `valid_until`.
    fn lease(&mut self, valid_until: u64) {
        for (address, number) in [(ipv4(VIP4), ROWS[0]), (ipv6(VIP6), ROWS[1])] {
            let family = if number == ROWS[0] { 4 } else { 6 };
            let key = AddressKey::new(LOOPBACK, family, address);
            self.loaded.addresses.insert(key, row(number)).expect("there is room");
            self.loaded.leases.begin(row(number), Timestamp::from_nanos(1));
            self.loaded.leases.renew(row(number), Timestamp::from_nanos(valid_until), OURS);
        }
    }

    fn fenced(&self) -> [bool; 2] {
        ROWS.map(|number| self.loaded.leases.is_fenced(row(number)))
    }

    fn advert(&self, entry: Entry, priority: u8) {
        for valid in [frame::valid(3), frame::valid6()] {
            let frame = Advert { priority, ..valid }.frame();
            let run = self.loaded.kernel.test_run(entry, &frame, LOOPBACK, 1).expect("a test run");
            assert_eq!(run.0, Action::Drop, "the programs drop adverts while the agent runs");
        }
    }

    fn actions(&self, entry: Entry, received: bool) -> Vec<Action> {
        let run =
            |frame: &[u8]| self.loaded.kernel.test_run(entry, frame, LOOPBACK, 1).expect("a test run").0;
        frames(received).iter().map(|(_, frame)| run(frame)).collect()
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn advert_after_the_end_of_the_lease_stops_all_packets_to_and_from_the_vips() {
    for entry in [Entry::Xdp, Entry::XdpFrags, Entry::Tc] {
        let mut bench = Bench::new().on(entry);
        for other in [Entry::FenceIngress, Entry::FenceEgress] {
            bench.loaded.kernel.prepare(other).expect("the verifier accepts the program");
        }
        bench.lease(1);
        let all = |bench: &Bench| {
            let ingress = [entry, Entry::FenceIngress].map(|entry| bench.actions(entry, true));
            let others = [entry, Entry::FenceIngress].map(|entry| bench.actions(entry, false));
            (
                ingress,
                bench.actions(Entry::FenceEgress, false),
                others,
                bench.actions(Entry::FenceEgress, true),
            )
        };
        let passes = vec![Action::Pass; 4];
        let drops = vec![Action::Drop; 4];
        let both = |actions: &Vec<Action>| [actions.clone(), actions.clone()];
        assert_eq!(all(&bench), (both(&passes), passes.clone(), both(&passes), passes.clone()), "{entry:?}");
        bench.advert(entry, 1);
        assert_eq!(bench.fenced(), [true; 2]);
        assert_eq!(all(&bench), (both(&drops), drops.clone(), both(&passes), passes.clone()), "{entry:?}");
        let counted: u64 = ROWS.iter().map(|row| bench.row(*row).get(Counter::Fenced)).sum();
        assert_eq!(counted, 12, "three programs drop four frames each");
        for number in ROWS {
            bench.loaded.leases.end(row(number));
        }
        bench.loaded.leases.settle();
        assert!(!bench.loaded.leases.any_fenced());
        assert_eq!(all(&bench), (both(&passes), passes.clone(), both(&passes), passes.clone()), "{entry:?}");
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn advert_fences_a_router_after_its_lease_or_if_it_is_outranked() {
    for (valid_until, priority, fenced) in [
        (u64::MAX, OURS, false),
        (u64::MAX, OURS + 1, true),
        (u64::MAX, 0, false),
        (1, 0, false),
        (1, 1, true),
        (0, 255, false),
    ] {
        let mut bench = Bench::new();
        bench.lease(valid_until);
        bench.advert(Entry::XdpFrags, priority);
        assert_eq!(bench.fenced(), [fenced; 2], "{valid_until} {priority}");
        assert_eq!(bench.loaded.leases.any_fenced(), fenced);
        assert!(bench.loaded.feed.pop().is_some(), "the engine receives the advert");
    }
}

/// A rate-limited advert does not reach the engine, and only the engine lifts the fence. Such an
/// advert therefore fences a router only after the end of its lease, and not because of a higher
/// priority.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn rate_limited_advert_fences_only_after_the_lease_has_ended() {
    for (valid_until, fenced) in [(u64::MAX, false), (1, true)] {
        let mut bench = Bench::limiting();
        let flood = Advert { priority: OURS + 1, ..frame::valid(3) }.frame();
        while bench.row(ROWS[0]).get(Counter::RateLimited) == 0 {
            bench.run(&flood, LOOPBACK);
        }
        bench.lease(valid_until);
        let limited = bench.row(ROWS[0]).get(Counter::RateLimited);
        bench.run(&flood, LOOPBACK);
        // The bucket regains a token every 2.5 ms, so this advert may not have been limited.
        if bench.row(ROWS[0]).get(Counter::RateLimited) > limited {
            assert_eq!(bench.fenced()[0], fenced);
        } else {
            assert!(bench.fenced()[0]);
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn renewal_lifts_the_fence() {
    let mut bench = Bench::new();
    bench.lease(1);
    bench.advert(Entry::XdpFrags, OURS - 1);
    assert_eq!(bench.fenced(), [true; 2]);
    let valid_until = now() + 3_600_000_000_000;
    bench.lease(valid_until);
    assert_eq!(bench.fenced(), [false; 2]);
    bench.advert(Entry::XdpFrags, OURS - 1);
    assert_eq!(bench.fenced(), [false; 2]);
}
