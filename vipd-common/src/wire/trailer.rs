//! The trailer of a signed advert, in the format of keepalived 2.4. It follows the VRRP message
//! inside the IP packet.
//!
//! ```text
//!  0      1        2          4          8             10        12                 28
//!  +------+--------+----------+----------+-------------+---------+------------------+
//!  | type | key ID | reserved | seconds  | subseconds  | counter | HMAC             |
//!  |   b  |     b  |   n, u16 |  n, u32  |     n, u16  | n, u16  |          16 × b  |
//!  +------+--------+----------+----------+-------------+---------+------------------+
//!                             |<-------------- sequence -------->|
//! ```
//!
//! The type is 1: HMAC-SHA-256, truncated to its first 16 bytes. The seconds count from 1970-01-01
//! UTC, and the subseconds are units of 1/65536 s. Neither the length nor the checksum of the VRRP
//! message includes the trailer.

/// Length of the trailer, in bytes.
pub const LEN: usize = 28;
/// Length of the truncated HMAC, in bytes.
pub const HMAC_LEN: usize = 16;
/// HMAC-SHA-256, the only type.
pub const TYPE_HMAC_SHA256: u8 = 1;
/// Offset of the key ID, 1 to 255.
pub const KEY_ID: usize = 1;
/// Offset of the two reserved bytes, which are 0.
pub const RESERVED: usize = 2;
/// Offset of the sequence: seconds, subseconds and counter.
pub const SEQUENCE: usize = 4;
/// Offset of the HMAC.
pub const HMAC: usize = 12;

/// The fields of a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Identifier of the key, 1 to 255.
    pub key_id: u8,
    /// The sequence: seconds in the upper 32 bits, then 16 bits of subseconds and a counter of 16
    /// bits.
    pub sequence: u64,
    /// The truncated HMAC.
    pub hmac: [u8; HMAC_LEN],
}

impl Trailer {
    /// Parses a trailer. Returns `None` if its type, key ID or reserved bytes are invalid.
    pub fn parse(bytes: &[u8; LEN]) -> Option<Self> {
        let [TYPE_HMAC_SHA256, key_id @ 1..=255, 0, 0, rest @ ..] = *bytes else { return None };
        let (sequence, hmac) = rest.split_first_chunk()?;
        Some(Self { key_id, sequence: u64::from_be_bytes(*sequence), hmac: hmac.try_into().ok()? })
    }

    /// Returns the encoded trailer.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = TYPE_HMAC_SHA256;
        bytes[KEY_ID] = self.key_id;
        bytes[SEQUENCE..HMAC].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[HMAC..].copy_from_slice(&self.hmac);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_trailers_are_parsed() {
        let trailer = Trailer { key_id: 7, sequence: 0x6925_f0a0_8000_0001, hmac: [0xa5; HMAC_LEN] };
        let bytes = trailer.encode();
        assert_eq!(&bytes[..HMAC], &[1, 7, 0, 0, 0x69, 0x25, 0xf0, 0xa0, 0x80, 0, 0, 1]);
        assert_eq!(Trailer::parse(&bytes), Some(trailer));
    }

    #[test]
    fn other_types_key_id_0_and_reserved_bytes_are_invalid() {
        let valid = Trailer { key_id: 1, sequence: 1, hmac: [0; HMAC_LEN] }.encode();
        for (offset, value) in [(0, 0), (0, 2), (KEY_ID, 0), (RESERVED, 1), (RESERVED + 1, 1)] {
            let mut bytes = valid;
            bytes[offset] = value;
            assert_eq!(Trailer::parse(&bytes), None, "{offset}: {value}");
        }
    }
}
