//! Invariants that are checked after every input to a virtual router.

use vipd::vrrp::{
    Counters, Event, GroupInput, Input, Interval, Policy, Reason, Received, Router, RouterConfig, Snapshot,
    State, Version,
};
use vipd_common::Timestamp;

/// Maximum number of events per input: owner conflict, transition, new master, interval mismatch
/// and address list mismatch.
const MAX_EVENTS: usize = 5;

/// Checks that there is exactly one event for each transition.
pub(super) fn events(events: &[Event], before: State, after: State) {
    assert!(events.len() <= MAX_EVENTS, "{events:?}");
    let mut at = before;
    for event in events {
        if let Event::StateChanged { from, to, .. } = *event {
            assert!(from == at && to != from, "{events:?} in {at}");
            at = to;
        }
    }
    assert_eq!(at, after, "{events:?}");
}

/// Checks that the transition is allowed for the input (RFC 9568 section 6.4).
pub(super) fn transition(input: Input, due: bool, before: &Snapshot, after: &Snapshot) {
    let (from, to) = (before.state, after.state);
    let readiness = matches!(input, Input::PrimaryAddress(_) | Input::Impede(_) | Input::Clear(_));
    let allowed = from == to
        || match (from, to) {
            (State::Initialize, State::Backup | State::Master) => {
                readiness || (input == Input::Timeout && due)
            }
            // Without a primary address, or within startup_delay.
            (State::Fault(_), State::Initialize) => input == Input::Shutdown || readiness,
            (State::Backup, State::Master) => {
                (input == Input::Timeout && due) || input == Input::Group(GroupInput::Lead)
            }
            (State::Master, State::Backup) => {
                matches!(
                    input,
                    Input::Advert(_) | Input::FeedLoss | Input::Failover | Input::Group(GroupInput::Yield)
                )
            }
            (_, State::Initialize) => input == Input::Shutdown,
            (State::Fault(_), State::Backup | State::Master) | (_, State::Fault(_)) => readiness,
            (State::Backup, State::Backup) | (State::Master, State::Master) => true,
        };
    assert!(allowed, "from {from} to {to} by {input:?}");
}

/// Returns whether an input must have no effect: a timeout that is not due or, for a router that
/// does not take part in elections, an advert, a loss of adverts or a restored address.
pub(super) fn has_no_effect(input: Input, due: bool, state: State) -> bool {
    match state {
        State::Backup | State::Master => input == Input::Timeout && !due,
        State::Initialize if input == Input::Timeout => !due,
        State::Initialize | State::Fault(_) => {
            matches!(input, Input::Advert(_) | Input::FeedLoss | Input::AddressRestored(_) | Input::Timeout)
        }
    }
}

/// Checks that a router has a timer if it takes part in elections or waits to start, and that a
/// timer is no longer due after it was handled.
pub(super) fn timers(router: &Router, now: Timestamp, input: Input, after: &Snapshot) {
    let next = router.next_timeout();
    let takes_part = matches!(after.state, State::Backup | State::Master);
    assert!(after.starts_at.is_none() || after.state == State::Initialize, "already started");
    assert_eq!(next.is_some(), takes_part || after.starts_at.is_some(), "a timer in {}", after.state);
    assert_eq!(after.master_down_at.is_some(), after.state == State::Backup);
    assert!(after.since <= now, "a transition in the future");
    if input == Input::Timeout {
        assert!(next.is_none_or(|at| at > now), "a handled timer is still due");
    }
    if after.state == State::Master {
        let longest = now + router.config().interval.nanos();
        assert!(next.is_some_and(|at| at <= longest), "no advert for more than an interval");
    }
}

/// Checks that an input increases each counter by at most one.
pub(super) fn counters(before: &Counters, after: &Counters) {
    for (before, after) in cells(before).into_iter().zip(cells(after)) {
        assert!((before..=before + 1).contains(&after), "a counter went from {before} to {after}");
    }
}

/// Checks the rate of answers to losing and priority-0 adverts: a burst of three, then one per
/// 100 ms, or one per interval if that is shorter.
pub(super) fn answers(
    config: &RouterConfig,
    now: Timestamp,
    (since, before): (Timestamp, u64),
    counters: &Counters,
) {
    let period = config.interval.nanos().min(100_000_000);
    // Tokens are added at fixed times, so a window that is not a multiple of the period may contain
    // one more.
    let allowed = 3 + now.nanos_since(since) / period + 1;
    let sent = counters.asserts_sent - before;
    assert!(sent <= allowed, "{sent} answers, {allowed} allowed");
}

