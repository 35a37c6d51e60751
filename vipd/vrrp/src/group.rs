//! Sync groups: virtual routers of one node that become master together or not at all.
//!
//! The functions compute the inputs that a member needs because of other members. They keep no
//! state, so that a group can gain and lose members at any time.
//!
//! 1. While one member has a fault of its own, all others have [`Fault::Group`].
//! 2. All members advertise the lowest of their effective priorities, so that two nodes rank in the
//!    same order on all segments.
//! 3. A backup whose timer fires becomes master, unless another member follows a running master or
//!    has not started yet. A member that has been backup for too short a time to rule out a running
//!    master counts as following one. When a backup becomes master, the others become masters
//!    immediately.
//! 4. After a priority-0 advert to one member, a member that has accepted no advert since does not
//!    count as following a running master. This rule does not apply to a member that lost
//!    mastership to a higher-ranking router soon after the group last made it master.
//! 5. When a master is outranked, has stalled or hands over mastership, the others become backups.
//!    They first send a priority-0 advert, unless they have stalled themselves.
//! 6. If two nodes have equal priorities, the first member with a competing master decides by the
//!    addresses. The others wait for this decision.
//! 7. When routers join, all members become masters if one is master, unless this could create a
//!    second master on a segment. In that case, the masters become backups. If a master was already
//!    a member, the masters become backups only if a joining router follows a master that outranks
//!    the joining router.
//!
//! Rules 3 and 6 prevent repeated transitions when one segment is cut, or when the addresses of two
//! nodes rank differently on two segments. The reasons are in `docs/design/groups.md`.

use vipd_common::Timestamp;

use crate::common::Common;
use crate::config::RouterConfig;
use crate::input::{Fault, GroupInput, Impediment, Input, Received};
use crate::output::{Reason, State};
use crate::router::Router;
use crate::state::{Backup, StateData};

/// Returns the key by which the members of a group are sorted. A virtual router has the same key on
/// all nodes whose configuration lists the same virtual address first.
pub fn order(config: &RouterConfig) -> (u8, u8, Option<core::net::IpAddr>) {
    (config.vrid, config.family.number(), config.virtual_addresses.first().map(|vip| vip.address))
}

/// An input that any member may need after one member has changed. Carrying out a step takes one
/// pass over the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<K> {
    kind: Kind<K>,
    faults: Faults<K>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind<K> {
    Impede,
    Priority(u8),
    Clear,
    Lead,
    /// Only this member becomes master, because it has just started.
    LeadOne(K),
    Yield,
}

/// The members with faults of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults<K> {
    None,
    One(K),
    Several,
}

impl<K: Copy + PartialEq> Step<K> {
    /// Returns the input for a member, or `None` if the member does not need an input or has
    /// already received it.
    pub fn input(&self, member: K, router: &Router) -> Option<Input> {
        let others_fail = match self.faults {
            Faults::None => false,
            Faults::One(faulty) => faulty != member,
            Faults::Several => true,
        };
        let is_impeded = router.impediment(Impediment::Group).is_some();
        let is = |state| router.state() == state;
        let (is_needed, input) = match self.kind {
            Kind::Impede => (others_fail && !is_impeded, Input::Impede(Fault::Group)),
            Kind::Priority(priority) => {
                (router.common.group_priority != priority, Input::Group(GroupInput::Priority(priority)))
            }
            Kind::Clear => (!others_fail && is_impeded, Input::Clear(Impediment::Group)),
            Kind::Lead => (is(State::Backup), Input::Group(GroupInput::Lead)),
            Kind::LeadOne(one) => (one == member && is(State::Backup), Input::Group(GroupInput::Lead)),
            Kind::Yield => (is(State::Master), Input::Group(GroupInput::Yield)),
        };
        is_needed.then_some(input)
    }
}

