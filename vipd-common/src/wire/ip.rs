//! The IP packet in a frame.
//!
//! On an interface without a link-layer header (WireGuard, GRE, tun) the frame is the packet:
//!
//! ```text
//!  byte 0              6                   9
//!  +---------+-- ... --+------- ... -------+----------+----
//!  | 4 (4 b) |                             | protocol |        IPv4
//!  +---------+-- ... --+-------------+-----+----------+----
//!  | 6 (4 b) |         | next header |                         IPv6
//!  +---------+-- ... --+-------------+---------------------
//! ```

use crate::address::{FAMILY_IPV4, FAMILY_IPV6};
use crate::parse::Cursor;
use crate::wire::{ipv4, ipv6};

/// An IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Offset of the IP header in the frame, in bytes.
    pub offset: usize,
    /// IP version, 4 or 6: from the EtherType, or from the first nibble if there is no EtherType.
    pub version: u8,
    /// Protocol, or the first Next Header in IPv6; 112 is VRRP. An advert behind an extension
    /// header is not recognized.
    pub protocol: u8,
}

/// Returns the IP packet at the start of the frame, or `None` if its version is neither 4 nor 6, or
/// if the frame ends before the protocol.
#[inline(always)]
pub fn bare<C: Cursor>(frame: &C) -> Option<Ip> {
    // Reads two bytes, because the BPF verifier derives no bound from a one-byte comparison.
    let [first, _] = frame.be16(0)?.to_be_bytes();
    match first >> 4 {
        FAMILY_IPV4 => Some(Ip { offset: 0, version: FAMILY_IPV4, protocol: frame.byte(ipv4::PROTOCOL)? }),
        FAMILY_IPV6 => Some(Ip { offset: 0, version: FAMILY_IPV6, protocol: frame.byte(ipv6::NEXT_HEADER)? }),
        _ => None,
    }
}