/// Checks that an accepted advert sets Active_Down_Timer, counted from its arrival, and that other
/// adverts do not change it (RFC 9568 section 6.4.2).
pub(super) fn follows(
    config: &RouterConfig,
    policy: Policy,
    advert: &Received,
    before: &Snapshot,
    after: &Snapshot,
) {
    let interval = Interval::from_wire(Version::V3, advert.interval);
    let own = after.counters.own_adverts > before.counters.own_adverts;
    let (Version::V3, Some(interval), false) = (config.version(), interval, own) else { return };
    let preempts = before.preempts;
    let ignored = after.counters.priority_zero_ignored > before.counters.priority_zero_ignored;
    assert!(
        !ignored || before.master.is_some_and(|master| master != advert.source),
        "the master's priority-0 advert was ignored"
    );
    assert!(!ignored || policy.ignore_foreign_priority_zero);
    let wait = if ignored {
        assert_eq!(
            before.master_down_at, after.master_down_at,
            "a priority-0 advert from another router has no effect"
        );
        return;
    } else if advert.priority == 0 {
        before.active_interval.skew(before.priority)
    } else if advert.priority >= before.priority || !preempts {
        assert_eq!(after.master, Some(advert.source), "{advert:?} is not followed");
        assert_eq!(after.hold_until, None, "preempt_delay is reset");
        interval.master_down(before.priority, config.down_after_adverts)
    } else if after.hold_until.is_some_and(|until| advert.arrival < until) {
        assert!(config.preempt_delay > 0 && !config.is_owner(), "a lower-priority master was followed");
        interval.master_down(before.priority, config.down_after_adverts)
    } else {
        assert_eq!(before.master_down_at, after.master_down_at, "S12: the timer continues");
        return;
    };
    let deadline = Some(advert.arrival + wait);
    // Only `down_timer_floor` may set a later deadline.
    let floor = policy.down_timer_floor
        && advert.priority > 0
        && before.master.is_some()
        && after.master_down_at > deadline;
    assert!(floor || after.master_down_at == deadline, "{advert:?}: {after:?}");
}

/// Checks that a lower-priority master is not preempted within `preempt_delay` (RFC 8347
/// `hold-time`).
pub(super) fn preempt_delay(config: &RouterConfig, now: Timestamp, before: &Snapshot, after: &Snapshot) {
    if (before.state, after.state, after.reason) == (State::Backup, State::Master, Some(Reason::Preempted)) {
        assert!(before.hold_until.is_none_or(|until| now >= until), "preempted within preempt_delay");
    }
    let delayed = config.preempt_delay > 0 && !config.is_owner();
    assert!(after.hold_until.is_none() || (delayed && after.state == State::Backup));
}

/// Checks that, of several unchanged adverts, only the last has an effect, and that it sets the
/// deadline.
pub(super) fn steady(router: &Router, now: Timestamp) {
    let Some(steady) = router.steady() else { return };
    let (mut all, mut last) = (router.clone(), router.clone());
    let times = [1, steady.down_interval / 8, 3 * (steady.down_interval / 4)].map(|after| now + after);
    for time in times {
        all.handle(time, Input::Advert(steady.at(time)));
        assert_eq!((all.poll_action(), all.poll_event()), (None, None), "{steady:?}");
        assert_eq!(all.steady(), Some(steady));
        assert_eq!(all.next_timeout(), Some(time + steady.down_interval));
    }
    last.handle(times[2], Input::Advert(steady.at(times[2])));
    assert_eq!(all, last, "the earlier adverts had an effect");
}

fn cells(counters: &Counters) -> [u64; 11] {
    let Counters {
        master_transitions,
        interval_errors,
        address_list_errors,
        owner_conflicts,
        own_adverts,
        losing_adverts,
        asserts_sent,
        asserts_suppressed,
        priority_zero_ignored,
        stalls,
        addresses_restored,
    } = *counters;
    [
        master_transitions,
        interval_errors,
        address_list_errors,
        owner_conflicts,
        own_adverts,
        losing_adverts,
        asserts_sent,
        asserts_suppressed,
        priority_zero_ignored,
        stalls,
        addresses_restored,
    ]
}
