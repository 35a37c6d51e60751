//! Waits for conditions.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Interval between checks of a condition: a tenth of the minimum VRRP interval.
const POLL: Duration = Duration::from_millis(1);

/// Waits until `condition` holds, for at most `timeout`.
///
/// # Errors
/// After `timeout`. `description` completes "timed out after N s waiting for …".
pub fn wait_until(description: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    try_wait_until(description, timeout, || Ok(condition()))
}

/// Waits until `condition` holds, for at most `timeout`; an error of the condition ends the wait.
///
/// # Errors
/// Those of the condition, or after `timeout` as in [`wait_until`].
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
    fn a_condition_is_checked_until_it_holds() {
        let mut looks = 0;
        wait_until("three checks", Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        })
        .unwrap();
        assert_eq!(looks, 3);
    }

    #[test]
    fn a_timeout_names_the_condition() {
        let error = wait_until("an impossible condition", Duration::from_millis(2), || false).unwrap_err();
        assert!(error.to_string().contains("an impossible condition"), "{error}");
    }
}
