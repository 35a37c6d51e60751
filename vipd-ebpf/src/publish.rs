//! Handing a valid advert to user space.

use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_common::records::AdvertRecord;

use crate::limit::is_allowed;
use crate::maps::{ADVERTS, ASLEEP, STEADY, count, count_discarded};

/// Counts the advert, and notes its time if it says nothing new; else it puts its record into the ring and wakes the reader,
/// unless its sender has said too much. A full ring is counted, never silent.
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
    let (before, familiar) = match recognise(row, advert, arrival) {
        Known::Steady => return,
        Known::Familiar(before) => (before, true),
        Known::Not(before) => (before, false),
    };
    if !familiar && !is_allowed(row, advert, arrival) {
        count_discarded(row, Counter::RateLimited);
        return;
    }
    let Some(mut entry) = ADVERTS.reserve::<AdvertRecord>(0) else {
        count(row, Counter::RingFull);
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
        before,
    });
    // Submitted is a full barrier (xchg in `bpf_ringbuf_commit`): either the reader, who looks into the ring after it has
    // said that it will sleep, sees this record, or `wake` sees that it sleeps.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    wake();
}

/// What user space knows of an advert; of one that is handed over, when a steady one came last.
enum Known {
    /// It says nothing new, and its arrival is noted.
    Steady,
    /// It did not until something else came.
    Familiar(u64),
    /// It says something new.
    Not(u64),
}

#[inline(always)]
fn recognise(row: u32, advert: &Advert, arrival: u64) -> Known {
    let Some(slot) = STEADY.get_ptr_mut(row) else { return Known::Not(0) };
    let fingerprint = advert.fingerprint();
    // SAFETY: the value's second word.
    let heard = unsafe { &raw mut (*slot).heard };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    let before = unsafe { heard.read_volatile() };
    // SAFETY: the first word, which user space writes whole.
    let expected = unsafe { slot.cast::<u64>().read_volatile() };
    if expected == fingerprint {
        // Another CPU may have been held up between its look at the clock and here: time does not go back for that.
        if arrival > before {
            // SAFETY: as above.
            unsafe { heard.write_volatile(arrival) };
        }
        return Known::Steady;
    }
    // SAFETY: the third word.
    let familiar = unsafe { &raw const (*slot).familiar };
    // SAFETY: user space writes it whole.
    if unsafe { familiar.read_volatile() } == fingerprint {
        Known::Familiar(before)
    } else {
        Known::Not(before)
    }
}

/// Wakes the reader if it sleeps: an interrupt to ourselves, which costs microseconds in a virtual machine, so once a sleep.
///
/// Not left to the ring's own choice, to wake a reader that had caught up: one that stands behind a record which another CPU
/// has not finished has not, and sleeps all the same.
#[inline(always)]
fn wake() {
    let Some(asleep) = ASLEEP.get_ptr_mut(0) else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it whole.
    if unsafe { asleep.read_volatile() } == 0 {
        return;
    }
    // SAFETY: as above. Whoever stores 0 wakes the reader after that, so a 1 that it overwrites is not lost.
    unsafe { asleep.write_volatile(0) };
    // Only a record can wake: one that is discarded.
    if let Some(nudge) = ADVERTS.reserve::<u64>(0) {
        nudge.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}
