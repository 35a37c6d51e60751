//! Sync groups: the effects of one member's changes on the other members.

use super::*;
use crate::{GroupInput, Reason, group};

/// A node whose sync group has two members with an interval of one second.
struct Pair {
    members: [Router; 2],
    now: Timestamp,
}

impl Pair {
    fn new(priorities: [u8; 2]) -> Self {
        Self::configured(priorities.map(|priority| RouterConfig { priority, ..config(Version::V3, SECOND) }))
    }

    fn configured(configs: [RouterConfig; 2]) -> Self {
        let mut pair = Self { members: configs.map(Router::new), now: Timestamp::from_nanos(1000 * SECOND) };
        pair.input(0, Input::PrimaryAddress(OURS));
        pair.input(1, Input::PrimaryAddress(OURS));
        pair
    }

    fn masters() -> Self {
        let mut pair = Self::new([100, 100]);
        pair.now = pair.now + 4 * SECOND;
        pair.input(0, Input::Timeout);
        assert_eq!(pair.states(), [State::Master; 2]);
        pair
    }

    /// Waits, and then handles the timers that are due.
    fn pass(&mut self, nanos: u64) {
        self.now = self.now + nanos;
        self.input(0, Input::Timeout);
        self.input(1, Input::Timeout);
    }

    fn states(&self) -> [State; 2] {
        [self.members[0].state(), self.members[1].state()]
    }

    /// Passes an input to a member, and the inputs that follow from it to both members. Returns the
    /// actions of both members.
    fn input(&mut self, member: usize, input: Input) -> [Vec<Action>; 2] {
        let (actions, _) = apply(&mut self.members, self.now, member, input);
        actions.try_into().expect("a pair")
    }

    fn advert(&mut self, member: usize, priority: u8, source: IpAddr) -> [Vec<Action>; 2] {
        let advert = self.received(member, priority, source);
        self.input(member, Input::Advert(advert))
    }

    fn received(&self, member: usize, priority: u8, source: IpAddr) -> Received {
        let config = self.members[member].config();
        Received {
            arrival: self.now,
            source,
            priority,
            interval: config.interval.wire(),
            addresses: address_digest(config.virtual_addresses.iter().map(|vip| vip.address)),
            checksum: ChecksumForm::V2,
        }
    }
}

/// Passes an input to a member, and the inputs that follow from it to all members. Returns the
/// actions of each member, and the number of steps.
fn apply(members: &mut [Router], now: Timestamp, member: usize, input: Input) -> (Vec<Vec<Action>>, usize) {
    let input = if group::is_adjustable(now, &members[member], &input) {
        group::adjust(now, member, input, members.iter().enumerate())
    } else {
        input
    };
    let mut actions = vec![Vec::new(); members.len()];
    let mut changed = vec![member];
    let mut handle = |members: &mut [Router], changed: &mut Vec<usize>, one: usize, input| {
        members[one].handle(now, input);
        actions[one].extend(std::iter::from_fn(|| members[one].poll_action()));
        members[one].advert_sent(now);
        while let Some(event) = members[one].poll_event() {
            if let Event::StateChanged { .. } = event {
                changed.push(one);
            }
        }
    };
    handle(members, &mut changed, member, input);
    let mut steps = 0;
    while let Some(last) = changed.last().copied() {
        let Some(step) = group::next(last, members.iter().enumerate()) else {
            changed.retain(|one| !group::is_alike(&members[*one], &members[last]));
            continue;
        };
        steps += 1;
        for one in 0..members.len() {
            if let Some(input) = step.input(one, &members[one]) {
                handle(members, &mut changed, one, input);
            }
        }
    }
    (actions, steps)
}

/// A change takes one pass over the members of a group, even with thousands of members.
#[test]
fn number_of_passes_does_not_depend_on_the_number_of_members() {
    let mut now = Timestamp::from_nanos(1000 * SECOND);
    let router = |_| Router::new(config(Version::V3, SECOND));
    let mut members: Vec<_> = (0..4080).map(router).collect();
    for member in 0..members.len() {
        apply(&mut members, now, member, Input::PrimaryAddress(OURS));
    }
    now = now + 4 * SECOND;
    let all = |members: &[Router], state| members.iter().all(|router| router.state() == state);
    for (input, state, expected) in [
        (Input::Timeout, State::Master, 1),
        (Input::Failover, State::Backup, 1),
        (Input::Impede(Fault::Tracking), State::Fault(Fault::Group), 1),
        (Input::Clear(Impediment::Tracking), State::Backup, 1),
        (Input::Priority(50), State::Backup, 1),
    ] {
        let (_, steps) = apply(&mut members, now, 7, input);
        assert_eq!(steps, expected, "{input:?}");
        assert!(all(&members[8..], state), "{input:?}");
        assert!(members[..7].iter().all(|router| router.state() == state), "{input:?}");
    }
    assert!(members.iter().all(|router| router.snapshot().priority == 50));
}

