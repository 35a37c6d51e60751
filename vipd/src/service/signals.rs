//! The agent's response to each signal.
//!
//! Apart from SIGKILL, SIGSTOP and the signals of a crash (such as SIGABRT), no signal suspends the
//! agent or ends it without a clean shutdown. After an unclean end, only the fence and the guardian
//! would deal with its VIPs. With `fence = "off"`, the VIPs would remain, and the host would answer
//! ARP requests and Neighbor Solicitations for them alongside the new master. For the same reason,
//! SIGQUIT shuts down cleanly instead of dumping core.

use crate::process::Received;

/// A response to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// Shut down cleanly.
    Stop,
    /// Reload the configuration.
    Reload,
    /// Do nothing.
    Ignore,
}

impl Response {
    /// Returns the response to a signal and the signal's name. The name of an ignored signal is
    /// `"signal"`.
    pub(super) fn to(signal: Received) -> (Self, &'static str) {
        match signal.number {
            libc::SIGTERM => (Self::Stop, "SIGTERM"),
            libc::SIGINT => (Self::Stop, "SIGINT"),
            libc::SIGQUIT => (Self::Stop, "SIGQUIT"),
            // The soft limit on CPU time is exceeded; SIGKILL follows at the hard limit.
            libc::SIGXCPU => (Self::Stop, "SIGXCPU"),
            // Power failure.
            libc::SIGPWR => (Self::Stop, "SIGPWR"),
            libc::SIGHUP => (Self::Reload, "SIGHUP"),
            _ => (Self::Ignore, "signal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn termination_signals_shut_down_cleanly_and_only_sighup_reloads() {
        let response = |number| Response::to(Received { number, sender: 0 }).0;
        for number in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGXCPU, libc::SIGPWR] {
            assert_eq!(response(number), Response::Stop, "{number}");
        }
        assert_eq!(response(libc::SIGHUP), Response::Reload);
        for number in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGTSTP, libc::SIGRTMIN()] {
            assert_eq!(response(number), Response::Ignore, "{number}");
        }
    }
}
