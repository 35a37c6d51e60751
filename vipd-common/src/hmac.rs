//! HMAC-SHA-256 (RFC 2104, FIPS 180-4) of signed adverts: the data that the HMAC covers, and keys
//! in the form in which the BPF program and user space share them.
//!
//! ```text
//!  pseudo-header, 20 bytes                            VRRP message     trailer
//!  +--------+---------+------+---+------------------+ +------+-------+ +------------+-----------+
//!  | family | version | VRID | 0 | source address   | | checksum = 0 | | 12 bytes   | HMAC = 0  |
//!  |   4, 6 |    2, 3 |      |   | IPv4: 12 zeros   | |              | |            | 16 bytes  |
//!  +--------+---------+------+---+------------------+ +------+-------+ +------------+-----------+
//! ```
//!
//! The destination is not covered, so that all unicast peers receive the same HMAC.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::parse::Cursor;
use crate::wire::{trailer, vrrp};

/// Largest number of keys of a virtual router.
pub const MAX_KEYS: u8 = 8;
/// Length of a block of SHA-256, in bytes.
pub const BLOCK: usize = 64;
/// Number of words in a block of SHA-256.
pub const BLOCK_WORDS: usize = BLOCK / 4;
/// Length of the pseudo-header, in bytes.
pub const PSEUDO_HEADER: usize = 20;

/// A state of SHA-256: eight words in host byte order.
pub type State = [u32; 8];

/// The initial state of SHA-256 (FIPS 180-4 section 5.3.3).
pub const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Round constants of SHA-256 (FIPS 180-4 section 4.2.2).
const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// A hash that is being computed, in host byte order.
///
/// The working variables are a part of it, so that the BPF program has all of it in a map's value:
/// a hash does not fit on the stack, whose 512 bytes the program shares with the functions that it
/// calls.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Hash {
    /// The state after the last block.
    pub state: State,
    /// Words of the next block. [`compress`](Self::compress) overwrites them.
    pub words: [u32; BLOCK_WORDS],
    /// The working variables `a` to `h`.
    variables: State,
}

impl Hash {
    /// Compresses a block (FIPS 180-4 section 6.2.2).
    ///
    /// For the BPF program, which has no library for this; user space uses the crate sha2.
    #[inline(always)]
    pub fn compress(&mut self) {
        let Self { state, words, variables } = self;
        *variables = *state;
        for (round, constant) in ROUND_CONSTANTS.iter().enumerate() {
            let word = |ahead: usize| (round + ahead) % BLOCK_WORDS;
            if round >= BLOCK_WORDS {
                let (near, far) = (words[word(1)], words[word(14)]);
                words[word(0)] = words[word(0)]
                    .wrapping_add(near.rotate_right(7) ^ near.rotate_right(18) ^ near >> 3)
                    .wrapping_add(words[word(9)])
                    .wrapping_add(far.rotate_right(17) ^ far.rotate_right(19) ^ far >> 10);
            }
            // The variables keep their places, and their names move: `a` is the last round's `h`.
            let variable = |index: usize| (index + VARIABLES - round % VARIABLES) % VARIABLES;
            let first = {
                let (e, f, g) = (variables[variable(4)], variables[variable(5)], variables[variable(6)]);
                variables[variable(7)]
                    .wrapping_add(e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25))
                    .wrapping_add(g ^ (e & (f ^ g)))
                    .wrapping_add(*constant)
                    .wrapping_add(words[word(0)])
            };
            let second = {
                let (a, b, c) = (variables[variable(0)], variables[variable(1)], variables[variable(2)]);
                (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22))
                    .wrapping_add((a & b) | (c & (a | b)))
            };
            variables[variable(3)] = variables[variable(3)].wrapping_add(first);
            variables[variable(7)] = first.wrapping_add(second);
        }
        for (word, variable) in state.iter_mut().zip(variables) {
            *word = word.wrapping_add(*variable);
        }
    }
}

