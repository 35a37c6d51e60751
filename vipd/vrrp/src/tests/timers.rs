//! Timers and intervals (M1 to M5, T7).

use super::*;

/// Returns an advert with the given interval field.
fn with_interval(script: &Script, priority: u8, interval: u16) -> Input {
    Input::Advert(Received { interval, ..script.received(priority, HIGHER) })
}

#[test]
fn m1_skew_and_down_interval_follow_the_learned_interval() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 10));
    let skew = 156 * 100 * MILLI / 256;
    assert_eq!(script.next(), Some(300 * MILLI + skew), "M1: learned 100 ms");
    let snapshot = script.router.snapshot();
    assert_eq!(snapshot.active_interval.nanos(), 100 * MILLI);
    assert_eq!((snapshot.skew, snapshot.master_down_interval), (skew, 300 * MILLI + skew));
    script.input(with_interval(&script, 200, 4095));
    assert_eq!(script.next(), Some(3 * 40_950 * MILLI + 156 * 40_950 * MILLI / 256), "M1: learned 40.95 s");
}

#[test]
fn m2_priority_zero_uses_the_skew_time_of_the_learned_interval() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 10));
    // The interval of a priority-0 advert is not adopted.
    script.input(with_interval(&script, 0, 4000));
    assert_eq!(script.next(), Some(156 * 100 * MILLI / 256), "M2");
}

#[test]
fn m3_skew_time_at_one_centisecond_is_not_rounded_to_zero() {
    for (priority, nanos) in
        [(255, 39_062), (254, 78_125), (200, 2_187_500), (100, 6_093_750), (1, 9_960_937)]
    {
        let config = RouterConfig { priority, preempt: false, ..config(Version::V3, 10 * MILLI) };
        let mut script = Script::started(config);
        if priority == 255 {
            // An owner yields to another owner (erratum 8298).
            script.advert(255, HIGHER);
        }
        script.advert(255, HIGHER);
        assert_eq!(script.next(), Some(30 * MILLI + nanos), "M3: priority {priority}");
        script.advert(0, HIGHER);
        assert_eq!(script.next(), Some(nanos), "M3: priority {priority}");
    }
}

#[test]
fn m4_and_t7_a_master_uses_its_own_interval() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 20));
    script.wait(600 * MILLI + 156 * 200 * MILLI / 256);
    assert_eq!(script.state(), State::Master);
    let sent = script.wait(3 * SECOND);
    assert_eq!(adverts(&sent), [SECOND, 2 * SECOND, 3 * SECOND], "M4, T7: not every 200 ms");
    assert_eq!(script.router.snapshot().active_interval.nanos(), SECOND, "M4");
}

#[test]
fn m4_a_stalled_master_that_yields_uses_its_own_interval() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 4095));
    script.advert(0, HIGHER);
    script.wait(40_950 * MILLI);
    assert_eq!(script.state(), State::Master);
    script.stall(10 * SECOND);
    script.input(Input::FeedLoss);
    assert_eq!(script.state(), State::Backup);
    assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256), "M4: not the 40.95 s learned before");
}

#[test]
fn m5_a_restart_resets_the_learned_interval() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 4095));
    script.input(Input::Shutdown);
    script.input(Input::PrimaryAddress(OURS));
    assert_eq!(script.next(), Some(3 * SECOND + 156 * SECOND / 256), "M5");
}

#[test]
fn s12_no_interval_is_learned_from_a_lower_priority_master() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 50, 4095));
    assert_eq!(script.router.snapshot().active_interval.nanos(), SECOND, "S12");
}

#[test]
fn s22_a_master_that_yields_adopts_the_winners_interval() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 10));
    assert_eq!(script.next(), Some(300 * MILLI + 156 * 100 * MILLI / 256), "S22");
}

#[test]
fn active_down_timer_is_counted_from_the_arrival_in_the_kernel() {
    for priority in [0, 100, 200] {
        let mut script = Script::started(config(Version::V3, SECOND));
        let advert = script.received(priority, HIGHER);
        script.stall(300 * MILLI);
        let skew = 156 * SECOND / 256;
        let wait = if priority == 0 { skew } else { 3 * SECOND + skew };
        script.input(Input::Advert(advert));
        assert_eq!(script.next(), Some(wait - 300 * MILLI), "priority {priority}");
    }
    let mut script = Script::master(config(Version::V3, SECOND));
    let advert = script.received(200, HIGHER);
    script.stall(300 * MILLI);
    script.input(Input::Advert(advert));
    assert_eq!(script.next(), Some(2700 * MILLI + 156 * SECOND / 256), "S22");
}

