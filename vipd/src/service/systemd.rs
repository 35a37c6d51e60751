//! Reports the agent's state to systemd (sd_notify(3)), if systemd runs it as a service.

pub(super) mod store;

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Sends notifications to the service manager. Does nothing without a service manager.
pub(super) struct Systemd {
    /// Whether a failure has been logged.
    failed: bool,
}

impl Systemd {
    pub(super) fn new() -> Self {
        Self { failed: false }
    }

    /// Returns the interval at which to call [`alive`](Self::alive), half of the watchdog interval
    /// (`WatchdogSec=`), or `None` if the watchdog is off.
    pub(super) fn watchdog_period() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|interval| interval / 2)
    }

    /// Reports that the agent has started, or that a reload has been completed or rejected.
    pub(super) fn ready(&mut self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Reports that a reload has begun. [`ready`](Self::ready) must follow.
    pub(super) fn reloading(&mut self) {
        // With `Type=notify-reload`, systemd ignores `RELOADING=1` after `systemctl reload` unless
        // the same datagram has `MONOTONIC_USEC=`.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => self.log(&error),
        }
    }

    /// Reports that another process is now the main process of the service.
    pub(super) fn main_process(&mut self, pid: u32) {
        self.send(&[NotifyState::MainPid(pid)]);
    }

    /// Reports that the agent is shutting down.
    pub(super) fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Resets the watchdog. Called only after the engine has answered.
    pub(super) fn alive(&mut self) {
        self.send(&[NotifyState::Watchdog]);
    }

    fn send(&mut self, state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            self.log(&error);
        }
    }

    fn log(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failed, true) {
            tracing::warn!(%error, "cannot notify systemd; check NotifyAccess= in the unit");
        }
    }
}
