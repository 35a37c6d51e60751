//! The one advert parser, for the XDP program and for user space.
//!
//! It works in three steps over a [`Cursor`], so that the caller can look the virtual router up between the
//! second and the third:
//!
//! 1. [`ethernet::vrrp_offset`](crate::wire::ethernet::vrrp_offset): is this IP protocol 112 on our LAN?
//! 2. [`locate`]: whose advert is it? What is not plainly an advert to the group is [`Foreign`].
//! 3. [`judge`]: is it valid? Either an [`Advert`], or the [`Counter`] of the reason it is discarded for.
//!
//! An error of step 1 or 2 means "pass the frame on, it is not ours"; an error of step 3 means "drop it".

use crate::counters::Counter;
use crate::wire::checksum::Sum;
use crate::wire::{ipv4, vrrp};

#[cfg(test)]
mod tests;

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

/// Why a packet of IP protocol 112 is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A fragment. The kernel would reassemble it; no VRRP speaker fragments.
    Fragment,
    /// Not to 224.0.0.18: unicast VRRP, or traffic that is merely forwarded here.
    Destination,
    /// Too short or too broken to tell the VRID.
    Unparsable,
}

impl Foreign {
    /// The cell of the foreign row that counts it.
    #[inline(always)]
    pub const fn counter(self) -> Counter {
        match self {
            Self::Fragment => Counter::FragmentsPassed,
            Self::Destination => Counter::DestinationPassed,
            Self::Unparsable => Counter::UnparsablePassed,
        }
    }
}

/// Where an advert's message is, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Virtual router identifier.
    pub vrid: u8,
    /// Offset of the VRRP message from the IPv4 header, bytes: 20 to 60.
    message: usize,
    /// IPv4 total length, bytes; it may be more than there is.
    total: usize,
}

/// Which checksum an advert came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChecksumForm {
    /// Over the message alone: VRRPv2 (RFC 3768 section 5.3.8).
    V2 = 2,
    /// VRRPv3 over IPv4 with a pseudo-header, as most read RFC 5798 section 5.2.8.
    Rfc5798 = 3,
    /// VRRPv3 over IPv4, over the message alone (RFC 9568 section 5.2.8).
    Rfc9568 = 4,
}

/// A valid advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Version, 2 or 3.
    pub version: u8,
    /// Virtual router identifier.
    pub vrid: u8,
    /// Priority, 0 to 255.
    pub priority: u8,
    /// Number of addresses, 1 or more.
    pub count: u8,
    /// Centiseconds in VRRPv3, seconds in VRRPv2; never 0.
    pub interval: u16,
    /// The checksum it came with.
    pub checksum: ChecksumForm,
    /// IPv4 source.
    pub source: [u8; 4],
    /// [Digest](address_digest) of the addresses.
    pub addresses: u64,
}

/// One address's share of the digest of an address list.
#[inline(always)]
const fn address_share(address: u32) -> u64 {
    // Two multiplications with odd constants of high entropy and a shift between them: enough that two lists
    // which differ do not collide by accident. It is no defence against a forger, who can send anything.
    let mut share = (address as u64).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
    share ^= share >> 32;
    share.wrapping_mul(0xa076_1d64_78bd_642f)
}

/// The digest of an address list: equal for the same addresses in any order (RFC 9568 section 5.2.9 only
/// recommends an order).
pub fn address_digest(addresses: impl Iterator<Item = [u8; 4]>) -> u64 {
    addresses.fold(0, |digest, address| digest.wrapping_add(address_share(u32::from_be_bytes(address))))
}

/// Finds the VRRP message in the IPv4 packet at the start of `packet`, and whose it is.
///
/// # Errors
/// [`Foreign`]: the packet is to be passed on untouched.
#[inline(always)]
pub fn locate<C: Cursor>(packet: &C) -> Result<Located, Foreign> {
    let first = packet.byte(0).ok_or(Foreign::Unparsable)?;
    if first >> 4 != 4 || first & 0x0f < 5 {
        return Err(Foreign::Unparsable);
    }
    // More Fragments, or a fragment offset.
    if packet.be16(ipv4::FRAGMENT).ok_or(Foreign::Unparsable)? & 0x3fff != 0 {
        return Err(Foreign::Fragment);
    }
    let destination = packet.be32(ipv4::DESTINATION).ok_or(Foreign::Unparsable)?;
    if destination != u32::from_be_bytes(ipv4::VRRP_GROUP) {
        return Err(Foreign::Destination);
    }
    let total = packet.be16(ipv4::TOTAL_LENGTH).ok_or(Foreign::Unparsable)? as usize;
    let message = (first & 0x0f) as usize * 4;
    if total <= message + vrrp::VRID {
        return Err(Foreign::Unparsable);
    }
    let vrid = packet.byte(message + vrrp::VRID).ok_or(Foreign::Unparsable)?;
    Ok(Located { vrid, message, total })
}

