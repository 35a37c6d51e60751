//! Handing a valid advert to user space.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_common::records::{AdvertRecord, RING_BYTES};

use crate::maps::{ADVERTS, ASLEEP, STEADY, count};

/// What a record takes of the ring, with its header (`kernel/bpf/ringbuf.c`).
const RECORD: u64 = size_of::<AdvertRecord>() as u64 + 8;

/// Counts the advert and puts its record into the ring; a full ring is counted, never silent.
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
    let end = ADVERTS.query(u64::from(BPF_RB_PROD_POS)) + RECORD;
    let Some(mut entry) = ADVERTS.reserve::<AdvertRecord>(0) else {
        count(row, Counter::RingFull);
        return;
    };
    entry.write(AdvertRecord {
        // SAFETY: the helper has no preconditions.
        arrival: unsafe { bpf_ktime_get_ns() },
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
    });
    // Submitted is a full barrier (xchg in `bpf_ringbuf_commit`): either the reader, who looks into the ring after it has
    // said that it will sleep, sees this record, or `wake` sees that it sleeps.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    // While this record was not finished, the reader saw nothing of one that another CPU put behind it, and may sleep again
    // for all that that one woke it.
    let alone = ADVERTS.query(u64::from(BPF_RB_PROD_POS)) == end;
    if !alone || !is_steady(row, advert) {
        wake();
    }
}

/// Wakes the reader if it sleeps: an interrupt to ourselves, which costs microseconds in a virtual machine, so once a sleep.
///
/// The ring's own choice, to wake a reader that had caught up, would leave a surprise behind steady adverts unseen.
#[inline(always)]
fn wake() {
    let Some(asleep) = ASLEEP.get_ptr_mut(0) else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    if unsafe { asleep.read_volatile() } == 0 {
        return;
    }
    // SAFETY: as above. Whoever stores 0 wakes the reader after that, so a 1 that it overwrites is not lost.
    unsafe { asleep.write_volatile(0) };
    // Only a record can wake: one that is discarded. A full ring has woken the reader when it was half full.
    if let Some(nudge) = ADVERTS.reserve::<u64>(0) {
        nudge.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// Whether the advert says nothing but that the master lives, and the ring has room until the reader comes by itself.
#[inline(always)]
fn is_steady(row: u32, advert: &Advert) -> bool {
    let Some(steady) = STEADY.get(row) else { return false };
    steady.armed != 0
        && steady.priority == advert.priority
        && steady.interval == advert.interval
        && steady.addresses == advert.addresses
        && steady.source == advert.source
        && ADVERTS.query(u64::from(BPF_RB_AVAIL_DATA)) < u64::from(RING_BYTES / 2)
}
