//! A loaded program and its expected counters.

use std::borrow::Cow;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use vipd::config::Instance;
use vipd::xdp::{Action, Entry, Framing, Kernel, Loaded, OBJECT, Row, Sizes, Verbosity};
use vipd_common::address::{ipv4, ipv6};
use vipd_common::counters::{Counter, CounterRow, ROW_CELLS, ROW_UNASSIGNED};
use vipd_common::parse::{Advert, ChecksumForm, Trailer};
use vipd_common::records::{AddressKey, AdvertRecord, BURST, PeerKey, RouterKey, RouterSlot};
use vipd_common::wire;

use crate::captured;
use crate::reference::{Maps, Verdict};

/// The loopback interface has this index in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// VRID, family, version and counter row of the multicast routers on [`LOOPBACK`] with virtual
/// addresses, but without a password and without signed adverts.
pub(crate) const WATCHED: [(u8, u8, u8, u32); 3] = [(51, 4, 3, 1), (52, 4, 2, 2), (51, 6, 3, 3)];
/// VRID and row of the unicast router on [`LOOPBACK`]: IPv4, version 3, with the address [`OURS`].
/// It accepts adverts from [`PEER`] with a TTL of 250 or more.
pub(crate) const UNICAST: (u8, u32) = (61, 4);
/// VRID and row of the VRRPv2 router with [`PASSWORD`].
pub(crate) const AUTHENTIC: (u8, u32) = (62, 5);
/// VRID and row of the VRRPv3 router without virtual addresses.
pub(crate) const EMPTY: (u8, u32) = (63, 6);
/// VRID, family, version, counter row and trailer of the multicast routers whose adverts may or
/// must be signed.
pub(crate) const SIGNED: [(u8, u8, u8, u32, Trailer); 4] = [
    (64, 4, 3, 8, Trailer::Required),
    (65, 4, 3, 9, Trailer::Optional),
    (66, 4, 2, 10, Trailer::Required),
    (64, 6, 3, 11, Trailer::Required),
];
/// The unicast router's address.
pub(crate) const OURS: [u8; 4] = [10, 0, 0, 2];
/// The unicast peer, and the source of IPv4 frames unless a test changes it.
pub(crate) const PEER: [u8; 4] = [10, 0, 0, 1];
pub(crate) const PASSWORD: [u8; 8] = *b"geheim\0\0";
/// Row that counts packets to closed addresses.
pub(crate) const CLOSED_ROW: u32 = 7;
/// Minimum length of an Ethernet frame in bytes, without its checksum. `BPF_PROG_TEST_RUN` rejects
/// shorter frames for TC programs.
const MIN_FRAME: usize = 60;
/// Maximum length of a frame for TC programs, in bytes: `BPF_PROG_TEST_RUN` copies the frame to one
/// page.
const TC_MAX: usize = 3500;
/// Number of rows, including row 0 and two spare rows.
const ROWS: usize = 14;

/// Sizes without a rate limit, for comparing single frames.
const SIZES: Sizes = Sizes { routers: 13, peers: 4, addresses: 4, senders: 0, burst: 0 };

type Cells = [u64; ROW_CELLS];

pub(crate) fn row(number: u32) -> Row {
    Row::new(number).expect("row 0 belongs to no virtual router")
}

