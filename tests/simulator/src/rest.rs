//! Checks of a LAN that has recovered from all failures.

use crate::clock::longest;
use crate::plan::SECOND;
use crate::violation::Invariant;
use crate::world::World;

impl World {
    /// Returns an upper bound for the Active_Down_Interval of any router, in nanoseconds of true
    /// time.
    pub(crate) fn longest_down(&self) -> u64 {
        let downs = self.members.iter().map(|member| {
            let config = member.router.config();
            // Skew_Time is less than an interval, or in VRRPv2 less than a second.
            let adverts = u64::from(config.down_after_adverts);
            config.interval.nanos() * adverts + config.interval.nanos().max(skew_of_v2(config))
        });
        longest(downs.max().unwrap_or(0))
    }

    /// Returns an upper bound for the sum of `preempt_delay` and `startup_delay` of any router, in
    /// nanoseconds of true time.
    pub(crate) fn longest_delay(&self) -> u64 {
        let delays = self.members.iter().map(|member| {
            let config = member.router.config();
            config.preempt_delay + config.startup_delay
        });
        longest(delays.max().unwrap_or(0))
    }

    /// Checks that every virtual router with a running member has one master, that the master
    /// answers, that no member should have preempted it, and that all other members follow it.
    pub(crate) fn expect_rest(&mut self) {
        self.tally.rests += 1;
        for group in 0..self.groups.len() {
            let running: Vec<_> = self.groups[group]
                .members
                .iter()
                .copied()
                .filter(|member| self.hosts[self.members[*member].host].is_running())
                .collect();
            let Some(first) = running.first().copied() else { continue };
            let masters: Vec<_> = self.masters(group).collect();
            let &[master] = masters.as_slice() else {
                let found = format!("{} masters among {} routers", masters.len(), running.len());
                return self.violate(first, Invariant::TheRightMaster, &found);
            };
            if !self.members[master].answers() {
                let found = "the master is fenced, or has no VIPs";
                return self.violate(master, Invariant::MasterAnswers, found);
            }
            for member in running {
                if member == master {
                    continue;
                }
                let (other, best) = (&self.members[member], &self.members[master]);
                if other.preempts() && other.rank().0 > best.rank().0 {
                    let found = format!("{} should have preempted {}", other.address, best.address);
                    return self.violate(member, Invariant::TheRightMaster, &found);
                }
                let followed = other.router.snapshot().master;
                if followed != Some(best.address) {
                    let found = format!("{} follows {followed:?}, not {}", other.address, best.address);
                    return self.violate(member, Invariant::TheRightMaster, &found);
                }
            }
        }
    }

    /// Returns whether the member can take over, that is, whether its host is running and it is in
    /// Backup or Master.
    fn is_ready(&self, member: usize) -> bool {
        use vipd::vrrp::State;
        let member = &self.members[member];
        self.hosts[member.host].is_running() && matches!(member.router.state(), State::Backup | State::Master)
    }

    /// Returns the virtual routers whose master is on a host that is about to fail, with the time
    /// by which each must have a new master. Omits virtual routers in which no member on another
    /// host can take over. `priority_zero` is true if the host shuts down cleanly.
    pub(crate) fn successions(&self, host: usize, priority_zero: bool) -> Vec<Succession> {
        let masters =
            self.hosts[host].members.iter().copied().filter(|member| self.members[*member].is_master());
        let mut successions: Vec<_> = masters
            .filter_map(|master| {
                let group = self.members[master].group;
                let members = self.groups[group].members.iter().copied();
                let candidates =
                    members.filter(|member| self.members[*member].host != host && self.is_ready(*member));
                let candidates = candidates.map(|backup| (self.waits(backup, master, priority_zero), backup));
                let (wait, candidate) = candidates.min()?;
                Some(Succession { until: self.now + longest(wait) + self.slack(), group, candidate })
            })
            .collect();
        successions.sort_by_key(|succession| succession.until);
        successions
    }

    /// Returns the Active_Down_Interval or Skew_Time, in nanoseconds, of a backup that follows
    /// `master` (RFC 9568 section 6.1, RFC 3768 section 6.1). The value is computed independently
    /// of the core.
    fn waits(&self, backup: usize, master: usize, priority_zero: bool) -> u64 {
        let (own, masters) = (self.members[backup].router.config(), self.members[master].router.config());
        let interval = masters.interval.nanos();
        let unit = if skew_of_v2(own) > 0 { skew_of_v2(own) } else { interval };
        let skew = (256 - u64::from(own.priority)) * unit / 256;
        if priority_zero { skew } else { u64::from(own.down_after_adverts) * interval + skew }
    }
}

/// The expected takeover of a virtual router whose master fails.
pub(crate) struct Succession {
    /// Deadline of the takeover, in true time.
    pub(crate) until: u64,
    pub(crate) group: usize,
    /// The backup whose timer fires first.
    pub(crate) candidate: usize,
}

fn skew_of_v2(config: &vipd::vrrp::RouterConfig) -> u64 {
    match config.version() {
        vipd::vrrp::Version::V2 => SECOND,
        vipd::vrrp::Version::V3 => 0,
    }
}
