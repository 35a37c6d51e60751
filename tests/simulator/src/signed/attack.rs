//! An attacker on the segment, who has captured all adverts but has no key.

use vipd::vrrp::Input;
use vipd::vrrp::hmac::{AntiReplay, Mode};

use super::{INTERVAL, Packet, SECOND, Transition, VIRTUAL_ROUTERS, World};
use crate::random::Random;

/// The window of all routers, in seconds.
const WINDOW: u32 = 5;
/// Number of random events in a run.
const EVENTS: u64 = 40;
/// Time between two packets of the attacker, in nanoseconds.
const ATTACK_INTERVAL: u64 = SECOND / 40;

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// All transitions.
    pub transitions: Vec<Transition>,
    /// Number of packets that the attacker sent.
    pub attacks: u64,
}

/// Runs three nodes and random events, which depend only on the seed: nodes crash, stop, start,
/// lose their links, are upgraded, change their priorities and hand over mastership, and clocks
/// step within the window.
///
/// A receiver cannot recognize a replay of an advert that it has not received itself. With
/// [`AntiReplay::Time`], it refuses the replay once the advert is older than the window, so the
/// attacker pauses while a node is down or its link is cut and then, because clocks differ, for
/// more than twice the window. With [`AntiReplay::Monotonic`], there is no such limit, so no node
/// goes down or loses its link.
pub fn run(seed: u64, mode: Mode, anti_replay: AntiReplay, is_attacked: bool) -> Outcome {
    let mut world = World::new(3, mode, anti_replay, WINDOW);
    // The attacker has random numbers of its own, so that the events are the same without it.
    let (mut random, mut attacker) = (Random::new(seed), Random::new(!seed));
    let mut attacks = 0;
    for node in 0..3 {
        world.start(node);
    }
    world.run(10 * SECOND);
    for _ in 0..EVENTS {
        disturb(&mut world, &mut random, anti_replay);
        let end = world.now() + random.between(0, 20 * SECOND);
        while world.now() < end {
            if is_attacked {
                world.inject(&forge(&world, &mut attacker));
                attacks += 1;
            }
            world.run(ATTACK_INTERVAL);
        }
    }
    Outcome { transitions: world.transitions(), attacks }
}

/// Causes a random event.
fn disturb(world: &mut World, random: &mut Random, anti_replay: AntiReplay) {
    let node = random.index(3);
    let kinds = if anti_replay == AntiReplay::Time { 7 } else { 4 };
    let down = random.between(0, 20 * SECOND);
    match random.index(kinds) {
        0 => world.upgrade(node),
        1 => world.input(node, Input::Priority(random.of(&[50, 100, 150, 200, 254]))),
        2 => world.input(node, Input::Failover),
        3 => world.set_clock(node, random.of(&[-2, -1, 0, 1, 2])),
        kind => {
            match kind {
                4 => world.crash(node),
                5 => world.stop(node),
                _ => world.connect(node, false),
            }
            world.run(down);
            if kind == 6 {
                world.connect(node, true);
            } else {
                world.start(node);
            }
            world.run(u64::from(2 * WINDOW) * SECOND + 2 * INTERVAL);
        }
    }
}

/// Returns a packet that an attacker can make from the captured ones: a replay, a changed advert,
/// or an advert with the trailer of another one.
fn forge(world: &World, random: &mut Random) -> Packet {
    let captured = world.captured();
    // Half of the packets are recent.
    let recent = captured.len().saturating_sub(4 * VIRTUAL_ROUTERS.len());
    let from = if random.one_in(2) { recent } else { 0 };
    let [packet, other] = [(); 2].map(|()| &captured[from + random.index(captured.len() - from)].1);
    let packet = packet.clone();
    match random.index(8) {
        0 | 1 => packet,
        2 => packet.with_priority(random.of(&[0, 255])),
        3 => packet.with_priority(random.of(&[0, 255])).unsigned(),
        4 => packet.with_vrid(3 - other.vrid()),
        5 => packet.with_trailer_of(other),
        6 => packet.later_by(u32::try_from(random.between(1, 10)).expect("small")),
        _ => Packet { source: other.source, ..packet },
    }
}
