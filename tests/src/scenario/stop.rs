//! The master shuts down cleanly: it sends a priority-0 advert, and the backup takes over after its
//! Skew_Time.

use anyhow::Result;

use super::stage::{Deadline, Stage};
use super::{BACKUP, PREFERRED};

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    let arp = stage.arp()?;
    let cause = stage.note(format!("SIGTERM to {}", stage.preferred));
    stage.preferred.stop()?;
    stage.expect_takeover(cause, arp, (PREFERRED, BACKUP), Deadline::Skew)
}
