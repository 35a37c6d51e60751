//! The master's cable is cut at the switch. The master loses carrier, and the client receives no
//! replies until the new master has announced the VIP.

use anyhow::Result;

use super::stage::{Deadline, Stage};
use super::{BACKUP, PREFERRED};

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    let arp = stage.arp()?;
    let cause = stage.note(format!("the cable of {PREFERRED} is cut"));
    stage.lab.cut(PREFERRED)?;
    stage.expect_takeover(cause, arp, (PREFERRED, BACKUP), Deadline::Down)?;

    let arp = stage.arp()?;
    let cause = stage.note(format!("the cable of {PREFERRED} is reconnected"));
    stage.lab.reconnect(PREFERRED)?;
    stage.expect_preemption(cause, arp)
}