pub(crate) struct Bench {
    pub(crate) loaded: Loaded,
    /// The program under test.
    pub(crate) entry: Entry,
    /// Expected counters of all rows.
    account: [Cells; ROWS],
    /// Contents of the program's maps.
    maps: Maps,
    /// The configuration of the routers in the maps, except those in [`SIGNED`]; `None` after a
    /// change of routers or peers.
    instances: Option<Vec<Arc<Instance>>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Verbosity::Quiet, 4)
    }

    /// Selects the program to test instead of the default, [`Entry::XdpFrags`].
    pub(crate) fn on(mut self, entry: Entry) -> Self {
        let xdp = if entry.framing() == Framing::Bare { Entry::XdpBare } else { Entry::XdpFrags };
        for entry in [entry, xdp] {
            self.loaded.kernel.prepare(entry).expect("the verifier accepts the program");
        }
        self.entry = entry;
        self
    }

    /// Loads the program with a rate limit for senders.
    pub(crate) fn limiting() -> Self {
        Self::load(Verbosity::Quiet, Sizes { senders: 4096, burst: BURST, ..SIZES })
    }

    /// Loads the program with room for `addresses` VIPs.
    pub(crate) fn with(verbosity: Verbosity, addresses: u32) -> Self {
        Self::load(verbosity, Sizes { addresses, ..SIZES })
    }

    fn load(verbosity: Verbosity, sizes: Sizes) -> Self {
        let mut loaded = Kernel::load(OBJECT, sizes, verbosity).unwrap_or_else(|error| {
            panic!(
                "cannot load the BPF program: {error}\n{error:?}\n\
                 These tests need CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; run them as root with `cargo xtask test`."
            )
        });
        loaded.kernel.prepare(Entry::XdpFrags).expect("the verifier accepts the program");
        let mut bench = Self {
            loaded,
            entry: Entry::XdpFrags,
            account: [[0; ROW_CELLS]; ROWS],
            maps: Maps::default(),
            instances: None,
        };
        for (vrid, family, version, row) in WATCHED {
            bench.watch(LOOPBACK, vrid, family, multicast(family, version, row));
        }
        let slot = |(vrid, row), version| (vrid, multicast(4, version, row));
        let (vrid, unicast) = slot(UNICAST, 3);
        bench.watch(LOOPBACK, vrid, 4, RouterSlot { destination: ipv4(OURS), unicast: 1, ..unicast });
        bench.admit(PeerKey { row: UNICAST.1, address: ipv4(PEER) }, 250);
        let (vrid, authentic) = slot(AUTHENTIC, 2);
        let (halves, _) = PASSWORD.as_chunks::<4>();
        let password = [u32::from_ne_bytes(halves[0]), u32::from_ne_bytes(halves[1])];
        bench.watch(LOOPBACK, vrid, 4, RouterSlot { authentication: 1, password, ..authentic });
        let (vrid, empty) = slot(EMPTY, 3);
        bench.watch(LOOPBACK, vrid, 4, RouterSlot { empty: 1, ..empty });
        for (vrid, family, version, row, trailer) in SIGNED {
            let slot = RouterSlot { trailer: trailer as u8, ..multicast(family, version, row) };
            bench.watch(LOOPBACK, vrid, family, slot);
        }
        bench.instances = Some(captured::instances());
        bench
    }

    pub(crate) fn watch(&mut self, ifindex: u32, vrid: u8, family: u8, slot: RouterSlot) {
        self.instances = None;
        let key = RouterKey::new(ifindex, vrid, family);
        self.loaded.kernel.insert_router(key, slot).expect("the map has room for three more routers");
        self.maps.routers.push((key, slot));
    }

    pub(crate) fn forget(&mut self, ifindex: u32, vrid: u8, family: u8) {
        self.instances = None;
        let key = RouterKey::new(ifindex, vrid, family);
        self.loaded.kernel.remove_router(key).expect("map update");
        self.maps.routers.retain(|(known, _)| *known != key);
    }

    pub(crate) fn admit(&mut self, peer: PeerKey, min_ttl: u8) {
        self.instances = None;
        self.loaded.kernel.insert_peer(peer, min_ttl).expect("the map has room for four peers");
        self.maps.peers.push((peer, min_ttl));
    }

    pub(crate) fn expel(&mut self, peer: PeerKey) {
        self.instances = None;
        self.loaded.kernel.remove_peer(peer).expect("map update");
        self.maps.peers.retain(|(known, _)| *known != peer);
    }

    /// Closes an address. Its packets are counted in [`CLOSED_ROW`].
    pub(crate) fn close(&mut self, key: AddressKey) {
        self.loaded.addresses.insert(key, row(CLOSED_ROW)).expect("there is room");
        self.loaded.leases.set_closed(row(CLOSED_ROW), true);
        self.maps.closed.push((key, CLOSED_ROW));
    }

    /// Opens an address that was closed.
    pub(crate) fn open(&mut self, key: AddressKey) {
        self.loaded.addresses.remove(key, row(CLOSED_ROW)).expect("map update");
        self.maps.closed.retain(|(known, _)| *known != key);
        self.loaded.leases.set_closed(row(CLOSED_ROW), !self.maps.closed.is_empty());
    }

    /// Returns the verdict of the user-space parser.
    pub(crate) fn reference(&self, frame: &[u8], ifindex: u32) -> Verdict {
        self.maps.verdict(self.entry.framing(), &self.padded(frame), ifindex)
    }

    /// Runs the program once, and compares its action, counters and record with the verdict of the
    /// user-space parser. If the configuration of the routers is known (`instances`), and the
    /// verdict is not in a row of [`SIGNED`], also compares it with the verdict that `vipd capture`
    /// states.
    ///
    /// # Errors
    /// Returns the first difference.
    pub(crate) fn compare(&mut self, frame: &[u8], ifindex: u32) -> Result<Verdict, String> {
        let action = self.run(frame, ifindex);
        let verdict = self.reference(frame, ifindex);
        if action != verdict.action() {
            return Err(format!("action {action:?}, but the parser returns {verdict:?}"));
        }
        let is_signed = |number| SIGNED.iter().any(|(_, _, _, row, _)| *row == number);
        let is_configured = match verdict {
            Verdict::Passed(_) => true,
            Verdict::Discarded(row, _) | Verdict::Accepted(row, _) => !is_signed(row),
        };
        if let Some(instances) = self.instances.as_deref().filter(|_| ifindex == LOOPBACK && is_configured) {
            captured::compare(instances, self.entry.framing(), &self.padded(frame), &verdict)?;
        }
        self.enter(&verdict);
        self.audit().map_err(|difference| format!("{difference}, but the parser returns {verdict:?}"))?;
        let record = self.loaded.feed.pop();
        let (wanted, packet) = match verdict {
            Verdict::Accepted(row, advert) => {
                let packet = if advert.is_signed { self.ip_packet(frame) } else { Vec::new() };
                (Some(Self::record(record, row, ifindex, &advert)), packet)
            }
            Verdict::Passed(_) | Verdict::Discarded(..) => (None, Vec::new()),
        };
        if record != wanted {
            return Err(format!("record {record:?}, expected {wanted:?}"));
        }
        if record.is_some() && self.loaded.feed.packet() != packet {
            return Err(format!("packet {:x?}, expected {packet:x?}", self.loaded.feed.packet()));
        }
        match self.loaded.feed.pop() {
            None => Ok(verdict),
            Some(more) => Err(format!("unexpected record {more:?}")),
        }
    }

    /// Returns a frame as a NIC would deliver it. A short frame for TC programs is padded to the
    /// minimum length. The padding is not zeros, because zeros could make a truncated frame valid.
    fn padded<'a>(&self, frame: &'a [u8]) -> Cow<'a, [u8]> {
        let is_short = matches!(self.entry, Entry::Tc | Entry::TcBare) && frame.len() < MIN_FRAME;
        if !is_short {
            return frame.into();
        }
        let mut padded = frame.to_vec();
        padded.resize(MIN_FRAME, 0xa5);
        padded.into()
    }

    /// Returns the IP packet in a frame, without the bytes after it.
    fn ip_packet(&self, frame: &[u8]) -> Vec<u8> {
        let frame = self.padded(frame);
        let ip = match self.entry.framing() {
            Framing::Ethernet => wire::ethernet::ip(&&*frame),
            Framing::Bare => wire::ip::bare(&&*frame),
        };
        let packet = &frame[ip.expect("an accepted advert").offset..];
        let length = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        let length = if packet[0] >> 4 == 6 { 40 + length(4) } else { length(2) };
        packet[..length].to_vec()
    }

    /// Returns the program under test, or its XDP counterpart if the frame is too long for TC
    /// programs.
    fn runnable(&self, frame: &[u8]) -> Entry {
        match self.entry {
            Entry::Tc if frame.len() > TC_MAX => Entry::XdpFrags,
            Entry::TcBare if frame.len() > TC_MAX => Entry::XdpBare,
            entry => entry,
        }
    }

    /// Runs the program once and returns its action.
    pub(crate) fn run(&self, frame: &[u8], ifindex: u32) -> Action {
        let result = self.loaded.kernel.test_run(self.runnable(frame), &self.padded(frame), ifindex, 1);
        result.unwrap_or_else(|error| panic!("{} bytes on interface {ifindex}: {error:?}", frame.len())).0
    }

    /// Adds the counts for a verdict to the expected counters.
    pub(crate) fn enter(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed(None) => {}
            Verdict::Passed(Some(counter)) => self.add(ROW_UNASSIGNED, *counter),
            Verdict::Discarded(row, counter) => self.add(*row, *counter),
            // Counted only after user space has verified the HMAC.
            Verdict::Accepted(row, advert) if advert.is_signed => {
                if !advert.link_local {
                    self.add(*row, Counter::NotLinkLocal);
                }
            }
            Verdict::Accepted(row, advert) => {
                self.add(*row, Counter::AdvertisementRcvd);
                match advert.checksum {
                    ChecksumForm::V2 | ChecksumForm::Ipv6 => {}
                    ChecksumForm::Rfc5798 => self.add(*row, Counter::ChecksumRfc5798Rcvd),
                    ChecksumForm::Rfc9568 => self.add(*row, Counter::ChecksumRfc9568Rcvd),
                }
                if !advert.link_local {
                    self.add(*row, Counter::NotLinkLocal);
                }
                if advert.priority == 0 {
                    self.add(*row, Counter::PriorityZeroRcvd);
                }
            }
        }
    }

    pub(crate) fn add(&mut self, row: u32, counter: Counter) {
        self.account[row as usize][counter as usize] += 1;
    }

    /// Compares all rows with the expected counters.
    pub(crate) fn audit(&self) -> Result<(), String> {
        for (row, wanted) in (0..).zip(&self.account) {
            let cells: Cells = bytemuck::cast(self.row(row));
            for (cell, (is, should)) in cells.iter().zip(wanted).enumerate() {
                if is != should {
                    return Err(format!("counter {cell} of row {row} is {is}, expected {should}"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn row(&self, row: u32) -> CounterRow {
        self.loaded.counters.row(row).expect("the row exists")
    }

    /// Returns the expected record of an advert, with the arrival time copied from `record` after a
    /// plausibility check.
    fn record(record: Option<AdvertRecord>, row: u32, ifindex: u32, advert: &Advert) -> AdvertRecord {
        const { assert!(size_of::<AdvertRecord>() == 56) };
        let arrival = record.map_or(0, |record| record.arrival);
        let age = Duration::from_nanos(now().saturating_sub(arrival));
        assert!(record.is_none() || age < Duration::from_secs(60), "arrival {age:?} ago: wrong clock");
        AdvertRecord {
            arrival,
            addresses: advert.addresses,
            row,
            ifindex,
            source: advert.source,
            interval: advert.interval,
            vrid: advert.vrid,
            family: advert.family,
            version: advert.version,
            priority: advert.priority,
            count: advert.count,
            checksum: advert.checksum as u8,
            last_unchanged: 0,
        }
    }
}

/// Returns the slot of a multicast router without authentication.
pub(crate) fn multicast(family: u8, version: u8, row: u32) -> RouterSlot {
    RouterSlot {
        row,
        version,
        authentication: 0,
        empty: 0,
        unicast: 0,
        trailer: 0,
        reserved: [0; 3],
        destination: if family == 6 { ipv6(wire::ipv6::VRRP_GROUP) } else { ipv4(wire::ipv4::VRRP_GROUP) },
        password: [0; 2],
    }
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("after boot")
}
