//! Cleans up after the engine's death. VIPs stay and answer until another router has taken over,
//! and are then removed, along with routes, rules and macvlans. VIPs that can no longer be fenced
//! are removed at once.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use vipd_common::address::to_words;
use vipd_common::records::AddressKey;

use super::memory::Memory;
use super::record::View;
use super::writer::LARGEST;
use crate::netlink::{Macvlans, PROTO_VIPD, Requests};
use crate::vrrp::Family;
use crate::xdp::GuardianLeases;

/// The VIPs of a dead agent.
pub(super) struct Aftermath {
    agent: String,
    leases: GuardianLeases,
    memory: Memory,
    /// Rows whose VIPs have not been removed.
    rows: Vec<usize>,
    /// The rows whose fence has ended with the agent's process.
    unfenced: BTreeSet<usize>,
    macvlans: Option<Macvlans>,
    record: Vec<u64>,
    /// Whether a failure has been logged.
    has_failed: bool,
    /// Number of failed attempts since the last successful one.
    failures: u32,
    /// Whether rows have been given up after [`ATTEMPTS`].
    has_given_up: bool,
    /// When the next attempt is made after a failure.
    retry_at: Option<Instant>,
}

/// Number of failed attempts after which the guardian gives up.
const ATTEMPTS: u32 = 30;

/// The outcome of an attempt to remove everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Everything is removed.
    Nothing,
    /// Rows whose VIPs stay until another router takes over, or until the next attempt.
    Rows,
    /// Rows with VIPs, routes or macvlans that the kernel refused to remove. The reason is in the log.
    Refused,
}

/// Pause after a failed attempt to remove VIPs, routes or macvlans.
const RETRY: Duration = Duration::from_secs(1);

impl Aftermath {
    /// Prepares the cleanup of the rows of masters: `masters` has an entry for each row.
    pub(super) fn new(agent: String, leases: GuardianLeases, memory: Memory, masters: &[bool]) -> Self {
        let rows = masters.iter().enumerate().filter(|(_, was_master)| **was_master).map(|(row, _)| row);
        let rows: Vec<usize> = rows.collect();
        let mut record = vec![0; LARGEST];
        let mut is_unfenced = |row: &usize| {
            let record = memory.read(*row, &mut record).and_then(View::new);
            record.is_some_and(|record| !record.is_fence_permanent())
        };
        let unfenced = rows.iter().copied().filter(|row| is_unfenced(row)).collect();
        Self {
            agent,
            leases,
            memory,
            rows,
            unfenced,
            macvlans: None,
            record,
            has_failed: false,
            failures: 0,
            has_given_up: false,
            retry_at: None,
        }
    }

    /// Returns the longest advert interval of the rows in milliseconds. After a priority-0 advert,
    /// a backup takes over within this time, because Skew_Time is shorter.
    pub(super) fn longest_interval(&mut self) -> u32 {
        let intervals = self.rows.iter().filter_map(|row| {
            let words = self.memory.read(*row, &mut self.record)?;
            View::new(words).map(|view| view.interval())
        });
        intervals.max().unwrap_or(0)
    }

    /// Returns whether [`remove`](Self::remove) must be called: a row is fenced because another
    /// router has taken over, or cannot be fenced, or no rows are left.
    pub(super) fn has_work(&self) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        self.rows.is_empty() || self.rows.iter().any(|row| self.is_due(*row))
    }

    /// Returns whether the fence of any row has ended with the agent's process.
    pub(super) fn has_unfenced(&self) -> bool {
        !self.unfenced.is_empty()
    }

    /// Returns whether the VIPs of a row must be removed now.
    fn is_due(&self, row: usize) -> bool {
        self.leases.is_fenced(row) || self.unfenced.contains(&row)
    }

    /// Removes the VIPs of the rows that another router has taken over or that cannot be fenced, or
    /// of all rows. When no rows are left, also deletes the macvlans of backups.
    pub(super) fn remove(&mut self, all: bool) -> Rest {
        let mut rows = self.rows.clone();
        rows.retain(|row| all || self.is_due(*row));
        match if rows.is_empty() { Ok(()) } else { self.try_remove(&rows) } {
            Ok(()) => {
                self.rows.retain(|row| !rows.contains(row));
                self.failures = 0;
            }
            Err(error) => {
                self.report(&error);
                self.failures += 1;
                if self.failures < ATTEMPTS {
                    self.retry_at = Some(Instant::now() + RETRY);
                } else {
                    self.rows.retain(|row| !rows.contains(row));
                    (self.failures, self.has_given_up) = (0, true);
                }
            }
        }
        if !self.rows.is_empty() {
            return if all { Rest::Refused } else { Rest::Rows };
        }
        match self.macvlans().map(Macvlans::clear) {
            Ok(()) if self.has_given_up => Rest::Refused,
            Ok(()) => Rest::Nothing,
            Err(error) => {
                self.report(&error);
                Rest::Refused
            }
        }
    }

    /// Ends the cleanup, and leaves everything that has not been removed to another agent.
    pub(super) fn abandon(mut self) {
        if let Some(macvlans) = &mut self.macvlans {
            macvlans.release();
        }
    }

    fn try_remove(&mut self, rows: &[usize]) -> io::Result<()> {
        let (mut addresses, mut requests, mut macvlans) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut shared = BTreeSet::new();
        for row in &self.rows {
            let record = self.memory.read(*row, &mut self.record).and_then(View::new);
            let Some(record) = record else { continue };
            if !rows.contains(row) {
                shared.extend(record.requests().map(<[u8]>::to_vec));
                continue;
            }
            addresses.extend(record.addresses());
            requests.extend(record.requests().map(<[u8]>::to_vec));
            if record.has_macvlan() {
                macvlans.push((record.ifindex(), record.family(), record.vrid()));
            }
        }
        let mut netlink = Requests::open()?;
        // In the order of a clean shutdown, but an error does not prevent the next step: if the
        // removal of a route is refused, the VIPs must still be removed. Routes and rules that are
        // shared with a remaining row stay.
        let mut result = Ok(());
        for request in requests.difference(&shared) {
            result = result.and(netlink.replay(request));
        }
        let removed = netlink.remove_stale(|found| {
            let family = Family::of(found.address).number();
            found.protocol == PROTO_VIPD
                && addresses.contains(&AddressKey::new(found.ifindex, family, to_words(found.address)))
        });
        result = result.and(removed.map(drop));
        if !macvlans.is_empty() {
            let existing = self.macvlans()?;
            for (parent, family, vrid) in macvlans {
                existing.remove(parent, family, vrid);
            }
        }
        result
    }

    fn macvlans(&mut self) -> io::Result<&mut Macvlans> {
        let macvlans = match self.macvlans.take() {
            Some(macvlans) => macvlans,
            None => Macvlans::inherit(&self.agent)?,
        };
        Ok(self.macvlans.insert(macvlans))
    }

    fn report(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::error!(%error, "cannot remove VIPs, routes or macvlans of the dead agent; run `vipd cleanup`");
        }
    }
}
