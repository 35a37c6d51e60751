//! The life of a world: bad times, healing, rest, and one failure after the other.

use crate::Sabotage;
use crate::lan::Weather;
use crate::trace::What;
use crate::violation::{Invariant, Violation};
use crate::world::{Tally, World};

/// Rounds of a life.
const ROUNDS: u64 = 3;
/// Failures of a round.
const FAILURES: u64 = 12;

/// What came of a world.
pub struct Outcome {
    /// What was counted.
    pub tally: Tally,
    /// Routers in it.
    pub routers: usize,
    /// Virtual time that passed, nanoseconds.
    pub passed: u64,
    /// Of all that happened: the same for the same seed.
    pub digest: u64,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
}

/// Lives a world from its seed to its end, or to the first violation. `loud`: prints all that happens.
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
    /// Everything may happen.
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
                    self.pause(host, nanos);
                }
                9 => self.part(2),
                10 => self.part(1),
                11 => self.lose_feed(host),
                _ => self.steal_addresses(host),
            }
            let pause = self.random.between(0, down);
            self.run_until(self.now + pause);
        }
    }

    /// Into so many parts, at random.
    fn part(&mut self, parts: u64) {
        for host in 0..self.hosts.len() {
            let part = self.random.between(1, parts);
            if self.hosts[host].part != part {
                self.hosts[host].part = part;
                self.trace.add(self.now, host, None, What::Part(part));
            }
        }
    }

    /// Somebody deletes the virtual addresses of a host that holds them.
    fn steal_addresses(&mut self, host: usize) {
        if self.hosts[host].lives() {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let address = self.members[member].router.config().virtual_addresses[0];
                self.give(member, vipd::vrrp::Input::AddressRemoved(address));
            }
        }
    }

    /// The LAN is whole, everybody runs, nothing is lost any more.
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
        // What was under way, then the longest Active_Down_Interval of those that start last.
        self.run_until(self.now + delay + down + slack);
        self.strict = Some(self.now);
        // A lower router may have been first: the higher one waits as long again, or longer if it was told to.
        self.run_until(self.now + delay + 2 * down + slack);
        self.expect_rest();
    }

    /// One failure after the other in a whole LAN: here nothing is forgiven.
    fn good_times(&mut self) {
        for _ in 0..FAILURES {
            if self.violation.is_some() {
                return;
            }
            self.nothing_happens();
            match self.random.between(0, 5) {
                0..=2 => self.lose_a_master(true),
                3 | 4 => self.lose_a_master(false),
                _ => self.hold_backups_up(),
            }
        }
    }

    fn nothing_happens(&mut self) {
        let before = self.tally.takeovers();
        let length = self.random.between(0, self.longest_down());
        self.run_until(self.now + length);
        self.expect_no_takeover_since(before, "while nothing happened");
    }

    /// A host that is master of something dies or stops, is replaced in time, and comes back.
    fn lose_a_master(&mut self, crashes: bool) {
        let (down, delay, slack) = (self.longest_down(), self.longest_delay(), self.slack());
        let group = self.random.index(self.groups.len());
        let Some(master) = self.masters(group).next() else { return };
        let host = self.members[master].host;
        if crashes {
            self.crash(host);
        } else {
            self.stop(host, true);
        }
        let bound = self.takeover_bound(crashes);
        self.run_until(self.now + bound);
        self.expect_masters(if crashes { "after a crash" } else { "after a stop" });
        let (settled, away) = (delay + 2 * down + slack, self.random.between(0, down));
        self.run_until(self.now + settled + away);
        self.expect_rest();
        if self.violation.is_none() {
            self.start(host);
            self.run_until(self.now + 2 * delay + 3 * down + slack);
            self.expect_rest();
        }
    }

    /// Hosts that are master of nothing are held up, for as long as it takes: nobody may notice.
    fn hold_backups_up(&mut self) {
        let before = self.tally.takeovers();
        let down = self.longest_down();
        for host in 0..self.hosts.len() {
            let masters = self.hosts[host].members.iter().filter(|member| self.members[**member].is_master());
            if masters.count() == 0 && self.random.one_in(2) {
                let nanos = self.random.between(0, 3 * down);
                self.pause(host, nanos);
            }
        }
        self.run_until(self.now + 4 * down);
        self.expect_no_takeover_since(before, "while backups were held up");
        self.expect_rest();
    }

    fn expect_no_takeover_since(&mut self, before: u64, when: &str) {
        let more = self.tally.takeovers() - before;
        if more > 0 {
            let found = format!("{more} takeovers {when}");
            self.violate(self.newest, Invariant::NoFalseTakeover, &found);
        }
    }
}
