//! Passes signed adverts to user space, and fences rows because of them.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use vipd_common::counters::Counter;
use vipd_common::lease::Reason;
use vipd_common::parse::Advert;
use vipd_common::records::RING_BYTES;

use crate::cursor::Windowed;
use crate::fast_path::wake;
use crate::fence;
use crate::hmac::{EXPIRED, KNOWN, vipd_verify};
use crate::limit::charge_signed;
use crate::maps::{ADVERTS, count, count_discarded, count_lost};
use crate::program::record;
use crate::signers;

/// Writes a signed advert to the ring, followed by its packet of `length` bytes, and wakes the
/// reader, or counts the loss if the ring is full. Drops replays and rate-limited adverts. User
/// space verifies the HMAC, and only then counts the advert as received. An advert whose first
/// address is not link-local is already counted as such by this function. A rate-limited advert may
/// still fence the row if the lease has expired.
///
/// The program verifies the HMAC only if the advert would fence the row.
#[inline(always)]
pub(crate) fn publish_signed(packet: &Windowed, length: usize, ifindex: u32, row: u32, advert: &Advert) {
    if !advert.link_local {
        count(row, Counter::NotLinkLocal);
    }
    // SAFETY: the helper has no preconditions.
    let arrival = unsafe { bpf_ktime_get_ns() };
    let Some(sender) = signers::find(row, &advert.source) else { return };
    if sender.is_replay(advert.sequence, arrival) {
        count_discarded(row, Counter::HmacReplayed);
        return;
    }
    let reason = fence::check(row, advert.priority, arrival);
    let has_expired = || matches!(fence::check(row, advert.priority, arrival), Some(Reason::Expired));
    let is_expired = matches!(reason, Some(Reason::Expired));
    let conforms = charge_signed(&sender, length as u64, arrival);
    if !conforms {
        // The sender may be the master, whether its adverts have been verified or not.
        signers::dropped(row, arrival);
        count_discarded(row, Counter::RateLimited);
        // The limit protects user space. After the end of the lease, the advert may still be the
        // first one of a new master.
        if !is_expired {
            return;
        }
    }
    let bytes = packet.with_record(record(arrival, ifindex, row, advert, 0), length);
    // The advert of a surplus sender may be a replay, which only user space recognizes.
    let may_fence = is_expired || reason.is_some() && !sender.is_surplus && has_room(bytes.len());
    let flags = if sender.is_known { KNOWN } else { 0 } | if is_expired { EXPIRED } else { 0 };
    if may_fence && fence::is_fenced(row) {
        // User space may have been stopped between finding no fenced row and clearing the filter.
        fence::arm();
    } else if may_fence && vipd_verify(length as u32, flags) != 0 && (!is_expired || has_expired()) {
        // An expired lease was checked again above, because the engine may have extended it during
        // the verification. If a limit has dropped the advert, the engine does not receive it, and
        // would not lift the fence before it sends its next advert.
        fence::fence(row);
    }
    if !conforms {
        return;
    }
    // Like committing a record, writing one is a full barrier.
    match ADVERTS.output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP)) {
        Ok(()) => wake(),
        Err(_) => count_lost(row),
    }
}

/// Returns whether the ring has room for a record of this length.
#[inline(always)]
fn has_room(length: usize) -> bool {
    const HEADER_AND_PADDING: u64 = 16;
    ADVERTS.query(u64::from(BPF_RB_AVAIL_DATA)) + length as u64 + HEADER_AND_PADDING < u64::from(RING_BYTES)
}
