//! Synthetic handovers, lawful and unlawful.

use std::time::Duration;

use super::*;
use crate::chaos::judge::Mark;
use crate::random::Random;

const HIGH: (u8, u8) = (1, 220);
const LOW: (u8, u8) = (2, 170);

fn at(millis: i64) -> WallTime {
    WallTime::from_parts(1, millis * 1_000_000)
}

/// Nodes whose priorities descend from 220 in steps of 50, with an advert interval of 100 ms. All
/// agents run.
struct Scene {
    ownership: Ownership,
    stalls: Stalls,
    next_question: u16,
}

impl Scene {
    fn new(nodes: u8) -> Self {
        let mut segment = Segment::with_interval(nodes, 1, Duration::from_millis(100), &mut Random::new(1));
        segment.routers[0].priorities = (0..nodes).map(|node| 220 - 50 * node).collect();
        let ownership = Ownership::new(&segment, Bounds::default());
        let mut scene = Self { ownership, stalls: Stalls::default(), next_question: 0 };
        (1..=nodes).for_each(|node| scene.process(0, node, Activity::Running));
        scene
    }

    /// Creates a scene in which node 1 or 2 sends adverts as master until 0.9 s. The adverts reach
    /// the other node.
    fn with_master(master: (u8, u8)) -> Self {
        let mut scene = Self::new(2);
        (0..=9).for_each(|number| scene.advert(number * 100, master));
        scene
    }

    /// Creates a scene in which node 1 is master until its agent dies at 0.95 s.
    fn with_dead_master() -> Self {
        let mut scene = Self::with_master(HIGH);
        scene.process(950, 1, Activity::Dead);
        scene
    }

    fn observe(&mut self, event: &Event) -> bool {
        self.ownership.observe(event, &self.stalls).is_some()
    }

    fn change(&mut self, millis: i64, change: Change) {
        self.observe(&Event::Mark(Mark { time: at(millis), change }));
    }

    fn process(&mut self, millis: i64, node: u8, activity: Activity) {
        self.change(millis, Change::Process(node, activity));
    }

    fn observation(&mut self, millis: i64, node: u8, sent: bool, meaning: Meaning) -> bool {
        let port = Station::Node(node);
        self.observe(&Event::Observation(Observation { time: at(millis), port, sent, router: 0, meaning }))
    }

    fn lost_advert(&mut self, millis: i64, (node, priority): (u8, u8)) {
        self.observation(millis, node, true, Meaning::Advert { node, priority });
    }

    /// Sends an advert that reaches one other node.
    fn advert_to(&mut self, millis: i64, (node, priority): (u8, u8), to: u8) {
        self.lost_advert(millis, (node, priority));
        self.observation(millis, to, false, Meaning::Advert { node, priority });
    }

    /// Sends an advert from node 1 or 2 to the other.
    fn advert(&mut self, millis: i64, (node, priority): (u8, u8)) {
        self.advert_to(millis, (node, priority), 3 - node);
    }

    /// Returns whether the node's answer to a question at this time is reported.
    fn answer_is_reported(&mut self, millis: i64, node: u8) -> bool {
        self.late_answer_is_reported(millis, millis, node)
    }

    fn late_answer_is_reported(&mut self, asked: i64, answered: i64, node: u8) -> bool {
        self.next_question += 1;
        let question = Question::Direct(self.next_question);
        self.observation(asked, node, false, Meaning::Request(question));
        self.observation(answered, node, true, Meaning::Answer(question))
    }
}

#[test]
fn dead_master_may_answer_until_the_new_masters_advert() {
    let mut scene = Scene::with_dead_master();
    assert!(!scene.answer_is_reported(1200, 1), "no other node has taken over");
    scene.advert(1240, LOW);
    assert!(!scene.answer_is_reported(1242, 1), "within the kernel's bound");
    assert!(!scene.answer_is_reported(1250, 2));
    assert!(scene.answer_is_reported(1260, 1));
}

#[test]
fn crossing_advert_of_a_new_master_is_lawful_within_the_reaction_time() {
    let adverts = |third: i64| {
        let mut scene = Scene::new(3);
        for millis in (0..=900).step_by(100) {
            scene.lost_advert(millis, HIGH);
            for to in [2, 3] {
                scene.observation(millis, to, false, Meaning::Advert { node: 1, priority: 220 });
            }
        }
        scene.process(950, 1, Activity::Dead);
        scene.advert_to(1240, LOW, 3);
        scene.lost_advert(third, (3, 120));
        scene
    };
    let mut crossing = adverts(1242);
    assert!(!crossing.observation(1242, 3, true, Meaning::Announcement));
    assert!(!crossing.answer_is_reported(1244, 3));
    crossing.advert_to(1250, LOW, 3);
    assert!(crossing.answer_is_reported(1252, 3));
    let mut late = adverts(1248);
    assert!(late.observation(1248, 3, true, Meaning::Announcement));
}

