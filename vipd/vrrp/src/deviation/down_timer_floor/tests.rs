//! Masters with different intervals (S11).

use crate::Policy;
use crate::tests::*;

/// Returns an advert with this interval field.
fn with_interval(script: &Script, priority: u8, interval: u16) -> Input {
    Input::Advert(Received { interval, ..script.received(priority, HIGHER) })
}

/// The yielding master's last advert arrives after the winner's first one and carries a shorter
/// interval.
#[test]
fn an_outranked_master_does_not_shorten_the_wait() {
    let next_advert = SECOND + 156 * SECOND / 256;
    let short = |script: &Script, priority| Received { interval: 1, ..script.received(priority, LOWER) };
    for priority in [150, 200] {
        let mut script = Script::started(config(Version::V3, SECOND));
        script.input(with_interval(&script, 200, 100));
        assert_eq!(script.next(), Some(2 * SECOND + next_advert));
        script.input(Input::Advert(short(&script, priority)));
        assert_eq!(script.next(), Some(next_advert), "priority {priority}: until its next advert is overdue");
        script.input(Input::FeedLoss);
        assert_eq!(script.next(), Some(next_advert), "nor do lost adverts");
        script.wait(SECOND);
        script.input(with_interval(&script, 200, 100));
        assert_eq!(script.next(), Some(2 * SECOND + next_advert), "it is alive");
        // The winner dies and the other master continues: the takeover waits no longer than the
        // winner's next advert was due.
        script.wait(SECOND);
        script.input(Input::Advert(short(&script, priority)));
        script.wait(next_advert - SECOND - MILLI);
        script.input(Input::Advert(short(&script, priority)));
        assert_eq!(script.next(), Some(30 * MILLI + 156 * 10 * MILLI / 256), "the floor is over");
    }
}

/// A split brain with three intervals; found by the simulator.
#[test]
fn a_later_floor_does_not_replace_the_floor_of_an_outranked_master() {
    let next_advert = SECOND + 156 * SECOND / 256;
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 100));
    script.input(Input::Advert(Received { interval: 300, ..script.received(150, LOWER) }));
    script.input(Input::Advert(Received { interval: 2, ..script.received(151, LOWER) }));
    assert_eq!(script.next(), Some(next_advert));
}

#[test]
fn the_floor_ends_with_priority_zero_another_advert_or_a_better_master() {
    let down = 3 * 10 * MILLI + 156 * 10 * MILLI / 256;
    // The master sends priority 0 after an advert of another router.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 400));
    script.input(Input::Advert(Received { interval: 1, ..script.received(150, LOWER) }));
    script.advert(0, HIGHER);
    assert_eq!(script.next(), Some(156 * 10 * MILLI / 256), "Skew_Time of the interval learned last");
    // The master changes its priority and interval.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 100));
    script.input(with_interval(&script, 120, 1));
    assert_eq!(script.next(), Some(down), "its own advert");
    // A third router outranks the master.
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(Input::Advert(Received { interval: 100, ..script.received(150, LOWER) }));
    script.input(with_interval(&script, 200, 1));
    assert_eq!(script.next(), Some(down), "a better master");
}

#[test]
fn with_the_switch_off_the_last_interval_counts() {
    let policy = Policy { down_timer_floor: false, ..Policy::VIPD };
    let mut script = Script::started_with(config(Version::V3, SECOND), policy);
    script.input(with_interval(&script, 200, 100));
    script.input(Input::Advert(Received { interval: 1, ..script.received(150, LOWER) }));
    assert_eq!(script.next(), Some(30 * MILLI + 156 * 10 * MILLI / 256), "S11");
}
