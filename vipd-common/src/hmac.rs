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

/// Length of a block of SHA-256, in bytes.
pub const BLOCK: usize = 64;
/// Length of the pseudo-header, in bytes.
pub const PSEUDO_HEADER: usize = 20;

/// A state of SHA-256: eight words in host byte order.
pub type State = [u32; 8];

/// The initial state of SHA-256 (FIPS 180-4 section 5.3.3).
pub const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A key, as the states of SHA-256 after the first block of the inner and the outer hash: the key
/// XOR ipad, and the key XOR opad (RFC 2104 section 4). Whoever knows the states can sign.
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

/// Returns whether a sequence is later than another one (serial number arithmetic, RFC 1982).
#[inline(always)]
pub const fn is_after(sequence: u64, other: u64) -> bool {
    sequence.wrapping_sub(other).cast_signed() > 0
}
