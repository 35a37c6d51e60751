//! The trailer of signed adverts, as keepalived 2.4 sends it after the VRRP message.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | type, 1: HMAC-SHA-256, of which the first 16 bytes are sent |
//! | 1 | key ID, 1 to 255 |
//! | 2, 3 | reserved, 0 |
//! | 4 to 11 | sequence: seconds since 1970 (32 bits), 1/65536 s (16 bits), counter (16 bits) |
//! | 12 to 27 | HMAC |

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Length of a trailer, in bytes.
pub const TRAILER: usize = 28;
/// Length of the HMAC in a trailer, in bytes.
const HMAC: usize = 16;
/// Offset of the sequence.
const SEQUENCE: usize = 4;
/// Offset and length of the checksum in a VRRP message.
const CHECKSUM: std::ops::Range<usize> = 6..8;

/// A trailer to append to an advert. Start with [`Trailer::new`] and override fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The key. Routers accept 32 to 64 bytes.
    pub key: Vec<u8>,
    /// Type; 1 in valid trailers.
    pub kind: u8,
    /// Identifier of the key.
    pub key_id: u8,
    /// Reserved bytes.
    pub reserved: u16,
    /// Sequence; see [`sequence_at`].
    pub sequence: u64,
    /// Overrides the HMAC.
    pub hmac: Option<[u8; HMAC]>,
    /// Number of bytes cut off the end.
    pub cut: usize,
}

impl Trailer {
    /// Returns a valid trailer for an advert that is sent now.
    pub fn new(key: &[u8], key_id: u8) -> Self {
        let sequence = sequence_at(SystemTime::now());
        Self { key: key.to_vec(), kind: 1, key_id, reserved: 0, sequence, hmac: None, cut: 0 }
    }

    /// Returns the length of the encoded trailer, in bytes.
    pub fn length(&self) -> usize {
        TRAILER.saturating_sub(self.cut)
    }

    /// Verifies the trailer at the end of an IP payload with a key. Returns `None` if the payload
    /// is too short for a trailer, or the HMAC is wrong.
    pub fn verify(key: &[u8], source: IpAddr, payload: &[u8]) -> Option<Self> {
        let (message, trailer) = payload.split_at_checked(payload.len().checked_sub(TRAILER)?)?;
        let start: [u8; TRAILER - HMAC] = *trailer.first_chunk()?;
        if trailer[start.len()..] != hmac(key, source, message, start) {
            return None;
        }
        let [kind, key_id, high, low, sequence @ ..] = start;
        Some(Self {
            kind,
            key_id,
            reserved: u16::from_be_bytes([high, low]),
            sequence: u64::from_be_bytes(sequence),
            ..Self::new(key, key_id)
        })
    }

    /// Returns the encoded trailer of a VRRP message that is sent from `source`.
    pub fn encode(&self, source: IpAddr, message: &[u8]) -> Vec<u8> {
        let mut start = [0; TRAILER - HMAC];
        start[..2].copy_from_slice(&[self.kind, self.key_id]);
        start[2..SEQUENCE].copy_from_slice(&self.reserved.to_be_bytes());
        start[SEQUENCE..].copy_from_slice(&self.sequence.to_be_bytes());
        let hmac = self.hmac.unwrap_or_else(|| hmac(&self.key, source, message, start));
        let mut trailer = [&start[..], &hmac].concat();
        trailer.truncate(self.length());
        trailer
    }
}

/// Returns the sequence of this time, with a counter of 0.
///
/// # Panics
/// Panics if the time is before 1970.
pub fn sequence_at(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).expect("a time after 1970");
    let subseconds = (u64::from(since.subsec_nanos()) << 16) / 1_000_000_000;
    since.as_secs() << 32 | subseconds << 16
}

