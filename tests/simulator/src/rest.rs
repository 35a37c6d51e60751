//! What must be true of a LAN that is whole.

use crate::clock::at_the_most;
use crate::plan::SECOND;
use crate::violation::Invariant;
use crate::world::World;

impl World {
    /// The longest Active_Down_Interval that any router can have.
    pub(crate) fn longest_down(&self) -> u64 {
        let downs = self.members.iter().map(|member| {
            let config = member.router.config();
            // The skew is less than an interval, or than a second in VRRPv2.
            let adverts = u64::from(config.down_after_adverts);
            config.interval.nanos() * adverts + config.interval.nanos().max(skew_of_v2(config))
        });
        at_the_most(downs.max().unwrap_or(0))
    }

    /// The longest delay that the configuration asks for before a router takes part.
    pub(crate) fn longest_delay(&self) -> u64 {
        let delays = self.members.iter().map(|member| {
            let config = member.router.config();
            config.preempt_delay + config.startup_delay
        });
        at_the_most(delays.max().unwrap_or(0))
    }

    /// Every virtual router has one master, the right one, and the others follow it.
    pub(crate) fn expect_rest(&mut self) {
        self.tally.rests += 1;
        for group in 0..self.groups.len() {
            let living: Vec<_> = self.groups[group]
                .members
                .iter()
                .copied()
                .filter(|member| self.hosts[self.members[*member].host].lives())
                .collect();
            let Some(first) = living.first().copied() else { continue };
            let masters: Vec<_> = self.masters(group).collect();
            let &[master] = masters.as_slice() else {
                let found = format!("{} masters of {} routers", masters.len(), living.len());
                return self.violate(first, Invariant::TheRightMaster, &found);
            };
            for member in living {
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
                    let found = format!("{} follows {followed:?} and not {}", other.address, best.address);
                    return self.violate(member, Invariant::TheRightMaster, &found);
                }
            }
        }
    }

    /// Every virtual router whose members have one interval has a master.
    pub(crate) fn expect_masters(&mut self, why: &str) {
        for group in 0..self.groups.len() {
            let members = &self.groups[group].members;
            let ready = members.iter().copied().find(|member| self.is_ready(*member));
            let Some(ready) = ready.filter(|_| self.groups[group].uniform) else { continue };
            if self.masters(group).next().is_none() {
                let found = format!("there is no master {why}");
                return self.violate(ready, Invariant::TakeoverInTime, &found);
            }
        }
    }

    /// Whether it could take over: neither held up nor still waiting to start.
    fn is_ready(&self, member: usize) -> bool {
        use vipd::vrrp::State;
        let member = &self.members[member];
        self.hosts[member.host].lives() && matches!(member.router.state(), State::Backup | State::Master)
    }

    /// How long the next router may take from now, when a master says nothing more (`crashed`), or has said that it
    /// leaves; the longest over all virtual routers.
    pub(crate) fn takeover_bound(&self, crashed: bool) -> u64 {
        let waits = self.groups.iter().filter(|group| group.uniform).filter_map(|group| {
            let ready = group.members.iter().copied().filter(|member| self.is_ready(*member));
            let waits = ready.map(|member| {
                let snapshot = self.members[member].router.snapshot();
                if crashed { snapshot.master_down_interval } else { snapshot.skew }
            });
            waits.min()
        });
        at_the_most(waits.max().unwrap_or(0)) + self.slack()
    }
}

fn skew_of_v2(config: &vipd::vrrp::RouterConfig) -> u64 {
    match config.version() {
        vipd::vrrp::Version::V2 => SECOND,
        vipd::vrrp::Version::V3 => 0,
    }
}
