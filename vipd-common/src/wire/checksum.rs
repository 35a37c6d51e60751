//! The Internet checksum (RFC 1071).

/// A running one's complement sum of big-endian words.
///
/// The sum has 64 bits and is folded at the end. Because 2^16 ≡ 2^32 ≡ 1 (mod 65535), 16-bit and
/// 32-bit words give the same folded value, and no carry is lost in fewer than 2^32 words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds the value of a 16- or 32-bit big-endian word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Adds bytes, padded with a zero byte if their number is odd.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self;
        let mut pairs = bytes.chunks_exact(2);
        for pair in &mut pairs {
            if let [high, low] = *pair {
                sum = sum.word(u32::from(u16::from_be_bytes([high, low])));
            }
        }
        match pairs.remainder() {
            [last] => sum.word(u32::from(*last) << 8),
            _ => sum,
        }
    }

    /// Returns the sum, folded to 16 bits: `0xffff` for a message that contains its correct
    /// checksum.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        // One fold at 32 bits leaves at most 33 bits; three folds at 16 bits then leave no carry.
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        (sum & 0xffff) as u16
    }

    /// Returns the checksum of a message whose checksum field was zero when it was summed.
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Returns the checksum after one 16-bit word of the message has changed from `old` to `new`
/// (RFC 1624, equation 3).
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().word(!checksum as u32).word(!old as u32).word(new as u32).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_matches_the_example_in_rfc_1071_section_3() {
        let sum = Sum::new().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    #[test]
    fn summing_32_bit_words_gives_the_same_result() {
        let words = Sum::new().word(0x0001_f203).word(0xf4f5_f6f7);
        assert_eq!(words.fold(), 0xddf2);
        let mut many = Sum::new();
        for _ in 0..300 {
            many = many.word(u32::MAX);
        }
        assert_eq!(many.fold(), 0xffff);
    }

    #[test]
    fn an_odd_byte_is_padded_on_the_right() {
        assert_eq!(Sum::new().bytes(&[0x12, 0x34, 0x56]).fold(), 0x1234 + 0x5600);
    }

    #[test]
    fn an_update_equals_a_recomputation() {
        for (old, new) in [(0x0164u16, 0x0100u16), (0x0000, 0xffff), (0xffff, 0x0000), (0x1234, 0x1234)] {
            let rest = Sum::new().word(0x3133_0000).word(0x0000_0064);
            let before = rest.word(u32::from(old)).checksum();
            let after = rest.word(u32::from(new)).checksum();
            assert_eq!(update(before, old, new), after, "{old:#x} to {new:#x}");
        }
    }
}
