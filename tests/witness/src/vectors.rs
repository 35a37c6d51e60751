//! Test vectors of signed adverts, computed by a third implementation.

use std::net::IpAddr;

use crate::TRAILER;

/// A signed advert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    /// Describes the advert.
    pub name: String,
    /// Key, 32 to 64 bytes.
    pub key: Vec<u8>,
    /// Source address of the advert.
    pub source: IpAddr,
    /// VRRP message with its checksum.
    pub message: Vec<u8>,
    /// Trailer with its HMAC.
    pub trailer: [u8; TRAILER],
}

impl Vector {
    /// Returns the key ID.
    pub fn key_id(&self) -> u8 {
        self.trailer[1]
    }

    /// Returns the sequence.
    pub fn sequence(&self) -> u64 {
        self.trailer[4..12].iter().fold(0, |sequence, byte| sequence << 8 | u64::from(*byte))
    }

    /// Returns the payload of the IP packet: the message and the trailer.
    pub fn payload(&self) -> Vec<u8> {
        [&self.message[..], &self.trailer].concat()
    }
}

/// Returns the vectors of `vectors/signed_adverts.txt`.
///
/// # Panics
/// Panics if the file is malformed.
pub fn signed_adverts() -> Vec<Vector> {
    let text = include_str!("../vectors/signed_adverts.txt");
    let blocks = text.split("\n\n").skip(1);
    blocks
        .map(|block| {
            let value = |key: &str| {
                let fields = block.lines().filter_map(|line| line.split_once(' '));
                let found = fields.filter(|(name, _)| *name == key).map(|(_, value)| value).next();
                found.unwrap_or_else(|| panic!("no {key} in:\n{block}"))
            };
            Vector {
                name: value("name").to_owned(),
                key: bytes(value("key")),
                source: value("source").parse().expect("a source address"),
                message: bytes(value("message")),
                trailer: bytes(value("trailer")).try_into().expect("a trailer of 28 bytes"),
            }
        })
        .collect()
}

/// Parses hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { panic!("an odd number of digits: {digits}") };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8; 2]| digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low);
    pairs.iter().map(|pair| byte(pair).expect("hexadecimal digits")).collect()
}
