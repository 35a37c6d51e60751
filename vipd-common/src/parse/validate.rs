//! Validates a located advert.

use super::digest::{mix, zero_term};
use super::{Advert, ChecksumForm, Cursor, Located};
use crate::address::{FAMILY_IPV4, FAMILY_IPV6};
use crate::counters::Counter;
use crate::wire::checksum::Sum;
use crate::wire::{ipv4, ipv6, trailer, vrrp};

/// Whether the adverts of a virtual router have a [trailer].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trailer {
    /// An advert with a trailer is too long.
    Absent = 0,
    /// An advert may have a trailer.
    Optional = 1,
    /// An advert without a trailer is invalid.
    Required = 2,
}

impl Trailer {
    /// Returns the rule with this number, as in
    /// [`RouterSlot::trailer`](crate::records::RouterSlot::trailer). Other numbers are
    /// [`Required`](Self::Required).
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Absent,
            1 => Self::Optional,
            _ => Self::Required,
        }
    }
}

/// The part of a virtual router's configuration that its adverts are validated against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// VRRP version, 2 or 3.
    pub version: u8,
    /// VRRPv2's authentication type: 0, or [`vrrp::AUTH_PASS`].
    pub authentication: u8,
    /// VRRPv2's authentication data in network byte order. Ignored unless the authentication type
    /// is [`vrrp::AUTH_PASS`] (RFC 2338 section 5.3.10).
    pub password: [u32; 2],
    /// Lowest accepted TTL or Hop Limit: 255, or less for a unicast peer behind routers.
    pub ttl: u8,
    /// Whether an advert without addresses is valid: true for a router without VIPs.
    pub empty: bool,
    /// Whether an advert has a trailer.
    pub trailer: Trailer,
}

impl Expected {
    /// Returns the expectations of a multicast router of this version without authentication.
    pub const fn version(version: u8) -> Self {
        Self {
            version,
            authentication: 0,
            password: [0; 2],
            ttl: ipv4::VRRP_TTL,
            empty: false,
            trailer: Trailer::Absent,
        }
    }
}

/// Validates a located advert (RFC 9568 section 7.1, RFC 3768 section 7.1) and parses it.
///
/// The length must match the address count exactly, as in keepalived and FRR: no VRRP router sends
/// any bytes after the message other than a [trailer]. Ethernet padding is not included in the
/// length in the IP header.
///
/// # Errors
/// The counter for the reason to drop the advert.
#[inline(always)]
pub fn validate<C: Cursor>(packet: &C, located: &Located, expected: &Expected) -> Result<Advert, Counter> {
    const SHORT: Counter = Counter::PacketLengthErrors;
    let Located { family, vrid, source, destination, message, total } = *located;
    let version = expected.version;

    let ttl = ip_header(packet, located)?;
    if ttl < expected.ttl {
        return Err(Counter::IpTtlErrors);
    }

    let length = total - message;
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
    if count == 0 && !expected.empty {
        return Err(Counter::AddressCountErrors);
    }
    let extra = length.wrapping_sub(vrrp::message_len(version, family, count));
    // One comparison instead of two, and `expected.trailer` is compared after the loops below,
    // because the BPF verifier follows each path through the loops.
    if extra.wrapping_mul(extra.wrapping_sub(trailer::LEN)) != 0 {
        return Err(SHORT);
    }

    // Use separate loops, so that a short advert does not cost as much as the longest one.
    let (sum, addresses) = if family == FAMILY_IPV4 {
        if count <= 8 {
            addresses::<C, 8, 1>(packet, message, count)
        } else {
            addresses::<C, 255, 1>(packet, message, count)
        }
    } else if count <= 4 {
        addresses::<C, 4, 4>(packet, message, count)
    } else {
        addresses::<C, 255, 4>(packet, message, count)
    };
    // Read again, because the BPF verifier follows each path through the loops: a length that is
    // known before the loops has different bounds for each version and family.
    let count = packet.byte(message + vrrp::COUNT).ok_or(SHORT)?;
    let message_len = vrrp::message_len(version, family, count);
    let extra = length.wrapping_sub(message_len);
    // VRRPv2's authentication data. VRRPv3 has none: reads past the end return 0.
    let end = message + message_len;
    let data = if version == 2 { end - vrrp::AUTH_LEN } else { end };
    let password = [packet.be32_before(data, end), packet.be32_before(data + 4, end)];
    let sum = sum
        .word(packet.be32_before(message, end))
        .word(packet.be32_before(message + 4, end))
        .word(password[0])
        .word(password[1]);
    let pseudo = vrrp::pseudo_header(&source, &destination, message_len);
    let checksum = checksum_form(sum, pseudo, version, family).ok_or(Counter::ChecksumErrors)?;

    let word = packet.be16(message + vrrp::INTERVAL).ok_or(SHORT)?;
    let interval = if version == 2 {
        authenticate((word >> 8) as u8, password, expected)?;
        word & 0x00ff
    } else {
        word & 0x0fff
    };
    if interval == 0 {
        return Err(Counter::IntervalZeroErrors);
    }
    // fe80::/10 (erratum 8300 of RFC 9568).
    let link_local = family == FAMILY_IPV4
        || count == 0
        || packet.be16(message + vrrp::HEADER_LEN).ok_or(SHORT)? & 0xffc0 == 0xfe80;
    let priority = packet.byte(message + vrrp::PRIORITY).ok_or(SHORT)?;
    let is_signed = extra != 0;
    let sequence = match (expected.trailer, is_signed) {
        (Trailer::Absent, true) => return Err(SHORT),
        (Trailer::Required, false) => return Err(Counter::HmacMissing),
        (Trailer::Optional | Trailer::Required, true) => sequence(packet, end)?,
        (Trailer::Absent | Trailer::Optional, false) => 0,
    };
    Ok(Advert {
        family,
        version,
        vrid,
        priority,
        count,
        interval,
        checksum,
        source,
        addresses,
        link_local,
        is_signed,
        sequence,
    })
}