impl Hash {
    /// Begins the outer hash with the result of the inner hash. `outer` is the state of the key.
    #[inline(always)]
    pub fn begin_outer(&mut self, outer: &State) {
        // A block and a digest, in bits.
        const LENGTH: u32 = (64 + 32) * 8;
        for (at, word) in outer.iter().enumerate() {
            self.words[at] = self.state[at];
            self.words[VARIABLES + at] = 0;
            self.state[at] = *word;
        }
        self.words[VARIABLES] = 0x8000_0000;
        self.words[BLOCK_WORDS - 1] = LENGTH;
    }
}

/// Number of working variables.
const VARIABLES: usize = 8;

/// A key, as the states of SHA-256 after the first block of the inner and the outer hash: the key
/// XOR ipad, and the key XOR opad (RFC 2104 section 4). The states are sufficient to sign adverts.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KeyState {
    /// State of the inner hash.
    pub inner: State,
    /// State of the outer hash.
    pub outer: State,
}

/// Does not show the key.
impl core::fmt::Debug for KeyState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyState(…)")
    }
}

/// The pseudo-header of an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PseudoHeader {
    /// IP version, 4 or 6.
    pub family: u8,
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// IP source address.
    pub source: Address,
}

impl PseudoHeader {
    /// Returns the pseudo-header as the HMAC covers it.
    pub fn encode(&self) -> [u8; PSEUDO_HEADER] {
        let mut bytes = [0; PSEUDO_HEADER];
        bytes[..3].copy_from_slice(&[self.family, self.version, self.vrid]);
        bytes[4..].copy_from_slice(bytemuck::bytes_of(&self.source));
        bytes
    }
}

/// The data that the HMAC of an advert covers, as words of the blocks that the inner hash processes
/// after the block of the key.
#[derive(Clone, Copy, Debug)]
pub struct Covered {
    /// Offset of the VRRP message in the packet, in bytes. A multiple of 4.
    pub message: usize,
    /// Length of the VRRP message without the trailer, in bytes. A multiple of 4.
    pub len: usize,
}

impl Covered {
    /// Number of words of the pseudo-header.
    pub const HEADER: usize = PSEUDO_HEADER / 4;
    /// Index of the word with the checksum of the message.
    const CHECKSUM: usize = Self::HEADER + vrrp::CHECKSUM / 4;
    /// Bytes of the padding that are always present: the byte with the 1 bit, and the length.
    const PADDING: usize = 1 + 8;

    const fn bytes(self) -> usize {
        PSEUDO_HEADER + self.len + trailer::LEN
    }

    /// Returns the number of blocks, padding included.
    #[inline(always)]
    pub const fn blocks(self) -> usize {
        (self.bytes() + Self::PADDING).div_ceil(BLOCK)
    }

    /// Returns the word at this index, in host byte order. For the first [`HEADER`](Self::HEADER)
    /// words, the result is meaningless: the caller must replace them with the pseudo-header.
    #[inline(always)]
    pub fn word<C: Cursor>(self, packet: &C, index: usize) -> u32 {
        let end = self.bytes() / 4;
        if index < end - trailer::HMAC_LEN / 4 {
            let offset = (self.message + index * 4).wrapping_sub(PSEUDO_HEADER);
            let word = packet.be32(offset).unwrap_or(0);
            // The checksum counts as 0.
            if index == Self::CHECKSUM { word & 0xffff_0000 } else { word }
        } else if index == end {
            0x8000_0000
        } else if index == self.blocks() * BLOCK_WORDS - 1 {
            #[expect(clippy::cast_possible_truncation, reason = "a message is at most MAX_LEN bytes")]
            let bytes = (BLOCK + self.bytes()) as u32;
            // The length in bits. The upper word is 0.
            bytes * 8
        } else {
            0
        }
    }
}

/// Returns whether the time of a sequence differs from the clock by at most `window` seconds, or
/// `window` is 0. `seconds` are the seconds of the clock since 1970-01-01 UTC, modulo 2³².
#[inline(always)]
pub const fn is_fresh(sequence: u64, seconds: u32, window: u32) -> bool {
    let difference = ((sequence >> 32) as u32).wrapping_sub(seconds).cast_signed();
    window == 0 || difference.unsigned_abs() <= window
}

/// Returns whether a sequence is later than another one (serial number arithmetic, RFC 1982).
#[inline(always)]
pub const fn is_after(sequence: u64, other: u64) -> bool {
    sequence.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
mod tests;
