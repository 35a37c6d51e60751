//! Changes the groups of nodes, as a reload does.

use std::collections::BTreeSet;

use vipd::vrrp::{Router, State, group};
use vipd_common::Timestamp;

use super::LeftOut;
use super::world::World;

/// Numbers of the groups of a node.
const GROUPS: [u8; 3] = [0, 1, 2];

impl World {
    /// Returns random groups of at least two members.
    pub(super) fn random_groups(&mut self) -> Vec<Option<u8>> {
        let mut groups: Vec<_> =
            (0..self.segments).map(|_| self.random.of(&[None, Some(0), Some(0), Some(1), Some(2)])).collect();
        for group in GROUPS.map(Some) {
            let mut members = groups.iter_mut().filter(|one| **one == group);
            if let (Some(only), None) = (members.next(), members.next()) {
                *only = None;
            }
        }
        groups
    }

    /// Reloads all nodes one after another, twice, on connected segments. Afterwards, all routers
    /// of each node are in one group.
    pub(super) fn reload_all(&mut self) {
        self.shared_since = Some(vec![None; self.segments]);
        for is_last in [false, true] {
            for node in 0..self.nodes.len() {
                let groups = if is_last { vec![Some(0); self.segments] } else { self.random_groups() };
                self.regroup(node, groups);
                let pause = self.random.between(0, 6 * self.longest());
                self.run_until(self.now + pause);
            }
            self.expect_rest("after reloads");
        }
        self.shared_since = None;
    }

    /// Replaces the groups of a node, as the engine does.
    pub(super) fn regroup(&mut self, node: usize, groups: Vec<Option<u8>>) {
        self.log(|| format!("node {node} has the groups {groups:?}"));
        let former = std::mem::replace(&mut self.nodes[node].groups, groups);
        if !self.nodes[node].is_up {
            return;
        }
        let moved =
            (0..self.segments).filter(|segment| former[*segment] != self.nodes[node].groups[*segment]);
        let moved: BTreeSet<_> = moved.collect();
        let before: Vec<_> = self.nodes[node].routers.iter().map(Router::state).collect();
        let settled = self.settled(node);
        for segment in &moved {
            if self.nodes[node].groups[*segment].is_none() {
                for input in group::leave() {
                    self.handle(node, *segment, input);
                }
            }
        }
        for group in GROUPS {
            self.settle_group(node, group, &moved);
        }
        self.check_groups(node);
        self.check_masters();
        for (segment, before) in before.into_iter().enumerate() {
            let after = self.nodes[node].routers[segment].state();
            if settled.contains(&segment) && before != after {
                self.violate(format!(
                    "node {node} segment {segment} became {after}, although the change must not affect it"
                ));
            }
            if before != State::Master && after == State::Master {
                self.check_lead(node, segment);
            }
        }
    }

    /// Passes the resulting inputs to the members of a group that routers have joined or left.
    fn settle_group(&mut self, node: usize, group: u8, moved: &BTreeSet<usize>) {
        if self.left_out == LeftOut::Joining {
            return self.follow_up(node, moved.iter().copied().collect());
        }
        let now = Timestamp::from_nanos(self.now);
        let has_joined = |segment| moved.contains(&segment);
        let mut changed = Vec::new();
        while let Some(step) = group::joined(now, has_joined, self.nodes[node].members(group)) {
            changed.extend(self.take_step(node, group, step));
        }
        self.follow_up(node, changed);
    }

    /// Returns the routers of a node for which a group change must not cause a transition: routers
    /// without a group, and the members of groups with only masters or only backups.
    fn settled(&self, node: usize) -> BTreeSet<usize> {
        let node = &self.nodes[node];
        let is_settled = |segment: &usize| {
            let state = node.routers[*segment].state();
            let Some(group) = node.groups[*segment] else {
                return matches!(state, State::Master | State::Backup);
            };
            matches!(state, State::Master | State::Backup)
                && node.members(group).all(|(_, router)| router.state() == state)
        };
        (0..self.segments).filter(is_settled).collect()
    }
}
