//! A digest of an address list that does not depend on its order.

use core::net::IpAddr;

use super::ChecksumForm;
use crate::address::Address;

/// Stirs a word into what came before it.
///
/// Two multiplications with odd constants of high entropy and a shift between them: enough that two lists which
/// differ do not collide by accident. It is no defence against a forger, who can send anything.
#[inline(always)]
pub(super) const fn stir(before: u64, word: u64) -> u64 {
    let mut share = (before ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    share ^= share >> 32;
    share.wrapping_mul(0xa076_1d64_78bd_642f)
}

/// The share of an address whose `words` words are all zero.
#[inline(always)]
pub(super) const fn share_of_zero(words: usize) -> u64 {
    let mut share = 0;
    let mut word = 0;
    while word < words {
        share = stir(share, 0);
        word += 1;
    }
    share
}

/// All that an advert says besides that its sender lives, as one word: adverts that differ in source, priority, interval,
/// addresses (as their [digest](address_digest)) or checksum have different ones. It is never 0.
#[inline(always)]
pub const fn fingerprint(
    source: &Address,
    priority: u8,
    interval: u16,
    addresses: u64,
    checksum: ChecksumForm,
) -> u64 {
    let rest = (interval as u64) << 16 | (priority as u64) << 8 | checksum as u64;
    let mut print = stir(addresses, rest);
    print = stir(print, (source[0] as u64) << 32 | source[1] as u64);
    print = stir(print, (source[2] as u64) << 32 | source[3] as u64);
    print | 1
}

/// The digest of an address list: equal for the same addresses in any order (RFC 9568 section 5.2.9 only
/// recommends an order).
///
/// An address's words are stirred one after the other, so that two addresses which swap halves differ; the
/// addresses' shares are added.
pub fn address_digest(addresses: impl Iterator<Item = IpAddr>) -> u64 {
    addresses.fold(0, |digest, address| {
        let share = match address {
            IpAddr::V4(address) => stir(0, u64::from(address.to_bits())),
            IpAddr::V6(address) => address
                .octets()
                .as_chunks::<4>()
                .0
                .iter()
                .fold(0, |share, word| stir(share, u64::from(u32::from_be_bytes(*word)))),
        };
        digest.wrapping_add(share)
    })
}
