//! The programs for interfaces without a link-layer header.

use vipd::xdp::{Action, Entry, Framing, Mode, Preference, Verbosity};
use vipd_common::address::ipv4 as words;
use vipd_common::counters::Counter;
use vipd_common::records::AddressKey;
use vipd_common::wire::{ethernet, vrrp};
use vipd_witness::Advert;

use crate::bench::{Bench, CLOSED_ROW, LOOPBACK, OURS, UNICAST};
use crate::frame;
use crate::interfaces::private_pair;

const BARE: [Entry; 2] = [Entry::TcBare, Entry::XdpBare];

/// Returns a unicast advert with this TTL, addressed to the unicast router.
fn unicast(ttl: u8) -> Advert {
    Advert { vrid: UNICAST.0, ttl, destination: OURS.into(), ..frame::valid(3) }
}

/// Returns the IP packet of an advert.
fn packet(advert: &Advert) -> Vec<u8> {
    advert.frame().split_off(advert.ip_offset())
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn unicast_adverts_without_an_ethernet_header_are_validated() {
    for entry in BARE {
        let mut bench = Bench::new().on(entry);
        for (packet, action, counter) in [
            (packet(&unicast(255)), Action::Drop, Counter::AdvertisementRcvd),
            (packet(&unicast(249)), Action::Drop, Counter::IpTtlErrors),
            (unicast(255).frame(), Action::Pass, Counter::AdvertisementRcvd),
        ] {
            let before = bench.row(UNICAST.1).get(counter);
            let verdict = bench.compare(&packet, LOOPBACK).expect("same verdict as in user space");
            assert_eq!(verdict.action(), action, "{verdict:?}");
            let counted = bench.row(UNICAST.1).get(counter) - before;
            assert_eq!(counted, u64::from(action == Action::Drop), "{counter:?}");
        }
    }
}

/// `BPF_PROG_TEST_RUN` rejects frames shorter than an Ethernet header.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_truncated_packet_is_never_accepted() {
    for entry in BARE {
        let mut bench = Bench::new().on(entry);
        let long = Advert { options: vec![1; 40], addresses: frame::addresses(4, 255), ..frame::valid(2) };
        for (advert, header) in [(frame::valid(3), 20), (frame::valid6(), 40), (long, 60)] {
            let whole = packet(&advert);
            bench.compare(&whole, LOOPBACK).expect("same verdict as in user space");
            for length in ethernet::HEADER_LEN..whole.len() {
                let verdict =
                    bench.compare(&whole[..length], LOOPBACK).expect("same verdict as in user space");
                let has_vrid = length > header + vrrp::VRID;
                assert_eq!(verdict.action() == Action::Drop, has_vrid, "{length} of {}", whole.len());
            }
        }
        let accepted: u64 = (1..=3).map(|row| bench.row(row).get(Counter::AdvertisementRcvd)).sum();
        assert_eq!(accepted, 3);
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn packets_to_a_vip_with_accept_false_are_dropped() {
    let mut bench = Bench::with(Verbosity::Quiet, 1).on(Entry::TcBare);
    let packet = packet(&Advert { protocol: 6, ..unicast(64) });
    assert_eq!(
        bench.compare(&packet, LOOPBACK).expect("same verdict as in user space").action(),
        Action::Pass
    );
    bench.close(AddressKey::new(LOOPBACK, 4, words(OURS)));
    assert_eq!(
        bench.compare(&packet, LOOPBACK).expect("same verdict as in user space").action(),
        Action::Drop
    );
    assert_eq!(bench.row(CLOSED_ROW).get(Counter::NotAccepted), 1);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN"]
fn the_programs_are_never_attached_in_native_mode() {
    let [left, _] = private_pair();
    let mut bench = Bench::new();
    for (preference, mode) in [(Preference::Native, Mode::Tc), (Preference::Generic, Mode::Generic)] {
        let attached = bench.loaded.kernel.attach(left, "left", preference, Framing::Bare);
        assert_eq!(attached.expect("veth supports it").mode, mode);
    }
}
