//! `vipd before-stop UNIT`: run by systemd before it stops or restarts the service (`ExecStop=`).
//! Not for users.
//!
//! The agent cannot distinguish the two cases by SIGTERM. If the service is being restarted and the
//! unit has a descriptor store (`FileDescriptorStoreMax=`), this command asks the agent to leave
//! its state to the next process and to end. If it is not being restarted, if there is no store, or
//! if that cannot be determined, this command does nothing, and SIGTERM shuts the agent down.
//! systemd also runs the command after the main process has ended without a stop; `MAINPID` is then
//! unset, and the command does nothing.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::INVALID;
use super::args::RUNTIME_DIR;
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::control::runtime::DEFAULT_DIRECTORY;

/// First argument of vipd's executable that selects this mode.
pub(super) const VERB: &str = "before-stop";
/// Environment variable with the process ID of the service's main process: after an upgrade, of the
/// successor (systemd.exec(5)).
const MAIN_PROCESS: &str = "MAINPID";
/// Maximum time to wait for each answer of systemd.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the command. `arguments` follow the verb.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let [unit] = arguments else {
        eprintln!("`vipd {VERB}` is for internal use only; it is run by systemd");
        return ExitCode::from(INVALID);
    };
    let unit = unit.to_string_lossy();
    let process = std::env::var(MAIN_PROCESS).ok().and_then(|process| process.parse().ok());
    let Some(process) = process else { return ExitCode::SUCCESS };
    // Asks systemd through its private socket, which only root may use and which needs no D-Bus.
    let is_restarted = systemctl(&["list-jobs", "--no-legend", "--plain"])
        .is_some_and(|jobs| is_being_restarted(&jobs, &unit));
    let has_store = || {
        let limit = systemctl(&["show", "--property=FileDescriptorStoreMax", "--value", &unit]);
        limit.is_some_and(|limit| is_store(&limit))
    };
    if !is_restarted || !has_store() {
        return ExitCode::SUCCESS;
    }
    let directory = std::env::var_os(RUNTIME_DIR).unwrap_or_else(|| DEFAULT_DIRECTORY.into());
    match Client::new(Path::new(&directory)).change(&Request::Restart { process }) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "vipd: the restart begins with a clean shutdown, and VIPs move to other nodes: {error}"
            );
            ExitCode::FAILURE
        }
    }
}

/// Returns whether systemd's jobs (`ID UNIT TYPE STATE`) include a restart of the unit.
fn is_being_restarted(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|job| {
        let mut words = job.split_whitespace().skip(1);
        words.next() == Some(unit) && matches!(words.next(), Some("restart" | "try-restart"))
    })
}

/// Returns whether the value of the unit's property `FileDescriptorStoreMax` permits a descriptor.
fn is_store(limit: &str) -> bool {
    limit.trim().parse().is_ok_and(|limit: u32| limit > 0)
}

/// Runs `systemctl` and returns its output; `None` if it fails or does not end in time.
fn systemctl(arguments: &[&str]) -> Option<String> {
    const PAUSE: Duration = Duration::from_millis(2);
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    // Read on another thread, so that a full pipe does not block the command.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text).ok()
    });
    let until = Instant::now() + TIMEOUT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return reader.join().ok().flatten().filter(|_| status.success()),
            Ok(None) if Instant::now() < until => thread::sleep(PAUSE),
            _ => {
                // Fails only if the command has ended.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_restart_of_the_unit_itself_counts() {
        let jobs = "1723 vipd.service restart running\n1724 other.service stop running\n";
        assert!(is_being_restarted(jobs, "vipd.service"));
        for unit in ["other.service", "vipd", "vipd@1.service"] {
            assert!(!is_being_restarted(jobs, unit), "{unit}");
        }
        assert!(!is_being_restarted("1723 vipd.service stop running\n", "vipd.service"));
        assert!(is_being_restarted("1 vipd.service try-restart waiting\n", "vipd.service"));
        assert!(!is_being_restarted("No jobs running.\n", "vipd.service"));
    }

    /// Output of systemd 252 for a restart of `vipd.service`.
    #[test]
    fn columns_of_jobs_may_be_padded() {
        let jobs = "2270 systemd-networkd-wait-online.service start   waiting\n\
                    2268 vipd.service                         restart running\n";
        assert!(is_being_restarted(jobs, "vipd.service"));
        assert!(!is_being_restarted(jobs, "systemd-networkd-wait-online.service"));
        assert!(!is_being_restarted("", "vipd.service"));
    }

    #[test]
    fn store_has_room_only_for_a_positive_number() {
        assert!(is_store("1\n") && is_store("512"));
        for none in ["0\n", "", "\n", "-1", "[not set]\n"] {
            assert!(!is_store(none), "{none:?}");
        }
    }
}
