//! Cleans up after the engine's death. The host keeps its VIPs, and answers for them, until another
//! router has taken over. The VIPs are then removed, along with routes, rules and macvlans. If a
//! router had left Master or cannot be fenced without the agent, its VIPs are removed at once.

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
    /// Rows whose VIPs, routes and rules have not all been removed. A row whose routes or rules
    /// have been given up is not included.
    rows: Vec<usize>,
    /// The rows that cannot be fenced without the agent's process.
    unfenced: BTreeSet<usize>,
    macvlans: Option<Macvlans>,
    record: Vec<u64>,
    /// Whether a failure has been logged.
    has_failed: bool,
    /// Number of failed attempts for the rows in `failing`.
    failures: u32,
    failing: Vec<usize>,
    /// Whether the removal of routes or rules has been given up after [`ATTEMPTS`].
    has_given_up: bool,
    /// Time of the next attempt after a failure.
    retry_at: Option<Instant>,
}

/// Number of attempts after which the guardian gives up removing routes and rules that the kernel
/// refuses to remove. Until a termination signal, the guardian does not give up removing VIPs,
/// which may no longer be fenced.
const ATTEMPTS: u32 = 30;

/// The reason why an attempt has failed.
enum Failure {
    /// VIPs may still be present.
    Vips(io::Error),
    /// The VIPs are removed, but not all routes and rules.
    Routing(io::Error),
}

/// The resources that remain after an attempt to remove rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Everything is removed.
    Nothing,
    /// Rows whose VIPs stay until another router takes over, or whose removal is attempted again.
    Rows,
    /// VIPs, routes, rules or macvlans that could not be removed. The log has only the first error
    /// of the cleanup.
    Refused,
}

/// Pause after a failed attempt to remove VIPs, routes, rules or macvlans.
const RETRY: Duration = Duration::from_secs(1);

