//! A world from its start to its end: bad times, healing, rest, and one failure after the other.

use crate::Sabotage;
use crate::lan::Weather;
use crate::plan::Group;
use crate::rest::Succession;
use crate::trace::What;
use crate::violation::{Invariant, Violation};
use crate::world::{Tally, World};

/// Rounds of a world.
const ROUNDS: u64 = 3;
/// Failures of a round.
const FAILURES: u64 = 12;

/// The result of a world.
pub struct Outcome {
    /// Counts.
    pub tally: Tally,
    /// Number of routers.
    pub routers: usize,
    /// Virtual time that passed, nanoseconds.
    pub passed: u64,
    /// Digest of all events: equal for equal seeds.
    pub digest: u64,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
}

/// Runs a world to its end or to the first violation. `loud` prints all events.
pub fn run(seed: u64, sabotage: Sabotage, loud: bool) -> Outcome {
    let mut world = World::new(seed, sabotage, loud);
    for _ in 0..ROUNDS {
        if world.violation.is_none() {
            world.bad_times();
            world.heal();
            world.good_times();
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
    /// Plays any failures, also several at once.
    fn bad_times(&mut self) {
        self.strict = None;
        let down = self.longest_down();
        let loss = self.random.of(&[0, 0, 10, 50]);
        self.weather = Weather { loss, twice: self.random.of(&[0, 5, 30]), reorders: true };
        self.trace.add(self.now, 0, None, What::Loses(loss));
        for _ in 0..20 {
            let host = self.random.index(self.hosts.len());
            match self.random.between(0, 12) {
                0 => self.stop(host, true),
                1 => self.stop(host, false),
                2 => self.crash(host),
                3..=6 => self.start(host),
                7 | 8 => {
                    let nanos = self.random.between(0, 2 * down);
                    self.stall(host, nanos);
                }
                9 => self.part(2),
                10 => self.part(1),
                11 => self.lose_records(host),
                _ => self.remove_addresses_externally(host),
            }
            let pause = self.random.between(0, down);
            self.run_until(self.now + pause);
        }
    }

    /// Divides the LAN into this many parts at random.
    fn part(&mut self, parts: u64) {
        for host in 0..self.hosts.len() {
            let part = self.random.between(1, parts);
            if self.hosts[host].part != part {
                self.hosts[host].part = part;
                self.trace.add(self.now, host, None, What::Part(part));
            }
        }
    }

    /// Removes the virtual addresses of a host externally.
    fn remove_addresses_externally(&mut self, host: usize) {
        if self.hosts[host].is_running() {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let address = self.members[member].router.config().virtual_addresses[0];
                self.give(member, vipd::vrrp::Input::AddressRestored(address));
            }
        }
    }

    /// Heals the LAN: it is whole, all hosts run, and no advert is lost.
    fn heal(&mut self) {
        self.weather = Weather::default();
        self.trace.add(self.now, 0, None, What::Loses(0));
        self.part(1);
        for host in 0..self.hosts.len() {
            self.resume(host);
            if !self.hosts[host].up {
                self.start(host);
            }
        }
        let (down, delay, slack) = (self.longest_down(), self.longest_delay(), self.slack());
        // Adverts in transit, then the longest Active_Down_Interval of the hosts that started last.
        self.run_until(self.now + delay + down + slack);
        self.strict = Some(self.now);
        // A lower priority may have been first: the higher one waits as long again, and for preempt_delay.
        self.run_until(self.now + delay + 2 * down + slack);
        self.expect_rest();
    }

    /// Plays one failure after the other in a LAN that is otherwise whole: every invariant applies.
    fn good_times(&mut self) {
        self.weather.twice = self.random.of(&[0, 0, 10, 50]);
        for _ in 0..FAILURES {
            if self.violation.is_some() {
                return;
            }
            self.expect_stability();
            match self.random.between(0, 6) {
                0..=2 => self.lose_a_master(Loss::Crash),
                3 | 4 => self.lose_a_master(Loss::Shutdown),
                5 => self.lose_a_master(Loss::Link),
                _ => self.stall_hosts(),
            }
        }
    }

    /// Checks that there is no takeover without a failure, and that removed addresses are restored.
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

    /// Plays the failure of a host that is master: it is replaced in time for every virtual router
    /// whose master it was, and comes back.
    fn lose_a_master(&mut self, loss: Loss) {
        let (down, delay, slack) = (self.longest_down(), self.longest_delay(), self.slack());
        let group = self.random.index(self.groups.len());
        let Some(master) = self.masters(group).next() else { return };
        let host = self.members[master].host;
        let before = self.takeovers();
        let affected = self.groups_with_a_master_on(&[host]);
        let successions = self.successions(host, loss == Loss::Shutdown);
        match loss {
            Loss::Crash => self.crash(host),
            Loss::Shutdown => self.stop(host, true),
            Loss::Link => self.stop(host, false),
        }
        for Succession { until, group, candidate } in successions {
            self.run_until(until);
            if self.masters(group).next().is_none() {
                self.violate(
                    candidate,
                    Invariant::TakeoverInTime,
                    &format!("there is no master after {loss:?}"),
                );
            }
        }
        let (settled, away) = (delay + 2 * down + slack, self.random.between(0, down));
        self.run_until(self.now + settled + away);
        self.expect_no_takeover_since(&before, &affected, "elsewhere");
        self.expect_rest();
        if self.violation.is_none() {
            self.start(host);
            self.run_until(self.now + 2 * delay + 3 * down + slack);
            self.expect_rest();
        }
    }

    /// Hosts stall for any time, and some of their rings are full: without effect where they are backups.
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

    /// Takeovers of each virtual router.
    fn takeovers(&self) -> Vec<u64> {
        self.groups.iter().map(|group| group.takeovers).collect()
    }

    fn expect_no_takeover_since(&mut self, before: &[u64], but: &[usize], when: &str) {
        for (group, before) in before.iter().enumerate().filter(|(group, _)| !but.contains(group)) {
            let more = self.groups[group].takeovers - before;
            if more > 0 {
                let Group { newest, members, .. } = &self.groups[group];
                let member = newest.unwrap_or(members[0]);
                self.violate(member, Invariant::NoFalseTakeover, &format!("{more} takeovers {when}"));
            }
        }
    }
}

/// How a host fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Crash,
    Shutdown,
    Link,
}
