//! Trailers of the signed adverts that the router under test receives and sends.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail, ensure};
use vipd_witness::{Trailer, sequence_at};

use super::syntax::{Words, duration};
use crate::frame::Advert;
use crate::hmac::key;

/// Maximum difference between the time in a sequence and the time at which it is checked.
const TOLERANCE: Duration = Duration::from_secs(30);

/// The trailer of an injected advert: `key 1 ahead 10s …`.
#[derive(Debug, Clone, Default)]
pub struct ReceivedTrailer {
    /// `key 1`: the ID of the key to sign with. If omitted, the advert is not signed.
    pub key: Option<u8>,
    /// `secret 2`: signs with the key of another ID.
    pub secret: Option<u8>,
    /// `ahead 10s`: how far the sequence is ahead of the clock.
    pub ahead: Duration,
    /// `behind 10s`: how far the sequence is behind the clock.
    pub behind: Duration,
    /// `trailer-type 2`: the type.
    pub kind: Option<u8>,
    /// `trailer-reserved 1`: the reserved bytes.
    pub reserved: u16,
    /// `trailer-cut 4`: number of bytes cut off the end of the trailer.
    pub cut: usize,
    /// `trailer-trailing 4`: number of bytes after the trailer.
    pub trailing: usize,
}

impl ReceivedTrailer {
    /// Reads the value that follows `key` in a `receive` line. Returns false if `key` does not name
    /// a field of the trailer.
    pub(super) fn read(&mut self, key: &str, words: &mut Words<'_>) -> Result<bool> {
        match key {
            "key" => self.key = Some(words.parsed(key)?),
            "secret" => self.secret = Some(words.parsed(key)?),
            "ahead" => self.ahead = duration(words.value(key)?)?,
            "behind" => self.behind = duration(words.value(key)?)?,
            "trailer-type" => self.kind = Some(words.parsed(key)?),
            "trailer-reserved" => self.reserved = words.parsed(key)?,
            "trailer-cut" => self.cut = words.parsed(key)?,
            "trailer-trailing" => self.trailing = words.parsed(key)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the trailer of an advert that is sent now; `None` if it is not signed.
    pub(super) fn trailer(&self) -> Option<Trailer> {
        let id = self.key?;
        let base = Trailer::new(&key(self.secret.unwrap_or(id)), id);
        Some(Trailer {
            kind: self.kind.unwrap_or(base.kind),
            reserved: self.reserved,
            sequence: sequence_at(SystemTime::now() + self.ahead - self.behind),
            cut: self.cut,
            ..base
        })
    }
}

/// Checks that a sent advert is signed with the key that has this ID or, if the ID is 0, that the
/// advert is not signed. Returns its sequence, or 0 if it is not signed.
///
/// # Errors
/// Returns an error if the advert has a trailer although the ID is 0, if it is not signed with the
/// key, if another field of the trailer is wrong, or if the sequence differs from the clock by more
/// than [`TOLERANCE`].
pub(super) fn check(advert: &Advert, id: u8) -> Result<u64> {
    if id == 0 {
        ensure!(advert.trailer.is_empty(), "the advert has {} bytes after the message", advert.trailer.len());
        return Ok(0);
    }
    let payload = [&advert.message[..], &advert.trailer].concat();
    let Some(trailer) = Trailer::verify(&key(id), advert.source, &payload) else {
        bail!("the advert is not signed with key {id}; its trailer is {:02x?}", advert.trailer);
    };
    let expected = Trailer { sequence: trailer.sequence, ..Trailer::new(&key(id), id) };
    ensure!(trailer == expected, "the trailer is {trailer:?}, not {expected:?}");
    let now = SystemTime::now();
    let [earliest, latest] = [now - TOLERANCE, now + TOLERANCE].map(sequence_at);
    ensure!(
        (earliest..latest).contains(&trailer.sequence),
        "the sequence is {:x}, but the clock is {:x}",
        trailer.sequence,
        sequence_at(now)
    );
    Ok(trailer.sequence)
}
