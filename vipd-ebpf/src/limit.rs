//! Rate limit per sender for adverts that take the slow path:
//! [`BURST`](vipd_common::records::BURST) back to back, then one per [`TOKEN_INTERVAL`].
//!
//! The token buckets use the generic cell rate algorithm (ITU-T I.371, virtual scheduling): each
//! bucket is one word, the time at which it is full again. Unchanged adverts are exempt, because
//! user space does not handle them. There is no limit shared by all senders, because such a limit
//! could drop adverts from a router that is taking over.

use vipd_common::parse::Advert;
use vipd_common::records::{SenderKey, TOKEN_INTERVAL};

use crate::maps::{SENDER_BURST, SENDERS};

/// Charges the sender's bucket and returns whether the advert conforms.
#[inline(always)]
pub(crate) fn charge_sender(row: u32, advert: &Advert, now: u64) -> bool {
    if SENDER_BURST.load() == 0 {
        return true;
    }
    // Priority-0 adverts have their own bucket, so that a rate-limited sender can still relinquish
    // mastership.
    let is_priority_zero = u32::from(advert.priority == 0);
    let key = SenderKey { row, is_priority_zero, address: advert.source };
    let Some(bucket) = SENDERS.get_ptr_mut(key) else {
        // The advert also conforms if there is no room for a bucket: a router must not miss its
        // master's adverts because of other senders.
        let _ = SENDERS.insert(key, now + TOKEN_INTERVAL, 0);
        return true;
    };
    charge(bucket, now)
}

/// Charges a bucket, which is a word of a map, and returns whether the advert conforms.
#[inline(always)]
pub(crate) fn charge(bucket: *mut u64, now: u64) -> bool {
    let burst = u64::from(SENDER_BURST.load());
    if burst == 0 {
        return true;
    }
    // SAFETY: an aligned word of a map; a racing CPU may admit one extra advert.
    let full_at = unsafe { bucket.read_volatile() };
    let full_at = if full_at > now { full_at } else { now } + TOKEN_INTERVAL;
    if full_at - now > burst * TOKEN_INTERVAL {
        return false;
    }
    // SAFETY: as above.
    unsafe { bucket.write_volatile(full_at) };
    true
}
