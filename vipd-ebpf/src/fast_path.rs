//! The fast path: recognizes unchanged adverts and only stores their arrival time. Also wakes the
//! reader in user space after a record of another advert has been written.

use core::arch::asm;

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use vipd_common::parse::Advert;

use crate::maps::{ADVERTS, ASLEEP, STEADY};

/// The relation of an advert to the fast path of its virtual router.
pub(crate) enum Novelty {
    /// Equal to the expected advert. Its arrival time has been stored.
    Unchanged,
    /// Equal to the previously expected advert, which is no longer expected. Such adverts have a
    /// token bucket of their own.
    PreviouslySteady { last_unchanged: u64, bucket: *mut u64 },
    /// Any other advert.
    New { last_unchanged: u64 },
}

/// Compares an advert with the advert expected for its virtual router. If the two are equal, stores
/// the arrival time.
#[inline(always)]
pub(crate) fn compare(row: u32, advert: &Advert, arrival: u64) -> Novelty {
    let Some(slot) = STEADY.get_ptr_mut(row) else { return Novelty::New { last_unchanged: 0 } };
    let fingerprint = advert.fingerprint();
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let last = unsafe { &raw mut (*slot).arrival };
    // SAFETY: an aligned word of a map; other CPUs and user space write it as a whole.
    let last_unchanged = unsafe { last.read_volatile() };
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let expected = unsafe { &raw const (*slot).expected };
    // SAFETY: as above.
    if unsafe { expected.read_volatile() } == fingerprint {
        store_arrival(last, last_unchanged, arrival);
        return Novelty::Unchanged;
    }
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let previous = unsafe { &raw const (*slot).previous };
    // SAFETY: as above.
    if unsafe { previous.read_volatile() } == fingerprint {
        // SAFETY: the pointer refers to the map's value, so the field is in bounds.
        let bucket = unsafe { &raw mut (*slot).limit };
        Novelty::PreviouslySteady { last_unchanged, bucket }
    } else {
        Novelty::New { last_unchanged }
    }
}

/// Number of attempts to store an arrival time when other CPUs store theirs concurrently. An
/// attempt fails only if another CPU has stored a time within the last few nanoseconds, so little
/// is lost if all attempts fail.
const STORE_ATTEMPTS: usize = 4;

/// Raises `last`, whose value was `known`, to `arrival`. Never lowers `last`, even if this CPU was
/// interrupted after reading the clock.
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

/// Atomically stores `new` if the word equals `known`, and returns the old value (`BPF_CMPXCHG`,
/// Linux 5.12). Written in assembly, because `core` has no compare-and-swap for this target.
///
/// # Safety
/// `word` must be an aligned word of a map.
#[inline(always)]
unsafe fn compare_exchange(word: *mut u64, known: u64, new: u64) -> u64 {
    let found;
    // SAFETY: the caller guarantees that `word` is valid. The instruction expects the known value
    // in r0 and returns the old value there.
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

/// Wakes the reader if it is blocked. The wake-up is an interrupt on this CPU. In a virtual
/// machine, the interrupt takes microseconds, so the reader is woken only once per sleep.
///
/// The ring's adaptive wake-up does not suffice. That wake-up reaches only a reader that has read
/// all previous records, but a reader may be blocked by another CPU's uncommitted record.
#[inline(always)]
pub(crate) fn wake() {
    let Some(asleep) = ASLEEP.get_ptr_mut(0) else { return };
    // SAFETY: an aligned word of a map; other CPUs and user space write it with single stores.
    if unsafe { asleep.read_volatile() } == 0 {
        return;
    }
    // SAFETY: as above. Every CPU that stores 0 then wakes the reader, so that no wake-up is lost.
    unsafe { asleep.write_volatile(0) };
    // Only submitting or discarding a record can wake the reader.
    if let Some(empty) = ADVERTS.reserve::<u64>(0) {
        empty.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}
