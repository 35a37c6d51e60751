//! Signed adverts: adverts with an HMAC and a sequence that prevents replays, as keepalived 2.4
//! sends and verifies them. No RFC specifies them; VRRPv3 has no authentication (RFC 9568 section
//! 9).
//!
//! An [`Authenticator`] signs the adverts that a router sends, and verifies the adverts that it
//! receives. Checks are made in this order:
//!
//! | check | refusal |
//! | --- | --- |
//! | the advert has a trailer, unless the mode makes it optional | [`Refusal::Missing`] |
//! | the trailer is well-formed | [`Refusal::Malformed`] |
//! | the sender's clock is within the window ([`AntiReplay::Time`]) | [`Refusal::Stale`] |
//! | the key is configured | [`Refusal::UnknownKey`] |
//! | the HMAC is correct | [`Refusal::WrongHmac`] |
//! | the sequence is after the sender's last one | [`Refusal::Replayed`] |
//!
//! The clock is checked before the HMAC, because this check is cheaper. Nothing of an advert is
//! stored before its HMAC is verified.

mod config;
mod key;
mod sender;
mod sequence;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use vipd_common::Timestamp;
use vipd_common::hmac::{KeyState, PseudoHeader};
use vipd_common::wire::trailer::{self, Trailer};

use crate::interval::Nanos;

pub use config::{AntiReplay, Config, MAX_KEY, MIN_KEY, Mode};
pub use key::Key;
pub use sender::{MULTICAST_SENDERS, Sender};
pub use sequence::WallTime;

use key::tag;
use sender::Senders;
use sequence::Sequence;

/// Signs and verifies the adverts of one virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    config: Config,
    /// Sequence of the last advert that was signed.
    sent: Option<Sequence>,
    senders: Senders,
}

/// A sender that an [`Authenticator`] has recorded, and how long its last sequence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The sender, as it is after this advert.
    pub sender: Sender,
    /// Position of the sender in [`Authenticator::senders`].
    pub position: usize,
    /// Time for which the sender's mark counts unless the clock is set, from the arrival of the
    /// advert or, for [`Authenticator::leave`] and [`Authenticator::remembered`], from the given
    /// time; `None` if it counts forever.
    pub lifetime: Option<Nanos>,
}

/// The reason for refusing an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The advert has no trailer, although the mode requires one.
    Missing,
    /// The trailer has an unknown type, key ID 0 or reserved bytes other than 0.
    Malformed,
    /// The time in the sequence differs from this host's clock by more than the window.
    Stale,
    /// No key with this ID is configured.
    UnknownKey,
    /// The HMAC is wrong: the advert was signed with another key, or was forged.
    WrongHmac,
    /// The sequence is not after the sender's last one.
    Replayed,
}

