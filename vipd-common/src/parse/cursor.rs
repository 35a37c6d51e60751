//! Reading a packet, wherever it lies.

/// Bounds-checked big-endian reads, at offsets that are multiples of the width read.
pub trait Cursor {
    /// Number of bytes there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The byte at `offset`, if there is one.
    fn byte(&self, offset: usize) -> Option<u8>;

    /// The 16-bit word at `offset`.
    fn be16(&self, offset: usize) -> Option<u16>;

    /// The 32-bit word at `offset`.
    fn be32(&self, offset: usize) -> Option<u32>;

    /// The 32-bit word at `offset` if that is before `end`, and 0 if not.
    ///
    /// For loops over a length that is only known at run time: a loop that leaves early gives the BPF verifier a
    /// path for each length, one that reads on and adds zeros gives it a single one. `end` is within
    /// [`len`](Self::len).
    fn be32_before(&self, offset: usize, end: usize) -> u32;
}

/// User space's cursor.
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
