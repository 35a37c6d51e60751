//! Holding senders to what an interval allows.
//!
//! One that floods the segment with valid adverts of its own must not keep the engine busy. What says nothing new costs user
//! space nothing and is not held to anything; the rest has a bucket for each sender, by the generic cell rate algorithm (ITU-T
//! I.371, appendix on virtual scheduling): one word says when the bucket is full again. A flood from ever new sources is not held:
//! who would be dropped then is the router that takes over.

use vipd_common::parse::Advert;
use vipd_common::records::{ALLOWED_EVERY, SenderKey};

use crate::maps::{SENDER_BURST, SENDERS};

/// Whether the sender may say this, too; then it has said it.
#[inline(always)]
pub(crate) fn is_allowed(row: u32, advert: &Advert, now: u64) -> bool {
    // Removed by the verifier unless the loader asks for it.
    let burst = u64::from(SENDER_BURST.load());
    if burst == 0 {
        return true;
    }
    // Who has said too much may still leave.
    let key = SenderKey { row, leaves: u32::from(advert.priority == 0), address: advert.source };
    let Some(whole) = SENDERS.get_ptr_mut(key) else {
        // Where there is no room, nobody is held to anything.
        let _ = SENDERS.insert(key, now + ALLOWED_EVERY, 0);
        return true;
    };
    // SAFETY: an aligned word of a map; another CPU that writes it meanwhile gives an advert away.
    let until = unsafe { whole.read_volatile() };
    let until = if until > now { until } else { now } + ALLOWED_EVERY;
    if until - now > burst * ALLOWED_EVERY {
        return false;
    }
    // SAFETY: as above.
    unsafe { whole.write_volatile(until) };
    true
}
