//! Checks of the wall clock.
//!
//! vipd's timers use the monotonic clock, which cannot be set, so these checks find no problems,
//! only warnings and notes. The wall clock is needed to compare the logs and captures of several
//! nodes, and to timestamp signed adverts. [`hmac::clocks_agree`](super::hmac::clocks_agree) finds
//! clocks that differ too much for signed adverts.

use std::time::Duration;

use super::host::HOST;
use super::{hmac, list, time};
use crate::config::Instance;
use crate::doctor::{Facts, Finding};
use crate::process::STA_UNSYNC;

/// Errors above which the order of events on two nodes is uncertain. A daemon that adjusts the
/// clock every 2048 s, the longest interval of systemd-timesyncd, limits the maximum error to 1.1
/// s.
const MAXIMUM_ERROR: Duration = Duration::from_secs(2);
const ESTIMATED_ERROR: Duration = Duration::from_millis(100);
/// Estimated error until a daemon first adjusts the clock after the host was started or the clock
/// was set (`ntp_clear`, `kernel/time/ntp.c`).
const NEVER_ADJUSTED: Duration = Duration::from_secs(16);
/// Status bit of adjtimex(2): clock hardware fault.
const STA_CLOCKERR: i32 = libc::STA_CLOCKERR;
/// Smallest step of the clock that is reported, in nanoseconds.
const STEP: u64 = 10_000_000;

pub(in crate::doctor) fn clock_is_synchronized(facts: &Facts) -> Vec<Finding> {
    let state = match &facts.host.clock.state {
        Ok(state) => state,
        Err(error) => {
            return vec![
                Finding::note("clock-not-read", HOST, "the state of the wall clock is unknown")
                    .evidence(format!("adjtimex: {error}"))
                    .remedy("run this command outside the sandbox (SystemCallFilter= of a unit, seccomp of a container)"),
            ];
        }
    };
    let errors = format!(
        "estimated error {}, maximum error {}",
        time(state.estimated_error),
        time(state.maximum_error)
    );
    let is_accurate = state.maximum_error <= MAXIMUM_ERROR && state.estimated_error <= ESTIMATED_ERROR;
    if is_accurate && state.status & (STA_UNSYNC | STA_CLOCKERR) == STA_UNSYNC {
        return vec![
            Finding::note(
                "clock-unsynchronized",
                HOST,
                "a time daemon adjusts the wall clock, but does not mark it as synchronized",
            )
            .evidence(format!("adjtimex: status {:#06x}, {errors}", state.status))
            .remedy(
                "add `rtcsync` to chrony.conf, if other programs need this mark; `chronyc tracking` shows whether the \
                 clock is synchronized",
            ),
        ];
    }
    let dated = list(facts.instances().iter().filter(|one| hmac::window(one).is_some()).map(|one| &one.name));
    let (effect, need) = if dated.is_empty() {
        ("the logs of two nodes cannot be compared", "VRRP does not need a synchronized clock".to_owned())
    } else {
        (
            "this node and the other routers may drop each other's signed adverts",
            format!("instances with `anti_replay = \"time\"` need a synchronized clock: {dated}"),
        )
    };
    if state.status & STA_UNSYNC != 0 || state.has_error {
        let since = if state.estimated_error >= NEVER_ADJUSTED {
            "not adjusted since the host was started or the clock was set"
        } else {
            "no longer adjusted"
        };
        return vec![
            Finding::warning(
                "clock-unsynchronized",
                HOST,
                format!("the wall clock is not synchronized, so {effect}"),
            )
            .evidence(format!("adjtimex: status {:#06x}, {errors}: {since}", state.status))
            .remedy(format!(
                "run a time daemon on each node, for example chrony (`systemctl enable --now chrony`, then `chronyc \
                 tracking`); {need}"
            )),
        ];
    }
    if !is_accurate {
        return vec![
            Finding::warning(
                "clock-inaccurate",
                HOST,
                "the wall clock may be wrong by more than the time between two log lines",
            )
            .evidence(format!("adjtimex: {errors}"))
            .remedy(format!(
                "check whether the time daemon still reaches its servers (`chronyc tracking`, `timedatectl \
                 timesync-status`, `ntpq -p`); {need}"
            )),
        ];
    }
    Vec::new()
}