impl Aftermath {
    /// Prepares the cleanup of the rows that had a lease. `masters` states for each row whether it
    /// had one: the host was master, or had left Master and had not removed its VIPs yet.
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
            failing: Vec::new(),
            has_given_up: false,
            retry_at: None,
        }
    }

    /// Returns the longest advert interval of the rows, in milliseconds. After a priority-0 advert,
    /// a backup takes over within this time, because Skew_Time is shorter.
    pub(super) fn longest_interval(&mut self) -> u32 {
        let intervals = self.rows.iter().filter_map(|row| {
            let words = self.memory.read(*row, &mut self.record)?;
            View::new(words).map(|view| view.interval())
        });
        intervals.max().unwrap_or(0)
    }

    /// Returns whether [`remove`](Self::remove) must be called: because a row is fenced (another
    /// router has taken over, or the row's router had left Master), because a row cannot be fenced,
    /// or because no rows are left. Returns false during the pause after a failed attempt.
    pub(super) fn has_work(&self) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        self.rows.is_empty() || self.rows.iter().any(|row| self.is_due(*row))
    }

    /// Returns whether any row cannot be fenced without the agent's process.
    pub(super) fn has_unfenced(&self) -> bool {
        !self.unfenced.is_empty()
    }

    /// Returns whether the VIPs of a row must be removed now.
    fn is_due(&self, row: usize) -> bool {
        self.leases.is_fenced(row) || self.unfenced.contains(&row)
    }

    /// Removes the VIPs, routes, rules and macvlans of all rows if `all` is true; otherwise, only
    /// those of rows that are fenced or cannot be fenced. When no rows are left, also deletes the
    /// macvlans of backups.
    pub(super) fn remove(&mut self, all: bool) -> Rest {
        let mut rows = self.rows.clone();
        rows.retain(|row| all || self.is_due(*row));
        if self.failing != rows {
            (self.failing, self.failures) = (rows.clone(), 0);
        }
        let removed = if rows.is_empty() { Ok(()) } else { self.try_remove(&rows) };
        self.failures += 1;
        let has_given_up = matches!(removed, Err(Failure::Routing(_))) && self.failures >= ATTEMPTS;
        if removed.is_ok() || has_given_up {
            self.rows.retain(|row| !rows.contains(row));
        } else {
            self.retry_at = Some(Instant::now() + RETRY);
        }
        self.has_given_up |= has_given_up;
        if let Err(Failure::Vips(error) | Failure::Routing(error)) = removed {
            self.report(&error);
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

    /// Ends the cleanup, and leaves to another process everything that has not been removed.
    pub(super) fn abandon(mut self) {
        if let Some(macvlans) = &mut self.macvlans {
            macvlans.release();
        }
    }

    fn try_remove(&mut self, rows: &[usize]) -> Result<(), Failure> {
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
        let mut netlink = Requests::open().map_err(Failure::Vips)?;
        // The order is that of a clean shutdown, but an error does not prevent the next step: if
        // the removal of a route is refused, the VIPs must still be removed. Routes and rules that
        // are shared with a remaining row stay.
        let mut routing = Ok(());
        for request in requests.difference(&shared) {
            routing = routing.and(netlink.replay(request));
        }
        let removed = netlink.remove_stale(|found| {
            let family = Family::of(found.address).number();
            found.protocol == PROTO_VIPD
                && addresses.contains(&AddressKey::new(found.ifindex, family, to_words(found.address)))
        });
        if !macvlans.is_empty() {
            let existing = self.macvlans().map_err(Failure::Vips)?;
            for (parent, family, vrid) in macvlans {
                existing.remove(parent, family, vrid);
            }
        }
        removed.map_err(Failure::Vips)?;
        routing.map_err(Failure::Routing)
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
            tracing::error!(
                %error,
                "cannot remove VIPs, routes, rules or macvlans of the dead agent; run `vipd cleanup`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use anyhow::Result;
    use vipd_tests::lab::Lab;
    use vipd_tests::station::{INTERFACE, Station};

    use super::*;
    use crate::guardian::record::Record;
    use crate::guardian::writer::Writer;
    use crate::netlink::{Address, Attributes, Change};
    use crate::xdp::{Kernel, OBJECT, Rows, Sizes, Verbosity};

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON"]
    fn vips_are_removed_before_a_refused_route_is_given_up() -> Result<()> {
        let lab = Lab::new(1)?;
        lab.host(Station::Node(1))?.run(|| {
            let ifindex = vipd_tests::links::index(INTERFACE)?;
            let vip = Address::vipd(ifindex, "10.0.1.1".parse()?, 32);
            let mut requests = Requests::open()?;
            requests.apply(&[Change::Add(vip, Attributes::default())], |_, error| panic!("{error}"))?;

            let sizes = Sizes { routers: 2, peers: 0, addresses: 8, senders: 16, burst: 1024 };
            let kernel = Kernel::load(OBJECT, sizes, Verbosity::Quiet)?.kernel;
            let memory = Memory::create(2)?;
            let leases = GuardianLeases::open(kernel.leases_descriptor()?, memory.rows())?;
            let mut writer = Writer::new(memory.clone(), sync_channel(1).0);
            let row = Rows::new(2).allocate().expect("a row");
            let record = Record {
                ifindex,
                is_fence_permanent: true,
                addresses: vec![AddressKey::new(ifindex, 4, to_words(vip.address))],
                requests: vec![refused_request()],
                ..Record::default()
            };
            writer.publish(row, &record).expect("room");
            let masters: Vec<bool> = (0..2).map(|number| number == row.number() as usize).collect();
            let mut aftermath = Aftermath::new("/test/aftermath".to_owned(), leases, memory, &masters);

            for _ in 1..ATTEMPTS {
                assert_eq!(aftermath.remove(true), Rest::Refused);
                assert_eq!(aftermath.rows, [row.number() as usize]);
            }
            assert!(requests.remove_stale(|found| found.address == vip.address)?.is_empty(), "removed");
            assert_eq!(aftermath.remove(true), Rest::Refused);
            assert!(aftermath.rows.is_empty(), "given up");
            Ok(())
        })
    }

    /// Returns a request to delete a route of an unknown address family.
    fn refused_request() -> Vec<u8> {
        let mut request = vec![0; 28];
        request[..4].copy_from_slice(&28_u32.to_ne_bytes());
        request[4..6].copy_from_slice(&libc::RTM_DELROUTE.to_ne_bytes());
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).expect("16 bits");
        request[6..8].copy_from_slice(&flags.to_ne_bytes());
        request[16] = u8::MAX;
        request
    }
}
