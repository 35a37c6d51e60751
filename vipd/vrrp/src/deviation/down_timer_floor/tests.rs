//! Masters with different intervals (S11).

use crate::Policy;
use crate::tests::*;

/// Returns an advert with the given interval field.
fn with_interval(script: &Script, priority: u8, interval: u16) -> Input {
    Input::Advert(Received { interval, ..script.received(priority, HIGHER) })
}

/// The yielding master's last advert arrives after the winner's first advert and has a shorter
/// interval.
#[test]
fn an_outranked_master_does_not_shorten_active_down_timer() {
    let next_advert = SECOND + 156 * SECOND / 256;
    let short = |script: &Script, priority| Received { interval: 1, ..script.received(priority, LOWER) };
    for priority in [150, 200] {
        let mut script = Script::started(config(Version::V3, SECOND));
        script.input(with_interval(&script, 200, 100));
        assert_eq!(script.next(), Some(2 * SECOND + next_advert));
        script.input(Input::Advert(short(&script, priority)));
        assert_eq!(
            script.next(),
            Some(next_advert),
            "priority {priority}: until the winner's next advert is overdue"
        );
        script.input(Input::FeedLoss);
        assert_eq!(script.next(), Some(next_advert), "lost adverts do not shorten the timer either");
        script.wait(SECOND);
        script.input(with_interval(&script, 200, 100));
        assert_eq!(script.next(), Some(2 * SECOND + next_advert), "the winner is alive");
        // The winner fails and the other master continues: the floor applies only until the
        // winner's next advert is overdue.
        script.wait(SECOND);
        script.input(Input::Advert(short(&script, priority)));
        script.wait(next_advert - SECOND - MILLI);
        script.input(Input::Advert(short(&script, priority)));
        assert_eq!(script.next(), Some(30 * MILLI + 156 * 10 * MILLI / 256), "the floor has expired");
    }
}

/// A split brain of masters with three different intervals; found by the simulator.
#[test]
fn an_outranked_master_does_not_replace_the_floor() {
    let next_advert = SECOND + 156 * SECOND / 256;
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 100));
    script.input(Input::Advert(Received { interval: 300, ..script.received(150, LOWER) }));
    script.input(Input::Advert(Received { interval: 2, ..script.received(151, LOWER) }));
    assert_eq!(script.next(), Some(next_advert));
}

#[test]
fn the_floor_ends_with_newer_adverts() {
    let down = 3 * 10 * MILLI + 156 * 10 * MILLI / 256;
    // The master sends a priority-0 advert after an advert from another router.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 400));
    script.input(Input::Advert(Received { interval: 1, ..script.received(150, LOWER) }));
    script.advert(0, HIGHER);
    assert_eq!(script.next(), Some(156 * 10 * MILLI / 256), "Skew_Time of the interval learned last");
    // The master changes its priority and interval.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 100));
    script.input(with_interval(&script, 120, 1));
    assert_eq!(script.next(), Some(down), "a newer advert from the same router");
    // A third router outranks the master.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(Input::Advert(Received { interval: 100, ..script.received(150, LOWER) }));
    script.input(with_interval(&script, 200, 1));
    assert_eq!(script.next(), Some(down), "a higher-priority master");
}

#[test]
fn without_the_deviation_the_last_interval_applies() {
    let policy = Policy { down_timer_floor: false, ..Policy::VIPD };
    let mut script = Script::started_with(config(Version::V3, SECOND), policy);
    script.input(with_interval(&script, 200, 100));
    script.input(Input::Advert(Received { interval: 1, ..script.received(150, LOWER) }));
    assert_eq!(script.next(), Some(30 * MILLI + 156 * 10 * MILLI / 256), "S11");
}