/// Checks a located advert as RFC 9568 section 7.1 and RFC 3768 section 7.1 demand, and reads it.
///
/// `version` is the version the virtual router is configured with. The length must fit the address count
/// exactly, as keepalived and FRR have it: what follows the last address is nothing a VRRP speaker sends.
/// Ethernet padding lies beyond the IPv4 total length and does not count.
///
/// # Errors
/// The counter of the reason to discard it for.
#[inline(always)]
pub fn judge<C: Cursor>(packet: &C, located: &Located, version: u8) -> Result<Advert, Counter> {
    const SHORT: Counter = Counter::PacketLengthErrors;
    let message = located.message;

    // What the kernel's raw socket would check for us: the header's checksum and the total length.
    if packet.len() < message {
        return Err(SHORT);
    }
    let mut header = Sum::new();
    for word in 0..ipv4::MAX_HEADER_LEN / 4 {
        header = header.word(packet.be32_before(word * 4, message));
    }
    if header.fold() != 0xffff {
        return Err(Counter::IpHeaderErrors);
    }
    if located.total > packet.len() {
        return Err(SHORT);
    }
    if packet.byte(ipv4::TTL).ok_or(SHORT)? != ipv4::VRRP_TTL {
        return Err(Counter::IpTtlErrors);
    }

    let length = located.total - message;
    if length < vrrp::HEADER_LEN {
        return Err(SHORT);
    }
    let first = packet.byte(message).ok_or(SHORT)?;
    if first >> 4 != version {
        return Err(Counter::VersionErrors);
    }
    if first & 0x0f != vrrp::TYPE_ADVERTISEMENT {
        return Err(Counter::InvalidTypeRcvd);
    }
    let count = packet.byte(message + vrrp::COUNT).ok_or(SHORT)?;
    if count == 0 {
        return Err(Counter::AddressCountErrors);
    }
    if length != vrrp::message_len(version, count) {
        return Err(SHORT);
    }

    // Nearly every advert is short; only the others pay for the longest.
    let (sum, addresses) = if length <= SHORT_LEN {
        sum_and_digest::<C, { SHORT_LEN / 4 }>(packet, message, length, count)
    } else {
        sum_and_digest::<C, { vrrp::MAX_LEN / 4 }>(packet, message, length, count)
    };
    let source = packet.be32(ipv4::SOURCE).ok_or(SHORT)?;
    let checksum = checksum_form(sum, source, length, version).ok_or(Counter::ChecksumErrors)?;

    let word = packet.be16(message + vrrp::INTERVAL).ok_or(SHORT)?;
    let interval = if version == 2 {
        match word >> 8 {
            0 => {}
            1 | 2 => return Err(Counter::AuthTypeMismatch),
            _ => return Err(Counter::InvalidAuthType),
        }
        word & 0x00ff
    } else {
        word & 0x0fff
    };
    if interval == 0 {
        return Err(Counter::IntervalZeroErrors);
    }
    let priority = packet.byte(message + vrrp::PRIORITY).ok_or(SHORT)?;
    let source = source.to_be_bytes();
    Ok(Advert { version, vrid: located.vrid, priority, count, interval, checksum, source, addresses })
}

/// Length of a message that is checked in the short loop: VRRPv3 with 8 addresses, VRRPv2 with 6.
const SHORT_LEN: usize = vrrp::HEADER_LEN + 4 * 8;

/// One pass over a message of up to `WORDS` words: its sum, and the digest of its addresses.
#[inline(always)]
fn sum_and_digest<C: Cursor, const WORDS: usize>(
    packet: &C,
    message: usize,
    length: usize,
    count: u8,
) -> (Sum, u64) {
    let end = message + length;
    let addresses = message + vrrp::HEADER_LEN;
    let addresses_end = addresses + 4 * count as usize;
    let mut sum =
        Sum::new().word(packet.be32_before(message, end)).word(packet.be32_before(message + 4, end));
    let mut digest = 0u64;
    for word in 0..WORDS - vrrp::HEADER_LEN / 4 {
        let offset = addresses + word * 4;
        sum = sum.word(packet.be32_before(offset, end));
        // Past the last address this adds the share of 0.0.0.0, which is taken off below.
        digest = digest.wrapping_add(address_share(packet.be32_before(offset, addresses_end)));
    }
    let beyond = (WORDS - vrrp::HEADER_LEN / 4 - count as usize) as u64;
    (sum, digest.wrapping_sub(beyond.wrapping_mul(address_share(0))))
}

/// Which form of the checksum the message's sum fits, if any.
#[inline(always)]
fn checksum_form(sum: Sum, source: u32, length: usize, version: u8) -> Option<ChecksumForm> {
    if version == 2 {
        return (sum.fold() == 0xffff).then_some(ChecksumForm::V2);
    }
    let pseudo = vrrp::pseudo_header(source, u32::from_be_bytes(ipv4::VRRP_GROUP), length);
    if sum.plus(pseudo).fold() == 0xffff {
        Some(ChecksumForm::Rfc5798)
    } else if sum.fold() == 0xffff {
        Some(ChecksumForm::Rfc9568)
    } else {
        None
    }
}
