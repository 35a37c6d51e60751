//! Saved and resumed routers.

use proptest::prelude::*;

use super::*;
use crate::input::GroupInput;
use crate::saved::ResumeError;
use crate::{Announcements, FastPath, FastPathSlot, Steady};

/// Generates configurations with each combination of version, preemption and delays, and three
/// priorities, including the owner's. All have refreshes and a second burst of announcements.
fn configs() -> impl Strategy<Value = RouterConfig> {
    (any::<bool>(), any::<bool>(), any::<bool>(), prop_oneof![Just(1), Just(100), Just(255)]).prop_map(
        |(is_v2, preempt, has_delays, priority)| RouterConfig {
            preempt,
            priority,
            preempt_delay: if has_delays { 5 * SECOND } else { 0 },
            startup_delay: if has_delays { 2 * SECOND } else { 0 },
            announcements: Announcements { refresh: 3 * SECOND, ..Announcements::default() },
            ..config(if is_v2 { Version::V2 } else { Version::V3 }, SECOND)
        },
    )
}

/// An input, or a period without inputs.
#[derive(Clone, Debug)]
enum Step {
    Input(Input),
    /// Waits for this number of quarters of the time until the next timeout.
    Wait(u64),
    /// Waits for this number of milliseconds without handling timeouts that become due.
    Stall(u64),
}

fn sources() -> impl Strategy<Value = IpAddr> {
    prop_oneof![Just(LOWER), Just(OURS), Just(HIGHER)]
}