/// Returns the next step after a member's state, impediments or priority have changed, or after
/// another member has left the group. Call this function again after passing on the inputs of each
/// step, until it returns `None`. If a step changes another member's state, first call this
/// function for that member.
pub fn next<'a, K: Copy + PartialEq>(
    changed: K,
    members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> Option<Step<K>> {
    let (_, router) = members.clone().find(|(key, _)| *key == changed)?;
    let by_state = match router.state() {
        State::Initialize | State::Fault(_) => None,
        State::Master => Some(Kind::Lead),
        State::Backup if has_left_master(router) => Some(Kind::Yield),
        State::Backup => {
            members.clone().any(|(_, one)| one.state() == State::Master).then_some(Kind::LeadOne(changed))
        }
    };
    first_needed(by_state, members)
}

/// Returns the next step after routers have joined the group or left it. Call this function again
/// after passing on the inputs of each step, until it returns `None`. The last unchanged advert of
/// each member must already have been passed to that member.
///
/// Unlike in [`next`], the step does not depend on how a member entered its state. If some members
/// are masters and others are backups, the masters yield if one of the backups follows a running
/// master on its segment, or has been backup for too short a time to rule out a running master. If
/// one of the group's masters was already a member, the masters yield only if one of the backups
/// follows a running master that outranks that backup. If the masters do not yield, the backups
/// become masters.
pub fn joined<'a, K: Copy + PartialEq>(
    now: Timestamp,
    has_joined: impl Fn(K) -> bool,
    members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> Option<Step<K>> {
    let mut masters = members.clone().filter(|(_, router)| router.state() == State::Master);
    let was_master = masters.any(|(key, _)| !has_joined(key));
    let objects = |router: &Router| match &router.state {
        StateData::Backup(backup) => {
            backup.follows_until(&router.common).is_some_and(|until| until > now)
                && (!was_master || backup.is_outranked(&router.common))
        }
        StateData::Initialize(_) | StateData::Fault(_) | StateData::Master(_) => false,
    };
    let by_state = if members.clone().any(|(_, router)| objects(router)) {
        Some(Kind::Yield)
    } else {
        members.clone().any(|(_, router)| router.state() == State::Master).then_some(Kind::Lead)
    };
    first_needed(by_state, members)
}

/// Returns the first step that any member needs. Consequences of faults and priorities come before
/// `by_state`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "an iterator is cheap to clone, and a reference would add an indirection"
)]
fn first_needed<'a, K: Copy + PartialEq>(
    by_state: Option<Kind<K>>,
    members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> Option<Step<K>> {
    let mut failed = members.clone().filter(|(_, router)| router.own_fault().is_some());
    let faults = match (failed.next(), failed.next()) {
        (None, _) => Faults::None,
        (Some((key, _)), None) => Faults::One(key),
        (Some(_), Some(_)) => Faults::Several,
    };
    let priority = members.clone().map(|(_, router)| router.common.own_priority).min()?;
    // The priority is set before the members start again, so that their first adverts contain the
    // new priority.
    let kinds = [Some(Kind::Impede), Some(Kind::Priority(priority)), Some(Kind::Clear), by_state];
    let steps = kinds.map(|kind| kind.map(|kind| Step { kind, faults }));
    let is_needed = |step: &Step<K>| members.clone().any(|(key, router)| step.input(key, router).is_some());
    steps.into_iter().flatten().find(is_needed)
}

/// Returns whether two members that have changed are now in the same state for [`next`]: if
/// [`next`] returns no step for one of them, it returns no step for the other.
pub fn is_alike(one: &Router, other: &Router) -> bool {
    let kind = |router: &Router| (core::mem::discriminant(&router.state), has_left_master(router));
    kind(one) == kind(other)
}

/// Returns the inputs for a router that leaves its group.
pub fn leave() -> [Input; 2] {
    [Input::Group(GroupInput::Priority(crate::priority::PRIORITY_OWNER)), Input::Clear(Impediment::Group)]
}

