//! IP addresses of either family as four words.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address family of an IPv4 virtual router, in map keys and records.
pub const FAMILY_IPV4: u8 = 4;
/// Address family of an IPv6 virtual router, in map keys and records.
pub const FAMILY_IPV6: u8 = 6;

/// An IP address of either family: its bytes in network byte order, four per word. An IPv4 address
/// is in the first word, and the others are 0.
///
/// Words need fewer registers and less stack than bytes; the BPF target has ten registers and a
/// stack of 512 bytes.
pub type Address = [u32; 4];

/// Returns the words of an IPv4 address.
#[inline(always)]
pub const fn ipv4(address: [u8; 4]) -> Address {
    [u32::from_ne_bytes(address), 0, 0, 0]
}

/// Returns the words of an IPv6 address.
#[inline(always)]
pub const fn ipv6(address: [u8; 16]) -> Address {
    let (words, _) = address.as_chunks::<4>();
    [
        u32::from_ne_bytes(words[0]),
        u32::from_ne_bytes(words[1]),
        u32::from_ne_bytes(words[2]),
        u32::from_ne_bytes(words[3]),
    ]
}

/// Returns the words of an address of either family.
pub const fn to_words(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => ipv4(address.octets()),
        IpAddr::V6(address) => ipv6(address.octets()),
    }
}

/// Converts the words of an address: IPv6 if `family` is [`FAMILY_IPV6`], otherwise IPv4 from the
/// first word.
pub const fn from_words(family: u8, address: Address) -> IpAddr {
    let [first, second, third, last] = address;
    if family == FAMILY_IPV6 {
        return IpAddr::V6(Ipv6Addr::from_bits(
            (u32::from_be(first) as u128) << 96
                | (u32::from_be(second) as u128) << 64
                | (u32::from_be(third) as u128) << 32
                | u32::from_be(last) as u128,
        ));
    }
    IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_addresses_convert_both_ways() {
        for (family, text) in [(4, "192.0.2.1"), (6, "fe80::1:2:3"), (6, "2001:db8:1:2:3:4:5:6")] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(from_words(family, to_words(address)), address);
        }
        assert_eq!(to_words(IpAddr::from([192, 0, 2, 1])), ipv4([192, 0, 2, 1]));
    }
}
