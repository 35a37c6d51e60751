//! Rate limit per sender for adverts that take the slow path:
//! [`BURST`](vipd_common::records::BURST) back to back, then one per [`TOKEN_INTERVAL`].
//!
//! The token buckets use the generic cell rate algorithm (ITU-T I.371, virtual scheduling): each
//! bucket is one word, the time at which it is full again. Unchanged adverts are exempt, because
//! user space does not handle them. There is no limit shared by all senders of unsigned adverts,
//! because such a limit could drop adverts from a router that is taking over.
//!
//! Signed adverts have other limits, because user space must verify each of them:
//! [`SIGNED_BURST`] and [`SIGNED_TOKEN_INTERVAL`] per sender with a slot in `SIGNERS`, and for
//! all other senders of a row together; and [`PASSED_BURST`] and [`PASSED_TOKEN_INTERVAL`] for all
//! rows together. Half of [`PASSED_BURST`] is reserved for known senders. [`charge_blocks`] limits
//! the blocks that the program hashes to verify adverts.

use vipd_common::parse::Advert;
use vipd_common::records::{
    BUDGET_EXPIRED_KNOWN, BUDGET_EXPIRED_UNKNOWN, BUDGET_HASHED, BUDGET_PASSED, EXPIRED_BURST,
    EXPIRED_TOKEN_INTERVAL, HASHED_BURST, HASHED_TOKEN_INTERVAL, PASSED_BURST, PASSED_TOKEN_BYTES,
    PASSED_TOKEN_INTERVAL, SIGNED_BURST, SIGNED_TOKEN_INTERVAL, SenderKey, TOKEN_INTERVAL,
};

use crate::maps::{BUDGET, SENDER_BURST, SENDERS};
use crate::signers::Sender;

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
    take(bucket, now, 1, &Rate { burst, interval: TOKEN_INTERVAL })
}

/// Charges the bucket of a signed advert's sender, and then the bucket of all senders. Returns
/// whether the advert, a packet of `length` bytes, conforms to both.
#[inline(always)]
pub(crate) fn charge_signed(sender: &Sender, length: u64, now: u64) -> bool {
    let tokens = 1 + length / PASSED_TOKEN_BYTES;
    let burst = if sender.is_known { PASSED_BURST } else { PASSED_BURST / 2 };
    SENDER_BURST.load() == 0
        || take(sender.bucket, now, 1, &Rate { burst: SIGNED_BURST, interval: SIGNED_TOKEN_INTERVAL })
            && BUDGET.get_ptr_mut(BUDGET_PASSED).is_some_and(|bucket| {
                take(bucket, now, tokens, &Rate { burst, interval: PASSED_TOKEN_INTERVAL })
            })
}

/// Charges a bucket of hashed blocks, and returns whether this number of blocks may be hashed for a
/// sender. `is_expired` is true if the lease has expired.
#[inline(always)]
pub(crate) fn charge_blocks(is_known: bool, is_expired: bool, blocks: u64, now: u64) -> bool {
    let (bucket, burst, interval) = match (is_expired, is_known) {
        (false, true) => (BUDGET_HASHED, HASHED_BURST, HASHED_TOKEN_INTERVAL),
        (false, false) => (BUDGET_HASHED, HASHED_BURST / 2, HASHED_TOKEN_INTERVAL),
        (true, true) => (BUDGET_EXPIRED_KNOWN, EXPIRED_BURST, EXPIRED_TOKEN_INTERVAL),
        (true, false) => (BUDGET_EXPIRED_UNKNOWN, EXPIRED_BURST, EXPIRED_TOKEN_INTERVAL),
    };
    SENDER_BURST.load() == 0
        || BUDGET
            .get_ptr_mut(bucket)
            .is_some_and(|bucket| take_some(bucket, now, 1, blocks, &Rate { burst, interval }))
}

/// Capacity of a bucket, and the nanoseconds after which it regains one token.
struct Rate {
    burst: u64,
    interval: u64,
}

/// Takes tokens from a bucket, which is a word of a map, and returns whether there were enough.
#[inline(always)]
fn take(bucket: *mut u64, now: u64, tokens: u64, rate: &Rate) -> bool {
    take_some(bucket, now, tokens, tokens, rate)
}

/// Takes `tokens` from a bucket if it has at least `needed`, and returns whether it had. If fewer
/// are needed than taken, a long advert has the same chance as the short ones of a flood.
#[inline(always)]
fn take_some(bucket: *mut u64, now: u64, needed: u64, tokens: u64, rate: &Rate) -> bool {
    // SAFETY: an aligned word of a map; a racing CPU may admit one extra advert.
    let full_at = unsafe { bucket.read_volatile() };
    let full_at = if full_at > now { full_at } else { now };
    if full_at - now + needed * rate.interval > rate.burst * rate.interval {
        return false;
    }
    // SAFETY: as above.
    unsafe { bucket.write_volatile(full_at + tokens * rate.interval) };
    true
}
