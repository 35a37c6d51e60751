//! The invariants of worlds with sync groups.

use std::collections::BTreeSet;

use super::world::{DELAY, LATE, LastAdvert, Node, World};

/// Settling time as a multiple of the longest interval; twice `preempt_delay` is added.
const SETTLING: u64 = 40;

impl World {
    /// Checks that all members of each group of a node are masters or none is.
    pub(super) fn check_groups(&mut self, node: usize) {
        let one = &self.nodes[node];
        let is_mixed = |group: u8| {
            let mut members = one.members(group).map(|(segment, _)| one.is_master(segment));
            let first = members.next();
            members.any(|is_master| Some(is_master) != first)
        };
        if one.groups.iter().copied().flatten().any(is_mixed) {
            let masters: Vec<_> = (0..self.segments).filter(|segment| one.is_master(*segment)).collect();
            let groups = &one.groups;
            self.violate(format!("node {node} with the groups {groups:?} is master of {masters:?}"));
        }
    }

    /// Checks, while `shared_since` is set, that a segment has masters of different priorities only
    /// until the next advert and its answer have arrived. Equal priorities are not checked: nodes
    /// whose groups differ may need several intervals to resolve them.
    pub(super) fn check_masters(&mut self) {
        let Some(mut shared_since) = self.shared_since.take() else { return };
        for (segment, since) in shared_since.iter_mut().enumerate() {
            let masters = self.nodes.iter().filter(|node| node.is_master(segment));
            let count = masters.clone().count();
            let priorities = masters.map(|node| node.routers[segment].snapshot().priority);
            if count < 2 || priorities.collect::<BTreeSet<_>>().len() < count {
                *since = None;
                continue;
            }
            let lasted = self.now - *since.get_or_insert(self.now);
            let interval = self.nodes[0].routers[segment].config().interval.nanos();
            if lasted > interval + LATE + 2 * DELAY {
                self.violate(format!("segment {segment} has had two masters for {lasted} ns"));
            }
        }
        self.shared_since = Some(shared_since);
    }

    /// Checks that a group change did not make a router master although it had recently received an
    /// advert from a master that outranks it.
    pub(super) fn check_lead(&mut self, node: usize, segment: usize) {
        let Node { routers, addresses, received, .. } = &self.nodes[node];
        let rank = (routers[segment].snapshot().priority, addresses[segment]);
        let recent = routers[segment].config().interval.nanos() + DELAY + LATE;
        let outranks =
            |advert: &LastAdvert| self.now - advert.at <= recent && (advert.priority, advert.source) > rank;
        if let Some(LastAdvert { source, .. }) = received[segment].filter(outranks) {
            self.violate(format!("node {node} segment {segment} took over from {source}, which outranks it"));
        }
    }

    /// Waits for the settling time, and then expects no further transition.
    pub(super) fn expect_rest(&mut self, when: &str) {
        let longest = self.longest();
        let preempt_delay = self.nodes[0].routers[0].config().preempt_delay;
        self.run_until(self.now + SETTLING * longest + 2 * preempt_delay);
        let before = self.outcome.transitions;
        self.run_until(self.now + SETTLING * longest);
        let more = self.outcome.transitions - before;
        if more > 0 {
            self.violate(format!("{more} transitions {when} after the settling time"));
        }
    }

    /// Expects one node to be master on all segments, if all routers of each node are in one group.
    pub(super) fn expect_one_master(&mut self) {
        let masters_of = |segment: usize| -> Vec<usize> {
            let nodes = self.nodes.iter().enumerate();
            nodes.filter(|(_, node)| node.is_master(segment)).map(|(number, _)| number).collect()
        };
        let masters: Vec<_> = (0..self.segments).map(masters_of).collect();
        let is_one = masters.iter().all(|of_segment| of_segment.len() == 1 && of_segment == &masters[0]);
        let have_one_group = self.nodes.iter().all(|node| node.groups.iter().all(|group| *group == Some(0)));
        if have_one_group && !is_one {
            self.violate(format!("the masters of the segments are {masters:?}"));
        }
    }
}
