//! A crash followed by a restart. The preferred node starts with the stale VIP still on its
//! interface, and preempts the current master if preemption is enabled.

use anyhow::Result;

use super::stage::Stage;

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    super::crash::play(stage)?;
    let arp = stage.arp()?;
    let cause = stage.note(format!("{} is restarted", stage.preferred));
    stage.preferred.start()?;
    stage.expect_preemption(cause, arp)
}
