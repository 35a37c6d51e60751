//! Configuration of the signed adverts of a router.

use alloc::vec::Vec;

use vipd_common::hmac::is_fresh;
use vipd_common::parse::Trailer;

use super::key::Key;
use super::sequence::{Sequence, WallTime};
use crate::interval::Nanos;

/// Length of the shortest key, in bytes.
pub const MIN_KEY: usize = 32;
/// Length of the longest key, in bytes: a block of SHA-256.
pub const MAX_KEY: usize = vipd_common::hmac::BLOCK;

/// Keys and rules for signed adverts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The keys with which received adverts are verified, each with an ID of its own.
    pub keys: Vec<Key>,
    /// ID of the key with which adverts are signed.
    pub active: u8,
    /// Rule for the trailers of sent and received adverts.
    pub mode: Mode,
    /// Method of recognizing replays.
    pub anti_replay: AntiReplay,
    /// The largest accepted difference between the sender's clock and this host's clock in seconds,
    /// 1 to 300. Not used with [`AntiReplay::Monotonic`].
    pub window: u32,
}

/// Rule for the trailers of sent and received adverts. To introduce keys without an interruption,
/// change all routers from one mode to the next, in reverse order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sent adverts are signed, and received adverts must be.
    Enforce,
    /// Sent adverts are signed. Received adverts are verified if they have a trailer.
    Permissive,
    /// Sent adverts are not signed. Received adverts are verified if they have a trailer.
    ReceiveOnly,
}

/// Method of recognizing replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AntiReplay {
    /// The sender's clock must be within the window, and the sender's sequence must grow. Needs
    /// synchronized clocks. Also recognizes a replayed advert of a sender that is not known yet,
    /// once the advert is older than the window.
    Time,
    /// The sender's sequence must grow. Needs no synchronized clocks.
    Monotonic,
}

impl Config {
    /// Returns the key with this ID.
    pub fn key(&self, id: u8) -> Option<&Key> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// Returns the key with which adverts are signed; `None` if they are not signed.
    pub fn signing_key(&self) -> Option<&Key> {
        if self.mode == Mode::ReceiveOnly { None } else { self.key(self.active) }
    }

    /// Returns the window in seconds; `None` with [`AntiReplay::Monotonic`].
    pub fn time_window(&self) -> Option<u32> {
        (self.anti_replay == AntiReplay::Time).then_some(self.window)
    }

    /// Returns whether received adverts must have a trailer.
    pub fn trailer(&self) -> Trailer {
        match self.mode {
            Mode::Enforce => Trailer::Required,
            Mode::Permissive | Mode::ReceiveOnly => Trailer::Optional,
        }
    }

    /// Returns the time from `now` until a sequence is no longer fresh; `None` if it stays fresh
    /// forever.
    pub(super) fn lifetime(&self, sequence: Sequence, now: WallTime) -> Option<Nanos> {
        self.time_window().map(|window| sequence.until_stale(now, window))
    }

    /// Returns whether the time of a sequence is before the window, so that it will not be fresh
    /// again unless the clock is set back; false with [`AntiReplay::Monotonic`].
    pub(super) fn is_past(&self, sequence: Sequence, now: WallTime) -> bool {
        !self.is_fresh(sequence, now) && now.sequence().is_after(sequence)
    }

    /// Returns whether the time of a sequence is within the window; true with
    /// [`AntiReplay::Monotonic`].
    pub(super) fn is_fresh(&self, sequence: Sequence, now: WallTime) -> bool {
        is_fresh(sequence.0, now.seconds(), self.time_window().unwrap_or(0))
    }
}
