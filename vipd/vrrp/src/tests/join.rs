//! Running routers join, leave or change a sync group.

use super::*;
use crate::{Reason, group};

/// The state of a router before its group is formed or changed. The router has priority 100 and an
/// interval of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Initialize,
    /// The router has a fault of its own.
    Failed,
    /// The router is in Fault because its former group had a fault.
    Released,
    /// Backup that has just started.
    Started,
    /// Backup without preemption that has just received an advert with this priority and source.
    Follows(u8, IpAddr),
    /// Backup that is about to preempt a lower-priority master.
    Preempts,
    /// Backup that receives adverts from a higher-priority master and a lower-priority master.
    Split,
    /// Backup that has received no advert for so long that its master may have failed.
    Silent,
    /// Backup whose master has relinquished mastership with a priority-0 advert.
    Left,
    /// Backup that has left Master and follows the new master.
    Outranked,
    Master,
}

use Member::{
    Failed, Follows, Initialize, Left, Master, Outranked, Preempts, Released, Silent, Split, Started,
};

const MEMBERS: [Member; 14] = [
    Initialize,
    Failed,
    Released,
    Started,
    Follows(50, HIGHER),
    Follows(100, LOWER),
    Follows(100, HIGHER),
    Follows(150, LOWER),
    Preempts,
    Split,
    Silent,
    Left,
    Outranked,
    Master,
];

impl Member {
    /// Returns the router in this state at `now`.
    fn router(self, now: Timestamp) -> Router {
        let preempt = !matches!(self, Follows(..));
        let mut script = Script::new(RouterConfig { preempt, ..config(Version::V3, SECOND) });
        let before = |nanos| Timestamp::from_nanos(now.as_nanos() - nanos);
        script.now = before(8 * SECOND);
        match self {
            Initialize => return script.router,
            Failed => drop(script.input(Input::Impede(Fault::Tracking))),
            Released => drop(script.input(Input::Impede(Fault::Group))),
            _ => {}
        }
        match self {
            Started => script.now = now,
            Preempts => script.now = before(2 * SECOND),
            _ => {}
        }
        script.input(Input::PrimaryAddress(OURS));
        match self {
            Follows(priority, source) => {
                script.now = now;
                script.advert(priority, source);
            }
            Preempts | Split => {
                script.now = now;
                if self == Split {
                    script.advert(150, LOWER);
                }
                script.advert(50, HIGHER);
            }
            Silent | Left => {
                script.now = before(2750 * MILLI);
                script.advert(150, HIGHER);
            }
            Outranked | Master => {
                script.wait(4 * SECOND);
                assert_eq!(script.state(), State::Master);
                script.wait(4 * SECOND);
            }
            _ => {}
        }
        script.now = now;
        match self {
            Left => drop(script.advert(0, HIGHER)),
            Outranked => drop(script.advert(150, LOWER)),
            _ => {}
        }
        script.router
    }

    /// Returns whether the router follows a running master or started too recently to rule out a
    /// running master.
    fn may_have_a_master(self) -> bool {
        matches!(self, Started | Follows(..) | Split | Outranked)
    }

    /// Returns whether the router follows a running master to which it would yield.
    fn is_outranked(self) -> bool {
        matches!(self, Follows(100, HIGHER) | Follows(150, _) | Split | Outranked)
    }
}

const NOW: Timestamp = Timestamp::from_nanos(1000 * SECOND);

/// Passes the inputs that result from forming a group to the group's members. Returns the actions
/// of each member, and the number of steps.
fn settle(members: &mut [Router], has_joined: impl Fn(usize) -> bool) -> (Vec<Vec<Action>>, usize) {
    let mut actions = vec![Vec::new(); members.len()];
    let mut steps = 0;
    while let Some(step) = group::joined(NOW, &has_joined, members.iter().enumerate()) {
        steps += 1;
        for member in 0..members.len() {
            if let Some(input) = step.input(member, &members[member]) {
                members[member].handle(NOW, input);
                actions[member].extend(std::iter::from_fn(|| members[member].poll_action()));
                while members[member].poll_event().is_some() {}
            }
        }
    }
    // The changes of state require no further step.
    for changed in 0..members.len() {
        assert_eq!(group::next(changed, members.iter().enumerate()), None);
    }
    (actions, steps)
}

/// Returns the expected states of two routers after they have formed a group. If `leads` is true,
/// the backups become masters.
fn expected(pair: [Member; 2], leads: bool) -> [State; 2] {
    if pair.contains(&Failed) {
        return pair.map(|one| State::Fault(if one == Failed { Fault::Tracking } else { Fault::Group }));
    }
    pair.map(|one| match one {
        Initialize => State::Initialize,
        _ if leads => State::Master,
        _ => State::Backup,
    })
}

