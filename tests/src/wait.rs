//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Interval between checks of a condition; a tenth of the minimum VRRP interval.
const POLL: Duration = Duration::from_millis(1);

/// Waits up to `timeout` for `condition` to become true.
///
/// # Errors
/// Returns an error after `timeout`. `description` completes the message "timed out after N s
/// waiting for …".
pub fn wait_until(description: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    try_wait_until(description, timeout, || Ok(condition()))
}

/// Waits up to `timeout` for `condition` to become true. An error from `condition` ends the wait.
///
/// # Errors
/// Returns the error from `condition`, or an error after `timeout` as [`wait_until`] does.
pub fn try_wait_until(
    description: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() >= timeout {
            bail!("timed out after {:.1} s waiting for {description}", timeout.as_secs_f64());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_is_checked_until_true() {
        let mut checks = 0;
        wait_until("three checks", Duration::from_secs(5), || {
            checks += 1;
            checks == 3
        })
        .unwrap();
        assert_eq!(checks, 3);
    }

    #[test]
    fn timeout_names_the_condition() {
        let error = wait_until("an impossible condition", Duration::from_millis(2), || false).unwrap_err();
        assert!(error.to_string().contains("an impossible condition"), "{error}");
    }
}
