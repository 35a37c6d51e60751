//! An attacker without a key causes no transition of routers that require signed adverts, except by
//! replays to a router that has been restarted since it received the original adverts.

use std::collections::HashMap;
use std::ops::Range;

use vipd::vrrp::State;
use vipd::vrrp::hmac::{AntiReplay, Mode, Refusal};
use vipd_simulator::signed::attack::{Outcome, run};
use vipd_simulator::signed::{INTERVAL, Packet, SECOND, World};

/// The window, in seconds.
const WINDOW: u32 = 5;

/// Returns a world with two nodes at rest, of which node 0 is the master.
fn pair(anti_replay: AntiReplay) -> World {
    let mut world = World::new(2, Mode::Enforce, anti_replay, WINDOW);
    world.start(0);
    world.start(1);
    world.run(20 * SECOND);
    assert_eq!(world.masters(), [0]);
    world.transitions();
    world
}

/// Returns the captured adverts for the virtual router with this VRID and family, sent in this
/// period.
fn captured(world: &World, vrid: u8, is_ipv4: bool, period: Range<u64>) -> Vec<Packet> {
    let packets = world.captured().iter();
    let is_wanted = |(at, packet): &&(u64, Packet)| {
        period.contains(at) && packet.vrid() == vrid && packet.source.is_ipv4() == is_ipv4
    };
    packets.filter(is_wanted).map(|(_, packet)| packet.clone()).collect()
}

/// Returns the last advert of the master.
fn last(world: &World) -> Packet {
    captured(world, 1, true, 0..u64::MAX).pop().expect("the master has sent adverts")
}

#[test]
fn random_attacks_change_no_transition() {
    for anti_replay in [AntiReplay::Time, AntiReplay::Monotonic] {
        for seed in 0..30 {
            let [calm, attacked] =
                [false, true].map(|is_attacked| run(seed, Mode::Enforce, anti_replay, is_attacked));
            assert_eq!(calm.transitions, attacked.transitions, "seed {seed}, {anti_replay:?}");
            assert!(attacked.attacks > 4_000, "{} attacks", attacked.attacks);
        }
    }
}

#[test]
fn same_attacks_change_transitions_of_routers_that_accept_unsigned_adverts() {
    let transitions = |is_attacked| -> Vec<_> {
        let runs = (0..3).map(|seed| run(seed, Mode::Permissive, AntiReplay::Time, is_attacked));
        runs.map(|Outcome { transitions, .. }| transitions).collect()
    };
    assert_ne!(transitions(false), transitions(true));
}

#[test]
fn spoofed_adverts_are_refused() {
    for priority in [0, 255] {
        let mut world = pair(AntiReplay::Time);
        let genuine = last(&world);
        for packet in [
            genuine.clone().with_priority(priority).unsigned(),
            genuine.clone().with_priority(priority),
            genuine.clone().with_priority(priority).later_by(1),
            Packet { source: "10.0.0.9".parse().expect("an address"), ..genuine }.with_priority(priority),
        ] {
            world.inject(&packet);
        }
        world.run(10 * SECOND);
        assert_eq!(world.transitions(), []);
        let expected = HashMap::from([(Refusal::Missing, 1), (Refusal::WrongHmac, 3)]);
        assert_eq!(world.refusals(1), expected);
    }
}

#[test]
fn replays_are_refused_at_any_time() {
    for anti_replay in [AntiReplay::Time, AntiReplay::Monotonic] {
        for delay in [0, 1, 4, 7, 3600] {
            let mut world = pair(anti_replay);
            let genuine = last(&world);
            world.run(delay * SECOND);
            world.inject(&genuine);
            world.run(10 * SECOND);
            assert_eq!(world.transitions(), []);
            let is_stale = anti_replay == AntiReplay::Time && delay > u64::from(WINDOW);
            let refusal = if is_stale { Refusal::Stale } else { Refusal::Replayed };
            assert_eq!(world.refusals(1), HashMap::from([(refusal, 1)]), "{anti_replay:?}, {delay} s");
        }
    }
}

