//! A crash, and the way back: the preferred node is started again, with the address of its former
//! life still on its interface, and takes over from the living master if it may.

use anyhow::Result;

use super::stage::Stage;

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    super::crash::play(stage)?;
    let arp = stage.arp()?;
    let cause = stage.note(format!("{} is started again", stage.preferred));
    stage.preferred.start()?;
    stage.expect_preemption(cause, arp)
}
