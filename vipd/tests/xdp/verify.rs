//! The program verifies signed adverts that would fence a router's VIPs.

use vipd::xdp::{Action, Entry};
use vipd_common::Timestamp;
use vipd_common::address::to_words;
use vipd_common::counters::Counter;
use vipd_common::hmac::PseudoHeader;
use vipd_common::parse::Trailer;
use vipd_common::records::SIGNERS;
use vipd_common::wire::trailer::{HMAC, KEY_ID, SEQUENCE};
use vipd_vrrp::hmac::{AntiReplay, Authenticator, Config, Key, Mode, WallTime};
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, now, row};
use crate::frame;
use crate::signed::signed;

const KEY_ID_7: u8 = 7;
/// The time of the adverts, in seconds since 1970-01-01 UTC.
const TIME: u64 = 0x6925_f0a0;
const WINDOW: u32 = 5;
/// Priority of this host's adverts.
const OURS: u8 = 100;
/// The end of a lease that is over, and of one that is valid. During the valid lease, only an
/// advert of a higher priority fences.
const LEASES: [u64; 2] = [1, u64::MAX];

fn key() -> Key {
    Key::new(KEY_ID_7, &[0x42; 32])
}

/// Returns the advert with the trailer that a router with this key sends.
fn sign(advert: &Advert, key: Key, seconds: u64) -> Advert {
    let unsigned = Advert { trailer: Vec::new(), padding: Vec::new(), ..advert.clone() };
    let (family, header) = if advert.source.is_ipv6() { (6, 40) } else { (4, 20 + advert.options.len()) };
    let message = unsigned.frame().split_off(advert.ip_offset() + header);
    let header =
        PseudoHeader { family, version: advert.version, vrid: advert.vrid, source: to_words(advert.source) };
    let config = Config {
        active: key.id(),
        keys: vec![key],
        mode: Mode::Enforce,
        anti_replay: AntiReplay::Time,
        window: WINDOW,
    };
    let trailer = Authenticator::new(config, 1).sign(WallTime::new(seconds, 0), &header, &message);
    Advert { trailer: trailer.expect("the router signs").to_vec(), ..advert.clone() }
}

/// Returns the adverts of [`signed`] with a higher priority than this host's, each with the row of
/// its router and the router's rule for trailers.
fn higher() -> impl Iterator<Item = (u32, Trailer, Advert)> {
    signed().map(|(row, rule, advert)| (row, rule, Advert { priority: 200, ..advert }))
}

/// Returns the sequence of a signed advert.
fn sequence(advert: &Advert) -> u64 {
    u64::from_be_bytes(*advert.trailer[SEQUENCE..].first_chunk().expect("a trailer"))
}

impl Bench {
    /// Makes this host master of all routers that may receive signed adverts, with leases that end
    /// at `valid_until`, and sets the routers' keys.
    fn master(valid_until: u64) -> Self {
        Self::new().into_master(valid_until)
    }

    fn into_master(mut self, valid_until: u64) -> Self {
        for (number, ..) in signed() {
            let row = row(number);
            self.begin(number, valid_until);
            self.loaded.kernel.set_keys(row, &[key()]).expect("there is room");
            self.loaded.signers.set_window(row, WINDOW);
        }
        self.set_time(TIME);
        self
    }

    /// Lifts the fence of a router, and sets a lease that ends at `valid_until`.
    fn begin(&self, number: u32, valid_until: u64) {
        self.loaded.leases.lift(row(number));
        self.loaded.leases.renew(row(number), Timestamp::from_nanos(valid_until), OURS);
    }

    /// Sets the BPF program's wall clock to `seconds` since the Unix epoch.
    fn set_time(&self, seconds: u64) {
        let offset = i64::try_from(seconds * 1_000_000_000).expect("before 2262")
            - i64::try_from(now()).expect("before 2262");
        self.loaded.signers.set_clock(offset);
    }

