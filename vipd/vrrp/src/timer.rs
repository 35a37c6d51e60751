//! The timers of one virtual router.

use vipd_common::Timestamp;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Active_Down_Timer: the master has been silent for too long.
    MasterDown,
    /// Adver_Timer: the next advert is due.
    Advert,
    /// The start of the virtual router, after the configured delay.
    Startup,
    /// The second burst of announcements after a takeover.
    AnnounceAgain,
    /// The next announcement of a master that stays.
    Refresh,
    /// Two masters have healed: tell the segment again which one is left.
    Reannounce,
}

const ALL: [Timer; 6] = [
    Timer::Advert,
    Timer::MasterDown,
    Timer::Startup,
    Timer::AnnounceAgain,
    Timer::Refresh,
    Timer::Reannounce,
];

/// A deadline for each timer that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers([Option<Timestamp>; ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.0[timer as usize] = Some(at);
    }

    /// Sets a timer that comes again and again: it keeps its cadence, unless it is late by a whole period.
    pub(super) fn set_next(&mut self, timer: Timer, deadline: Timestamp, period: u64, now: Timestamp) {
        let next = deadline + period;
        self.set(timer, if next > now { next } else { now + period });
    }

    pub(super) fn stop_all(&mut self) {
        self.0 = [None; ALL.len()];
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Timestamp> {
        self.0[timer as usize]
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.iter().flatten().min().copied()
    }

    /// Stops and returns a timer whose deadline has come, with the deadline; adverts before everything else.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(Timer, Timestamp)> {
        for timer in ALL {
            let slot = &mut self.0[timer as usize];
            if let Some(at) = slot.take_if(|at| *at <= now) {
                return Some((timer, at));
            }
        }
        None
    }
}
