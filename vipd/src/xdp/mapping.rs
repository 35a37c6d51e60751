//! An array map as memory of this process.

use std::io;
use std::os::fd::AsFd as _;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The values of an array map with `BPF_F_MMAPABLE` (Linux 5.5), read and written without system calls
/// while the program does the same.
pub(super) struct Mapping<T> {
    start: NonNull<T>,
    values: usize,
}

/// A type whose values the program may write at any time.
///
/// # Safety
/// The type must consist of atomic integers, without padding: any bytes are a value.
pub(super) unsafe trait Shared: Sync {}

// SAFETY: an atomic integer.
unsafe impl Shared for AtomicU64 {}

impl<T: Shared> Mapping<T> {
    /// Maps the first `values` values of the map. The mapping stays valid when the map's descriptor
    /// is closed.
    ///
    /// # Errors
    /// When the map was created without the flag, has fewer values, or values of another size.
    pub(super) fn new(map: &MapData, values: usize) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        // The kernel rounds a value up to 8 bytes (`kernel/bpf/arraymap.c`).
        let fits = info.value_size() as usize == size_of::<T>() && size_of::<T>().is_multiple_of(8);
        if !fits || (info.max_entries() as usize) < values {
            return Err(io::Error::other(format!(
                "it has {} values of {} bytes instead of {values} of {}",
                info.max_entries(),
                info.value_size(),
                size_of::<T>()
            )));
        }
        let (length, protection) = (values * size_of::<T>(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else is there.
        let start = unsafe { mmap(null_mut(), length, protection, MapFlags::SHARED, map.fd().as_fd(), 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, values })
    }

    /// Returns the values.
    pub(super) fn values(&self) -> &[T] {
        // SAFETY: the mapping is page-aligned, of this length and lives as long as `self`; by `Shared` any
        // bytes are values and may change.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.values) }
    }
}

// SAFETY: a reference to values that threads may share.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: created by `new`, and references into it have ended with the borrow of `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.values * size_of::<T>()) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours");
    }
}