/// Forms a group and checks the states of its members, and that a router without a transition takes
/// no action.
fn check(pair: [Member; 2], has_joined: impl Fn(usize) -> bool, leads: bool) {
    let case = format!("{pair:?}, joined: {:?}", [has_joined(0), has_joined(1)]);
    let mut members = pair.map(|one| one.router(NOW));
    let before = members.each_ref().map(Router::state);
    let (actions, _) = settle(&mut members, has_joined);
    let after = members.each_ref().map(Router::state);
    assert_eq!(after, expected(pair, leads), "{case}");
    for ((before, after), actions) in before.into_iter().zip(after).zip(actions) {
        let expected = match (before, after) {
            (State::Master, State::Master) => vec![],
            (_, State::Master) => vec![ADVERT, ADD, ANNOUNCE],
            (State::Master, _) => vec![PRIORITY_ZERO, Action::RemoveAddresses],
            _ => vec![],
        };
        assert_eq!(actions, expected, "{case}");
    }
}

#[test]
fn every_router_joins_every_group() {
    for member in MEMBERS {
        for joiner in MEMBERS {
            let leads = match (member, joiner) {
                // The member stays master unless the joiner follows a master that outranks the
                // joiner.
                (Master, _) => !joiner.is_outranked(),
                // A joining master yields to the masters that the existing members follow.
                (_, Master) => !member.may_have_a_master() && member != Released,
                _ => false,
            };
            // The order of the members does not matter.
            check([member, joiner], |one| one == 1, leads);
            check([joiner, member], |one| one == 0, leads);
        }
    }
}

#[test]
fn every_pair_of_routers_forms_a_new_group() {
    for one in MEMBERS {
        for other in MEMBERS {
            let pair = [one, other];
            let has_objection = pair.iter().any(|one| one.may_have_a_master() || *one == Released);
            check(pair, |_| true, pair.contains(&Master) && !has_objection);
        }
    }
}

#[test]
fn one_joiner_decides_for_all_simultaneous_joiners() {
    for (members, leads) in [
        ([Master, Follows(50, HIGHER), Master], true),
        ([Master, Follows(150, LOWER), Master], false),
        ([Initialize, Follows(50, HIGHER), Master], false),
        ([Preempts, Silent, Master], true),
        ([Preempts, Started, Master], false),
    ] {
        let mut routers = members.map(|one| one.router(NOW));
        settle(&mut routers, |one| one > 0);
        for (one, router) in members.into_iter().zip(routers) {
            let state = if leads { State::Master } else { State::Backup };
            assert_eq!(
                router.state(),
                if one == Initialize { State::Initialize } else { state },
                "{members:?}"
            );
        }
    }
}

/// Every member has the group's lowest priority before the group selects its state, because the
/// master on the other node compares its own priority with this lowest priority.
#[test]
fn priority_of_the_new_group_decides_who_outranks_whom() {
    for (own, leads) in [(151, true), (150, false)] {
        let router = |member: Member| {
            let mut router = member.router(NOW);
            router.handle(NOW, Input::Priority(200));
            router
        };
        let mut members = [router(Master), router(Started)];
        let script = Script::new(config(Version::V3, SECOND));
        members[1].handle(NOW, Input::Advert(Received { arrival: NOW, ..script.received(150, HIGHER) }));
        while members[1].poll_event().is_some() {}
        members[0].handle(NOW, Input::Priority(own));
        settle(&mut members, |one| one == 1);
        let state = if leads { State::Master } else { State::Backup };
        assert_eq!(members.each_ref().map(Router::state), [state; 2], "{own}");
    }
}

#[test]
fn members_that_leave_keep_their_states() {
    for state in [Master, Follows(150, LOWER), Preempts] {
        let mut members = [state.router(NOW), state.router(NOW)];
        settle(&mut members, |_| true);
        let before = members.clone();
        for input in group::leave() {
            members[1].handle(NOW, input);
            assert_eq!((members[1].poll_action(), members[1].poll_event()), (None, None), "{state:?}");
        }
        let (actions, _) = settle(&mut members[..1], |_| false);
        assert_eq!(actions, [[]], "{state:?}");
        assert_eq!(members.each_ref().map(Router::state), before.each_ref().map(Router::state));
        assert_eq!(members.each_ref().map(Router::next_timeout), before.each_ref().map(Router::next_timeout));
    }
}

/// A joining member's earlier transitions have no effect.
#[test]
fn router_that_has_left_master_joins_a_running_group() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.now = NOW;
    script.input(Input::Failover);
    script.advert(50, LOWER);
    assert_eq!(script.router.snapshot().reason, Some(Reason::Failover));
    let mut members = [Master.router(NOW), script.router];
    settle(&mut members, |one| one == 1);
    assert_eq!(members.each_ref().map(Router::state), [State::Master; 2]);
}

#[test]
fn number_of_steps_does_not_depend_on_the_number_of_members() {
    let mut masters: Vec<_> = (0..4080).map(|_| Master.router(NOW)).collect();
    settle(&mut masters, |_| true);
    for (joiner, state) in [
        (Silent, State::Master),
        (Follows(150, LOWER), State::Backup),
        (Failed, State::Fault(Fault::Group)),
        (Released, State::Master),
    ] {
        let mut members = masters.clone();
        members[7] = joiner.router(NOW);
        let (_, steps) = settle(&mut members, |one| one == 7);
        assert!(steps <= 3, "{joiner:?}: {steps} steps, more than one each for priority, faults and state");
        assert!(members[8..].iter().all(|router| router.state() == state), "{joiner:?}");
    }
}
