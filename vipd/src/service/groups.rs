//! States of sync groups, derived from the states of their members.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::operate::Group;
use crate::vrrp::{Reason, State};

/// A state change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupChange {
    pub(super) name: String,
    pub(super) from: State,
    pub(super) to: State,
    /// Reason for the member's state change that caused the group's state change. If a new list of
    /// members caused it, the reason for the latest state change of a member since the group's own
    /// last state change; [`Reason::Group`] if there is none.
    pub(super) reason: Reason,
}

/// Follows the states of all groups.
#[derive(Debug, Default)]
pub(super) struct GroupStates {
    groups: Vec<Arc<Group>>,
    /// The group of each instance, by instance name. Instances without a group are absent.
    of: BTreeMap<String, Arc<Group>>,
    /// The states of all instances.
    instances: BTreeMap<String, State>,
    /// The last states of the groups.
    last: BTreeMap<String, State>,
    /// By group name: the reason for the latest state change of a member since the group's own last
    /// state change. [`Reason::Group`] is not recorded.
    causes: BTreeMap<String, Reason>,
}

impl GroupStates {
    /// Returns the group of an instance; `None` if it belongs to no group.
    pub(super) fn of(&self, instance: &str) -> Option<&Arc<Group>> {
        self.of.get(instance)
    }

    /// Returns the latest state of an instance, or `None` before its first state change.
    pub(super) fn state_of_instance(&self, instance: &str) -> Option<State> {
        self.instances.get(instance).copied()
    }

    /// Returns the latest state of a group, or `None` before the group's first state.
    pub(super) fn state(&self, group: &str) -> Option<State> {
        self.last.get(group).copied()
    }

    /// Replaces all groups. Returns the groups whose names no longer exist, each with a flag that
    /// is true if the group was in Initialize or did not have a state yet.
    /// If all members of a new group are in the same state, the group takes that state without a
    /// reported change.
    pub(super) fn replace(&mut self, groups: &[Arc<Group>]) -> Vec<(Arc<Group>, bool)> {
        let former = std::mem::replace(&mut self.groups, groups.to_vec());
        let members = groups.iter().flat_map(|group| group.members.iter().map(move |member| (member, group)));
        self.of = members.map(|(member, group)| (member.clone(), Arc::clone(group))).collect();
        let mut last = std::mem::take(&mut self.last);
        for group in groups {
            let known = last.remove(&group.name);
            self.last
                .extend(known.or_else(|| self.common_state(group)).map(|state| (group.name.clone(), state)));
        }
        self.causes.retain(|name, _| self.last.contains_key(name));
        let gone = former.into_iter().filter(|old| groups.iter().all(|new| new.name != old.name));
        let gone = gone.map(|old| {
            let is_stopped = last.get(&old.name).is_none_or(|state| *state == State::Initialize);
            (old, is_stopped)
        });
        gone.collect()
    }

    /// Sets the states that instances had in a predecessor, and derives the groups' states.
    pub(super) fn resume<'a>(&mut self, states: impl Iterator<Item = (&'a str, State)>) {
        self.instances.extend(states.map(|(instance, state)| (instance.to_owned(), state)));
        let states = self.groups.iter().filter_map(|group| {
            let member = |name: &String| self.instances.get(name).copied().unwrap_or(State::Initialize);
            Some((group.name.clone(), group_state(group.members.iter().map(member))?))
        });
        self.last = states.collect();
    }

    /// Returns the groups' state changes that result from new lists of members (see
    /// [`replace`](Self::replace)). The current members may have changed state while the group
    /// still had other members.
    pub(super) fn regrouped(&mut self) -> Vec<GroupChange> {
        let known = self.groups.iter().filter(|group| self.last.contains_key(&group.name));
        let known: Vec<_> = known.cloned().collect();
        known.iter().filter_map(|group| self.update(group, Reason::Group)).collect()
    }

    /// Returns the common state of all members of a group; `None` if their states differ or are
    /// unknown.
    fn common_state(&self, group: &Group) -> Option<State> {
        let mut states = group.members.iter().map(|member| self.instances.get(member).copied());
        let first = states.next()??;
        states.all(|state| state == Some(first)).then_some(first)
    }

    /// Forgets an instance that was removed.
    pub(super) fn remove(&mut self, instance: &str) {
        self.instances.remove(instance);
    }

    /// Records the new state of an instance. Returns the change of the instance's group if the
    /// group's state has changed. Another fault while in Fault is not a change. While the members'
    /// states differ and no member is in Fault, the group keeps its previous state.
    pub(super) fn changed(&mut self, instance: &str, to: State, reason: Reason) -> Option<GroupChange> {
        self.instances.insert(instance.to_owned(), to);
        let group = Arc::clone(self.of(instance)?);
        if reason != Reason::Group {
            self.causes.insert(group.name.clone(), reason);
        }
        self.update(&group, reason)
    }

    /// Derives the state of a group, and returns its change if there is one.
    fn update(&mut self, group: &Group, reason: Reason) -> Option<GroupChange> {
        let state = |name: &String| self.instances.get(name).copied().unwrap_or(State::Initialize);
        let members = group.members.iter().map(state);
        let to = group_state(members.clone())?;
        if to == State::Initialize && members.clone().any(|state| state != State::Initialize) {
            return None;
        }
        let from = self.last.insert(group.name.clone(), to).unwrap_or(State::Initialize);
        let same = std::mem::discriminant(&from) == std::mem::discriminant(&to);
        (!same).then(|| {
            let reason = self.causes.remove(&group.name).unwrap_or(reason);
            GroupChange { name: group.name.clone(), from, to, reason }
        })
    }
}

