//! Handing a valid advert to user space.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, ChecksumForm};
use vipd_common::records::AdvertRecord;

use crate::maps::{ADVERTS, count};

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
    // 0: wake the reader only if it had caught up, so that a burst costs one wake-up.
    entry.submit(0);
}