#[test]
fn s20_a_late_adver_timer_keeps_its_phase_and_sends_no_backlog() {
    let mut script = Script::master(config(Version::V3, SECOND));
    script.stall(1200 * MILLI);
    assert_eq!(script.input(Input::Timeout), [ADVERT]);
    assert_eq!(script.next(), Some(800 * MILLI), "200 ms late: same phase");
    script.stall(3800 * MILLI);
    assert_eq!(script.input(Input::Timeout), [ADVERT, ANNOUNCE], "one advert, not four");
    assert_eq!(script.next(), Some(SECOND));
}

#[test]
fn a_late_takeover_reports_how_late_it_was() {
    let mut script = Script::started(config(Version::V3, SECOND));
    let due = script.next().expect("Backup has a timer");
    script.stall(due + 7 * MILLI);
    script.input(Input::Timeout);
    assert!(matches!(script.events[..], [Event::StateChanged { late, .. }] if late == 7 * MILLI));
}

#[test]
fn steady_is_the_last_advert_of_the_current_master() {
    let mut script = Script::started(config(Version::V3, SECOND));
    assert_eq!(script.router.steady(), None, "no master is followed");
    script.input(with_interval(&script, 200, 100));
    let steady = script.router.steady().expect("a master is followed");
    assert_eq!((steady.priority, steady.interval), (200, 100));
    assert_eq!(steady.down_interval, 3 * SECOND + 156 * SECOND / 256);
    script.input(with_interval(&script, 210, 100));
    let changed = script.router.steady().expect("still followed");
    assert_eq!(changed.priority, 210);
    script.advert(0, changed.source);
    assert_eq!(script.router.steady(), None, "priority 0");
    script.input(with_interval(&script, 210, 100));
    assert_eq!(script.router.steady(), Some(changed), "followed again");
    script.wait(10 * SECOND);
    script.input(Input::Timeout);
    assert_eq!(script.router.state(), State::Master);
    assert_eq!(script.router.steady(), None, "a master handles every advert");
}

#[test]
fn an_advert_with_further_effects_is_not_steady() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 200));
    assert_eq!(script.router.steady(), None, "an interval mismatch is counted");
    let other = Received { addresses: 1, ..script.received(200, HIGHER) };
    script.input(Input::Advert(other));
    assert_eq!(script.router.steady(), None, "an address list mismatch is counted");

    let mut script = Script::started(config(Version::V3, SECOND));
    script.input(with_interval(&script, 200, 100));
    script.input(Input::Advert(script.received(150, LOWER)));
    assert_eq!(script.router.steady(), None, "the higher-priority master's floor applies");
    script.wait(2 * SECOND);
    script.input(Input::Advert(script.received(150, LOWER)));
    assert!(script.router.steady().is_some(), "the floor has expired");

    let delayed = RouterConfig { preempt_delay: 5 * SECOND, ..config(Version::V3, SECOND) };
    let mut script = Script::started(delayed);
    script.advert(50, LOWER);
    assert_eq!(script.router.snapshot().master, Some(LOWER));
    assert_eq!(script.router.steady(), None, "an advert can end preempt_delay");
}

#[test]
fn preempt_delay_of_a_returning_lower_priority_master_is_not_skipped() {
    let mut script =
        Script::started(RouterConfig { preempt_delay: 10 * SECOND, ..config(Version::V3, SECOND) });
    script.advert(50, LOWER);
    script.advert(0, LOWER);
    script.input(Input::FeedLoss);
    assert_eq!(script.router.steady(), None, "the next advert starts preempt_delay");
    script.advert(50, LOWER);
    assert!(script.router.snapshot().hold_until.is_some());
}

/// The silence is counted from a feed loss, because the lost adverts may have been the master's.
#[test]
fn backup_has_been_silent_since_the_last_advert_or_loss_once_its_timer_has_fired() {
    let mut script = Script::started(config(Version::V3, SECOND));
    script.wait(SECOND);
    script.advert(200, HIGHER);
    let since = script.now;
    let down = script.next().expect("a timer");
    assert_eq!(script.router.silent_since(script.now + (down - 1)), None, "the timer runs");
    assert_eq!(script.router.silent_since(script.now + down), Some(since));
    script.stall(SECOND);
    script.input(Input::FeedLoss);
    assert_eq!(script.router.silent_since(script.now + down), Some(script.now));
    let lost = script.now;
    script.advert(50, LOWER);
    assert_eq!(script.router.silent_since(lost + down), Some(lost), "a second, lower-priority master");

    script.advert(0, HIGHER);
    let skew = script.next().expect("a timer");
    assert_eq!(script.router.silent_since(script.now + skew), None, "the master has resigned");
    assert_eq!(Script::master(config(Version::V3, SECOND)).router.silent_since(since), None);
}