#[test]
fn members_become_masters_together() {
    let mut pair = Pair::new([100, 100]);
    pair.now = pair.now + 4 * SECOND;
    let actions = pair.input(1, Input::Timeout);
    assert_eq!(pair.states(), [State::Master; 2]);
    assert_eq!(actions, [vec![ADVERT, ADD, ANNOUNCE], vec![ADVERT, ADD, ANNOUNCE]]);
    assert_eq!(pair.members[0].snapshot().reason, Some(Reason::Group));
}

#[test]
fn fault_or_drain_of_one_member_applies_to_all() {
    for fault in [Fault::InterfaceDown, Fault::Tracking, Fault::Drained, Fault::Administrator] {
        let mut pair = Pair::masters();
        let [_, other] = pair.input(0, Input::Impede(fault));
        assert_eq!(pair.states(), [State::Fault(fault), State::Fault(Fault::Group)]);
        assert_eq!(other, [PRIORITY_ZERO, Action::RemoveAddresses], "{fault}");
        // A member's own fault takes precedence over the group's fault.
        pair.input(1, Input::Impede(Fault::Drained));
        assert_eq!(pair.states(), [State::Fault(fault), State::Fault(Fault::Drained)]);
        pair.input(0, Input::Clear(fault.impediment()));
        assert_eq!(pair.states(), [State::Fault(Fault::Group), State::Fault(Fault::Drained)]);
        pair.input(1, Input::Clear(Impediment::Drained));
        assert_eq!(pair.states(), [State::Backup; 2]);
    }
}

#[test]
fn members_advertise_the_lowest_effective_priority() {
    let mut pair = Pair::new([150, 120]);
    let priorities = |pair: &Pair| pair.members.each_ref().map(|router| router.snapshot().priority);
    assert_eq!(priorities(&pair), [120; 2]);
    pair.input(0, Input::Priority(80));
    assert_eq!(priorities(&pair), [80; 2]);
    pair.input(0, Input::Priority(200));
    assert_eq!(priorities(&pair), [120; 2]);
    for input in group::leave() {
        pair.members[0].handle(pair.now, input);
    }
    assert_eq!(pair.members[0].snapshot().priority, 200, "without a group");
}

#[test]
fn members_leave_master_together() {
    let mut pair = Pair::masters();
    let [outranked, other] = pair.advert(0, 150, LOWER);
    assert_eq!(pair.states(), [State::Backup; 2]);
    assert_eq!(outranked, [ADVERT, Action::RemoveAddresses]);
    assert_eq!(other, [PRIORITY_ZERO, Action::RemoveAddresses]);
    let mut pair = Pair::masters();
    pair.input(1, Input::Failover);
    assert_eq!(pair.states(), [State::Backup; 2]);
}

/// The first member's segment is cut. On the second member's segment, the other node is master.
#[test]
fn member_waits_while_another_member_follows_a_master() {
    let mut pair = Pair::new([100, 100]);
    for _ in 0..20 {
        pair.now = pair.now + SECOND;
        pair.advert(1, 150, LOWER);
        assert_eq!(pair.input(0, Input::Timeout), [vec![], vec![]]);
        assert_eq!(pair.states(), [State::Backup; 2]);
    }
    // The other node fails. When the second member's timer is due, the first member no longer
    // waits.
    pair.now = pair.members[1].next_timeout().expect("Active_Down_Timer");
    pair.input(0, Input::Timeout);
    assert_eq!(pair.states(), [State::Master; 2]);
}

/// A member keeps waiting if the other member, which follows a master, also receives adverts from a
/// lower-priority master.
#[test]
fn adverts_from_a_lower_priority_master_do_not_end_the_wait() {
    let mut pair = Pair::new([100, 100]);
    for _ in 0..20 {
        pair.now = pair.now + SECOND;
        pair.advert(1, 150, LOWER);
        pair.advert(1, 50, HIGHER);
        assert_eq!(pair.input(0, Input::Timeout), [vec![], vec![]]);
        assert_eq!(pair.states(), [State::Backup; 2]);
    }
    // The second member preempts the lower-priority master once the higher-priority master has
    // failed.
    pair.now = pair.members[1].next_timeout().expect("Active_Down_Timer");
    pair.input(1, Input::Timeout);
    assert_eq!(pair.states(), [State::Master; 2]);
}

