//! Fences the row of a master whose lease is over, or which is outranked.

use vipd_common::lease::{Reason, fences};

use crate::maps::{FILTER, LEASES, set};

/// Returns why an advert with this priority, which arrived at `arrival`, fences the row.
#[inline(always)]
pub(crate) fn check(row: u32, priority: u8, arrival: u64) -> Option<Reason> {
    let slot = LEASES.get_ptr(row)?;
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let valid_until = unsafe { &raw const (*slot).valid_until };
    // Backups, which receive most adverts, need only this word. SAFETY: an aligned word of a map,
    // which others write whole.
    if unsafe { valid_until.read_volatile() } == 0 {
        return None;
    }
    // SAFETY: as above.
    fences(&unsafe { slot.read_volatile() }, priority, arrival)
}

/// Fences a row: its own word first, so that user space finds the row after it has read the other.
#[inline(always)]
pub(crate) fn fence(row: u32) {
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    set(LEASES.get_ptr_mut(row).map(|slot| unsafe { &raw mut (*slot).fenced }));
    // SAFETY: as above.
    set(FILTER.get_ptr_mut(0).map(|words| unsafe { &raw mut (*words).fenced }));
}
