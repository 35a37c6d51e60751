//! BPF array maps, mapped into this process's memory.

use std::io;
use std::os::fd::AsFd as _;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The values of an array map with `BPF_F_MMAPABLE` (Linux 5.5). This process and the BPF program
/// read and write the values concurrently, without system calls.
pub(super) struct Mapping<T> {
    start: NonNull<T>,
    values: usize,
}

/// A type whose values the BPF program may change at any time.
///
/// # Safety
/// The type must consist of atomic integers and have no padding, so any bytes are a valid value.
pub(super) unsafe trait Shared: Sync {}

// SAFETY: AtomicU64 is an atomic integer.
unsafe impl Shared for AtomicU64 {}

impl<T: Shared> Mapping<T> {
    /// Maps the first `values` values of the map. The mapping remains valid after the map's
    /// descriptor is closed.
    ///
    /// # Errors
    /// Returns an error if the map lacks `BPF_F_MMAPABLE`, has too few values, or has values of
    /// another size.
    pub(super) fn new(map: &MapData, values: usize) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        // The kernel pads values to a multiple of 8 bytes (`kernel/bpf/arraymap.c`).
        let fits = info.value_size() as usize == size_of::<T>() && size_of::<T>().is_multiple_of(8);
        if !fits || (info.max_entries() as usize) < values {
            return Err(io::Error::other(format!(
                "the map has {} values of {} bytes, expected {values} of {} bytes",
                info.max_entries(),
                info.value_size(),
                size_of::<T>()
            )));
        }
        let (length, protection) = (values * size_of::<T>(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: creates a new mapping at an address chosen by the kernel, and so replaces no
        // existing mapping.
        let start = unsafe { mmap(null_mut(), length, protection, MapFlags::SHARED, map.fd().as_fd(), 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, values })
    }

    /// Returns the values, which the BPF program may change at any time.
    pub(super) fn values(&self) -> &[T] {
        // SAFETY: the mapping is page-aligned, has this length and lives as long as `self`.
        // `Shared` guarantees that any bytes are valid values and that they may change
        // concurrently.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.values) }
    }
}

// SAFETY: `Shared` requires `Sync`, and the mapping is not tied to a thread.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: `new` created this mapping, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.values * size_of::<T>()) };
        debug_assert!(unmapped.is_ok(), "munmap of a valid mapping failed");
    }
}