#[test]
fn each_handover_is_reported_once_but_all_answers_are_counted() {
    let mut scene = Scene::with_dead_master();
    scene.advert(1240, LOW);
    assert!(scene.answer_is_reported(1260, 1));
    assert!(!scene.answer_is_reported(1270, 1));
    assert_eq!(scene.ownership.unlawful, 2);
}

#[test]
fn answer_to_an_earlier_question_is_lawful() {
    let mut scene = Scene::with_dead_master();
    scene.advert(1240, LOW);
    assert!(!scene.late_answer_is_reported(1230, 1260, 1));
    assert!(scene.late_answer_is_reported(1250, 1260, 1));
}

#[test]
fn dead_master_may_answer_until_an_advert_reaches_it() {
    let mut scene = Scene::with_dead_master();
    scene.lost_advert(1240, LOW);
    assert!(!scene.answer_is_reported(1300, 1), "the advert did not reach node 1");
    scene.advert(1340, LOW);
    assert!(scene.answer_is_reported(1350, 1));
}

#[test]
fn suspended_master_is_judged_like_a_dead_one() {
    let mut scene = Scene::with_master(HIGH);
    scene.process(950, 1, Activity::Suspended);
    scene.advert(1240, LOW);
    assert!(scene.answer_is_reported(1250, 1));
}

#[test]
fn resumed_master_answers_only_after_its_own_advert() {
    let mut scene = Scene::with_master(HIGH);
    scene.process(950, 1, Activity::Suspended);
    scene.advert(1240, LOW);
    scene.process(2000, 1, Activity::Running);
    assert!(scene.answer_is_reported(2010, 1));
    scene.advert(2020, HIGH);
    assert!(!scene.answer_is_reported(2030, 1));
    assert!(!scene.answer_is_reported(2024, 2), "node 2 has time to react");
    assert!(scene.answer_is_reported(2040, 2));
}

#[test]
fn lower_priority_advert_does_not_supersede_a_master_with_fresh_adverts() {
    let mut scene = Scene::new(2);
    (0..=9).for_each(|number| scene.lost_advert(number * 100, HIGH));
    scene.advert(950, LOW);
    assert!(!scene.answer_is_reported(960, 1), "node 2 receives no adverts of node 1");
    assert!(!scene.answer_is_reported(960, 2));
    scene.advert(1000, HIGH);
    assert!(scene.answer_is_reported(1010, 2), "an advert of node 1 has reached node 2");
}

#[test]
fn running_master_has_the_reaction_time_when_outranked() {
    let mut scene = Scene::with_master(LOW);
    scene.advert(950, HIGH);
    assert!(!scene.answer_is_reported(954, 2));
    assert!(scene.answer_is_reported(956, 2));
}

#[test]
fn master_that_dies_while_yielding_is_judged_by_its_lease() {
    let mut scene = Scene::with_master(LOW);
    scene.advert(950, HIGH);
    scene.process(952, 2, Activity::Dead);
    assert!(!scene.answer_is_reported(970, 2), "the master's next advert is due at 1.0 s");
    scene.advert(1000, HIGH);
    assert!(!scene.answer_is_reported(1010, 2));
    scene.advert(1050, HIGH);
    assert!(scene.answer_is_reported(1060, 2));
}

#[test]
fn suspended_master_is_fenced_by_an_advert_that_outranks_it() {
    let mut scene = Scene::with_master(LOW);
    scene.process(901, 2, Activity::Suspended);
    scene.advert(950, HIGH);
    assert!(!scene.answer_is_reported(952, 2), "within the kernel's bound");
    assert!(scene.answer_is_reported(953, 2));
    let mut outranking = Scene::with_master(HIGH);
    outranking.process(901, 1, Activity::Suspended);
    outranking.advert(950, LOW);
    assert!(!outranking.answer_is_reported(990, 1), "its own next advert is due at 1.0 s");
}

#[test]
fn master_suspended_while_yielding_must_be_silent_at_once() {
    let mut scene = Scene::with_master(LOW);
    scene.advert(950, HIGH);
    scene.process(952, 2, Activity::Suspended);
    assert!(scene.answer_is_reported(956, 2));
}

#[test]
fn master_suspended_after_crossing_adverts_is_fenced_by_the_next_advert() {
    let mut scene = Scene::new(2);
    scene.advert(1000, HIGH);
    scene.lost_advert(1001, LOW);
    scene.process(1002, 2, Activity::Suspended);
    assert!(!scene.answer_is_reported(1050, 2), "no advert has reached the node since its own");
    scene.advert(1100, HIGH);
    assert!(scene.answer_is_reported(1103, 2));
}