impl Authenticator {
    /// Creates an authenticator that remembers the sequences of up to `capacity` senders:
    /// [`MULTICAST_SENDERS`], or the number of unicast peers.
    pub fn new(config: Config, capacity: usize) -> Self {
        Self { config, sent: None, senders: Senders::new(capacity) }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Replaces the configuration. The sequences of this router and of the senders stay.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// Signs an advert with the active key, and returns the advert's trailer. The sequence is
    /// `now`, or the sequence after the last one if that is later than `now`. With
    /// [`AntiReplay::Time`], the sequence is also `now` if the last one is later than `now` by more
    /// than the window. `message` is the VRRP message. The HMAC does not cover the message's
    /// checksum.
    ///
    /// Returns `None` if the mode is [`Mode::ReceiveOnly`].
    pub fn sign(
        &mut self,
        now: WallTime,
        header: &PseudoHeader,
        message: &[u8],
    ) -> Option<[u8; trailer::LEN]> {
        let key = self.config.signing_key()?;
        let sequence = Sequence::next(self.sent, now, self.config.time_window());
        self.sent = Some(sequence);
        Some(signed((key.id(), key.state()), sequence, header, message))
    }

    /// Verifies an advert that arrived at `arrival`, when the clock was `now`. `trailer` is `None`
    /// if the advert has none. Returns `None` if the advert has no trailer and needs none.
    ///
    /// # Errors
    /// Returns the [`Refusal`] if the advert must be discarded.
    pub fn verify(
        &mut self,
        now: WallTime,
        arrival: Timestamp,
        source: IpAddr,
        header: &PseudoHeader,
        message: &[u8],
        trailer: Option<&[u8; trailer::LEN]>,
    ) -> Result<Option<Verified>, Refusal> {
        let Some(trailer) = trailer else {
            return if self.config.mode == Mode::Enforce { Err(Refusal::Missing) } else { Ok(None) };
        };
        let trailer = Trailer::parse(trailer).ok_or(Refusal::Malformed)?;
        let sequence = Sequence(trailer.sequence);
        if !self.config.is_fresh(sequence, now) {
            return Err(Refusal::Stale);
        }
        let key = self.config.key(trailer.key_id).ok_or(Refusal::UnknownKey)?;
        if !is_signed_with(key, header, message, &trailer) {
            return Err(Refusal::WrongHmac);
        }
        let sender = Sender {
            address: source,
            mark: trailer.sequence,
            key_id: trailer.key_id,
            clock_offset: sequence.milliseconds_after(now),
            last_arrival: arrival.as_nanos(),
        };
        let position = self.senders.record(sender, &self.config, now)?;
        let lifetime = self.config.lifetime(sequence, now);
        Ok(Some(Verified { sender, position, lifetime }))
    }

    /// Remembers a former address of this router, from which it sent adverts until now. A replay of
    /// these adverts must not appear to come from another router.
    ///
    /// Returns the address as a sender; `None` if no advert has been signed, the last one is stale,
    /// the mode is [`Mode::ReceiveOnly`], or the address has already been recorded with this or a
    /// later sequence, for example because another router has sent a later advert from it.
    pub fn leave(&mut self, address: IpAddr, now: WallTime, at: Timestamp) -> Option<Verified> {
        let sequence = self.sent.filter(|sequence| self.config.is_fresh(*sequence, now))?;
        let key_id = self.config.signing_key()?.id();
        let sender =
            Sender { address, mark: sequence.0, key_id, clock_offset: 0, last_arrival: at.as_nanos() };
        let position = self.senders.record(sender, &self.config, now).ok()?;
        Some(Verified { sender, position, lifetime: self.config.lifetime(sequence, now) })
    }

    /// Returns the senders whose adverts have been verified, and former addresses of this router
    /// ([`leave`](Self::leave)), at most as many as the capacity. The position of a sender stays
    /// the same until another sender replaces it.
    pub fn senders(&self) -> &[Sender] {
        self.senders.all()
    }

    /// Returns the sequence of the last advert that was signed; `None` if there was none.
    pub fn sent(&self) -> Option<u64> {
        self.sent.map(|Sequence(number)| number)
    }

    /// Returns the senders, with the remaining lifetime of each sender's mark at `now`. The
    /// lifetime is 0 if the mark no longer counts.
    pub fn remembered(&self, now: WallTime) -> impl Iterator<Item = Verified> {
        self.senders.all().iter().enumerate().map(move |(position, sender)| {
            let mark = Sequence(sender.mark);
            let is_fresh = self.config.is_fresh(mark, now);
            let lifetime = if is_fresh { self.config.lifetime(mark, now) } else { Some(0) };
            Verified { sender: *sender, position, lifetime }
        })
    }

    /// Returns the sequences of this router and of the senders, without any key.
    pub fn save(&self) -> Saved {
        Saved { sent: self.sent(), senders: self.senders().to_vec() }
    }

    /// Continues with the sequences of another process, or of a router that a reload has replaced.
    pub fn resume(&mut self, saved: &Saved) {
        self.sent = saved.sent.map(Sequence);
        self.senders.restore(&saved.senders);
    }
}

/// Returns the trailer of an advert.
fn signed(
    (key_id, state): (u8, &KeyState),
    sequence: Sequence,
    header: &PseudoHeader,
    message: &[u8],
) -> [u8; trailer::LEN] {
    let mut trailer = Trailer { key_id, sequence: sequence.0, hmac: [0; _] };
    trailer.hmac = tag(state, header, message, &trailer.encode());
    trailer.encode()
}

/// Returns whether the HMAC of a trailer is the one that a key gives for an advert. Does not check
/// the sequence.
pub fn is_signed_with(key: &Key, header: &PseudoHeader, message: &[u8], trailer: &Trailer) -> bool {
    let expected = tag(key.state(), header, message, &trailer.encode());
    // The comparison takes the same time regardless of where the HMACs differ.
    u128::from_ne_bytes(expected) ^ u128::from_ne_bytes(trailer.hmac) == 0
}

/// Signs the last advert of a router whose process has ended. Like [`Authenticator::sign`], but
/// without its state and without an allocation: `key` is the ID and the states of the key, and
/// `sent` is the sequence of the last advert that was signed, or 0 if there was none. `window` is
/// [`Config::time_window`].
pub fn sign_once(
    key: (u8, &KeyState),
    sent: u64,
    now: WallTime,
    window: Option<u32>,
    header: &PseudoHeader,
    message: &[u8],
) -> [u8; trailer::LEN] {
    let sent = (sent != 0).then_some(Sequence(sent));
    signed(key, Sequence::next(sent, now, window), header, message)
}

/// Returns the clock of a sender minus the clock of this host in milliseconds, according to a
/// trailer that has not been verified. `now` is the time of arrival.
pub fn clock_offset(trailer: &[u8; trailer::LEN], now: WallTime) -> i64 {
    let number = trailer[trailer::SEQUENCE..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Sequence(number).milliseconds_after(now)
}

/// The saved state of an [`Authenticator`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    sent: Option<u64>,
    senders: Vec<Sender>,
}