/// Returns the state of a group: the first fault found among the members, else their common state,
/// or Initialize if their states differ, as during startup. `None` for a group without members.
pub(super) fn group_state(mut members: impl Iterator<Item = State> + Clone) -> Option<State> {
    let fault = members.clone().find(|state| matches!(state, State::Fault(_)));
    let first = members.next()?;
    let is_same = members.all(|state| state == first);
    Some(fault.unwrap_or(if is_same { first } else { State::Initialize }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::Fault;

    #[test]
    fn group_changes_once_for_all_members() {
        let members = ["a", "b"].map(str::to_owned).to_vec();
        let group = Group { name: "both".to_owned(), members, track: Vec::new(), notify: None };
        let mut states = GroupStates::default();
        states.replace(&[Arc::new(group)]);
        let mut changes = Vec::new();
        let down = State::Fault(Fault::InterfaceDown);
        for (instance, to, reason) in [
            ("a", State::Backup, Reason::Startup),
            ("other", State::Master, Reason::MasterTimeout),
            ("b", State::Backup, Reason::Startup),
            ("a", State::Master, Reason::MasterTimeout),
            ("b", State::Master, Reason::Group),
            ("b", down, Reason::Fault(Fault::InterfaceDown)),
            ("a", State::Fault(Fault::Group), Reason::Group),
            ("b", State::Backup, Reason::InterfaceUp),
            ("a", State::Backup, Reason::Group),
            ("a", State::Initialize, Reason::Shutdown),
            ("b", State::Initialize, Reason::Shutdown),
        ] {
            let change = states.changed(instance, to, reason);
            changes.extend(change.map(|change| (instance, change.to, change.reason)));
        }
        let expected = [
            ("b", State::Backup, Reason::Startup),
            ("b", State::Master, Reason::MasterTimeout),
            ("b", down, Reason::Fault(Fault::InterfaceDown)),
            ("a", State::Backup, Reason::InterfaceUp),
            ("b", State::Initialize, Reason::Shutdown),
        ];
        assert_eq!(changes, expected);
    }

    /// The engine clears the faults of the other members before the service has the new list of
    /// members.
    #[test]
    fn group_that_loses_its_faulty_member_changes() {
        let group = |members: &[&str]| {
            let members = members.iter().map(|name| (*name).to_owned()).collect();
            Arc::new(Group { name: "all".to_owned(), members, track: Vec::new(), notify: None })
        };
        let mut states = GroupStates::default();
        states.replace(&[group(&["a", "b", "c"])]);
        let down = Fault::InterfaceDown;
        states.changed("c", State::Fault(down), Reason::Fault(down));
        for member in ["a", "b"] {
            states.changed(member, State::Fault(Fault::Group), Reason::Fault(Fault::Group));
        }
        for member in ["a", "b"] {
            assert_eq!(states.changed(member, State::Backup, Reason::Startup), None);
        }
        states.replace(&[group(&["a", "b"])]);
        let (name, from, to, reason) = ("all".to_owned(), State::Fault(down), State::Backup, Reason::Startup);
        assert_eq!(states.regrouped(), [GroupChange { name, from, to, reason }]);
        assert_eq!(states.regrouped(), []);
        // The group keeps its state until the new member has started.
        states.replace(&[group(&["a", "new"])]);
        assert_eq!(states.regrouped(), []);
    }

    #[test]
    fn group_state_is_the_common_state_of_its_members_or_a_fault() {
        let fault = State::Fault(Fault::InterfaceDown);
        for (members, state) in [
            (&[State::Master, State::Master][..], Some(State::Master)),
            (&[State::Backup, State::Backup], Some(State::Backup)),
            (&[State::Backup, fault], Some(fault)),
            (&[State::Backup, State::Initialize], Some(State::Initialize)),
            (&[], None),
        ] {
            assert_eq!(group_state(members.iter().copied()), state, "{members:?}");
        }
    }
}