#[test]
fn replayed_priority_zero_of_a_former_run_is_refused() {
    for anti_replay in [AntiReplay::Time, AntiReplay::Monotonic] {
        let mut world = pair(anti_replay);
        world.stop(0);
        let release = last(&world);
        assert_eq!(release.priority(), 0);
        world.run(SECOND);
        world.start(0);
        world.run(4 * INTERVAL);
        assert_eq!(world.masters(), [0]);
        world.transitions();
        world.inject(&release);
        world.run(10 * SECOND);
        assert_eq!(world.transitions(), [], "{anti_replay:?}");
    }
}

#[test]
fn trailers_of_other_virtual_routers_and_families_are_refused() {
    let mut world = pair(AntiReplay::Time);
    let genuine = last(&world);
    let others = [(2, true), (1, false)]
        .map(|(vrid, is_ipv4)| captured(&world, vrid, is_ipv4, 0..u64::MAX).pop().expect("adverts"));
    for other in &others {
        world.inject(&genuine.clone().with_priority(0).with_trailer_of(other));
        // The whole message of the other virtual router, too.
        world.inject(&Packet { source: genuine.source, ..other.clone() }.with_vrid(1));
    }
    world.run(10 * SECOND);
    assert_eq!(world.transitions(), []);
    assert_eq!(world.refusals(1), HashMap::from([(Refusal::WrongHmac, 4)]));
}

/// Crashes both agents, restarts that of node 1, and replays, one per interval, the adverts that
/// node 0 sent in its last `seconds` seconds. Returns the seconds from the crash until node 1 is
/// master.
fn takeover_despite_replays(anti_replay: AntiReplay, seconds: u64) -> u64 {
    let mut world = pair(anti_replay);
    world.run(300 * SECOND);
    let end = world.now();
    world.crash(0);
    world.crash(1);
    world.start(1);
    for packet in captured(&world, 1, true, end - seconds * SECOND..end) {
        world.inject(&packet);
        world.run(INTERVAL);
    }
    world.run(20 * SECOND);
    let mut transitions = world.transitions().into_iter();
    let takeover = transitions.find(|one| (one.node, one.router, one.to) == (1, 0, State::Master));
    (takeover.expect("node 1 becomes master").at - end) / SECOND
}

#[test]
fn replays_to_a_restarted_backup_delay_its_takeover_by_the_window_at_most() {
    assert_eq!(takeover_despite_replays(AntiReplay::Time, 0), 3);
    // The last advert is replayed after 4 s.
    assert_eq!(takeover_despite_replays(AntiReplay::Time, 5), 3 + 4);
    assert_eq!(takeover_despite_replays(AntiReplay::Time, 6), 3);
    // Without the window, replays delay the takeover for as long as there are recorded adverts.
    assert_eq!(takeover_despite_replays(AntiReplay::Monotonic, 100), 3 + 99);
}

/// Records the priority-0 advert of the master's shutdown and the advert before it, and replays
/// both to the backup right after the backup's restart, `delay` milliseconds after the shutdown.
/// Returns the states of the backup.
fn states_after_replayed_shutdown(anti_replay: AntiReplay, delay: u64) -> Vec<State> {
    let mut world = pair(anti_replay);
    let regular = last(&world);
    world.stop(0);
    let release = last(&world);
    assert_eq!((regular.priority(), release.priority()), (200, 0));
    world.start(0);
    world.run(delay * SECOND / 1000);
    assert_eq!(world.masters(), [0]);
    world.crash(1);
    world.start(1);
    world.transitions();
    world.inject(&regular);
    world.inject(&release);
    world.run(10 * SECOND);
    assert_eq!(world.masters(), [0]);
    let transitions = world.transitions();
    transitions.iter().filter(|one| (one.node, one.router) == (1, 0)).map(|one| one.to).collect()
}

#[test]
fn restarted_backup_cannot_recognize_replays_within_the_window() {
    // The master's next advert comes later than the backup's Skew_Time, and ends the takeover.
    let takeover = [State::Master, State::Backup];
    assert_eq!(states_after_replayed_shutdown(AntiReplay::Time, 4_300), takeover);
    assert_eq!(states_after_replayed_shutdown(AntiReplay::Time, 6_300), []);
    assert_eq!(states_after_replayed_shutdown(AntiReplay::Monotonic, 3_600_300), takeover);
}
