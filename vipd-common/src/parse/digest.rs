//! Order-independent digest of an address list, and the fingerprint of an advert.

use core::net::IpAddr;

use super::ChecksumForm;
use crate::address::Address;

/// Mixes a word into a hash.
///
/// Two multiplications by odd constants of high entropy, with a shift in between, make accidental
/// collisions between lists unlikely. This is no defense against forgery.
#[inline(always)]
pub(super) const fn mix(hash: u64, word: u64) -> u64 {
    let mut hash = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    hash.wrapping_mul(0xa076_1d64_78bd_642f)
}

/// Returns the term that an address of `words` zero words adds to a digest.
#[inline(always)]
pub(super) const fn zero_term(words: usize) -> u64 {
    let mut term = 0;
    let mut word = 0;
    while word < words {
        term = mix(term, 0);
        word += 1;
    }
    term
}

/// Returns a 64-bit hash of an advert, never 0. Barring a collision, adverts that differ in source,
/// priority, interval, addresses (compared by [digest](address_digest)) or checksum form have
/// different fingerprints.
#[inline(always)]
pub const fn fingerprint(
    source: &Address,
    priority: u8,
    interval: u16,
    addresses: u64,
    checksum: ChecksumForm,
) -> u64 {
    let rest = (interval as u64) << 16 | (priority as u64) << 8 | checksum as u64;
    let mut hash = mix(addresses, rest);
    hash = mix(hash, (source[0] as u64) << 32 | source[1] as u64);
    hash = mix(hash, (source[2] as u64) << 32 | source[3] as u64);
    hash | 1
}

/// Returns the digest of an address list. The digest does not depend on the order of the addresses,
/// because RFC 9568 only recommends that all routers send them in the same order.
///
/// The 32-bit words of each address are mixed in sequence, and the results are added. The digest
/// therefore changes if two IPv6 addresses swap their upper halves.
pub fn address_digest(addresses: impl Iterator<Item = IpAddr>) -> u64 {
    addresses.fold(0, |digest, address| {
        let term = match address {
            IpAddr::V4(address) => mix(0, u64::from(address.to_bits())),
            IpAddr::V6(address) => address
                .octets()
                .as_chunks::<4>()
                .0
                .iter()
                .fold(0, |hash, word| mix(hash, u64::from(u32::from_be_bytes(*word)))),
        };
        digest.wrapping_add(term)
    })
}