/// Returns the HMAC of a VRRP message that is sent from `source`, where `start` is the trailer
/// without its HMAC. The version and the VRID of the pseudo-header are those of the message, 0 if
/// it is empty.
fn hmac(key: &[u8], source: IpAddr, message: &[u8], start: [u8; TRAILER - HMAC]) -> [u8; HMAC] {
    let byte = |offset: usize| message.get(offset).copied().unwrap_or(0);
    let mut pseudo_header = match source {
        IpAddr::V4(source) => [&[4, byte(0) >> 4, byte(1), 0], &source.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(source) => [&[6, byte(0) >> 4, byte(1), 0], &source.octets()[..]].concat(),
    };
    let mut without_checksum = message.to_vec();
    if let Some(checksum) = without_checksum.get_mut(CHECKSUM) {
        checksum.fill(0);
    }
    pseudo_header.extend(without_checksum);
    pseudo_header.extend(start);
    pseudo_header.extend([0; HMAC]);
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    let digest = mac.chain_update(&pseudo_header).finalize().into_bytes();
    *digest.first_chunk().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::{Advert, Version, signed_adverts};

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11));

    #[test]
    fn vectors_are_encoded_and_verified() {
        for vector in signed_adverts() {
            let (key, sequence, payload) = (&vector.key, vector.sequence(), vector.payload());
            let trailer = Trailer { sequence, ..Trailer::new(key, vector.key_id()) };
            assert_eq!(trailer.encode(vector.source, &vector.message), vector.trailer, "{}", vector.name);
            assert_eq!(Trailer::verify(key, vector.source, &payload), Some(trailer), "{}", vector.name);
        }
    }

    #[test]
    fn frames_contain_the_vectors() {
        let advert = |version, source: IpAddr, vrid, priority, interval, addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
            Advert { interval, addresses, ..Advert::new(version, vrid, priority, source) }
        };
        let source6 = "fe80::11".parse().expect("an address");
        for (name, advert) in [
            ("ipv4", advert(Version::V3, SOURCE, 51, 200, 10, &["192.0.2.50"])),
            ("ipv6", advert(Version::V3, source6, 51, 100, 100, &["fe80::50", "2001:db8::50"])),
            ("vrrpv2", advert(Version::V2, SOURCE, 51, 200, 1, &["192.0.2.50", "192.0.2.51"])),
        ] {
            let vector = signed_adverts().into_iter().find(|vector| vector.name == name).expect("a vector");
            let trailer =
                Trailer { sequence: vector.sequence(), ..Trailer::new(&vector.key, vector.key_id()) };
            let frame = Advert { signed: Some(trailer), ..advert }.frame();
            assert_eq!(frame[frame.len() - vector.payload().len()..], vector.payload(), "{name}");
        }
    }

    #[test]
    fn other_data_and_keys_are_not_verified() {
        let vector = &signed_adverts()[0];
        let verify = |payload: &[u8]| Trailer::verify(&vector.key, vector.source, payload);
        for offset in (0..vector.payload().len()).filter(|offset| !CHECKSUM.contains(offset)) {
            let mut payload = vector.payload();
            payload[offset] ^= 1;
            assert_eq!(verify(&payload), None, "byte {offset}");
        }
        assert_eq!(verify(&vector.payload()[1..]), None);
        assert_eq!(verify(&vector.trailer[1..]), None, "too short");
        assert_eq!(Trailer::verify(&vector.key[1..], vector.source, &vector.payload()), None);
    }

    #[test]
    fn overridden_fields_are_encoded_unchanged() {
        let message = [0x31, 51, 100, 0, 0, 100, 0, 0];
        let trailer = Trailer { kind: 2, key_id: 0, reserved: 0x0304, ..Trailer::new(b"key", 7) };
        assert_eq!(trailer.encode(SOURCE, &message)[..4], [2, 0, 3, 4]);
        let cut = Trailer { cut: 3, ..trailer.clone() };
        assert_eq!((cut.encode(SOURCE, &message).len(), cut.length()), (25, 25));
        let wrong = Trailer { hmac: Some([7; HMAC]), ..trailer };
        assert_eq!(wrong.encode(SOURCE, &message)[12..], [7; HMAC]);
    }

    #[test]
    fn sequence_consists_of_seconds_and_binary_fractions() {
        let time = UNIX_EPOCH + Duration::new(0x6925_f0a0, 500_000_000);
        assert_eq!(sequence_at(time), 0x6925_f0a0_8000_0000);
    }
}