pub(in crate::doctor) fn clock_is_not_set(facts: &Facts) -> Vec<Finding> {
    let clock = &facts.host.clock;
    if clock.step.unsigned_abs() < STEP {
        return Vec::new();
    }
    let (direction, step) =
        (if clock.step > 0 { "forward" } else { "back" }, Duration::from_nanos(clock.step.unsigned_abs()));
    let is_exceeded = |instance: &Instance| hmac::window(instance).is_some_and(|window| window < step);
    let exceeded = facts.instances().iter().filter(|one| is_exceeded(one)).map(|one| &one.name);
    let exceeded = list(exceeded);
    let more = if exceeded.is_empty() {
        String::new()
    } else {
        format!(" by more than the `window` of signed adverts: {exceeded}")
    };
    vec![
        Finding::warning("clock-stepped", HOST, format!("the wall clock was set during the observation{more}"))
            .evidence(format!("{} {direction} within {}", time(step), time(clock.duration)))
            .remedy(
                "if the host was suspended, no action is needed; otherwise find the program that sets the clock (a \
                 second time daemon, a guest agent of the hypervisor, or `date`), and let one daemon slew it",
            ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;
    use crate::doctor::checks::tests::{facts, healthy};
    use crate::process::ClockState;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn findings(state: Result<ClockState, String>, step: i64) -> Vec<Finding> {
        let mut facts = healthy();
        (facts.host.clock.state, facts.host.clock.step) = (state, step);
        [clock_is_synchronized(&facts), clock_is_not_set(&facts)].concat()
    }

    #[test]
    fn states_of_adjtimex_are_judged() {
        let second = 1000;
        for (status, has_error, estimated, maximum, expected, evidence) in [
            // chrony, systemd-timesyncd a while after its last adjustment, ntpd with STA_PLL.
            (0x2000, false, 0, 20, None, ""),
            (0x2000, false, 0, 1100, None, ""),
            (0x2001, false, 1, 300, None, ""),
            // After boot without a daemon.
            (
                0x40,
                true,
                16 * second,
                16 * second,
                Some("clock-unsynchronized"),
                "status 0x0040, estimated error 16.0 s",
            ),
            (0x40, true, 16 * second, 16 * second, Some("clock-unsynchronized"), "not adjusted since"),
            // The daemon is no longer running.
            (0x2041, true, 2, 16 * second, Some("clock-unsynchronized"), "no longer adjusted"),
            // chrony without `rtcsync`, later without its servers.
            (0x40, true, 1, 30, Some("clock-unsynchronized"), "status 0x0040, estimated error 1 ms"),
            (0x40, true, 1, 4 * second, Some("clock-unsynchronized"), "no longer adjusted"),
            // A clock error with STA_UNSYNC, and without it.
            (0x1040, true, 2, 20, Some("clock-unsynchronized"), "no longer adjusted"),
            (0x1000, true, 2, 20, Some("clock-unsynchronized"), "status 0x1000"),
            // The daemon no longer reaches its servers.
            (0x2000, false, 0, 4 * second, Some("clock-inaccurate"), "maximum error 4.0 s"),
            (0x2000, false, 250, 900, Some("clock-inaccurate"), "estimated error 250 ms"),
        ] {
            let state = ClockState {
                status,
                has_error,
                estimated_error: MILLISECOND * estimated,
                maximum_error: MILLISECOND * maximum,
            };
            let found = findings(Ok(state), 0);
            assert_eq!(found.first().map(|finding| finding.check), expected, "{state:?}");
            assert!(found.iter().all(|finding| finding.evidence.contains(evidence)), "{evidence}: {found:?}");
            let is_note = found.iter().any(|finding| finding.severity == Severity::Note);
            assert_eq!(is_note, (status, maximum) == (0x40, 30), "{found:?}");
        }
    }

    #[test]
    fn instances_whose_adverts_are_dated_need_the_clock() {
        let never = ClockState {
            status: 0x40,
            has_error: true,
            estimated_error: MILLISECOND * 16_000,
            maximum_error: MILLISECOND * 16_000,
        };
        let late = ClockState { status: 0x2000, has_error: false, estimated_error: MILLISECOND, ..never };
        let rules = format!("hmac.keys = [{{ id = 1, hex = \"{}\" }}]", "5a".repeat(32));
        for (more, remedy, step) in [
            ("", "VRRP does not need a synchronized clock", "observation"),
            (&*rules, "need a synchronized clock: a", "by more than the `window` of signed adverts: a"),
            (
                &format!("{rules}\nhmac.anti_replay = \"monotonic\""),
                "VRRP does not need a synchronized clock",
                "observation",
            ),
        ] {
            for state in [never, late] {
                let mut facts = facts(more, &[]);
                (facts.host.clock.state, facts.host.clock.step) = (Ok(state), 6_000_000_000);
                let found = [clock_is_synchronized(&facts), clock_is_not_set(&facts)].concat();
                assert!(found[0].remedy.ends_with(remedy) && found[1].summary.ends_with(step), "{found:?}");
            }
        }
    }

    #[test]
    fn denied_adjtimex_is_a_note() {
        let found = findings(Err("Operation not permitted (os error 1)".to_owned()), 0);
        assert_eq!((found.len(), found[0].check), (1, "clock-not-read"), "{found:?}");
        assert_eq!(found[0].evidence, "adjtimex: Operation not permitted (os error 1)");
    }

    #[test]
    fn steps_are_found_in_both_directions() {
        let healthy = healthy().host.clock.state;
        for (step, evidence) in [
            (0, None),
            (-9_000_000, None),
            (3_600_000_000_000, Some("3600.0 s forward within 4.0 s")),
            (-25_000_000, Some("25 ms back within 4.0 s")),
            (i64::MIN, Some("9223372036.9 s back within 4.0 s")),
        ] {
            let found = findings(healthy.clone(), step);
            assert_eq!(found.first().map(|finding| finding.evidence.as_str()), evidence, "{step}");
        }
    }
}
