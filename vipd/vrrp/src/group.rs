//! Sync groups: virtual routers of one node that are masters together or not at all.
//!
//! The functions compute the inputs that a member needs because of another one. They keep no state,
//! so that a group can gain and lose members at any time.
//!
//! 1. While one member has a fault of its own, all others have [`Fault::Group`].
//! 2. All members advertise the lowest of their effective priorities, so that two nodes have the same
//!    order on all segments.
//! 3. A backup becomes master when its timer fires and no other member follows a running master. The
//!    others then become master at once.
//! 4. When a master is outranked or gives mastership away, the others send a priority-0 advert and
//!    become backups.
//! 5. If two nodes have equal priorities, the first member with a competing master decides by the
//!    addresses. The others wait for it.
//!
//! Rules 3 and 5 prevent repeated transitions when one segment is cut, or when the addresses of two
//! nodes rank differently on two segments. The reasons are in `docs/design/groups.md`.

use vipd_common::Timestamp;

use crate::common::Common;
use crate::config::RouterConfig;
use crate::input::{Fault, GroupInput, Impediment, Input, Received};
use crate::output::{Reason, State};
use crate::router::Router;
use crate::state::{Backup, StateData};

/// Returns the key by which the members of a group are sorted. It is the same on all nodes.
pub fn order(config: &RouterConfig) -> (u8, u8, Option<core::net::IpAddr>) {
    (config.vrid, config.family.number(), config.virtual_addresses.first().map(|vip| vip.address))
}

/// Returns the next input for a member after a change of `changed`: its state, its impediments, its
/// priority, or its membership. Call it again after that input, until it returns `None`; a member
/// whose state changes meanwhile is then the changed one.
pub fn next<'a, K: Copy + PartialEq>(
    changed: K,
    mut members: impl Iterator<Item = (K, &'a Router)> + Clone,
) -> Option<(K, Input)> {
    let mut faulty = members.clone().filter(|(_, router)| router.own_fault().is_some());
    let (first, several) = (faulty.next().map(|(key, _)| key), faulty.next().is_some());
    let others_fail = |key| several || first.is_some_and(|first| first != key);
    let lowest = members.clone().map(|(_, router)| router.common.own_priority).min()?;
    let is_impeded = |router: &Router| router.impediment(Impediment::Group).is_some();
    let mut impede = members.clone().filter(|(key, router)| others_fail(*key) && !is_impeded(router));
    if let Some((key, _)) = impede.next() {
        return Some((key, Input::Impede(Fault::Group)));
    }
    // Before the members start again, so that their first adverts have the right priority.
    if let Some((key, _)) = members.clone().find(|(_, router)| router.common.group_priority != lowest) {
        return Some((key, Input::Group(GroupInput::Priority(lowest))));
    }
    let mut clear = members.clone().filter(|(key, router)| !others_fail(*key) && is_impeded(router));
    if let Some((key, _)) = clear.next() {
        return Some((key, Input::Clear(Impediment::Group)));
    }
    let state = members
        .clone()
        .find(|(key, _)| *key == changed)
        .map(|(_, router)| (router.state(), has_left_master(router)));
    let mut in_state = |state| members.find(|(_, router)| router.state() == state).map(|(key, _)| key);
    let (state, has_left) = state?;
    let (key, input) = match state {
        State::Initialize | State::Fault(_) => return None,
        State::Master => (in_state(State::Backup)?, GroupInput::Lead),
        State::Backup if has_left => (in_state(State::Master)?, GroupInput::Yield),
        // It has just started.
        State::Backup => in_state(State::Master).map(|_| (changed, GroupInput::Lead))?,
    };
    Some((key, Input::Group(input)))
}

/// Returns the inputs for a router that leaves its group.
pub fn leave() -> [Input; 2] {
    [Input::Group(GroupInput::Priority(crate::priority::PRIORITY_OWNER)), Input::Clear(Impediment::Group)]
}

/// Returns the input for a member instead of [`Input::Timeout`] or [`Input::Advert`], according to the
/// other members. The last unchanged adverts of all members must have been passed in.
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

/// Returns whether [`adjust`] may change the input, so that the other members need not be looked at for
/// most inputs.
pub fn is_adjustable(now: Timestamp, router: &Router, input: &Input) -> bool {
    match (input, &router.state) {
        (Input::Timeout, StateData::Backup(backup)) => backup.down_timer() <= now,
        (Input::Advert(advert), StateData::Master(_)) => loses_tie(router, advert),
        _ => false,
    }
}

/// Returns when a backup whose timer has fired must check again whether it may become master: when
/// all other members want to.
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
    // The master has left with a priority-0 advert and has not sent an advert to the other member since.
    let overrides = |other: &Backup, common: &Common| {
        !common.led_in_vain && master_left.is_some_and(|at| other.down_from() <= at)
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
/// address: while an earlier member wins against a master with the same priority, or may still.
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
