//! Sync groups: which routers belong to which group, and the inputs that the members receive when
//! one of them changes. The rules are defined in [`vrrp::group`](crate::vrrp::group).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vipd_common::Timestamp;

use super::Engine;
use super::id::RouterId;
use super::topology::Topology;
use crate::config::operate;
use crate::vrrp::group::{self, Step};
use crate::vrrp::{Input, Router};

/// A sync group and its members, in the order of [`group::order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    members: Vec<RouterId>,
}

impl Topology {
    /// Replaces all groups. Returns the routers that have joined a group, left a group or moved to
    /// another group; the engine must pass the resulting inputs to these routers. Names of routers
    /// that do not exist are skipped.
    pub(crate) fn set_groups(&mut self, groups: &[Arc<operate::Group>]) -> BTreeSet<RouterId> {
        if groups.is_empty() && self.groups.is_empty() {
            return BTreeSet::new();
        }
        let by_name: BTreeMap<&str, RouterId> =
            self.routers.iter().map(|(id, instance)| (instance.settings.name.as_str(), id)).collect();
        let groups = groups.iter().map(|one| {
            let find = |name: &String| by_name.get(name.as_str()).copied();
            let mut members: Vec<_> = one.members.iter().filter_map(find).collect();
            members.sort_by_key(|id| {
                self.routers.get(*id).map(|instance| group::order(instance.router.config()))
            });
            Group { name: one.name.as_str().into(), members }
        });
        let former = std::mem::take(&mut self.groups);
        let groups: Vec<_> = groups.collect();
        let name_of = |groups: &[Group], position: Option<usize>| {
            position.and_then(|position| groups.get(position)).map(|one| Arc::clone(&one.name))
        };
        let members = groups
            .iter()
            .zip(0_usize..)
            .flat_map(|(one, position)| one.members.iter().map(move |member| (*member, position)));
        let positions: BTreeMap<RouterId, usize> = members.collect();
        let mut moved = BTreeSet::new();
        let routers: Vec<_> = self.routers.iter().map(|(id, _)| id).collect();
        for id in routers {
            let position = positions.get(&id).copied();
            let Some(instance) = self.routers.get_mut(id) else { continue };
            let before = std::mem::replace(&mut instance.group, position);
            if name_of(&former, before) != name_of(&groups, position) {
                moved.insert(id);
            }
        }
        self.groups = groups;
        moved
    }

    /// Removes a router from its group. Returns one of the remaining members, if there are any.
    pub(super) fn leave_group(&mut self, router: RouterId) -> Option<RouterId> {
        let position = self.routers.get_mut(router)?.group.take()?;
        let members = &mut self.groups.get_mut(position)?.members;
        members.retain(|member| *member != router);
        members.first().copied()
    }

    /// Returns the name of the router's group.
    pub(crate) fn group_name(&self, router: RouterId) -> Option<&Arc<str>> {
        Some(&self.groups.get(self.routers.get(router)?.group?)?.name)
    }

    /// Returns the other members of the router's group.
    pub(super) fn other_members(&self, router: RouterId) -> impl Iterator<Item = RouterId> {
        let position = self.routers.get(router).and_then(|instance| instance.group);
        let group = position.and_then(|position| self.groups.get(position));
        let members = group.map_or(&[][..], |one| &one.members);
        members.iter().copied().filter(move |member| *member != router)
    }

    fn member(&self, position: usize, index: usize) -> Option<RouterId> {
        self.groups.get(position)?.members.get(index).copied()
    }

    /// Returns the routers of a group.
    fn members(&self, position: usize) -> impl Iterator<Item = (RouterId, &Router)> + Clone {
        let members = self.groups.get(position).map_or(&[][..], |one| &one.members);
        members.iter().filter_map(|id| Some((*id, &self.routers.get(*id)?.router)))
    }
}

impl Engine {
    /// Queues the last unchanged adverts of all members of a router's group, if the effect of the
    /// input depends on the other members.
    pub(super) fn catch_up_group(&mut self, now: Timestamp, router: RouterId, input: Input) {
        let Some(instance) = self.topology.routers.get(router) else { return };
        let Some(position) = instance.group else { return };
        if !group::is_adjustable(now, &instance.router, &input) {
            return;
        }
        for index in 0.. {
            let Some(member) = self.topology.member(position, index) else { break };
            self.catch_up(member);
        }
    }

