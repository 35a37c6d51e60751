//! Passes data in anonymous memory (memfd_create(2)), because the data may be too long for a
//! message.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};

/// Maximum length in bytes: more than the state of the largest agent. Limits the size of the buffer
/// that [`read`] allocates, because the sender may not be vipd.
const MAX_LENGTH: u64 = 256 << 20;

/// Stores bytes in new anonymous memory.
pub(crate) fn write(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("vipd-state", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// Returns the bytes, without using the file offset, which the processes share.
///
/// # Errors
/// `InvalidData` if there are more than [`MAX_LENGTH`].
pub(crate) fn read(memory: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(memory.try_clone()?);
    let length = file.metadata()?.len();
    if length > MAX_LENGTH {
        let reason = format!("the data has {length} bytes, more than the maximum of {MAX_LENGTH}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_the_maximum_length_is_rejected() {
        let memory = write(b"text").expect("memory");
        let file = File::from(memory.try_clone().expect("duplicated"));
        file.set_len(MAX_LENGTH + 1).expect("sparse");
        assert_eq!(read(&memory).expect_err("too long").kind(), io::ErrorKind::InvalidData);
        file.set_len(2).expect("shortened");
        assert_eq!(read(&memory).expect("read"), b"te");
    }
}
