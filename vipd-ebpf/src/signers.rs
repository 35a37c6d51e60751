//! Finds the sender of a signed advert among the senders of verified adverts, and recognizes
//! replays.

use core::arch::asm;

use vipd_common::address::Address;
use vipd_common::hmac::is_after;
use vipd_common::records::{SIGNERS as COUNT, SignerSlot};

use crate::maps::SIGNERS;

/// The sender of a signed advert.
pub(crate) struct Sender {
    /// See [`SignerSlot::mark`]; 0 if the sender is not known.
    mark: u64,
    /// Time until which `mark` applies; 0 if the sender is not known.
    mark_until: u64,
    /// Whether the sender has a slot: user space has verified an advert from it, or it is the
    /// router itself.
    pub(crate) is_known: bool,
    /// Whether the sender has no slot and none is free. User space may have verified an advert from
    /// such a sender although it has no slot.
    pub(crate) is_surplus: bool,
    /// The sender's token bucket. All unknown senders of a row share one.
    pub(crate) bucket: *mut u64,
}

impl Sender {
    /// Returns whether an advert with this sequence is a replay. Such an advert may also be an
    /// older one that was delayed on its way.
    #[inline(always)]
    pub(crate) const fn is_replay(&self, sequence: u64, arrival: u64) -> bool {
        arrival < self.mark_until && !is_after(sequence, self.mark)
    }
}

/// Returns the sender with this address. `None` if the row does not exist.
#[inline(always)]
pub(crate) fn find(row: u32, address: &Address) -> Option<Sender> {
    let signers = SIGNERS.get_ptr_mut(row)?;
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let slots = unsafe { &raw mut (*signers).senders }.cast::<SignerSlot>();
    for index in 0..COUNT {
        // SAFETY: the index is below the number of elements.
        let slot = unsafe { slots.add(index) };
        if has_address(slot, address)
            && let Some(sender) = read(slot, address)
        {
            return Some(sender);
        }
    }
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let bucket = unsafe { &raw mut (*signers).unverified };
    // SAFETY: the index is below the number of elements. Slots are filled in order.
    let is_surplus = !has_address(unsafe { slots.add(COUNT - 1) }, &[0; 4]);
    Some(Sender { mark: 0, mark_until: 0, is_known: false, is_surplus, bucket })
}

/// Records that a limit has dropped an advert that arrived at `arrival`.
#[inline(always)]
pub(crate) fn dropped(row: u32, arrival: u64) {
    let Some(signers) = SIGNERS.get_ptr_mut(row) else { return };
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let word = unsafe { &raw mut (*signers).dropped };
    // SAFETY: an aligned word of a map. Racing CPUs store nearly the same time.
    unsafe { word.write_volatile(arrival) };
}

/// Returns the sender in a slot; `None` if user space changes the slot at the same time.
#[inline(always)]
fn read(slot: *mut SignerSlot, address: &Address) -> Option<Sender> {
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let version = unsafe { &raw mut (*slot).version };
    // SAFETY: an aligned word of a map.
    let before = unsafe { load_with_barrier(version) };
    let is_same = has_address(slot, address);
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let mark = unsafe { &raw const (*slot).mark };
    // SAFETY: an aligned word of a map, which user space writes with single stores.
    let mark = unsafe { mark.read_volatile() };
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let mark_until = unsafe { &raw const (*slot).mark_until };
    // SAFETY: as above.
    let mark_until = unsafe { mark_until.read_volatile() };
    // SAFETY: an aligned word of a map.
    let after = unsafe { load_with_barrier(version) };
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let bucket = unsafe { &raw mut (*slot).bucket };
    let is_stable = before == after && before % 2 == 0;
    (is_same && is_stable).then_some(Sender { mark, mark_until, is_known: true, is_surplus: false, bucket })
}

#[inline(always)]
fn has_address(slot: *mut SignerSlot, address: &Address) -> bool {
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let stored = unsafe { &raw const (*slot).address };
    // SAFETY: words of a map, which user space writes with single stores.
    let stored = unsafe { stored.read_volatile() };
    let difference = (stored[0] ^ address[0])
        | (stored[1] ^ address[1])
        | (stored[2] ^ address[2])
        | (stored[3] ^ address[3]);
    difference == 0
}

/// Atomically adds 0, with a full memory barrier (`BPF_FETCH`, Linux 5.12), and returns the value.
/// Loads before and after this operation are not reordered with it; on aarch64, plain loads could
/// be reordered. Written in assembly, because `core` has no atomic addition for this target.
///
/// # Safety
/// `word` must be an aligned word of a map.
#[inline(always)]
unsafe fn load_with_barrier(word: *mut u64) -> u64 {
    let value;
    // SAFETY: the caller guarantees that `word` is valid.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
            word = in(reg) word,
            value = inlateout(reg) 0_u64 => value,
            options(nostack),
        );
    }
    value
}
