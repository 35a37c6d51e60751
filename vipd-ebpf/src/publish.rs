//! Passes valid adverts to user space.

use core::arch::asm;

use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_common::records::AdvertRecord;

use crate::limit::{charge, charge_sender};
use crate::maps::{ADVERTS, ASLEEP, STEADY, count, count_discarded, count_lost};

/// Counts the advert. If it is unchanged, stores its arrival. Otherwise, if it is within the rate limit,
/// writes a record to the ring and wakes the reader, or counts the loss if the ring is full.
#[inline(always)]
pub(crate) fn publish(ifindex: u32, row: u32, advert: &Advert) {
    count(row, Counter::AdvertisementRcvd);
    match advert.checksum {
        ChecksumForm::V2 | ChecksumForm::Ipv6 => {}
        ChecksumForm::Rfc5798 => count(row, Counter::ChecksumRfc5798Rcvd),
        ChecksumForm::Rfc9568 => count(row, Counter::ChecksumRfc9568Rcvd),
    }
    if !advert.link_local {
        count(row, Counter::NotLinkLocal);
    }
    if advert.priority == 0 {
        count(row, Counter::PriorityZeroRcvd);
    }
    // SAFETY: the helper has no preconditions.
    let arrival = unsafe { bpf_ktime_get_ns() };
    let (last_unchanged, conforms) = match compare(row, advert, arrival) {
        Novelty::Unchanged => return,
        Novelty::PreviouslySteady { last_unchanged, bucket } => (last_unchanged, charge(bucket, arrival)),
        Novelty::New { last_unchanged } => (last_unchanged, charge_sender(row, advert, arrival)),
    };
    if !conforms {
        count_discarded(row, Counter::RateLimited);
        return;
    }
    let Some(mut entry) = ADVERTS.reserve::<AdvertRecord>(0) else {
        count_lost(row);
        return;
    };
    entry.write(AdvertRecord {
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
        last_unchanged,
    });
    // Committing is a full barrier (xchg in `bpf_ringbuf_commit`). The reader checks the ring after
    // setting ASLEEP, so either it finds this record, or `wake` finds ASLEEP set.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    wake();
}

/// How an advert relates to the fast path of its virtual router.
enum Novelty {
    /// Equal to the expected advert; its arrival is stored.
    Unchanged,
    /// Equal to the previously expected advert, which is no longer expected. It has its own token
    /// bucket.
    PreviouslySteady { last_unchanged: u64, bucket: *mut u64 },
    /// Any other advert.
    New { last_unchanged: u64 },
}

#[inline(always)]
fn compare(row: u32, advert: &Advert, arrival: u64) -> Novelty {
    let Some(slot) = STEADY.get_ptr_mut(row) else { return Novelty::New { last_unchanged: 0 } };
    let fingerprint = advert.fingerprint();
    // SAFETY: a field of the map's value.
    let last = unsafe { &raw mut (*slot).arrival };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    let last_unchanged = unsafe { last.read_volatile() };
    // SAFETY: a field of the map's value.
    let expected = unsafe { &raw const (*slot).expected };
    // SAFETY: as above.
    if unsafe { expected.read_volatile() } == fingerprint {
        store_arrival(last, last_unchanged, arrival);
        return Novelty::Unchanged;
    }
    // SAFETY: a field of the map's value.
    let previous = unsafe { &raw const (*slot).previous };
    // SAFETY: as above.
    if unsafe { previous.read_volatile() } == fingerprint {
        // SAFETY: a field of the map's value.
        let bucket = unsafe { &raw mut (*slot).limit };
        Novelty::PreviouslySteady { last_unchanged, bucket }
    } else {
        Novelty::New { last_unchanged }
    }
}

/// Number of attempts to store an arrival while other CPUs store theirs. A failed attempt means that
/// another CPU has stored an arrival within the last few nanoseconds, so little is lost if all fail.
const STORE_ATTEMPTS: usize = 4;

/// Raises `last`, which was `known`, to `arrival`. Never lowers it, even if this CPU was interrupted after
/// it had read the clock.
#[inline(always)]
fn store_arrival(last: *mut u64, mut known: u64, arrival: u64) {
    for _ in 0..STORE_ATTEMPTS {
        if arrival <= known {
            return;
        }
        // SAFETY: an aligned word of a map that outlives the program's run.
        let found = unsafe { compare_exchange(last, known, arrival) };
        if found == known {
            return;
        }
        known = found;
    }
}

/// Atomically stores `new` if the word equals `known`, and returns the old value (`BPF_CMPXCHG`, Linux
/// 5.12). Written in assembly, because `core` has no compare-and-swap for this target.
///
/// # Safety
/// `word` must be an aligned word of a map.
#[inline(always)]
unsafe fn compare_exchange(word: *mut u64, known: u64, new: u64) -> u64 {
    let found;
    // SAFETY: the caller guarantees that `word` is valid. The instruction expects the known value in r0
    // and returns the old value there.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") known => found,
            options(nostack),
        );
    }
    found
}

/// Wakes the reader if it is blocked. The wake-up is an interrupt on this CPU, which takes microseconds in
/// a virtual machine, so it happens only once per sleep.
///
/// The ring's adaptive wake-up does not suffice. It wakes only a reader that has read all previous
/// records, but a reader may be blocked by another CPU's uncommitted record.
#[inline(always)]
fn wake() {
    let Some(asleep) = ASLEEP.get_ptr_mut(0) else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    if unsafe { asleep.read_volatile() } == 0 {
        return;
    }
    // SAFETY: as above. Every CPU that stores 0 then wakes the reader, so that no wake-up is lost.
    unsafe { asleep.write_volatile(0) };
    // Only submitting or discarding a record can wake the reader.
    if let Some(nudge) = ADVERTS.reserve::<u64>(0) {
        nudge.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}
