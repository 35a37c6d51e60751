//! Bounds-checked reads of a packet, from a slice or in the kernel.

/// Bounds-checked big-endian reads, at offsets that are multiples of the size read.
pub trait Cursor {
    /// Returns the number of bytes.
    fn len(&self) -> usize;

    /// Returns whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the byte at `offset`, or `None` past the end.
    fn byte(&self, offset: usize) -> Option<u8>;

    /// Returns the 16-bit word at `offset`, or `None` past the end.
    fn be16(&self, offset: usize) -> Option<u16>;

    /// Returns the 32-bit word at `offset`, or `None` past the end.
    fn be32(&self, offset: usize) -> Option<u32>;

    /// Returns the 32-bit word at `offset`, or 0 if `offset` is not below `end`.
    ///
    /// Used in loops with a fixed trip count over data whose length is known only at run time. If
    /// such a loop ended early, the BPF verifier would follow one path per length; with zeros past
    /// the end, it follows a single path. `end` must not exceed [`len`](Self::len).
    fn be32_before(&self, offset: usize, end: usize) -> u32;
}

/// The cursor used in user space.
impl Cursor for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }

    fn be16(&self, offset: usize) -> Option<u16> {
        self.get(offset..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn be32(&self, offset: usize) -> Option<u32> {
        self.get(offset..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn be32_before(&self, offset: usize, end: usize) -> u32 {
        if offset < end { self.be32(offset).unwrap_or(0) } else { 0 }
    }
}