    /// Runs the program on an advert when the wall clock is [`TIME`], and returns whether the row
    /// is fenced.
    fn fences(&self, number: u32, advert: &Advert) -> bool {
        self.set_time(TIME);
        assert_eq!(self.run(&advert.frame(), LOOPBACK), Action::Drop);
        self.loaded.leases.is_fenced(row(number))
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn genuine_advert_fences_a_router_after_its_lease_or_if_it_is_outranked() {
    for entry in [Entry::Tc, Entry::Xdp, Entry::XdpFrags] {
        for valid_until in LEASES {
            let mut bench = Bench::master(valid_until).on(entry);
            for (number, _, advert) in higher() {
                assert!(bench.fences(number, &sign(&advert, key(), TIME)), "{entry:?} {number}");
                assert!(bench.loaded.feed.pop().is_some(), "the engine receives the advert");
            }
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn adverts_of_every_length_are_verified() {
    let bench = Bench::master(1);
    for (number, _, advert) in higher() {
        let family = if advert.source.is_ipv6() { 6 } else { 4 };
        for count in [1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 100, 254, 255] {
            for options in if family == 6 { &[0][..] } else { &[0, 4, 40] } {
                let advert = Advert {
                    addresses: frame::addresses(family, count),
                    options: vec![1; *options],
                    ..advert.clone()
                };
                let genuine = sign(&advert, key(), TIME);
                let mut forged = genuine.clone();
                forged.addresses.reverse();
                bench.loaded.leases.lift(row(number));
                assert_eq!(bench.fences(number, &forged), count == 1, "{count}");
                assert!(bench.fences(number, &genuine), "{count}");
            }
        }
    }
}

/// Returns signed adverts that must not fence, each with the name of its defect.
fn refused(advert: &Advert) -> Vec<(&'static str, Advert)> {
    let genuine = sign(advert, key(), TIME);
    let with_byte = |at: usize| {
        let mut trailer = genuine.trailer.clone();
        trailer[at] ^= 1;
        Advert { trailer, ..genuine.clone() }
    };
    let other_key = Key::new(KEY_ID_7, &[0x43; 32]);
    let unknown_key = Key::new(8, &[0x42; 32]);
    let other_source =
        if advert.source.is_ipv6() { [0xfe80, 0, 0, 0, 0, 0, 0, 77].into() } else { [10, 0, 0, 77].into() };
    let with_trailer_of =
        |other: Advert| Advert { trailer: sign(&other, key(), TIME).trailer, ..advert.clone() };
    vec![
        ("first byte of the HMAC", with_byte(HMAC)),
        ("fifth byte of the HMAC", with_byte(HMAC + 4)),
        ("last byte of the HMAC", with_byte(HMAC + 15)),
        ("counter", with_byte(HMAC - 1)),
        ("key ID", with_byte(KEY_ID)),
        ("key", sign(advert, other_key, TIME)),
        ("unknown key", sign(advert, unknown_key, TIME)),
        ("too old", sign(advert, key(), TIME - 7)),
        ("too new", sign(advert, key(), TIME + 7)),
        ("priority", with_trailer_of(Advert { priority: 199, ..advert.clone() })),
        ("VRID", with_trailer_of(Advert { vrid: advert.vrid ^ 1, ..advert.clone() })),
        ("source", with_trailer_of(Advert { source: other_source, ..advert.clone() })),
        ("no addresses", with_trailer_of(Advert { addresses: Vec::new(), ..advert.clone() })),
    ]
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn forged_and_stale_adverts_do_not_fence() {
    for valid_until in LEASES {
        let mut bench = Bench::master(valid_until);
        for (number, rule, advert) in higher() {
            for (what, refused) in refused(&advert) {
                assert!(!bench.fences(number, &refused), "{what}, row {number}");
                assert!(bench.loaded.feed.pop().is_some(), "the engine counts the advert");
            }
            let unsigned = Advert { trailer: Vec::new(), ..advert.clone() };
            if rule == Trailer::Required {
                assert!(!bench.fences(number, &unsigned), "unsigned, row {number}");
            }
            assert!(bench.fences(number, &sign(&advert, key(), TIME)), "row {number}");
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn replay_does_not_fence() {
    for valid_until in LEASES {
        let bench = Bench::master(valid_until);
        for (number, _, advert) in higher() {
            let genuine = sign(&advert, key(), TIME);
            let (address, mark) = (to_words(advert.source), sequence(&genuine));
            bench.loaded.signers.verified(row(number), 0, address, mark, Timestamp::from_nanos(u64::MAX));
            assert!(!bench.fences(number, &genuine));
            assert!(bench.fences(number, &sign(&advert, key(), TIME + 1)), "the sender's next advert");
        }
    }
}

/// The program has no room for the sequences of further senders, so it would not recognize their
/// replays.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn sender_without_a_slot_does_not_fence_unless_the_lease_is_over() {
    for valid_until in LEASES {
        let bench = Bench::master(valid_until);
        for (number, _, advert) in higher() {
            let genuine = sign(&advert, key(), TIME);
            let other = |slot: usize| to_words([192, 0, 2, u8::try_from(slot).expect("few slots")].into());
            let know = |slot, address| {
                bench.loaded.signers.verified(row(number), slot, address, 1, Timestamp::from_nanos(1));
                bench.begin(number, valid_until);
            };
            for slot in 0..SIGNERS - 1 {
                know(slot, other(slot));
            }
            assert!(bench.fences(number, &genuine), "a slot is free, row {number}");
            know(SIGNERS - 1, other(SIGNERS - 1));
            assert_eq!(bench.fences(number, &genuine), valid_until == 1, "no slot is free, row {number}");
            know(SIGNERS - 1, to_words(advert.source));
            assert!(bench.fences(number, &genuine), "the sender has a slot, row {number}");
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn genuine_advert_does_not_fence_a_backup_or_a_master_of_higher_priority() {
    for (valid_until, priority) in [(0, 255), (u64::MAX, OURS), (u64::MAX, 0), (1, 0)] {
        let bench = Bench::master(valid_until);
        for (number, _, advert) in higher() {
            let advert = sign(&Advert { priority, ..advert }, key(), TIME);
            assert!(!bench.fences(number, &advert), "{valid_until} {priority}");
        }
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn without_a_window_the_clocks_are_not_compared() {
    let bench = Bench::master(1);
    for (number, _, advert) in higher() {
        let old = sign(&advert, key(), 1);
        assert!(!bench.fences(number, &old));
        bench.loaded.signers.set_window(row(number), 0);
        assert!(bench.fences(number, &old));
    }
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn keys_are_replaced_and_removed() {
    let mut bench = Bench::master(1);
    let (number, _, advert) = &higher().next().expect("a router");
    let (other, _, others_advert) = &higher().nth(1).expect("two routers");
    let (number, other) = (*number, *other);
    let second = || Key::new(9, &[0x99; 64]);
    let mut check = |keys: &[Key], expected: [bool; 2]| {
        bench.loaded.kernel.set_keys(row(number), keys).expect("there is room");
        let fences = [key(), second()].map(|key| {
            bench.loaded.leases.lift(row(number));
            bench.fences(number, &sign(advert, key, TIME))
        });
        assert_eq!(fences, expected);
    };
    check(&[], [false, false]);
    check(&[key()], [true, false]);
    check(&[key(), second()], [true, true]);
    check(&[second()], [false, true]);
    check(&[Key::new(KEY_ID_7, &[0x99; 64])], [false, false]);
    check(&[key()], [true, false]);
    bench.loaded.kernel.clear_rows(&[row(number)]).expect("the row exists");
    bench.loaded.leases.lift(row(number));
    assert!(!bench.fences(number, &sign(advert, key(), TIME)), "the keys of a cleared row are removed");
    assert!(bench.fences(other, &sign(others_advert, key(), TIME)), "the keys of other rows are kept");
}

/// The cost of verification is limited. An advert that is not verified because of the limit is
/// still passed to the engine, which has a valid lease and sends its own adverts.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_flood_of_forged_adverts_exhausts_the_limit_of_hashed_blocks() {
    let (number, _, advert) = higher().last().expect("a router");
    let long = Advert { addresses: frame::addresses(6, 200), ..advert };
    let forged = Advert { trailer: frame::trailer(), ..long.clone() };
    let [forged, genuine] = [forged, sign(&long, key(), TIME)].map(|advert| advert.frame());
    // A test run of an XDP program takes milliseconds, in which the bucket regains its tokens.
    let mut bench = Bench::limiting().on(Entry::Tc).into_master(u64::MAX);
    let mut is_exhausted = false;
    // The bucket regains tokens before the genuine advert, so one attempt may not suffice.
    for _ in 0..100 {
        bench.set_time(TIME);
        for (frame, count) in [(&forged, 20), (&genuine, 1)] {
            bench.loaded.kernel.test_run(bench.entry, frame, LOOPBACK, count).expect("a test run");
        }
        let records = std::iter::from_fn(|| bench.loaded.feed.pop()).count();
        assert_eq!(records, 21, "all adverts are passed");
        is_exhausted = !bench.loaded.leases.is_fenced(row(number));
        if is_exhausted {
            break;
        }
        bench.loaded.leases.lift(row(number));
    }
    assert!(is_exhausted);
    // Half of the limit is reserved for senders whose adverts have been verified.
    bench.loaded.signers.verified(row(number), 0, to_words(long.source), 1, Timestamp::from_nanos(1));
    bench.loaded.kernel.test_run(bench.entry, &genuine, LOOPBACK, 1).expect("a test run");
    assert!(bench.loaded.leases.is_fenced(row(number)));
}

/// The first advert of a new master fences the VIPs of a dead agent, even during a flood, and even
/// if the advert exceeds the limits for passed adverts. Known and unknown senders have separate
/// budgets.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn genuine_advert_fences_during_a_flood_if_the_lease_is_over() {
    // Numbers of forged adverts, of three blocks each, that are within and beyond the budget.
    const WITHIN: u32 = 3_000;
    const BEYOND: u32 = 6_000;
    let (number, _, advert) = higher().find(|(.., advert)| !advert.source.is_ipv6()).expect("a router");
    let [known, unknown, other] =
        [1, 2, 3].map(|last| Advert { source: [192, 0, 2, last].into(), ..advert.clone() });
    for (flooding, genuine, flood) in [
        (&known, &unknown, BEYOND),
        (&unknown, &known, BEYOND),
        (&known, &known, WITHIN),
        (&unknown, &other, WITHIN),
    ] {
        let bench = Bench::limiting().on(Entry::Tc).into_master(1);
        bench.loaded.signers.verified(row(number), 0, to_words(known.source), 1, Timestamp::from_nanos(1));
        let forged = Advert { trailer: frame::trailer(), ..flooding.clone() }.frame();
        let test_run = |frame: &[u8], count| {
            bench.loaded.kernel.test_run(bench.entry, frame, LOOPBACK, count).expect("a test run");
        };
        let limited = || bench.row(number).get(Counter::RateLimited);
        bench.set_time(TIME);
        test_run(&forged, flood);
        // The buckets regain tokens between two test runs, so it may take several attempts until
        // the genuine advert is limited.
        let is_limited = (0..100).any(|_| {
            assert!(!bench.loaded.leases.is_fenced(row(number)), "forged");
            test_run(&forged, 4);
            let before = limited();
            test_run(&sign(genuine, key(), TIME).frame(), 1);
            assert!(
                bench.loaded.leases.is_fenced(row(number)),
                "{} floods, {}",
                flooding.source,
                genuine.source
            );
            bench.begin(number, 1);
            limited() > before
        });
        assert!(is_limited || flooding.source != genuine.source, "{} was never limited", genuine.source);
    }
}

/// The cost of verification is limited after the lease, too.
#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn a_flood_exhausts_the_limit_of_hashed_blocks_after_the_lease() {
    let (number, _, advert) = higher().last().expect("a router");
    let long = Advert { addresses: frame::addresses(6, 200), ..advert };
    let forged = Advert { trailer: frame::trailer(), ..long.clone() }.frame();
    let genuine = sign(&long, key(), TIME).frame();
    let bench = Bench::limiting().on(Entry::Tc).into_master(1);
    // The bucket regains tokens before the genuine advert, so one attempt may not suffice.
    let is_exhausted = (0..100).any(|_| {
        bench.set_time(TIME);
        for (frame, count) in [(&forged, 300), (&genuine, 1)] {
            bench.loaded.kernel.test_run(bench.entry, frame, LOOPBACK, count).expect("a test run");
        }
        let is_exhausted = !bench.loaded.leases.is_fenced(row(number));
        bench.begin(number, 1);
        is_exhausted
    });
    assert!(is_exhausted);
}
