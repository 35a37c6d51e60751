//! The checksums of IPv4 and VRRP.

use std::net::IpAddr;

/// IP protocol number of VRRP.
pub(crate) const PROTOCOL_VRRP: u8 = 112;

/// The form of an advert's VRRP checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Over the message only: VRRPv2, and RFC 9568 in IPv4.
    Message,
    /// Over a pseudo-header and the message: IPv6, and RFC 5798 in IPv4 as most routers implement
    /// it.
    PseudoHeader,
    /// This fixed value.
    Value(u16),
    /// A value that matches neither form.
    Bad,
}

impl Checksum {
    /// Returns the checksum of `message`, whose checksum field is zero.
    pub(crate) fn of(self, message: &[u8], source: IpAddr, destination: IpAddr) -> u16 {
        let plain = internet_checksum(message);
        let mut covered = pseudo_header(source, destination, message.len());
        covered.extend(message);
        let with_header = internet_checksum(&covered);
        match self {
            Self::Message => plain,
            Self::PseudoHeader => with_header,
            Self::Value(value) => value,
            Self::Bad => {
                // At least one of these three differs from both checksums. None of the three is 0
                // or 0xffff, which are equivalent checksums.
                let wrong = [0x1234, 0x5678, 0x9abc];
                wrong.into_iter().find(|&sum| sum != plain && sum != with_header).unwrap_or(0x1234)
            }
        }
    }
}

/// Returns the pseudo-header of a VRRP message of `length` bytes (IPv4: RFC 5798 section 5.2.8 as
/// most routers implement it, IPv6: RFC 8200 section 8.1).
///
/// # Panics
/// Panics if the addresses are of different families, or if `length` exceeds 65535 in IPv4.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.extend(source.octets());
            header.extend(destination.octets());
            header.extend([0, PROTOCOL_VRRP]);
            header.extend(u16::try_from(length).expect("at most 65535 bytes over IPv4").to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.extend(source.octets());
            header.extend(destination.octets());
            header.extend(u32::try_from(length).expect("at most 2^32 - 1 bytes").to_be_bytes());
            header.extend([0, 0, 0, PROTOCOL_VRRP]);
        }
        _ => panic!("source {source} and destination {destination} are of different families"),
    }
    header
}

/// Returns the Internet checksum (RFC 1071) of `bytes`. The result is 0 if `bytes` contain their
/// own correct checksum.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the loop above has folded the sum to 16 bits")]
    let folded = sum as u16;
    !folded
}
