//! The agent's response to each signal.
//!
//! No catchable signal stops the agent (job control), or ends it without a clean shutdown: its
//! addresses would stay, and the host would answer ARP for them alongside the next master. SIGQUIT
//! also causes a clean shutdown instead of a core dump.

use crate::process::Received;

/// The agent's response to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// Shut down cleanly.
    Stop,
    /// Reload the configuration.
    Reload,
    /// No response.
    Ignore,
}

impl Response {
    /// Returns the response to a signal, with the signal's name if it has one here.
    pub(super) fn to(signal: Received) -> (Self, &'static str) {
        match signal.number {
            libc::SIGTERM => (Self::Stop, "SIGTERM"),
            libc::SIGINT => (Self::Stop, "SIGINT"),
            libc::SIGQUIT => (Self::Stop, "SIGQUIT"),
            // The soft limit on CPU time has run out: at the hard limit the kernel sends SIGKILL.
            libc::SIGXCPU => (Self::Stop, "SIGXCPU"),
            // Power is failing.
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
    fn requests_to_end_are_clean_shutdowns_and_the_rest_is_ignored() {
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