#[test]
fn priority_zero_to_one_member_is_enough_to_take_over() {
    let mut pair = Pair::new([100, 100]);
    pair.advert(0, 150, LOWER);
    pair.advert(1, 150, LOWER);
    pair.advert(1, 0, LOWER);
    pair.now = pair.members[1].next_timeout().expect("Skew_Time");
    pair.input(1, Input::Timeout);
    assert_eq!(pair.states(), [State::Master; 2]);
}

/// The master that the first member follows relinquishes mastership repeatedly. On the other
/// segment, an independent router wins a tie against the second member, which has answered that
/// router's first adverts.
#[test]
fn takeover_that_ends_with_a_lost_tie_is_not_repeated() {
    let base = || RouterConfig { down_after_adverts: 2, ..config(Version::V3, SECOND) };
    let mut pair = Pair::configured([base(), base()]);
    let release = |pair: &mut Pair| {
        pair.advert(0, 150, LOWER);
        pair.advert(1, 100, HIGHER);
        pair.advert(0, 0, LOWER);
        pair.now = pair.members[0].next_timeout().expect("Skew_Time");
        pair.input(0, Input::Timeout);
    };
    release(&mut pair);
    assert_eq!(pair.states(), [State::Master; 2]);
    pair.pass(SECOND - MILLI);
    for _ in 0..3 {
        assert_eq!(pair.states(), [State::Master; 2]);
        pair.advert(1, 100, HIGHER);
        pair.pass(SECOND);
    }
    assert_eq!(pair.states(), [State::Backup; 2]);
    release(&mut pair);
    assert_eq!(pair.states(), [State::Backup; 2]);
}

/// The addresses of two nodes with equal priorities rank differently on two segments.
#[test]
fn first_member_with_a_competing_master_decides_a_tie() {
    let mut pair = Pair::masters();
    // The first member loses its tie, so both members yield.
    pair.advert(0, 100, HIGHER);
    assert_eq!(pair.states(), [State::Backup; 2]);
    // The first member wins its tie, so the other member does not yield.
    let mut pair = Pair::masters();
    for _ in 0..10 {
        pair.advert(1, 100, HIGHER);
        pair.advert(0, 100, LOWER);
        assert_eq!(pair.states(), [State::Master; 2]);
        pair.pass(SECOND);
    }
    // The first segment is cut. After two intervals, the second member decides the tie.
    let mut pair = Pair::masters();
    for _ in 0..2 {
        pair.advert(1, 100, HIGHER);
        assert_eq!(pair.states(), [State::Master; 2]);
        pair.pass(SECOND);
    }
    pair.advert(1, 100, HIGHER);
    assert_eq!(pair.states(), [State::Backup; 2]);
}

/// The group preempts the masters of two segments, both of which yield with a last advert.
#[test]
fn last_advert_of_a_preempted_master_is_not_a_split_brain() {
    let mut pair = Pair::new([150, 150]);
    pair.advert(0, 100, LOWER);
    pair.advert(1, 100, LOWER);
    pair.now = pair.members[0].next_timeout().expect("Active_Down_Timer");
    pair.input(0, Input::Timeout);
    assert_eq!(pair.states(), [State::Master; 2]);
    for (after, is_split_brain) in [(MILLI, false), (SECOND, true)] {
        pair.now = pair.now + after;
        let advert = pair.received(1, 100, LOWER);
        pair.members[1].handle(pair.now, Input::Advert(advert));
        while pair.members[1].poll_action().is_some() {}
        let event = pair.members[1].poll_event();
        assert_eq!(matches!(event, Some(Event::LosingAdvert { .. })), is_split_brain, "{event:?}");
    }
}

#[test]
fn added_member_becomes_master_with_the_group() {
    let mut pair = Pair::masters();
    pair.members[1] = Router::new(config(Version::V3, SECOND));
    let actions = pair.input(1, Input::PrimaryAddress(OURS));
    assert_eq!(pair.states(), [State::Master; 2], "the other member is not demoted");
    assert_eq!(actions[0], []);
}

#[test]
fn waiting_for_another_member_ends_the_fast_path() {
    let mut pair = Pair::new([100, 100]);
    pair.advert(0, 150, LOWER);
    assert!(pair.members[0].steady().is_some());
    let later = pair.now + 10 * SECOND;
    pair.members[0].handle(pair.now, Input::Group(GroupInput::Wait(later)));
    assert_eq!((pair.members[0].steady(), pair.members[0].next_timeout()), (None, Some(later)));
}
