//! Waiting for a condition instead of for luck.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at: a tenth of the shortest interval VRRP has.
const POLL: Duration = Duration::from_millis(1);

/// Waits until `condition` holds, for at most `timeout`.
///
/// # Errors
/// When the time is up. `description` completes the sentence "waited N s for …".
pub fn wait_until(description: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    try_wait_until(description, timeout, || Ok(condition()))
}

/// Waits until `condition` holds, for at most `timeout`; a condition that fails ends the wait.
///
/// # Errors
/// The condition's own, or when the time is up, as in [`wait_until`].
pub fn try_wait_until(
    description: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() >= timeout {
            bail!("waited {:.1} s for {description}, in vain", timeout.as_secs_f64());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        wait_until("three looks", Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        })
        .unwrap();
        assert_eq!(looks, 3);
    }

    #[test]
    fn what_was_waited_for_in_vain_is_named() {
        let error = wait_until("a miracle", Duration::from_millis(2), || false).unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }
}
