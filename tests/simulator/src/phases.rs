//! The phases of a world: simultaneous failures, healing, rest, and single failures.

use crate::Defect;
use crate::lan::LanConditions;
use crate::plan::Group;
use crate::rest::Succession;
use crate::trace::TraceEvent;
use crate::violation::{Invariant, Violation};
use crate::world::{Tally, World};

/// Number of times that the phases are repeated.
const ROUNDS: u64 = 3;
/// Number of single failures in a round.
const FAILURES: u64 = 12;

/// The outcome of a world.
pub struct Outcome {
    /// Counts of events.
    pub tally: Tally,
    /// Number of routers.
    pub routers: usize,
    /// Virtual time that passed, in nanoseconds.
    pub passed: u64,
    /// Digest of all events, which depends only on the seed and the defect.
    pub digest: u64,
    /// The first violation of an invariant.
    pub violation: Option<Violation>,
}

/// Runs a world to its end or to the first violation. Prints all events if `verbose` is set.
pub fn run(seed: u64, defect: Defect, verbose: bool) -> Outcome {
    let mut world = World::new(seed, defect, verbose);
    for _ in 0..ROUNDS {
        if world.violation.is_none() {
            world.simultaneous_failures();
            world.heal();
            world.single_failures();
        }
    }
    Outcome {
        routers: world.members.len(),
        passed: world.now,
        digest: world.trace.digest(),
        violation: world.violation,
        tally: world.tally,
    }
}

impl World {
    /// Simulates random failures, several of which may overlap.
    fn simultaneous_failures(&mut self) {
        self.strict = None;
        let down = self.longest_down();
        let loss = self.random.of(&[0, 0, 10, 50]);
        self.conditions = LanConditions { loss, duplication: self.random.of(&[0, 5, 30]), reorders: true };
        self.trace.add(self.now, 0, None, TraceEvent::Loses(loss));
        for _ in 0..20 {
            let host = self.random.index(self.hosts.len());
            match self.random.between(0, 13) {
                0 => self.stop(host, true),
                1 => self.stop(host, false),
                2 => self.crash(host),
                3..=6 => self.start(host),
                7 | 8 => {
                    let nanos = self.random.between(0, 2 * down);
                    self.stall(host, nanos);
                }
                9 => self.partition(2),
                10 => self.partition(1),
                11 => self.lose_records(host),
                12 => self.kill(host),
                _ => self.remove_addresses_externally(host),
            }
            let pause = self.random.between(0, down);
            self.run_until(self.now + pause);
        }
    }

    /// Assigns hosts at random to this many partitions of the LAN.
    fn partition(&mut self, count: u64) {
        for host in 0..self.hosts.len() {
            let partition = self.random.between(1, count);
            if self.hosts[host].partition != partition {
                self.hosts[host].partition = partition;
                self.trace.add(self.now, host, None, TraceEvent::Partition(partition));
            }
        }
    }