/// Checks the type, key ID and reserved bytes of the trailer at this offset, and returns its
/// sequence.
#[inline(always)]
fn sequence<C: Cursor>(packet: &C, trailer: usize) -> Result<u64, Counter> {
    const SHORT: Counter = Counter::PacketLengthErrors;
    let [kind, key_id, reserved @ ..] = packet.be32(trailer).ok_or(SHORT)?.to_be_bytes();
    if kind != trailer::TYPE_HMAC_SHA256 || key_id == 0 || u16::from_be_bytes(reserved) != 0 {
        return Err(Counter::HmacMalformed);
    }
    let high = packet.be32(trailer + trailer::SEQUENCE).ok_or(SHORT)?;
    let low = packet.be32(trailer + trailer::SEQUENCE + 4).ok_or(SHORT)?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// Mask for the first byte of an address, in its first word.
const FIRST_BYTE: u32 = u32::from_ne_bytes([0xff, 0, 0, 0]);

/// Validates the IP header, as the kernel does for raw sockets. Returns the TTL or Hop Limit.
#[inline(always)]
fn ip_header<C: Cursor>(packet: &C, located: &Located) -> Result<u8, Counter> {
    const SHORT: Counter = Counter::PacketLengthErrors;
    let source = located.source;
    let ttl = if located.family == FAMILY_IPV6 {
        // ff00::/8 and ::/64, which contains ::, ::1 and IPv4-mapped addresses.
        if source[0] & FIRST_BYTE == FIRST_BYTE || source[0] | source[1] == 0 {
            return Err(Counter::IpHeaderErrors);
        }
        packet.byte(ipv6::HOP_LIMIT)
    } else {
        if packet.len() < located.message {
            return Err(SHORT);
        }
        let mut header = Sum::new();
        for word in 0..ipv4::MAX_HEADER_LEN / 4 {
            header = header.word(packet.be32_before(word * 4, located.message));
        }
        // 0.0.0.0/8 and 224.0.0.0 to 255.255.255.255 are not valid sources.
        let first = u32::from_be(source[0]) >> 24;
        if header.fold() != 0xffff || first == 0 || first >= 224 {
            return Err(Counter::IpHeaderErrors);
        }
        packet.byte(ipv4::TTL)
    };
    if located.total > packet.len() {
        return Err(SHORT);
    }
    ttl.ok_or(SHORT)
}

/// Returns the sum and the digest of up to `COUNT` addresses of `WORDS` words in one pass.
#[inline(always)]
fn addresses<C: Cursor, const COUNT: usize, const WORDS: usize>(
    packet: &C,
    message: usize,
    count: u8,
) -> (Sum, u64) {
    let start = message + vrrp::HEADER_LEN;
    let end = start + 4 * WORDS * count as usize;
    let mut sum = Sum::new();
    let mut digest = 0u64;
    for address in 0..COUNT {
        let mut term = 0;
        for word in 0..WORDS {
            let word = packet.be32_before(start + (address * WORDS + word) * 4, end);
            sum = sum.word(word);
            term = mix(term, u64::from(word));
        }
        // Past the last address, this adds the term of an all-zero address, which is subtracted
        // below.
        digest = digest.wrapping_add(term);
    }
    let beyond = (COUNT - count as usize) as u64;
    (sum, digest.wrapping_sub(beyond.wrapping_mul(zero_term(WORDS))))
}

/// Checks the authentication type and data (RFC 2338 section 7.1; RFC 3768 keeps the fields).
#[inline(always)]
fn authenticate(kind: u8, data: [u32; 2], expected: &Expected) -> Result<(), Counter> {
    if kind != expected.authentication {
        // Type 2 is the IP Authentication Header of RFC 2338.
        return Err(if kind <= 2 { Counter::AuthTypeMismatch } else { Counter::InvalidAuthType });
    }
    if kind == vrrp::AUTH_PASS && data.map(u32::to_be) != expected.password {
        return Err(Counter::AuthFailures);
    }
    Ok(())
}

/// Returns the checksum form that the message's sum matches, if any.
#[inline(always)]
fn checksum_form(sum: Sum, pseudo: Sum, version: u8, family: u8) -> Option<ChecksumForm> {
    let alone = sum.fold() == 0xffff;
    let with_pseudo = sum.plus(pseudo).fold() == 0xffff;
    if version == 2 {
        alone.then_some(ChecksumForm::V2)
    } else if family == FAMILY_IPV6 {
        with_pseudo.then_some(ChecksumForm::Ipv6)
    } else if with_pseudo {
        Some(ChecksumForm::Rfc5798)
    } else {
        alone.then_some(ChecksumForm::Rfc9568)
    }
}
