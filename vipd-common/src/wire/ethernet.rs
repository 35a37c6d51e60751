//! Ethernet II and VLAN tags (IEEE 802.3, 802.1Q).
//!
//! ```text
//!  0            6            12          14
//!  +------------+------------+-----------+----------------
//!  | destination| source     | EtherType | payload
//!  +------------+------------+-----------+----------------
//!                            12    14    16          18
//!                            +-----+-----+-----------+----
//!            with a tag:     |TPID | TCI | EtherType | payload
//!                            +-----+-----+-----------+----
//! ```

use crate::address::{FAMILY_IPV4, FAMILY_IPV6};
use crate::parse::Cursor;
use crate::wire::ip::Ip;
use crate::wire::{ipv4, ipv6};

/// Length of the header without tags, in bytes.
pub const HEADER_LEN: usize = 14;
/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// TPID of an 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// TPID of an 802.1ad service tag.
pub const TYPE_QINQ: u16 = 0x88a8;
/// The broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// Returns the IP packet in a frame of this interface's own LAN, or `None` for all other frames,
/// most of which cost only one or two loads.
///
/// Skips up to two tags with VLAN identifier 0 (priority tags). Any other identifier belongs to
/// another LAN, whose frames Linux delivers to the VLAN's interface.
#[inline(always)]
pub fn ip<C: Cursor>(frame: &C) -> Option<Ip> {
    // All offsets in an arm are constant, as the BPF verifier requires for packet pointers.
    match frame.be16(12)? {
        TYPE_IPV4 => {
            Some(Ip { offset: 14, version: FAMILY_IPV4, protocol: frame.byte(14 + ipv4::PROTOCOL)? })
        }
        TYPE_IPV6 => {
            Some(Ip { offset: 14, version: FAMILY_IPV6, protocol: frame.byte(14 + ipv6::NEXT_HEADER)? })
        }
        TYPE_VLAN | TYPE_QINQ if frame.be16(14)? & 0x0fff == 0 => match frame.be16(16)? {
            TYPE_IPV4 => {
                Some(Ip { offset: 18, version: FAMILY_IPV4, protocol: frame.byte(18 + ipv4::PROTOCOL)? })
            }
            TYPE_IPV6 => {
                Some(Ip { offset: 18, version: FAMILY_IPV6, protocol: frame.byte(18 + ipv6::NEXT_HEADER)? })
            }
            TYPE_VLAN if frame.be16(18)? & 0x0fff == 0 => match frame.be16(20)? {
                TYPE_IPV4 => {
                    Some(Ip { offset: 22, version: FAMILY_IPV4, protocol: frame.byte(22 + ipv4::PROTOCOL)? })
                }
                TYPE_IPV6 => Some(Ip {
                    offset: 22,
                    version: FAMILY_IPV6,
                    protocol: frame.byte(22 + ipv6::NEXT_HEADER)?,
                }),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Returns the offset of the ARP packet in a frame of this interface's own LAN, or `None` for all
/// other frames. Skips priority tags as [`ip`] does.
#[inline(always)]
pub fn arp<C: Cursor>(frame: &C) -> Option<usize> {
    match frame.be16(12)? {
        TYPE_ARP => Some(14),
        TYPE_VLAN | TYPE_QINQ if frame.be16(14)? & 0x0fff == 0 => match frame.be16(16)? {
            TYPE_ARP => Some(18),
            TYPE_VLAN if frame.be16(18)? & 0x0fff == 0 && frame.be16(20)? == TYPE_ARP => Some(22),
            _ => None,
        },
        _ => None,
    }
}

/// Writes an untagged header at the start of `buffer`.
///
/// # Errors
/// `None` if the buffer is shorter than [`HEADER_LEN`].
pub fn write(buffer: &mut [u8], destination: [u8; 6], source: [u8; 6], ethertype: u16) -> Option<()> {
    let header = buffer.first_chunk_mut::<HEADER_LEN>()?;
    header[0..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..14].copy_from_slice(&ethertype.to_be_bytes());
    Some(())
}
