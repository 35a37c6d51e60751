//! The action and the counter of each verdict.

use vipd::xdp::{Action, Entry, Verbosity};
use vipd_common::address::ipv4 as words;
use vipd_common::counters::{COUNTERS, Counter};
use vipd_common::parse::Trailer;
use vipd_common::records::PeerKey;
use vipd_common::wire::{ethernet, ipv4, ipv6 as wire6, vrrp};
use vipd_witness::{Advert, Checksum};

use crate::bench::{AUTHENTIC, Bench, EMPTY, LOOPBACK, OURS, PASSWORD, PEER, SIGNED, UNICAST, multicast};
use crate::frame;

const VERSIONS: [u8; 2] = [2, 3];

/// Description, frame, action, and the counters that increase. The counters are in row 0 if the
/// action is [`Action::Pass`], and in the virtual router's row if it is [`Action::Drop`].
struct Line(&'static str, Advert, Action, Vec<Counter>);

fn header(version: u8, at: usize, value: u8) -> Advert {
    Advert { ip_edits: vec![(at, value)], ..frame::valid(version) }
}

fn message(version: u8, at: usize, value: u8) -> Advert {
    Advert { message_edits: vec![(at, value)], ..frame::valid(version) }
}

/// Returns an advert with `addresses` addresses and an IPv4 header of `ihl` words.
fn with_options(version: u8, ihl: u8, addresses: u8) -> Advert {
    let options = vec![1; usize::from(ihl - 5) * 4];
    Advert { options, addresses: frame::addresses(4, addresses), ..frame::valid(version) }
}

fn not_ours(version: u8) -> Vec<Line> {
    let valid = || frame::valid(version);
    let tagged = |tags: &[(u16, u16)]| Advert { tags: tags.to_vec(), ..valid() };
    let pass = |what, frame, counter: Option<Counter>| {
        Line(what, frame, Action::Pass, counter.into_iter().collect())
    };
    let vlan = ethernet::TYPE_VLAN;
    vec![
        pass("ARP", Advert { ethertype: ethernet::TYPE_ARP, ..valid() }, None),
        pass("IPv6 by its EtherType", Advert { ethertype: 0x86dd, ..valid() }, None),
        pass("TCP", header(version, ipv4::PROTOCOL, 6), None),
        pass("OSPF", header(version, ipv4::PROTOCOL, 89), None),
        pass("another VLAN", tagged(&[(vlan, 5)]), None),
        pass("another VLAN with a priority", tagged(&[(vlan, 0xe005)]), None),
        pass("another VLAN inside VLAN 0", tagged(&[(vlan, 0), (vlan, 5)]), None),
        pass("another service VLAN", tagged(&[(ethernet::TYPE_QINQ, 5), (vlan, 0)]), None),
        pass("three tags", tagged(&[(vlan, 0); 3]), None),
        pass("unconfigured VRID", Advert { vrid: 53, ..valid() }, Some(Counter::VridErrors)),
        pass("VRID 0", Advert { vrid: 0, ..valid() }, Some(Counter::VridErrors)),
        pass("first fragment", header(version, ipv4::FRAGMENT, 0x20), Some(Counter::FragmentsPassed)),
        pass("last fragment", header(version, ipv4::FRAGMENT + 1, 1), Some(Counter::FragmentsPassed)),
        pass("unicast", header(version, ipv4::DESTINATION, 10), Some(Counter::DestinationPassed)),
        pass("another group", header(version, ipv4::DESTINATION + 3, 5), Some(Counter::DestinationPassed)),
        pass("IPv6 inside", header(version, 0, 0x65), Some(Counter::UnparsablePassed)),
        pass("IHL 4", header(version, 0, 0x44), Some(Counter::UnparsablePassed)),
        pass(
            "no room for a VRID",
            header(version, ipv4::TOTAL_LENGTH + 1, 21),
            Some(Counter::UnparsablePassed),
        ),
    ]
}

fn ours(version: u8) -> Vec<Line> {
    let valid = || frame::valid(version);
    let drop = |what, frame, counter| Line(what, frame, Action::Drop, vec![counter]);
    let short = Counter::PacketLengthErrors;
    let mut lines = vec![
        drop(
            "R17 header checksum",
            Advert { corrupt: vec![ipv4::CHECKSUM], ..valid() },
            Counter::IpHeaderErrors,
        ),
        drop(
            "R17 damaged option",
            Advert { options: vec![1; 4], corrupt: vec![21], ..valid() },
            Counter::IpHeaderErrors,
        ),
        drop("R1 TTL 254", header(version, ipv4::TTL, 254), Counter::IpTtlErrors),
        drop("R1 TTL 0", header(version, ipv4::TTL, 0), Counter::IpTtlErrors),
        drop("R2 version", message(version, 0, (5 - version) << 4 | 1), Counter::VersionErrors),
        drop("R2 version 0", message(version, 0, 1), Counter::VersionErrors),
        drop("R3 type", message(version, 0, version << 4 | 2), Counter::InvalidTypeRcvd),
        drop("R4 count", message(version, vrrp::COUNT, 2), short),
        drop("R4 count 255", message(version, vrrp::COUNT, 255), short),
        drop("R4 trailing bytes", Advert { trailing: vec![0; 4], ..valid() }, short),
        drop("R4 a trailing byte", Advert { trailing: vec![0; 1], ..valid() }, short),
        drop("R17 longer than the frame", header(version, ipv4::TOTAL_LENGTH, 4), short),
        drop("R4 shorter than the fields", header(version, ipv4::TOTAL_LENGTH + 1, 27), short),
        drop("R8 count 0", message(version, vrrp::COUNT, 0), Counter::AddressCountErrors),
        drop("R5", Advert { corrupt: vec![20 + vrrp::PRIORITY], ..valid() }, Counter::ChecksumErrors),
        drop(
            "R5 address",
            Advert { corrupt: vec![20 + vrrp::HEADER_LEN], ..valid() },
            Counter::ChecksumErrors,
        ),
        drop("R9 interval 0", message(version, vrrp::INTERVAL + 1, 0), Counter::IntervalZeroErrors),
    ];
    let counters = match version {
        2 => vec![Counter::AdvertisementRcvd],
        _ => vec![Counter::AdvertisementRcvd, Counter::ChecksumRfc5798Rcvd],
    };
    let accept = |what, frame| Line(what, frame, Action::Drop, counters.clone());
    let vlan = ethernet::TYPE_VLAN;
    lines.extend([
        accept("valid", valid()),
        accept("valid, padded", Advert { padding: vec![0xa5; 6], ..valid() }),
        accept("valid, VLAN 0", Advert { tags: vec![(vlan, 0xe000)], ..valid() }),
        accept("valid, VLAN 0 twice", Advert { tags: vec![(ethernet::TYPE_QINQ, 0), (vlan, 0)], ..valid() }),
        accept("valid, priority 255", Advert { priority: 255, ..valid() }),
    ]);
    let mut priority_zero = counters.clone();
    priority_zero.push(Counter::PriorityZeroRcvd);
    lines.push(Line("valid, priority 0", Advert { priority: 0, ..valid() }, Action::Drop, priority_zero));
    if version == 3 {
        let counters = vec![Counter::AdvertisementRcvd, Counter::ChecksumRfc9568Rcvd];
        lines.push(Line("C4", Advert { checksum: Checksum::Message, ..valid() }, Action::Drop, counters));
        lines.push(accept("R16 reserved bits", Advert { interval: 0xf001, ..valid() }));
    } else {
        for (auth, counter) in [
            (1, Counter::AuthTypeMismatch),
            (2, Counter::AuthTypeMismatch),
            (3, Counter::InvalidAuthType),
            (254, Counter::InvalidAuthType),
        ] {
            lines.push(drop("R13", message(version, vrrp::AUTH_TYPE, auth), counter));
        }
    }
    lines
}

fn ipv6() -> Vec<Line> {
    let valid = frame::valid6;
    let header = |at, value| Advert { ip_edits: vec![(at, value)], ..valid() };
    let message = |at, value| Advert { message_edits: vec![(at, value)], ..valid() };
    let pass = |what, frame, counter: Option<Counter>| {
        Line(what, frame, Action::Pass, counter.into_iter().collect())
    };
    let drop = |what, frame, counter| Line(what, frame, Action::Drop, vec![counter]);
    let accept = |what, frame| Line(what, frame, Action::Drop, vec![Counter::AdvertisementRcvd]);
    let short = Counter::PacketLengthErrors;
    vec![
        pass("Hop-by-Hop Options first", header(wire6::NEXT_HEADER, 0), None),
        pass("a fragment", header(wire6::NEXT_HEADER, 44), None),
        pass("ICMPv6", header(wire6::NEXT_HEADER, 58), None),
        pass("IPv4 inside", header(0, 0x45), Some(Counter::UnparsablePassed)),
        pass("unconfigured VRID", Advert { vrid: 52, ..valid() }, Some(Counter::VridErrors)),
        pass("unicast", header(wire6::DESTINATION, 0xfd), Some(Counter::DestinationPassed)),
        pass("another group", header(wire6::DESTINATION + 15, 1), Some(Counter::DestinationPassed)),
        pass("no room for a VRID", header(wire6::PAYLOAD_LENGTH + 1, 1), Some(Counter::UnparsablePassed)),
        drop("R1 Hop Limit 254", header(wire6::HOP_LIMIT, 254), Counter::IpTtlErrors),
        drop("R2 version", message(0, 0x21), Counter::VersionErrors),
        drop("R3 type", message(0, 0x32), Counter::InvalidTypeRcvd),
        drop("R4 count", message(vrrp::COUNT, 2), short),
        drop("R4 trailing", Advert { trailing: vec![0; 16], ..valid() }, short),
        drop("R8 count 0", message(vrrp::COUNT, 0), Counter::AddressCountErrors),
        drop("R5", Advert { corrupt: vec![40 + vrrp::PRIORITY], ..valid() }, Counter::ChecksumErrors),
        drop("R5 source", Advert { corrupt: vec![wire6::SOURCE + 15], ..valid() }, Counter::ChecksumErrors),
        drop("C2", Advert { checksum: Checksum::Message, ..valid() }, Counter::ChecksumErrors),
        drop("R9", Advert { interval: 0, ..valid() }, Counter::IntervalZeroErrors),
        drop("source group", header(wire6::SOURCE, 0xff), Counter::IpHeaderErrors),
        accept("valid", valid()),
        accept("valid, padded", Advert { padding: vec![0xa5; 6], ..valid() }),
        accept("valid, 90 addresses", Advert { addresses: frame::addresses(6, 90), ..valid() }),
        accept("valid, 255 addresses", Advert { addresses: frame::addresses(6, 255), ..valid() }),
        Line(
            "R10",
            message(vrrp::HEADER_LEN, 0x20),
            Action::Drop,
            vec![Counter::AdvertisementRcvd, Counter::NotLinkLocal],
        ),
        Line(
            "valid, priority 0",
            Advert { priority: 0, ..valid() },
            Action::Drop,
            vec![Counter::AdvertisementRcvd, Counter::PriorityZeroRcvd],
        ),
    ]
}

/// Returns lines for unicast, passwords and empty address lists, each with the row in which its
/// frame is counted.
fn special() -> Vec<(u32, Line)> {
    let to_us = |vrid, ttl| Advert { vrid, ttl, destination: OURS.into(), ..frame::valid(3) };
    let (unicast, row) = UNICAST;
    let valid = vec![Counter::AdvertisementRcvd, Counter::ChecksumRfc5798Rcvd];
    let other_source = Advert { source: [10, 0, 0, 9].into(), ..to_us(unicast, 255) };
    let mut lines = vec![
        (row, Line("unicast", to_us(unicast, 255), Action::Drop, valid.clone())),
        (row, Line("unicast, TTL 250", to_us(unicast, 250), Action::Drop, valid.clone())),
        (row, Line("unicast, TTL 249", to_us(unicast, 249), Action::Drop, vec![Counter::IpTtlErrors])),
        (row, Line("not a peer", other_source, Action::Drop, vec![Counter::PeerErrors])),
        (
            0,
            Line(
                "to the group, for a unicast router",
                Advert { vrid: unicast, ..frame::valid(3) },
                Action::Pass,
                vec![Counter::DestinationPassed],
            ),
        ),
        (
            0,
            Line(
                "unicast to a multicast router",
                to_us(51, 255),
                Action::Pass,
                vec![Counter::DestinationPassed],
            ),
        ),
        (
            0,
            Line(
                "unicast to an unconfigured VRID",
                to_us(99, 255),
                Action::Pass,
                vec![Counter::DestinationPassed],
            ),
        ),
    ];
    let (authentic, row) = AUTHENTIC;
    let with = |kind: u16, data| Advert {
        vrid: authentic,
        interval: kind << 8 | 1,
        authentication: data,
        ..frame::valid(2)
    };
    for (kind, data, counter) in [
        (1, PASSWORD, Counter::AdvertisementRcvd),
        (1, *b"Geheim\0\0", Counter::AuthFailures),
        (1, *b"geheim\0x", Counter::AuthFailures),
        (0, PASSWORD, Counter::AuthTypeMismatch),
        (2, PASSWORD, Counter::AuthTypeMismatch),
        (3, PASSWORD, Counter::InvalidAuthType),
    ] {
        lines.push((row, Line("R13", with(kind, data), Action::Drop, vec![counter])));
    }
    let (empty, row) = EMPTY;
    for count in [0, 1] {
        let frame = Advert { vrid: empty, addresses: frame::addresses(4, count), ..frame::valid(3) };
        lines.push((row, Line("a router without addresses", frame, Action::Drop, valid.clone())));
    }
    lines
}

/// Returns lines for signed adverts, and for unsigned adverts to the routers in [`SIGNED`]. Each
/// has the row in which its frame is counted.
fn signed() -> Vec<(u32, Line)> {
    let mut lines = Vec::new();
    for (vrid, family, version, row, rule) in SIGNED {
        let valid = if family == 6 { frame::valid6() } else { frame::valid(version) };
        let unsigned = || Advert { vrid, ..valid.clone() };
        let with = |trailer| Advert { trailer, ..unsigned() };
        let edited = |at: usize, value| {
            let mut trailer = frame::trailer();
            trailer[at] = value;
            with(trailer)
        };
        let drop = |what, frame, counter| (row, Line(what, frame, Action::Drop, vec![counter]));
        let accept = |what, frame| (row, Line(what, frame, Action::Drop, Vec::new()));
        let (short, malformed) = (Counter::PacketLengthErrors, Counter::HmacMalformed);
        let many = Advert { addresses: frame::addresses(family, 255), ..with(frame::trailer()) };
        let trailing = |length| [frame::trailer(), vec![0; length]].concat();
        lines.extend([
            accept("signed", with(frame::trailer())),
            accept("signed, padded", Advert { padding: vec![0xa5; 6], ..with(frame::trailer()) }),
            accept("signed, priority 0", Advert { priority: 0, ..with(frame::trailer()) }),
            accept("signed, 255 addresses", many),
            accept("signed, other sequence", edited(11, 0xff)),
            accept("signed, key ID 255", edited(1, 255)),
            drop("type 0", edited(0, 0), malformed),
            drop("type 2", edited(0, 2), malformed),
            drop("key ID 0", edited(1, 0), malformed),
            drop("reserved byte", edited(2, 1), malformed),
            drop("other reserved byte", edited(3, 1), malformed),
            drop("a byte less", with(frame::trailer()[1..].to_vec()), short),
            drop("a byte more", with(trailing(1)), short),
            drop("twice", with([frame::trailer(), frame::trailer()].concat()), short),
            drop(
                "checksum",
                Advert { checksum: Checksum::Bad, ..with(frame::trailer()) },
                Counter::ChecksumErrors,
            ),
        ]);
        if family == 4 {
            lines.push(accept(
                "signed, with options",
                Advert { options: vec![1; 40], addresses: frame::addresses(4, 20), ..with(frame::trailer()) },
            ));
        }
        lines.push(match rule {
            Trailer::Required => drop("no trailer", unsigned(), Counter::HmacMissing),
            Trailer::Absent | Trailer::Optional => (
                row,
                Line(
                    "no trailer",
                    unsigned(),
                    Action::Drop,
                    vec![Counter::AdvertisementRcvd, Counter::ChecksumRfc5798Rcvd],
                ),
            ),
        });
        // The checksum covers the trailer, too, as if it were part of the message.
        let covered = Advert { trailing: frame::trailer(), ..unsigned() };
        lines.push(drop("trailer covered by the checksum", covered, Counter::ChecksumErrors));
    }
    let unexpected = Advert { trailer: frame::trailer(), ..frame::valid(3) };
    lines.push((1, Line("unexpected trailer", unexpected, Action::Drop, vec![Counter::PacketLengthErrors])));
    lines
}

fn check(bench: &mut Bench, line: &Line, seen: &mut [bool; COUNTERS]) {
    let row = match (line.2, line.1.source.is_ipv6(), line.1.version) {
        (Action::Pass, ..) => 0,
        (_, true, _) => 3,
        (_, _, 3) => 1,
        _ => 2,
    };
    check_row(bench, line, row, seen);
}

/// Checks a line whose counters are in `row`.
fn check_row(bench: &mut Bench, line: &Line, row: u32, seen: &mut [bool; COUNTERS]) {
    let Line(what, frame, action, counters) = line;
    let what = format!("{what}, VRRPv{} from {}", frame.version, frame.source);
    let before = bench.row(row);
    let verdict = bench.compare(&frame.frame(), LOOPBACK).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(verdict.action(), *action, "{what}: {verdict:?}");
    let after = bench.row(row);
    for counter in counters {
        assert_eq!(after.get(*counter) - before.get(*counter), 1, "{what}: {counter:?}");
        seen[*counter as usize] = true;
    }
    // `compare` has checked all counters against the parser. The sum checks them against the table.
    let sum = |row: [u64; vipd_common::counters::ROW_CELLS]| row.iter().sum::<u64>();
    let more = sum(bytemuck::cast(after)) - sum(bytemuck::cast(before));
    assert_eq!(more, counters.len() as u64, "{what}: other counters increased");
}

fn run_the_table(bench: &mut Bench) -> [bool; COUNTERS] {
    let mut seen = [false; COUNTERS];
    for version in VERSIONS {
        for line in not_ours(version).iter().chain(&ours(version)) {
            check(bench, line, &mut seen);
        }
    }
    for line in &ipv6() {
        check(bench, line, &mut seen);
    }
    for (row, line) in special().into_iter().chain(signed()) {
        check_row(bench, &line, row, &mut seen);
    }
    seen
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn each_verdict_has_the_expected_action_and_counter() {
    let apart = [
        Counter::RingFull,
        Counter::NotAccepted,
        Counter::RateLimited,
        Counter::Fenced,
        Counter::HmacReplayed,
    ]
    .map(|counter| counter as usize);
    for entry in [Entry::Tc, Entry::XdpFrags, Entry::Xdp] {
        let seen = run_the_table(&mut Bench::new().on(entry));
        let unseen: Vec<_> = (0..COUNTERS).filter(|cell| !seen[*cell]).collect();
        assert_eq!(
            unseen, apart,
            "full ring, closed addresses, rate limit, fence and replays have separate tests"
        );
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn log_statements_pass_the_verifier_and_do_not_change_verdicts() {
    for entry in [Entry::Tc, Entry::XdpFrags] {
        run_the_table(&mut Bench::with(Verbosity::Discards, 0).on(entry));
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn all_lengths_of_ip_options_and_address_lists_are_accepted() {
    let mut bench = Bench::new();
    for version in VERSIONS {
        for ihl in 5..=15 {
            for addresses in (1..=255).step_by(if ihl == 5 || ihl == 15 { 1 } else { 14 }) {
                let frame = with_options(version, ihl, addresses);
                let verdict = bench.compare(&frame.frame(), LOOPBACK).expect("same verdict");
                assert_eq!(verdict.action(), Action::Drop);
                let row = if version == 3 { 1 } else { 2 };
                let rejected = bench.row(row).get(Counter::PacketLengthErrors);
                assert_eq!(rejected, 0, "IHL {ihl}, {addresses} addresses");
            }
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn truncated_adverts_are_never_accepted() {
    let mut bench = Bench::new();
    for version in VERSIONS {
        for tags in
            [vec![], vec![(ethernet::TYPE_VLAN, 0)], vec![(ethernet::TYPE_QINQ, 0), (ethernet::TYPE_VLAN, 0)]]
        {
            for (ihl, addresses) in [(5, 1), (15, 3), (6, 255)] {
                let frame = Advert { tags: tags.clone(), ..with_options(version, ihl, addresses) };
                let bytes = frame.frame();
                let vrid = frame.ip_offset() + usize::from(ihl) * 4 + vrrp::VRID;
                // The full frame is parsed first, so that its bytes are still in the buffer beyond
                // the end of each truncated frame.
                bench.compare(&bytes, LOOPBACK).expect("same verdict");
                let accepted = bench.row(1).get(Counter::AdvertisementRcvd)
                    + bench.row(2).get(Counter::AdvertisementRcvd);
                for length in ethernet::HEADER_LEN..bytes.len() {
                    let verdict = bench
                        .compare(&bytes[..length], LOOPBACK)
                        .unwrap_or_else(|error| panic!("{length} of {} bytes: {error}", bytes.len()));
                    let action = if length > vrid { Action::Drop } else { Action::Pass };
                    assert_eq!(verdict.action(), action, "{length} of {} bytes", bytes.len());
                }
                let now = bench.row(1).get(Counter::AdvertisementRcvd)
                    + bench.row(2).get(Counter::AdvertisementRcvd);
                assert_eq!(now, accepted, "R4: a truncated frame was accepted");
            }
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn padding_of_every_length_is_ignored() {
    let mut bench = Bench::new();
    for version in VERSIONS {
        for padding in (0..64).chain([1000, 2000, 2500]) {
            let frame = Advert { padding: vec![0xa5; padding], ..frame::valid(version) };
            bench.compare(&frame.frame(), LOOPBACK).expect("same verdict");
        }
        let row = if version == 3 { 1 } else { 2 };
        assert_eq!(bench.row(row).get(Counter::AdvertisementRcvd), 67, "C7");
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn adverts_of_a_removed_router_are_passed() {
    let mut bench = Bench::new();
    let frame = frame::valid(3).frame();
    assert_eq!(bench.run(&frame, LOOPBACK), Action::Drop);
    bench.forget(LOOPBACK, 51, 4);
    assert_eq!(bench.run(&frame, LOOPBACK), Action::Pass);
    assert_eq!(
        bench.run(&frame::valid6().frame(), LOOPBACK),
        Action::Drop,
        "F7: the IPv6 router is separate"
    );
    // Removing a missing entry is not an error.
    bench.forget(LOOPBACK, 51, 4);
    bench.watch(LOOPBACK, 51, 4, multicast(4, 3, 1));
    assert_eq!(bench.run(&frame, LOOPBACK), Action::Drop);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn adverts_of_a_removed_peer_are_dropped() {
    let mut bench = Bench::new();
    let frame = Advert { vrid: UNICAST.0, destination: OURS.into(), ..frame::valid(3) }.frame();
    bench.compare(&frame, LOOPBACK).expect("same verdict");
    let peer = PeerKey { row: UNICAST.1, address: words(PEER) };
    bench.expel(peer);
    // Removing a missing entry is not an error.
    bench.expel(peer);
    bench.compare(&frame, LOOPBACK).expect("same verdict");
    let row = bench.row(UNICAST.1);
    assert_eq!((row.get(Counter::AdvertisementRcvd), row.get(Counter::PeerErrors)), (1, 1));
}
