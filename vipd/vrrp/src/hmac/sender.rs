//! The senders of verified adverts, and the last sequence of each.

use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::sequence::{Sequence, WallTime};
use super::{Config, Refusal};

/// Number of senders whose sequences are remembered for a virtual router that uses multicast: more
/// than a segment has routers. The adverts of a forgotten sender could be replayed.
pub const MULTICAST_SENDERS: usize = 64;

/// A sender of verified adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Source address of the adverts.
    pub address: IpAddr,
    /// Sequence of the last verified advert; for a former address of this router, of the last
    /// advert that this router signed.
    pub mark: u64,
    /// ID of the key of the last verified advert.
    pub key_id: u8,
    /// Clock of the sender minus the clock of this host in milliseconds, when the last verified
    /// advert arrived.
    pub clock_offset: i64,
    /// Arrival of the last verified advert, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_arrival: u64,
}

/// Senders at fixed positions. A new sender replaces one whose mark is out of date or, if all
/// positions are in use, the sender whose last advert is the oldest. Only the holder of a key can
/// add senders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Senders {
    capacity: usize,
    all: Vec<Sender>,
}

impl Senders {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, all: Vec::new() }
    }

    /// Records the sender of a verified advert. A mark counts while it is fresh. Returns the
    /// position of the sender.
    ///
    /// # Errors
    /// [`Refusal::Replayed`] if the sequence is not after the sender's mark.
    pub(super) fn record(
        &mut self,
        sender: Sender,
        config: &Config,
        now: WallTime,
    ) -> Result<usize, Refusal> {
        let sequence = Sequence(sender.mark);
        if let Some(position) = self.all.iter().position(|known| known.address == sender.address) {
            let known = &mut self.all[position];
            let mark = Sequence(known.mark);
            if config.is_fresh(mark, now) && !sequence.is_after(mark) {
                return Err(Refusal::Replayed);
            }
            *known = sender;
            return Ok(position);
        }
        let position = self.oldest(|known| config.is_past(Sequence(known.mark), now));
        let is_full = self.all.len() >= self.capacity;
        let position = position.or_else(|| if is_full { self.oldest(|_| true) } else { None });
        if let Some((position, replaced)) = position.and_then(|at| Some((at, self.all.get_mut(at)?))) {
            *replaced = sender;
            return Ok(position);
        }
        self.all.push(sender);
        Ok(self.all.len() - 1)
    }

    /// Continues with the senders of another process or router. If there are too many, keeps those
    /// whose last adverts are the latest.
    pub(super) fn restore(&mut self, senders: &[Sender]) {
        self.all = senders.to_vec();
        while self.all.len() > self.capacity
            && let Some(oldest) = self.oldest(|_| true)
        {
            self.all.remove(oldest);
        }
    }

    /// Returns the position of the sender whose last advert is the oldest, of those that
    /// `is_wanted` selects.
    fn oldest(&self, is_wanted: impl Fn(&Sender) -> bool) -> Option<usize> {
        let wanted = self.all.iter().enumerate().filter(|(_, known)| is_wanted(known));
        wanted.min_by_key(|(_, known)| known.last_arrival).map(|(position, _)| position)
    }

    pub(super) fn all(&self) -> &[Sender] {
        &self.all
    }
}
