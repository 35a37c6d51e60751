//! Fences a master's row when a valid advert outranks the master, or arrives after the master's
//! lease has expired. A priority-0 advert never fences.

use core::arch::asm;

use vipd_common::lease::{Reason, fences};

use crate::maps::{FILTER, LEASES, set};

/// Returns the reason why an advert with this priority, received at `arrival`, fences the row;
/// `None` if it does not.
#[inline(always)]
pub(crate) fn check(row: u32, priority: u8, arrival: u64) -> Option<Reason> {
    let slot = LEASES.get_ptr(row)?;
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let valid_until = unsafe { &raw const (*slot).valid_until };
    // On backups, which receive most adverts, this word is 0, and no other word is read. SAFETY: an
    // aligned word of a map, which others write with single stores.
    if unsafe { valid_until.read_volatile() } == 0 {
        return None;
    }
    // SAFETY: as above.
    fences(&unsafe { slot.read_volatile() }, priority, arrival)
}

/// Returns whether a row is fenced.
#[inline(always)]
pub(crate) fn is_fenced(row: u32) -> bool {
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    LEASES.get_ptr(row).map(|slot| unsafe { &raw const (*slot).fenced }).is_some_and(|fenced| {
        // SAFETY: an aligned word of a map, which others write with single stores.
        unsafe { fenced.read_volatile() != 0 }
    })
}

/// Makes the filter apply to fenced rows.
#[inline(always)]
pub(crate) fn arm() {
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    set(FILTER.get_ptr_mut(0).map(|words| unsafe { &raw mut (*words).fenced }));
}

/// Fences a row. Sets the row's own word before the word in `FILTER`, so that user space finds the
/// fenced row once it finds the word in `FILTER` set.
#[inline(always)]
pub(crate) fn fence(row: u32) {
    let Some(slot) = LEASES.get_ptr_mut(row) else { return };
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let fenced = unsafe { &raw mut (*slot).fenced };
    // SAFETY: an aligned word of a map, which others write with single stores.
    if unsafe { fenced.read_volatile() } == 0 {
        // A full barrier, so that this store precedes the read of the word in `FILTER` by `set`
        // below. Otherwise, user space could clear that word without finding this row fenced.
        // SAFETY: as above.
        unsafe { set_with_barrier(fenced) };
    }
    arm();
}

/// Atomically stores 1, with a full memory barrier (`BPF_XCHG`, Linux 5.12). Written in assembly,
/// because `core` has no atomic exchange for this target.
///
/// # Safety
/// `word` must be an aligned word of a map.
#[inline(always)]
unsafe fn set_with_barrier(word: *mut u64) {
    // SAFETY: the caller guarantees that `word` is valid.
    unsafe {
        asm!(
            "{new} = xchg_64({word} + 0, {new})",
            word = in(reg) word,
            new = inlateout(reg) 1_u64 => _,
            options(nostack),
        );
    }
}
