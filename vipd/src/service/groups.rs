//! States of sync groups, from those of their members.

use crate::vrrp::State;

/// Returns the state of a group: that of all members, the first fault if any member has one, or
/// Initialize while members differ because they start. `None` for a group without members.
pub(super) fn group_state(members: impl Iterator<Item = State> + Clone) -> Option<State> {
    let fault = members.clone().find(|state| matches!(state, State::Fault(_)));
    let first = members.clone().next()?;
    let is_same = members.clone().all(|state| state == first);
    Some(fault.unwrap_or(if is_same { first } else { State::Initialize }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::Fault;

    #[test]
    fn group_has_the_state_of_all_members_or_a_fault() {
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
