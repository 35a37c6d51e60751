//! Handing a valid advert to user space.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_common::records::{AdvertRecord, RING_BYTES};

use crate::maps::{ADVERTS, STEADY, count};

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
    // The ring's own choice, to wake a reader that had caught up, would leave a surprise behind steady adverts unseen.
    let wake = if is_steady(row, advert) { BPF_RB_NO_WAKEUP } else { BPF_RB_FORCE_WAKEUP };
    entry.submit(u64::from(wake));
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