    /// Simulates the external removal of one VIP of each router on a host.
    fn remove_addresses_externally(&mut self, host: usize) {
        if self.hosts[host].is_running() {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let address = self.members[member].router.config().virtual_addresses[0];
                self.give(member, vipd::vrrp::Input::AddressRestored(address));
            }
        }
    }

    /// Ends all failures: the LAN is no longer partitioned, all hosts run, and no adverts are lost.
    /// Then waits until the routers are at rest.
    fn heal(&mut self) {
        self.conditions = LanConditions::default();
        self.trace.add(self.now, 0, None, TraceEvent::Loses(0));
        self.partition(1);
        for host in 0..self.hosts.len() {
            self.resume(host);
            if !self.hosts[host].up || self.hosts[host].is_killed() {
                self.start(host);
            }
        }
        let (down, delay, slack) = (self.longest_down(), self.longest_delay(), self.slack());
        // Allow for adverts in transit, and for the longest `preempt_delay`, `startup_delay` and
        // Active_Down_Interval of the hosts that started last.
        self.run_until(self.now + delay + down + slack);
        self.strict = Some(self.now);
        // A lower-priority router may have taken over first. The higher-priority router then needs
        // the same time again, plus preempt_delay.
        self.run_until(self.now + delay + 2 * down + slack);
        self.expect_rest();
    }

    /// Simulates failures of one host with a master and stalls of several hosts at once, each in a
    /// LAN that has recovered from the previous failure, so that every invariant applies.
    fn single_failures(&mut self) {
        self.conditions.duplication = self.random.of(&[0, 0, 10, 50]);
        for _ in 0..FAILURES {
            if self.violation.is_some() {
                return;
            }
            self.expect_stability();
            match self.random.between(0, 7) {
                0 | 1 => self.fail_master(Loss::Crash),
                2 | 7 => self.fail_master(Loss::Kill),
                3 | 4 => self.fail_master(Loss::Shutdown),
                5 => self.fail_master(Loss::Link),
                _ => self.stall_hosts(),
            }
        }
    }

    /// Checks that no takeover occurs without a failure, even if VIPs are removed externally.
    fn expect_stability(&mut self) {
        let before = self.takeovers();
        let host = self.random.index(self.hosts.len());
        if self.random.one_in(4) {
            self.remove_addresses_externally(host);
        }
        let length = self.random.between(0, self.longest_down());
        self.run_until(self.now + length);
        self.expect_no_takeover_since(&before, &[], "without a failure");
    }

    /// Simulates the failure and the return of a host with at least one master, and checks that
    /// each virtual router whose master was on that host has a new master in time.
    fn fail_master(&mut self, loss: Loss) {
        let (down, delay, slack) = (self.longest_down(), self.longest_delay(), self.slack());
        let group = self.random.index(self.groups.len());
        let Some(master) = self.masters(group).next() else { return };
        let host = self.members[master].host;
        let before = self.takeovers();
        let affected = self.groups_with_a_master_on(&[host]);
        let successions = self.successions(host, loss == Loss::Shutdown);
        match loss {
            Loss::Crash => self.crash(host),
            Loss::Kill => self.kill(host),
            Loss::Shutdown => self.stop(host, true),
            Loss::Link => self.stop(host, false),
        }
        for Succession { until, group, candidate } in successions {
            self.run_until(until);
            if self.masters(group).next().is_none() {
                self.violate(
                    candidate,
                    Invariant::TakeoverInTime,
                    &format!("no router took over after {loss:?}"),
                );
            }
        }
        let (settled, away) = (delay + 2 * down + slack, self.random.between(0, down));
        self.run_until(self.now + settled + away);
        self.expect_no_takeover_since(&before, &affected, "of a virtual router that did not lose its master");
        self.expect_rest();
        if self.violation.is_none() {
            self.start(host);
            self.run_until(self.now + 2 * delay + 3 * down + slack);
            self.expect_rest();
        }
    }

    /// Stalls random hosts, some of which lose records because their rings are full. Checks that
    /// the stalls have no effect on virtual routers for which these hosts are backups.
    fn stall_hosts(&mut self) {
        let before = self.takeovers();
        let (down, delay, slack) = (self.longest_down(), self.longest_delay(), self.slack());
        let hosts: Vec<_> = (0..self.hosts.len()).filter(|_| self.random.one_in(4)).collect();
        let affected = self.groups_with_a_master_on(&hosts);
        for host in hosts.iter().copied() {
            let nanos = self.random.between(0, 3 * down);
            self.stall(host, nanos);
        }
        self.run_until(self.now + down);
        for host in hosts {
            if self.random.one_in(2) {
                self.lose_records(host);
            }
        }
        self.run_until(self.now + 3 * down);
        self.expect_no_takeover_since(&before, &affected, "while backups were stalled");
        self.run_until(self.now + delay + 2 * down + slack);
        self.expect_rest();
    }

    fn groups_with_a_master_on(&self, hosts: &[usize]) -> Vec<usize> {
        let members = hosts.iter().flat_map(|host| &self.hosts[*host].members);
        members
            .map(|member| &self.members[*member])
            .filter(|member| member.is_master())
            .map(|member| member.group)
            .collect()
    }

    /// Returns the number of takeovers of each virtual router.
    fn takeovers(&self) -> Vec<u64> {
        self.groups.iter().map(|group| group.takeovers).collect()
    }

    fn expect_no_takeover_since(&mut self, before: &[u64], but: &[usize], when: &str) {
        for (group, before) in before.iter().enumerate().filter(|(group, _)| !but.contains(group)) {
            let more = self.groups[group].takeovers - before;
            if more > 0 {
                let Group { last_master, members, .. } = &self.groups[group];
                let member = last_master.unwrap_or(members[0]);
                self.violate(member, Invariant::NoFalseTakeover, &format!("{more} takeovers {when}"));
            }
        }
    }
}

/// A kind of host failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Crash,
    Kill,
    Shutdown,
    Link,
}
