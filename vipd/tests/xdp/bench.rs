//! A loaded program, and the account of what it must have counted.

use std::mem::size_of;
use std::time::Duration;

use vipd::xdp::{Kernel, Loaded, OBJECT, Verbosity};
use vipd_common::counters::{Counter, CounterRow, ROW_CELLS, ROW_FOREIGN};
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_common::records::{AdvertRecord, RouterKey, RouterSlot};

use crate::reference::{Verdict, reference};

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;

/// The loopback interface has this index in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// VRID, version and counter row of what is watched on [`LOOPBACK`].
pub(crate) const WATCHED: [(u8, u8, u32); 2] = [(51, 3, 1), (52, 2, 2)];
/// Rows there are: for two virtual routers more, and row 0.
const ROWS: usize = 5;

type Cells = [u64; ROW_CELLS];

pub(crate) struct Bench {
    pub(crate) loaded: Loaded,
    /// All rows as they should be.
    account: [Cells; ROWS],
    /// VRID, version, row and interface of what is watched.
    watched: Vec<(u8, u8, u32, u32)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Verbosity::Quiet)
    }

    pub(crate) fn with(verbosity: Verbosity) -> Self {
        let loaded = Kernel::load(OBJECT, 4, verbosity).unwrap_or_else(|error| {
            panic!(
                "cannot load the XDP program: {error}\n{error:?}\n\
                 These tests need CAP_BPF and CAP_NET_ADMIN: run them as root, with `cargo xtask test`."
            )
        });
        let mut bench = Self { loaded, account: [[0; ROW_CELLS]; ROWS], watched: Vec::new() };
        for (vrid, version, row) in WATCHED {
            bench.watch(LOOPBACK, vrid, version, row);
        }
        bench
    }

    pub(crate) fn watch(&mut self, ifindex: u32, vrid: u8, version: u8, row: u32) {
        let slot = RouterSlot { row, version, zero: [0; 3] };
        self.loaded.kernel.watch(RouterKey::ipv4(ifindex, vrid), slot).expect("there is room for four");
        self.watched.push((vrid, version, row, ifindex));
    }

    pub(crate) fn forget(&mut self, ifindex: u32, vrid: u8) {
        self.loaded.kernel.forget(RouterKey::ipv4(ifindex, vrid)).expect("the map takes it");
        self.watched.retain(|watched| (watched.0, watched.3) != (vrid, ifindex));
    }

    /// The user-space parser's verdict.
    pub(crate) fn reference(&self, frame: &[u8], ifindex: u32) -> Verdict {
        reference(frame, |vrid| {
            let mut watched = self.watched.iter();
            let slot = watched.find(|(number, _, _, index)| (*number, *index) == (vrid, ifindex))?;
            Some((slot.2, slot.1))
        })
    }

    /// Runs the program once, and says in what it differs from the user-space parser, if it does.
    pub(crate) fn compare(&mut self, frame: &[u8], ifindex: u32) -> Result<Verdict, String> {
        let verdict = self.reference(frame, ifindex);
        let action = self.run(frame, ifindex);
        if action != verdict.action() {
            return Err(format!("action {action}, but the parser says {verdict:?}"));
        }
        self.enter(&verdict);
        self.audit().map_err(|difference| format!("{difference}, but the parser says {verdict:?}"))?;
        let record = self.loaded.feed.pop();
        let wanted = match verdict {
            Verdict::Accepted(row, advert) => Some(Self::record(record, row, ifindex, &advert)),
            Verdict::Passed(_) | Verdict::Discarded(..) => None,
        };
        if record != wanted {
            return Err(format!("record {record:?} instead of {wanted:?}"));
        }
        match self.loaded.feed.pop() {
            None => Ok(verdict),
            Some(more) => Err(format!("a record too many: {more:?}")),
        }
    }

    /// Runs the program once: its action.
    pub(crate) fn run(&self, frame: &[u8], ifindex: u32) -> u32 {
        let result = self.loaded.kernel.test_run(frame, ifindex, 1);
        result.unwrap_or_else(|error| panic!("{} bytes on interface {ifindex}: {error:?}", frame.len())).0
    }

    /// Enters a verdict into the account.
    pub(crate) fn enter(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed(None) => {}
            Verdict::Passed(Some(counter)) => self.add(ROW_FOREIGN, *counter),
            Verdict::Discarded(row, counter) => self.add(*row, *counter),
            Verdict::Accepted(row, advert) => {
                self.add(*row, Counter::AdvertisementRcvd);
                match advert.checksum {
                    ChecksumForm::V2 => {}
                    ChecksumForm::Rfc5798 => self.add(*row, Counter::ChecksumRfc5798Rcvd),
                    ChecksumForm::Rfc9568 => self.add(*row, Counter::ChecksumRfc9568Rcvd),
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

    /// Whether every cell of every row is as the account has it.
    pub(crate) fn audit(&self) -> Result<(), String> {
        for (row, wanted) in (0..).zip(&self.account) {
            let cells: Cells = bytemuck::cast(self.row(row));
            for (cell, (is, should)) in cells.iter().zip(wanted).enumerate() {
                if is != should {
                    return Err(format!("counter {cell} of row {row} is {is} and not {should}"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn row(&self, row: u32) -> CounterRow {
        self.loaded.counters.row(row).expect("the row exists")
    }

    /// The record that belongs to an advert; its arrival, which only the kernel knows, is that of `record`, after a
    /// check that it is now.
    fn record(record: Option<AdvertRecord>, row: u32, ifindex: u32, advert: &Advert) -> AdvertRecord {
        const { assert!(size_of::<AdvertRecord>() == 40) };
        let arrival = record.map_or(0, |record| record.arrival);
        let age = Duration::from_nanos(now().saturating_sub(arrival));
        assert!(record.is_none() || age < Duration::from_secs(60), "arrived {age:?} ago, by another clock");
        AdvertRecord {
            arrival,
            addresses: advert.addresses,
            row,
            ifindex,
            source: advert.source,
            interval: advert.interval,
            vrid: advert.vrid,
            version: advert.version,
            priority: advert.priority,
            count: advert.count,
            checksum: advert.checksum as u8,
            zero: [0; 5],
        }
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("after boot")
}
