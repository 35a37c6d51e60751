//! Answers to losing adverts (S23) and to priority-0 adverts (S21).

use super::*;
use crate::Policy;
use crate::tests::*;

#[test]
fn a_burst_is_followed_by_one_answer_per_period() {
    let at = |millis: u64| Timestamp::from_nanos((10_000 + millis) * MILLI);
    let mut limit = AnswerLimit::new(10 * MILLI);
    let granted = (0..100).filter(|_| limit.take(at(0))).count();
    assert_eq!(granted, 3, "the burst");
    assert!(!limit.take(at(9)));
    assert!(limit.take(at(10)));
    assert!(!limit.take(at(11)));
    let granted = (0..1000).filter(|step| limit.take(at(20 + step))).count();
    assert_eq!(granted, 100, "one per 10 ms for a second");
}

#[test]
fn long_intervals_allow_one_answer_per_100_ms() {
    let mut limit = AnswerLimit::new(40_950 * MILLI);
    let at = |millis: u64| Timestamp::from_nanos((100_000 + millis) * MILLI);
    let granted = (0..1000).filter(|step| limit.take(at(*step))).count();
    assert_eq!(granted, 3 + 9);
}

#[test]
fn answers_to_losing_adverts_are_rate_limited() {
    for (interval, period) in [(SECOND, 100), (50 * MILLI, 50), (10 * MILLI, 10)] {
        let mut script = Script::master(config(Version::V3, interval));
        let mut answers = 0;
        // 1000 losing adverts in one second, one per millisecond.
        for _ in 0..1000 {
            answers += script.advert(100, LOWER).iter().filter(|action| **action == ADVERT).count();
            script.stall(MILLI);
        }
        let counters = script.router.snapshot().counters;
        let most = 3 + 1000 / period;
        assert!((most - 1..=most).contains(&answers), "S23: {answers} answers, period {period} ms");
        assert_eq!(counters.asserts_sent, answers as u64);
        assert_eq!(counters.asserts_suppressed, 1000 - answers as u64);
    }
}

#[test]
fn the_burst_is_available_again_after_a_pause() {
    let mut script = Script::master(config(Version::V3, SECOND));
    for _ in 0..2 {
        let answers: Vec<_> = (0..5).map(|_| script.advert(99, HIGHER).len()).collect();
        assert_eq!(answers, [1, 1, 1, 0, 0], "S23");
        script.stall(400 * MILLI);
    }
}

/// A flood of priority-0 adverts does not trigger a flood of answers.
#[test]
fn answers_to_priority_zero_are_rate_limited() {
    for version in VERSIONS {
        let mut script = Script::master(config(version, SECOND));
        let (mut answers, mut periodic) = (0, 0);
        // 10,000 priority-0 adverts in 10 seconds, one per millisecond.
        for _ in 0..10_000 {
            answers += script.advert(0, LOWER).len();
            periodic += adverts(&script.wait(MILLI)).len();
        }
        let counters = script.router.snapshot().counters;
        assert!((100..=103).contains(&answers), "VRRPv{version}: {answers} answers");
        assert_eq!(
            (counters.asserts_sent, counters.asserts_suppressed),
            (answers as u64, 10_000 - answers as u64)
        );
        assert_eq!(periodic, 0, "S21: each answer restarts Adver_Timer");
        assert_eq!(script.state(), State::Master);
    }
}

#[test]
fn a_suppressed_answer_does_not_restart_adver_timer() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.wait(900 * MILLI);
    let next: Vec<_> = (0..4).map(|_| (script.advert(0, LOWER).len(), script.next())).collect();
    assert_eq!(next, [(1, Some(SECOND)); 3].into_iter().chain([(0, Some(SECOND))]).collect::<Vec<_>>());
    script.stall(80 * MILLI);
    assert_eq!((script.advert(0, LOWER).len(), script.next()), (0, Some(920 * MILLI)));
}

#[test]
fn losing_and_priority_zero_adverts_share_one_limit() {
    let mut script = Script::master(config(Version::V3, SECOND));
    let answers: Vec<_> = [0, 50, 0, 50, 0].map(|priority| script.advert(priority, HIGHER).len()).into();
    assert_eq!(answers, [1, 1, 1, 0, 0]);
}

#[test]
fn without_the_deviation_every_advert_is_answered() {
    for priority in [0, 50] {
        let policy = Policy { answer_limit: false, ..Policy::VIPD };
        let mut script = Script::master_with(config(Version::V3, SECOND), policy);
        for _ in 0..100 {
            assert_eq!(script.advert(priority, HIGHER), [ADVERT], "S21, S23");
        }
    }
}