    /// Returns the input for a router, adjusted to the state of the other members of its group.
    pub(super) fn adjusted(&self, now: Timestamp, router: RouterId, input: Input) -> Input {
        match self.topology.routers.get(router) {
            Some(instance)
                if let Some(position) = instance.group
                    && group::is_adjustable(now, &instance.router, &input) =>
            {
                group::adjust(now, router, input, self.topology.members(position))
            }
            _ => input,
        }
    }

    /// For each changed member, passes the resulting inputs to the members of its sync group.
    pub(super) fn follow_up(&mut self, now: Timestamp) {
        while let Some(changed) = self.changed.last().copied() {
            let position = self.topology.routers.get(changed).and_then(|instance| instance.group);
            let Some(position) = position else {
                self.changed.pop();
                continue;
            };
            let Some(step) = group::next(changed, self.topology.members(position)) else {
                self.drop_alike(changed);
                continue;
            };
            self.take_step(now, position, step);
        }
    }

    /// Passes the input of a step to each group member that needs this input.
    fn take_step(&mut self, now: Timestamp, position: usize, step: Step<RouterId>) {
        for index in 0.. {
            let Some(member) = self.topology.member(position, index) else { break };
            if self.input_of(step, member).is_none() {
                continue;
            }
            if let Some(advert) = self.unchanged_advert(member) {
                self.handle(now, member, Input::Advert(advert));
            }
            if let Some(input) = self.input_of(step, member) {
                self.handle(now, member, input);
            }
        }
    }

    fn input_of(&self, step: Step<RouterId>, member: RouterId) -> Option<Input> {
        step.input(member, &self.topology.routers.get(member)?.router)
    }

    /// Drops the most recent changes that need no further step: the change of this member, and
    /// changes of other members to the same state.
    fn drop_alike(&mut self, member: RouterId) {
        let routers = &self.topology.routers;
        let Some(one) = routers.get(member) else { return };
        while let Some(last) = self.changed.last().and_then(|last| routers.get(*last))
            && last.group == one.group
            && group::is_alike(&one.router, &last.router)
        {
            self.changed.pop();
        }
    }

    /// Records that a member has changed in a way that may affect the other members.
    pub(super) fn member_changed(&mut self, router: RouterId) {
        if self.topology.routers.get(router).is_some_and(|instance| instance.group.is_some()) {
            self.changed.push(router);
        }
    }

    /// Passes the priority of each group to its members before the members start.
    pub(super) fn start_groups(&mut self, now: Timestamp) {
        for position in 0..self.topology.groups.len() {
            self.settle_group(now, position, &BTreeSet::new());
        }
    }

    /// Replaces all groups, and passes the resulting inputs to the routers.
    pub(super) fn regroup(&mut self, now: Timestamp, groups: &[Arc<operate::Group>]) {
        let moved = self.topology.set_groups(groups);
        for router in &moved {
            if self.topology.routers.get(*router).is_some_and(|one| one.group.is_none()) {
                for input in group::leave() {
                    self.dispatch(now, *router, input);
                }
            }
        }
        for position in 0..self.topology.groups.len() {
            self.settle_group(now, position, &moved);
        }
    }

    /// Passes the resulting inputs to the members of a group that routers have joined or left.
    fn settle_group(&mut self, now: Timestamp, position: usize, moved: &BTreeSet<RouterId>) {
        if self.topology.members(position).any(|(member, _)| moved.contains(&member)) {
            // The next step depends on which masters are still sending adverts, so the members'
            // last unchanged adverts are handled first.
            for index in 0.. {
                let Some(member) = self.topology.member(position, index) else { break };
                if let Some(advert) = self.unchanged_advert(member) {
                    self.handle(now, member, Input::Advert(advert));
                }
            }
        }
        let has_joined = |member| moved.contains(&member);
        while let Some(step) = group::joined(now, has_joined, self.topology.members(position)) {
            self.take_step(now, position, step);
        }
        self.follow_up(now);
    }

    /// Removes a router from its group. The other members then no longer depend on the router.
    pub(super) fn leave_group(&mut self, now: Timestamp, router: RouterId) {
        if let Some(other) = self.topology.leave_group(router) {
            self.changed.push(other);
            self.follow_up(now);
        }
    }
}
