//! The senders of verified adverts, and the last sequence of each.

use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::sequence::Sequence;

/// Number of senders whose sequences a multicast router remembers: more than a segment has routers. The
/// adverts of a forgotten sender could be replayed.
pub const MULTICAST_SENDERS: usize = 64;

/// A sender of verified adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Source address of the adverts.
    pub address: IpAddr,
    /// The highest sequence, which is that of the last verified advert.
    pub mark: u64,
    /// ID of the key of the last verified advert.
    pub key_id: u8,
    /// Clock of the sender minus the clock of this host in milliseconds, when the last verified advert
    /// arrived.
    pub clock_offset: i64,
    /// Arrival of the last verified advert, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_arrival: u64,
}

/// Senders at fixed positions. If all positions are in use, a new sender replaces the sender whose
/// last advert is the oldest. Only the holder of a key can add senders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Senders {
    capacity: usize,
    all: Vec<Sender>,
}

impl Senders {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, all: Vec::new() }
    }

    /// Records the sender of a verified advert. `is_valid` returns whether a mark still counts. Returns
    /// the position of the sender.
    ///
    /// # Errors
    /// [`Refusal::Replayed`] if the sequence is not after the sender's mark.
    pub(super) fn record(
        &mut self,
        sender: Sender,
        is_valid: impl Fn(Sequence) -> bool,
    ) -> Result<usize, Refusal> {
        let sequence = Sequence(sender.mark);
        if let Some(position) = self.all.iter().position(|known| known.address == sender.address) {
            let known = &mut self.all[position];
            let mark = Sequence(known.mark);
            if is_valid(mark) && !sequence.is_after(mark) {
                return Err(Refusal::Replayed);
            }
            *known = sender;
            return Ok(position);
        }
        if self.all.len() < self.capacity {
            self.all.push(sender);
            return Ok(self.all.len() - 1);
        }
        let oldest = self.all.iter().enumerate().min_by_key(|(_, known)| known.last_arrival);
        let position = oldest.map_or(0, |(position, _)| position);
        if let Some(oldest) = self.all.get_mut(position) {
            *oldest = sender;
        }
        Ok(position)
    }

    pub(super) fn restore(&mut self, senders: &[Sender]) {
        self.all = senders.iter().copied().take(self.capacity).collect();
    }

    pub(super) fn all(&self) -> &[Sender] {
        &self.all
    }
}
