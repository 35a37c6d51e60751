//! Memory shared with another process through a memfd (memfd_create(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A mapped memfd. Pages take no memory until they are accessed.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    descriptor: OwnedFd,
    start: NonNull<AtomicU64>,
    words: usize,
}

impl SharedMemory {
    /// Creates a region of `words` 64-bit words, all 0, and seals its size.
    ///
    /// # Errors
    /// Returns an error if no file descriptor or address space is available.
    pub(crate) fn create(name: &str, words: usize) -> io::Result<Self> {
        let descriptor = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&descriptor, (words * size_of::<AtomicU64>()) as u64)?;
        // If the other process could truncate the file, access beyond its end would raise SIGBUS.
        fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(descriptor)
    }

    /// Maps the entire memfd.
    ///
    /// # Errors
    /// Returns an error if the memfd is empty or no address space is available.
    pub(crate) fn map(descriptor: OwnedFd) -> io::Result<Self> {
        let bytes = usize::try_from(fstat(&descriptor)?.st_size).map_err(io::Error::other)?;
        let words = bytes / size_of::<AtomicU64>();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: creates a new mapping at an address chosen by the kernel, and so replaces no
        // existing mapping.
        let start = unsafe { mmap(null_mut(), bytes, protection, MapFlags::SHARED, &descriptor, 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { descriptor, start, words })
    }

    /// Returns the words of the region, which both processes may change at any time.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, has this length and lives as long as `self`. Any
        // byte pattern is a valid atomic integer.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

// SAFETY: the mapping consists of atomic integers and is not tied to a thread.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: `map` created this mapping, and no reference into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
        debug_assert!(unmapped.is_ok(), "munmap of a valid mapping failed");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn words_are_shared_between_mappings_and_the_size_is_sealed() {
        let one = SharedMemory::create("test", 1024).expect("created");
        let other = SharedMemory::map(one.as_fd().try_clone_to_owned().expect("a copy")).expect("mapped");
        one.words()[1023].store(7, Ordering::Relaxed);
        assert_eq!(other.words()[1023].load(Ordering::Relaxed), 7);
        assert!(ftruncate(&other, 8).is_err());
    }
}