#[test]
fn master_whose_last_adverts_were_lost_is_judged_by_its_lease() {
    let dead = |since: i64| {
        let mut scene = Scene::new(2);
        (0..=6).for_each(|number| scene.advert(number * 100, HIGH));
        (7..=9).for_each(|number| scene.lost_advert(number * 100, HIGH));
        scene.process(since, 1, Activity::Dead);
        scene
    };
    let mut fresh = dead(905);
    fresh.advert(940, LOW);
    assert!(!fresh.answer_is_reported(950, 1), "the master's next advert is due at 1.0 s");
    fresh.advert(1040, LOW);
    assert!(fresh.answer_is_reported(1050, 1));
    let mut overdue = dead(905);
    overdue.advert(1030, LOW);
    assert!(overdue.answer_is_reported(1040, 1), "long before three intervals are over");
}

#[test]
fn answer_delayed_by_neighbor_resolution_is_judged_by_its_question() {
    let mut scene = Scene::with_dead_master();
    for question in [Question::Echo(1), Question::Direct(1), Question::Direct(257)] {
        scene.observation(1000, 1, false, Meaning::Request(question));
    }
    scene.advert(1240, LOW);
    for question in [Question::Echo(1), Question::Direct(1)] {
        assert!(!scene.observation(4000, 1, true, Meaning::Answer(question)));
    }
}

#[test]
fn priority_0_ends_a_lease() {
    let mut scene = Scene::with_master(HIGH);
    scene.advert(950, (1, 0));
    scene.process(951, 1, Activity::Dead);
    assert!(!scene.answer_is_reported(960, 1), "no other node has taken over");
    scene.advert(980, LOW);
    assert!(scene.answer_is_reported(990, 1), "long before three intervals are over");
}

/// RFC 9568 section 6.4.2: a priority-0 advert sets the timer to Skew_Time, even if another router
/// of higher priority, which did not receive that advert, still advertises.
#[test]
fn backup_owns_the_address_after_priority_0_until_the_next_advert() {
    let mut scene = Scene::new(3);
    for millis in (0..=900).step_by(100) {
        scene.advert_to(millis, HIGH, 3);
        scene.advert_to(millis + 40, LOW, 3);
    }
    scene.advert_to(950, (1, 0), 3);
    scene.lost_advert(1003, (3, 120));
    assert!(!scene.answer_is_reported(1010, 3));
    scene.advert_to(1040, LOW, 3);
    assert!(scene.answer_is_reported(1050, 3));
}

#[test]
fn crossing_adverts_of_two_backups_are_lawful_within_the_reaction_time() {
    let mut scene = Scene::new(3);
    scene.advert_to(1000, (2, 170), 3);
    scene.advert_to(1001, (3, 120), 2);
    assert!(!scene.answer_is_reported(1003, 3));
    assert!(!scene.answer_is_reported(1010, 2));
    assert!(scene.answer_is_reported(1010, 3));
}

#[test]
fn backup_owns_the_address_after_three_intervals_without_adverts() {
    let mut scene = Scene::with_master(HIGH);
    assert!(scene.answer_is_reported(950, 2), "a backup must be silent");
    scene.lost_advert(1000, LOW);
    scene.answer_is_reported(1001, 2);
    assert_eq!(scene.ownership.unlawful, 2, "node 2 is no owner while it receives adverts");
    scene.lost_advert(1240, LOW);
    scene.answer_is_reported(1250, 2);
    assert_eq!(scene.ownership.unlawful, 2, "lawful after three intervals without adverts");
}

#[test]
fn announcements_are_judged_by_their_own_time() {
    let mut scene = Scene::with_dead_master();
    scene.advert(1240, LOW);
    assert!(!scene.observation(1241, 1, true, Meaning::Announcement));
    assert!(scene.observation(1250, 1, true, Meaning::Announcement));
}

#[test]
fn node_without_bpf_programs_is_not_judged() {
    let mut scene = Scene::with_master(LOW);
    scene.change(940, Change::Detached { node: 2, until: at(1000) });
    scene.advert(950, HIGH);
    assert!(!scene.answer_is_reported(990, 2));
    scene.advert(1050, HIGH);
    assert!(scene.answer_is_reported(1060, 2));
}

#[test]
fn stall_of_the_machine_extends_the_reaction_time() {
    let mut scene = Scene::with_master(LOW);
    scene.stalls = Stalls::new(vec![(at(951), at(981))]);
    scene.advert(950, HIGH);
    assert!(!scene.answer_is_reported(984, 2));
    assert!(scene.answer_is_reported(986, 2));
}