fn adverts_received() -> impl Strategy<Value = Received> {
    let priorities = prop_oneof![Just(0), Just(50), Just(100), Just(150), Just(255)];
    let intervals = prop_oneof![4 => Just(None), 1 => Just(Some(250))];
    (priorities, sources(), intervals, any::<bool>()).prop_map(|(priority, source, interval, is_same)| {
        Received {
            arrival: Timestamp::ZERO,
            source,
            priority,
            interval: interval.unwrap_or_default(),
            addresses: if is_same { address_digest(VIPS.iter().map(|vip| vip.address)) } else { 1 },
            checksum: ChecksumForm::V2,
        }
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let faults = prop_oneof![Just(Fault::InterfaceDown), Just(Fault::Tracking), Just(Fault::Drained)];
    let inputs = prop_oneof![
        8 => adverts_received().prop_map(Input::Advert),
        1 => Just(Input::Timeout),
        1 => Just(Input::FeedLoss),
        1 => faults.clone().prop_map(Input::Impede),
        2 => faults.prop_map(|fault| Input::Clear(fault.impediment())),
        1 => sources().prop_map(Input::PrimaryAddress),
        1 => (1_u8..=254).prop_map(Input::Priority),
        1 => Just(Input::Failover),
        1 => (0_u64..20_000).prop_map(|at| Input::Suspend(Timestamp::from_nanos(1000 * SECOND + at * MILLI))),
        1 => Just(Input::Shutdown),
        1 => (1_u8..=255).prop_map(|priority| Input::Group(GroupInput::Priority(priority))),
        1 => Just(Input::Group(GroupInput::Lead)),
        1 => Just(Input::Group(GroupInput::Yield)),
        1 => adverts_received().prop_map(|advert| Input::Group(GroupInput::Contest(advert))),
        1 => Just(Input::AddressRestored(VIPS[0])),
    ];
    prop_oneof![
        4 => inputs.prop_map(Step::Input),
        4 => (0_u64..=4).prop_map(Step::Wait),
        1 => (0_u64..10_000).prop_map(Step::Stall),
    ]
}

/// Takes a step. Returns the router's actions.
fn take(router: &mut Router, now: &mut Timestamp, step: &Step) -> Vec<Action> {
    let input = match step {
        Step::Wait(share) => {
            let wait = router.next_timeout().map_or(SECOND, |at| at.nanos_since(*now));
            *now = *now + wait * share / 4;
            Input::Timeout
        }
        Step::Stall(millis) => {
            *now = *now + millis * MILLI;
            return Vec::new();
        }
        Step::Input(Input::Advert(advert)) => Input::Advert(arrived(router, *now, *advert)),
        Step::Input(Input::Group(GroupInput::Contest(advert))) => {
            Input::Group(GroupInput::Contest(arrived(router, *now, *advert)))
        }
        Step::Input(input) => *input,
    };
    router.handle(*now, input);
    while router.poll_event().is_some() {}
    let actions: Vec<_> = std::iter::from_fn(|| router.poll_action()).collect();
    for action in &actions {
        if let Action::SendAdvert { .. } = action {
            router.advert_sent(*now);
        }
    }
    actions
}

/// Returns an advert that arrives now. An interval of 0 stands for the router's own interval.
fn arrived(router: &Router, now: Timestamp, advert: Received) -> Received {
    let interval = if advert.interval == 0 { router.config().interval.wire() } else { advert.interval };
    Received { arrival: now, interval, ..advert }
}

fn resumed(router: &Router, policy: Policy) -> Router {
    Router::resume(router.config().clone(), policy, &router.save()).expect("the same configuration")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A router that is saved and resumed before each step equals a router that keeps running.
    #[test]
    fn resumed_router_equals_the_saved_one(
        config in configs(),
        is_rfc in any::<bool>(),
        steps in prop::collection::vec(steps(), 1..40),
    ) {
        let policy = if is_rfc { Policy::RFC } else { Policy::VIPD };
        let mut kept = Router::with_policy(config, policy);
        let mut now = Timestamp::from_nanos(1000 * SECOND);
        take(&mut kept, &mut now, &Step::Input(Input::PrimaryAddress(OURS)));
        let mut replaced = kept.clone();
        for step in &steps {
            replaced = resumed(&replaced, policy);
            prop_assert_eq!(&replaced, &kept);
            let mut then = now;
            let actions = take(&mut replaced, &mut then, step);
            prop_assert_eq!(actions, take(&mut kept, &mut now, step));
        }
        prop_assert_eq!(&resumed(&replaced, policy), &kept);
    }
}

/// Random inputs rarely lead to some states, so this test enters each state explicitly.
#[test]
fn each_state_is_saved() {
    let mut backup = Script::started(config(Version::V3, SECOND));
    backup.advert(150, HIGHER);
    let mut fault = Script::master(config(Version::V3, SECOND));
    fault.input(Input::Impede(Fault::Tracking));
    let mut waiting = Script::new(RouterConfig { startup_delay: SECOND, ..config(Version::V3, SECOND) });
    waiting.input(Input::PrimaryAddress(OURS));
    let master = Script::master(config(Version::V3, SECOND));
    for (script, state) in [
        (backup, State::Backup),
        (fault, State::Fault(Fault::Tracking)),
        (waiting, State::Initialize),
        (master, State::Master),
    ] {
        assert_eq!(script.state(), state);
        assert_eq!(resumed(&script.router, EXACT), script.router);
    }
}

#[test]
fn state_of_another_virtual_router_is_refused() {
    let saved = Script::master(config(Version::V3, SECOND)).router.save();
    for config in [
        RouterConfig { vrid: 52, ..config(Version::V3, SECOND) },
        RouterConfig { priority: 255, ..config(Version::V3, SECOND) },
        config(Version::V2, SECOND),
    ] {
        let refused = Router::resume(config, EXACT, &saved).expect_err("another router");
        assert!(matches!(refused, ResumeError::Identity { .. }));
        assert!(refused.to_string().starts_with("the state belongs to VRID 51 (IPv4, VRRPv3), but VRID "));
    }
    let changed = RouterConfig { preempt: false, ..config(Version::V3, SECOND) };
    Router::resume(changed, EXACT, &saved).expect("the same virtual router");
}

#[test]
fn fast_path_continues_after_the_last_handled_advert() {
    struct Slot;

    impl FastPathSlot for Slot {
        fn publish(&mut self, _: Option<&Steady>, arrival: Timestamp) -> Timestamp {
            arrival
        }
    }

    let mut script = Script::started(config(Version::V3, SECOND));
    script.advert(150, HIGHER);
    let mut path = FastPath::default();
    path.handled(script.now);
    path.publish(script.router.steady(), &mut Slot);
    let mut resumed = FastPath::resume(&path.save()).expect("valid");
    assert_eq!(resumed, path);
    assert_eq!(resumed.catch_up(script.now), None, "handled by the former process");
    assert!(resumed.catch_up(script.now + 1).is_some());
}