/// Returns the input to pass to a member: `input`, or the [`Input::Group`] that replaces a timeout
/// or an advert because of the other members' states. The last unchanged advert of each member must
/// already have been passed to that member.
pub fn adjust<'a, K: Copy + PartialEq>(
    now: Timestamp,
    member: K,
    input: Input,
    members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> Input {
    match input {
        Input::Timeout => match waits_until(now, member, members) {
            Some(until) => Input::Group(GroupInput::Wait(until)),
            None => input,
        },
        Input::Advert(advert) if contests(now, member, &advert, members) => {
            Input::Group(GroupInput::Contest(advert))
        }
        _ => input,
    }
}

/// Returns whether [`adjust`] may change the input. If false, as for most inputs, the other members
/// need not be examined.
pub fn is_adjustable(now: Timestamp, router: &Router, input: &Input) -> bool {
    match (input, &router.state) {
        (Input::Timeout, StateData::Backup(backup)) => backup.down_timer() <= now,
        (Input::Advert(advert), StateData::Master(_)) => loses_tie(router, advert),
        _ => false,
    }
}

/// Returns the time at which a backup whose timer has fired must check again whether it may become
/// master, or `None` if it may become master now.
fn waits_until<'a, K: Copy + PartialEq>(
    now: Timestamp,
    member: K,
    members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> Option<Timestamp> {
    let (_, router) = members.clone().find(|(key, _)| *key == member)?;
    let StateData::Backup(backup) = &router.state else { return None };
    if backup.down_timer() > now {
        return None;
    }
    let master_left = backup.priority_zero_at();
    // True if this member may take over although the other member follows a master: this member's
    // master has relinquished mastership with a priority-0 advert, the other member has accepted no
    // advert since, and `group_takeover_failed` is false for the other member.
    let overrides = |other: &Backup, common: &Common| {
        !common.group_takeover_failed && master_left.is_some_and(|at| other.down_from() <= at)
    };
    let others = members.filter(|(key, _)| *key != member);
    let objections = others.filter_map(|(_, other)| match &other.state {
        StateData::Master(_) => None,
        StateData::Backup(backup) if overrides(backup, &other.common) => None,
        StateData::Backup(backup) => backup.follows_until(&other.common),
        StateData::Initialize(_) | StateData::Fault(_) => {
            let starts_at = other.snapshot().starts_at.filter(|at| *at > now);
            Some(starts_at.unwrap_or(now + other.config().interval.nanos()))
        }
    });
    objections.filter(|until| *until > now).max()
}

/// Returns whether a master stays master despite an advert with the same priority from a higher
/// address. It stays master while an earlier member wins, or may still win, the tie-break on that
/// member's segment.
fn contests<'a, K: Copy + PartialEq>(
    now: Timestamp,
    member: K,
    advert: &Received,
    members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> bool {
    let Some((_, router)) = members.clone().find(|(key, _)| *key == member) else { return false };
    let StateData::Master(master) = &router.state else { return false };
    if !loses_tie(router, advert) || master.is_stalled(&router.common, now) {
        return false;
    }
    let earlier = members.take_while(|(key, _)| *key != member);
    let masters = earlier.filter_map(|(_, other)| match &other.state {
        StateData::Master(master) => Some((master, &other.common)),
        _ => None,
    });
    let wins = masters.clone().any(|(master, common)| master.wins_tie(common, now));
    let Some(longest) = masters.map(|(_, common)| common.config.interval.nanos()).max() else { return false };
    let since = master.contested_since(&router.common, now).unwrap_or(now);
    wins || now.nanos_since(since) < 2 * longest
}

/// Returns whether an advert outranks a master by its address alone.
fn loses_tie(router: &Router, advert: &Received) -> bool {
    let common = &router.common;
    advert.priority == common.priority && advert.source > common.primary
}

/// Returns whether a backup has left Master since it started.
fn has_left_master(router: &Router) -> bool {
    matches!(
        router.common.reason,
        Some(Reason::HigherPriority | Reason::Stalled | Reason::Failover | Reason::Group)
    )
}
